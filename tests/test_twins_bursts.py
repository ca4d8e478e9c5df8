"""The twin of HUME-VB: the organisers' layout, sounds that tell the labels, and a ceiling."""

import csv
import filecmp
import json
import wave

import numpy as np
import pytest

from data_pipelines import twins, verify
from data_pipelines.bursts import COLUMNS, COUNTRIES, CULTURE, TYPES
from data_pipelines.errors import UserError
from data_pipelines.prepare import main as prepare
from data_pipelines.store import Store
from data_pipelines.twins import bursts
from data_pipelines.twins.__main__ import main as write_by_hand
from data_pipelines.twins.bursts_latent import (
    COUNTRY_SHARES,
    HOMES,
    KINDS,
    intensities,
    make_bursts,
    ratings,
)

TINY = {"Train": 6, "Val": 3, "Test": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bursts") / "files"
    bursts.write("bursts", folder, TINY, seed=0)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(twins.resolve("twin:bursts?size=small", tmp_path_factory.mktemp("twins")))


def test_noise_is_in_the_label_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(bursts.SIZES, "small", {"Train": 60, "Val": 3, "Test": 2})
    root = "twin:bursts?size=small&noise=flip"
    with pytest.raises(UserError, match=r"^twin 'bursts': labels of classes: type, country\. Name"):
        twins.resolve(root, tmp_path)
    with pytest.raises(UserError, match=r"^twin 'bursts' has no label 'kind'"):
        twins.resolve(f"{root}&label=kind", tmp_path)
    noisy = Store(twins.resolve(f"{root}&label=country&share=.5", tmp_path))
    assert noisy.manifest["noise"]["label"] == "country"
    assert (noisy.label("kind")[0] == 1).sum() == 30


def test_tables_and_clips_are_in_the_organisers_form(files):
    with open(files / "labels" / "data_info.csv", newline="") as file:
        data = list(csv.DictReader(file))
    with open(files / "labels" / "type_info.csv", newline="") as file:
        kinds = list(csv.DictReader(file))
    assert set(data[0]) == {"File_ID", "Split", *COLUMNS} - {"Voc_Type"}
    assert list(kinds[0]) == ["File_ID", "Split", "Voc_Type"]
    assert [row["Split"] for row in data] == [row["Split"] for row in kinds]
    assert sorted(row["Split"] for row in data) == ["Test"] * 2 + ["Train"] * 6 + ["Val"] * 3
    names = {row["File_ID"].strip("[]") for row in data}
    assert names == {p.stem for p in (files / "wav").iterdir()}
    assert all(row["File_ID"] == f"[{row['File_ID'][1:6]}]" for row in data)
    for row, kind in zip(data, kinds):
        told = [v for k, v in (row | kind).items() if k not in ("File_ID", "Split")]
        assert not any(told) if row["Split"] == "Test" else all(told)


def test_clips_last_from_half_a_second_to_three_at_sixteen_kilohertz(files):
    for path in (files / "wav").iterdir():
        with wave.open(str(path)) as file:
            assert file.getparams()[:3] == (1, 2, 16000)
            assert 0.5 <= file.getnframes() / 16000 <= 3
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert 0.04 < np.abs(samples).max() / 32768 < 0.91


def test_the_same_seed_gives_the_same_bytes_and_the_test_split_changes_nothing(files, tmp_path):
    bursts.write("bursts", tmp_path / "again", TINY, seed=0)
    bursts.write("bursts", tmp_path / "without", TINY | {"Test": 0}, seed=0)
    bursts.write("bursts", tmp_path / "other", TINY, seed=1)
    names = [str(p.relative_to(files)) for p in files.rglob("*") if p.is_file()]
    assert filecmp.cmpfiles(files, tmp_path / "again", names, shallow=False)[0] == names
    waves = [str(p.relative_to(tmp_path)) for p in (tmp_path / "without" / "wav").iterdir()]
    assert len(waves) == 9
    for name in waves:
        assert filecmp.cmp(tmp_path / name, files / "wav" / name.split("/")[-1], shallow=False)
    assert {p.name for p in (tmp_path / "other" / "wav").iterdir()} != {
        p.name for p in (files / "wav").iterdir()
    }


def test_written_by_hand_and_prepared_by_the_command_it_is_the_same_store(store, tmp_path, capsys):
    folder = tmp_path / "twin_bursts"
    assert write_by_hand(["--name=bursts", f"--output={folder}", "--size=small"]) == 0
    command = next(x for x in capsys.readouterr().out.splitlines() if "prepare" in x).split()[3:]
    assert prepare([*command[:-1], f"--store={tmp_path / 'store'}"]) == 0
    written = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert written == store.manifest


def test_verify_has_no_complaint(store):
    assert verify.check(store).problems == []
    assert {s: len(store.split(s)) for s in store.splits} == {
        "train": 120,
        "validation": 40,
        "test": 20,
    }


def test_kinds_and_countries_have_the_stated_shares():
    made = make_bursts({"Train": 4000}, 0)
    for of, shares, names in (
        ("kind", {k: v[0] for k, v in KINDS.items()}, TYPES),
        ("country", COUNTRY_SHARES, COUNTRIES),
    ):
        found = np.bincount([getattr(b, of) for b in made], minlength=len(names)) / 4000
        np.testing.assert_allclose(found, [shares[n] for n in names], atol=0.02)


def test_countries_differ_moderately_and_an_emotion_rises_towards_its_home():
    z = np.array([burst.z for burst in make_bursts({"Train": 500}, 0)])
    of_all, of_countries = intensities(z), ratings(z).reshape(500, 4, 10)
    for country in range(4):
        r = [np.corrcoef(of_all[:, e], of_countries[:, country, e])[0, 1] for e in range(10)]
        assert 0.75 < np.mean(r) < 0.97
    for e, home in enumerate(HOMES.values()):
        near = intensities(np.stack([np.array(home), -np.array(home)]))[:, e]
        assert near[0] > near[1] + 0.3
    assert ratings(z).shape[1] == len(CULTURE)


def test_sound_tells_the_labels_and_the_ceiling_is_far_above_a_linear_model(store):
    found = store.references("validation")
    assert set(found) == {"oracle", "linear baseline"} and store.references("test") == {}
    keys = {"type/uar", "two/ccc", "high/ccc", "culture/ccc", "total"}
    assert all(set(who) == keys for who in found.values())
    oracle, linear = found["oracle"], found["linear baseline"]
    assert all(oracle[k] > linear[k] + 0.1 for k in keys)
    assert linear["type/uar"] > 0.3 and linear["two/ccc"] > 0.5 and linear["culture/ccc"] > 0.4
    assert oracle["total"] > 0.9
