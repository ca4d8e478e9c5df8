"""Published speech models read and written; beside transformers where it is installed."""

import dataclasses
import logging
import re

import jax
import numpy as np
import pytest

from affect_jax import speech
from data_pipelines.errors import UserError
from tests.conftest import ROOT
from tests.speech_files import CONFIG, tensors_of, variables_of, write


def same(got, want) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, got, want))


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    config = speech.SpeechConfig.from_json(CONFIG, "here")
    variables = variables_of(CONFIG)
    for _ in range(2):  # a folder of its own is replaced
        speech.save(tmp_path / "model", config, variables)
    model, got = speech.load(tmp_path / "model", masked_norm=True)
    assert model.config == config and model.masked_norm and same(got, variables)


def test_heads_are_left_out_and_a_vector_that_is_missing_is_drawn(tmp_path, caplog):
    tensors = tensors_of(CONFIG, "wav2vec2.")
    del tensors["wav2vec2.masked_spec_embed"]
    heads = {"lm_head.weight": np.zeros((2, 8), np.float32), "other": np.zeros(1, np.float32)}
    write(tmp_path, CONFIG, tensors | heads)
    with caplog.at_level(logging.INFO):
        _, got = speech.load(tmp_path)
    want = variables_of(CONFIG)
    want["params"].pop("mask_embedding")
    drawn = got["params"].pop("mask_embedding")
    assert same(got, want) and drawn.shape == (8,) and drawn.dtype == np.float32
    assert f"{len(tensors)} tensors read; of no use here: lm_head.weight; none" in caplog.text
    assert "left out: other" in caplog.text


@pytest.mark.parametrize("change", ["missing", "shape", "broken"])
def test_weights_of_another_model_are_one_line(change, tmp_path):
    tensors = tensors_of(CONFIG)
    if change == "missing":
        del tensors["encoder.layers.1.layer_norm.bias"]
    if change == "shape":
        tensors["encoder.layer_norm.bias"] = np.zeros(9, np.float32)
    write(tmp_path, CONFIG, tensors)
    if change == "broken":
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    message = {
        "missing": "1 parameters have no tensor, layer_1/attention_norm/bias first",
        "shape": r"encoder.layer_norm.bias \(9,\) gives \(9,\), norm/bias is \(8,\)",
        "broken": "not a safetensors file that is whole",
    }
    with pytest.raises(UserError, match=message[change]) as error:
        speech.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    config = speech.SpeechConfig.from_json(CONFIG, "here")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        speech.save(tmp_path, config, variables_of(CONFIG))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("change", ["layers", "width", "nothing", "level", "more"])
def test_variables_of_another_model_are_not_written(change, tmp_path):
    config, variables = speech.SpeechConfig.from_json(CONFIG, "here"), variables_of(CONFIG)
    if change in ("layers", "width"):
        key = {"layers": "num_hidden_layers", "width": "intermediate_size"}[change]
        config = dataclasses.replace(config, **{key: getattr(config, key) + 1})
    variables = {
        "nothing": {},
        "level": variables["params"],
        "more": variables | {"other": {"kernel": np.zeros(1)}},
    }.get(change, variables)
    message = {"layers": r"layer_\d/.* is none, and of the config is \(", "more": "other/kernel is"}
    with pytest.raises(UserError, match=message.get(change, "of another model: params/")) as error:
        speech.save(tmp_path / "model", config, variables)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


# Sizes of transformers' models: None are those of the base models, full size.
SMALL = {**CONFIG, "conv_dim": [16] * 2, "hidden_size": 24, "intermediate_size": 40}
LARGE = {**SMALL, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
MODELS = {
    "wav2vec2-base": {"model_type": "wav2vec2"},
    "wavlm-base": {"model_type": "wavlm"},
    "wav2vec2-large": LARGE,
    "wavlm-large": {**LARGE, "model_type": "wavlm"},
    "hubert-base": {**SMALL, "model_type": "hubert"},
    "hubert-large": {**LARGE, "model_type": "hubert"},
    "hubert-no-norm": {**SMALL, "model_type": "hubert", "feat_proj_layer_norm": False},
    "hubert-batch-norm": {**SMALL, "model_type": "hubert", "conv_pos_batch_norm": True},
}


@pytest.fixture(scope="module")
def sound(shared):
    """(two rows of 2.5 s of real bursts float32 [2, 40000], bool mask): one whole, one padded."""
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    files = sorted((shared / "data" / "emogator").rglob("*.opus"))[:3]
    clips = []
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        clips.append(soxr.resample(samples.mean(1), rate, 16_000))
    rows = [np.concatenate(clips[:2])[:40_000], clips[2][:30_000]]
    sound = np.stack([np.pad(row, (0, 40_000 - len(row))) for row in rows])
    assert len(rows[0]) == 40_000 and np.abs(sound).max(1).min() > 0.01
    return sound, np.arange(40_000) < np.array([[len(row)] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_transformers_gives_the_same_here_and_comes_back(name, sound, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = _random_model(torch, transformers, MODELS[name])
    theirs.save_pretrained(tmp_path / "theirs")
    model, variables = speech.load(tmp_path / "theirs")
    audio, masked = sound
    apply = jax.jit(model.apply)
    for mask in (None, masked):
        got = apply(variables, audio, mask)
        want = _output(torch, theirs, audio, mask)
        np.testing.assert_allclose(got.last, want["last_hidden_state"], rtol=0, atol=1e-4)
        # Since version 5 the last state of models with norms in front lacks the closing norm.
        states = [x.numpy() for x in want["hidden_states"][:-1]] + [want["last_hidden_state"]]
        for a, b in zip(got.hidden, states, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)
        if model.config.model_type != "hubert":
            np.testing.assert_allclose(got.features, want["extract_features"], rtol=0, atol=1e-4)
    speech.save(tmp_path / "ours", model.config, variables)
    back = transformers.AutoModel.from_pretrained(tmp_path / "ours")
    want, got = theirs.state_dict(), back.state_dict()
    assert got.keys() == want.keys()
    for key, tensor in want.items():
        assert torch.equal(got[key], tensor) or "num_batches_tracked" in key, key


def _random_model(torch, transformers, fields):
    """A model whose biases, norms and statistics are not those of a fresh one."""
    config = transformers.AutoConfig.for_model(**fields)
    model = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(0.5 * torch.rand_like(buffer))
    return model


def _output(torch, model, audio, mask):
    given = {} if mask is None else {"attention_mask": torch.tensor(mask).long()}
    with torch.no_grad():
        return model(torch.tensor(audio), output_hidden_states=True, **given)


@pytest.mark.slow
def test_the_code_of_its_page_runs(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--facebook--wav2vec2-base"
    stack = {
        "conv_dim": [4] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5] + [2] * 6,
    }
    base = CONFIG | stack
    write(repository / "snapshots" / "1", base, tensors_of(base))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "speech.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["output"].last.shape == (2, 49, 8) and len(names["output"].hidden) == 3
    assert names["output"].mask.sum(1).tolist() == [49, 27]
    assert jax.tree.all(jax.tree.map(lambda x: np.isfinite(x).all(), names["gradient"]))
    assert same(speech.load("mine")[1], names["variables"])
