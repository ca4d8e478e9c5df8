"""Published models found in folders, files and the Hugging Face cache; their configs compared."""

import dataclasses
import json
import logging
import socket
import sys

import numpy as np
import pytest

from affect_jax import interop
from affect_jax.config import absolute_paths, load
from affect_jax.interop import published
from affect_jax.models.blocks.speech import SpeechConfig
from data_pipelines.errors import UserError
from tests.speech_files import CONFIG, tensors_of, write

NAME = "people/wav2vec2-tiny"


@pytest.fixture(scope="module")
def tensors():
    return tensors_of(CONFIG)


@pytest.fixture
def folder(tmp_path, tensors):
    write(tmp_path / "model", CONFIG, tensors)
    return tmp_path / "model"


def same(got, want) -> bool:
    return got.keys() == want.keys() and all(np.array_equal(got[k], want[k]) for k in want)


def shards(folder, tensors, index: dict | None = None) -> None:
    """The weights of the folder in two files with an index."""
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in files.items():
        interop.save_safetensors(folder / file, {name: tensors[name] for name in own})
    table = {name: file for file, own in files.items() for name in own}
    text = json.dumps({"metadata": {}, "weight_map": table} if index is None else index)
    (folder / "model.safetensors.index.json").write_text(text)


def test_a_folder_is_read_and_so_is_a_file_with_its_config_beside_it(folder, tensors):
    for source in (folder, folder / "model.safetensors", str(folder)):
        found = published.find(source)
        assert found.config == folder / "config.json" and same(found.load(), tensors)
        assert found.speech_config().conv_dim == (4, 4)


def test_weights_in_several_files_are_joined_by_their_index(folder, tensors):
    shards(folder, tensors)
    assert same(published.find(folder).load(), tensors)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([], "no weight_map in it"),
        ({"weight_map": {}}, "no weight_map in it"),
        ({"weight_map": {"x": 3}}, "a file is called 3, expected a name"),
        ({"weight_map": {"x": "../a.safetensors"}}, "the name holds '/'"),
        ({"weight_map": {"x": "c.safetensors"}}, "c.safetensors: no such weight file"),
        ({"weight_map": {"x": "a.safetensors"}}, "names x, which none of its files hold"),
    ],
)
def test_an_index_that_is_wrong_is_one_line(index, message, folder, tensors):
    shards(folder, tensors, index)
    with pytest.raises(UserError, match=message) as error:
        published.find(folder).load()
    assert "\n" not in str(error.value)


@pytest.fixture
def cache(tmp_path, monkeypatch, tensors):
    """A cache of the Hub with one repository, on a machine without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "socket", None)
    repository = tmp_path / "hub" / "models--people--wav2vec2-tiny"
    write(repository / "snapshots" / "12ab", CONFIG, tensors)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("12ab")
    return repository / "snapshots" / "12ab"


def test_a_name_is_looked_up_in_the_cache_and_nothing_is_downloaded(cache, tensors):
    found = published.find(NAME)
    assert found.weights == cache / "model.safetensors" and same(found.load(), tensors)


@pytest.mark.parametrize("name", ["people/wav2vec2-base", "people/a--b"])
def test_a_name_that_is_not_in_the_cache_says_how_to_get_it(name, cache):
    with pytest.raises(UserError, match=f"not in the Hugging Face cache .*hf download {name}"):
        published.find(name)


def test_a_repository_of_which_the_weights_are_not_in_the_cache_is_one_line(cache):
    (cache / "model.safetensors").unlink()
    with pytest.raises(UserError, match="12ab: no weights in it. Expected model.safetensors or"):
        published.find(NAME)


def test_without_the_library_of_the_cache_a_name_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="no such file or folder; .* pip install huggingface-hub"):
        published.find(NAME)


def test_what_is_no_source_says_what_one_is(tmp_path):
    with pytest.raises(UserError, match="no such file or folder, nor a name like facebook/"):
        published.find(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json: not a JSON file"),
        ("[]", "config.json: list, expected an object"),
        ('{"model_type": "bert"}', "model_type"),
    ],
)
def test_a_config_that_is_wrong_is_one_line(text, message, folder):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        published.find(folder).speech_config()


def test_weights_without_a_config_say_that_it_is_missing(folder):
    (folder / "config.json").unlink()
    found = published.find(folder)
    found.require(SpeechConfig("wav2vec2"))  # nothing to compare with
    with pytest.raises(UserError, match="no config.json beside it"):
        found.speech_config()


def test_another_model_than_the_published_one_is_an_error_that_names_the_keys(folder):
    found = published.find(folder)
    own = found.speech_config()
    found.require(own)
    other = dataclasses.replace(own, num_hidden_layers=3, layer_norm_eps=1e-6, layerdrop=0.5)
    with pytest.raises(UserError) as error:
        found.require(other)
    assert str(error.value) == (
        f"{folder}/config.json: num_hidden_layers = 2, here 3; layer_norm_eps = 1e-05, here 1e-06. "
        "Change the config."
    )


def test_other_rates_of_dropout_and_masking_are_said_and_allowed(folder, caplog):
    found = published.find(folder)
    own = dataclasses.replace(found.speech_config(), layerdrop=0.5, mask_time_length=3)
    with caplog.at_level(logging.WARNING):
        found.require(own)
    assert "layerdrop = 0.1, here 0.5; mask_time_length = 10, here 3" in caplog.text


def test_the_config_of_a_run_beside_a_file_is_none_of_a_model(folder):
    (folder / "config.json").write_text(json.dumps({"model": {"name": "vocal_bursts"}}))
    published.find(folder / "model.safetensors").require(SpeechConfig("wav2vec2"))


def test_a_config_keeps_the_name_of_published_weights_and_writes_out_a_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    config = load("configs/mtl.py:smoke")
    for given, kept in ((NAME, NAME), ("nets/12", f"{tmp_path}/nets/12")):
        config.init.weights = given
        assert absolute_paths(config).init.weights == kept
