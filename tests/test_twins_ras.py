"""The multimodal twin: the team's layout, modalities that complement each other, and ceilings."""

import filecmp
import json

import numpy as np
import pytest

from data_pipelines import twins, verify
from data_pipelines.errors import UserError
from data_pipelines.labels.rates import read_rates
from data_pipelines.prepare import main as prepare
from data_pipelines.store import Store
from data_pipelines.twins import ras
from data_pipelines.twins.__main__ import main as write_by_hand
from data_pipelines.twins.ras_latent import (
    ERRORS,
    MODALITIES,
    estimate,
    make_person,
    observe,
)

TINY = ras.Size(6, 1, 1, (10.0, 12.0))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ras") / "files"
    ras.write("ras", folder, TINY, seed=0)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("twins")


@pytest.fixture(scope="module")
def store(cache) -> Store:
    return Store(twins.resolve("twin:ras?size=small", cache))


def test_the_same_seed_gives_the_same_bytes_and_the_test_split_changes_nothing(files, tmp_path):
    ras.write("ras", tmp_path / "again", TINY, seed=0)
    ras.write("ras", tmp_path / "without", ras.Size(6, 1, 0, (10.0, 12.0)), seed=0)
    names = [str(p.relative_to(files)) for p in files.rglob("*") if p.is_file()]
    assert filecmp.cmpfiles(files, tmp_path / "again", names, shallow=False)[0] == names
    parts = [n for n in names if "/train/" in n or "/val/" in n or "_Set/" in n or "train" in n]
    assert len(parts) > 20
    assert filecmp.cmpfiles(files, tmp_path / "without", parts, shallow=False)[0] == parts


def test_rates_are_both_and_two_persons_of_a_video_share_its_sound(files):
    rates = read_rates(files / "videos_fps.csv", warn=lambda text: None)
    assert {str(fps) for fps in rates.values()} == {"30", "30000/1001"}
    pairs = [p.stem for p in (files / "face" / "train").glob("*_left.npz")]
    assert len(pairs) == 1
    video = pairs[0].removesuffix("_left")
    assert (files / "face" / "train" / f"{video}_right.npz").exists()
    assert (files / "wav" / "train" / f"{video}.wav").exists()
    assert len(list((files / "wav").rglob("*.wav"))) == 8 - 1  # one has none


def test_written_by_hand_and_prepared_by_the_command_it_is_the_same_store(store, tmp_path, capsys):
    folder = tmp_path / "twin_ras"
    assert write_by_hand(["--name=ras", f"--output={folder}", "--size=small"]) == 0
    command = next(x for x in capsys.readouterr().out.splitlines() if "prepare" in x).split()[3:]
    assert prepare([*command[:-1], f"--store={tmp_path / 'store'}"]) == 0
    assert json.loads((tmp_path / "store" / "manifest.json").read_text()) == store.manifest


def test_verify_has_no_complaint_and_names_what_is_missing(store):
    found = verify.check(store)
    assert found.problems == []
    notes = "\n".join(found.notes)
    assert "feature 'sound' has no rows in" in notes and "feature 'face' has gaps in" in notes
    assert {s: len(store.split(s)) for s in store.splits} == {
        "train": 7,
        "validation": 3,
        "test": 2,
    }


def test_all_modalities_together_tell_more_than_each_and_less_than_all(store):
    found = store.references("validation")
    ceilings = {name: found[f"{name} ceiling"]["CCC"] for name in ("fusion", *MODALITIES)}
    assert ceilings["fusion"] > max(ceilings[m] for m in MODALITIES) + 0.1
    assert found["oracle"]["CCC"] > 0.9 > ceilings["fusion"]
    assert store.references("test") == {}


def test_the_control_of_strangers_has_the_ceiling_of_the_face_alone(store, cache):
    other = Store(twins.resolve("twin:ras?size=small&shuffle=1", cache))
    found = other.references("validation")
    assert found["fusion ceiling"] == found["face ceiling"]
    assert found["face ceiling"] == store.references("validation")["face ceiling"]
    np.testing.assert_array_equal(store.feature("face"), other.feature("face"))
    assert not np.array_equal(store.feature("behaviour"), other.feature("behaviour"))
    for one, two in zip(store.tracks, other.tracks):
        assert (one.name, one.frames) == (two.name, two.frames)
    with pytest.raises(UserError, match="no modalities to shuffle"):
        twins.resolve("twin:va?shuffle=1", cache)
    with pytest.raises(UserError, match="shuffle=yes, expected 0 or 1"):
        twins.resolve("twin:ras?shuffle=yes", cache)


def test_the_estimate_is_the_regression_on_many_draws_of_what_was_seen():
    """Its error over draws of affect and errors is what a fitted linear model reaches, no more."""
    fps, frames, draws, at = 5.0, 40, 1200, np.array([20])
    places = {"sound": np.array([4.0, 19.0, 33.0]), "behaviour": np.array([10.0, 20.0, 30.0])}
    values, truth, guess = [], [], []
    for i in range(draws):
        rng = np.random.default_rng(i)
        person = make_person(rng, frames, fps)
        seen = {m: observe(rng, m, person, p, fps) for m, p in places.items()}
        values.append(np.concatenate([s.values[:, 0] for s in seen.values()]))
        truth.append(person.state[at[0], 0])
        guess.append(estimate(seen, at, fps)[0, 0])
    x, y, guess = np.array(values), np.array(truth), np.array(guess)
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    own, fitted = np.mean((y - guess) ** 2), np.mean((y - x @ weights) ** 2)
    assert fitted < own < 1.03 * fitted
    assert abs(np.mean((y - guess) * guess)) < 0.04  # what is left has nothing to do with it


def test_blocks_of_the_face_lose_next_to_nothing():
    rng, fps = np.random.default_rng(0), 30.0
    person = make_person(rng, 300, fps)
    seen = {"face": observe(rng, "face", person, np.arange(300), fps)}
    places = np.arange(0, 300, 10)
    each = estimate(seen, places, fps, block=1)
    np.testing.assert_allclose(estimate(seen, places, fps), each, atol=0.05)
    assert set(ERRORS) == set(MODALITIES)
