"""Twins of Aff-Wild2: official syntax, stated rates, reproducible, and context that pays."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import pathlib
import subprocess
import sys
from concurrent import futures

import h5py
import numpy as np
import pytest

from data_pipelines import twins, verify
from data_pipelines.errors import UserError
from data_pipelines.labels import ACTION_UNITS, EXPRESSIONS
from data_pipelines.prepare import main as prepare
from data_pipelines.sources import affwild2 as source
from data_pipelines.store import Store
from data_pipelines.twins import affwild2
from data_pipelines.twins.__main__ import main as write_by_hand
from data_pipelines.twins.annotators import annotate
from data_pipelines.twins.latent import EXPRESSION_RATES, UNIT_RATES, make_latents, smooth
from data_pipelines.twins.references import averaged, ccc, linear_baseline, scores
from data_pipelines.twins.tracks import LABELLED, SIZES, make_tracks

SPLITS = (*LABELLED, "test")
VA_EXAMPLE = "image_location,valence,arousal"
HEADERS = {"mtl": "image,valence,arousal,expression,aus", "va": "valence,arousal"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("twins")


@pytest.fixture(scope="module")
def mtl(folder) -> Store:
    """The default multi-task twin."""
    return Store(twins.store("mtl", folder))


@pytest.fixture(scope="module")
def files(folder) -> dict[str, pathlib.Path]:
    """The files of both small twins."""
    written = {name: folder / f"files_{name}" for name in affwild2.FLAGS}
    for name, path in written.items():
        affwild2.write(name, path, SIZES["small"], seed=0)
    return written


def _lines(path: pathlib.Path, header: str) -> list[list[str]]:
    text = path.read_bytes().decode("ascii")
    assert text.endswith("\n") and "\r" not in text
    first, *rest = text[:-1].split("\n")
    assert first == header
    return [line.split(",") for line in rest]


def _mask(store: Store, label: str) -> np.ndarray:
    """bool [N]: rows with this label, all of them for action units."""
    mask = store.label(label)[1]
    return np.asarray(mask).reshape(len(mask), -1).all(axis=1)


def _labelled(store: Store) -> slice:
    """Rows of the splits that have labels, which come first."""
    return slice(sum(track.frames for track in store.tracks if track.split in LABELLED))


# The files.


def test_the_multi_task_lists_have_sixteen_fields_in_the_official_ranges(files):
    for file in affwild2.MTL_FILES.values():
        rows = _lines(files["mtl"] / "annotations" / file, HEADERS["mtl"])
        assert {len(row) for row in rows} == {16}
        for _, valence, arousal, expression, *units in rows:
            assert (valence == "-5") == (arousal == "-5")
            assert valence == "-5" or (-1 <= float(valence) <= 1 and -1 <= float(arousal) <= 1)
            assert expression in {"-1", *"01234567"}
            assert len(units) == 12 and set(units) <= {"-1", "0", "1"}
            assert (valence, expression, set(units)) != ("-5", "-1", {"-1"})


def test_rows_of_a_video_stand_together_and_ascend_with_holes(files):
    rows = _lines(files["mtl"] / "annotations" / "training_set_annotations.txt", HEADERS["mtl"])
    images = [row[0].split("/") for row in rows]
    videos = [video for video, _ in images]
    changes = sum(a != b for a, b in zip(videos, videos[1:])) + 1
    assert changes == len(set(videos))
    numbers = {v: np.array([int(n[:5]) for w, n in images if w == v]) for v in set(videos)}
    assert all(len(name) == 9 and name.endswith(".jpg") for _, name in images)
    assert all((np.diff(n) > 0).all() for n in numbers.values())
    gaps = np.concatenate([np.diff(n) for n in numbers.values()])
    assert 3 < np.median(gaps) < 5 and gaps.min() == 1 and gaps.max() > 30


def test_the_va_texts_have_two_fields_an_image_and_few_gaps(files):
    root = files["va"] / "annotations" / "5th ABAW Annotations" / "VA_Estimation_Challenge"
    assert sorted(p.name for p in root.iterdir()) == ["Train_Set", "Validation_Set"]
    rows = [row for file in root.glob("*/*.txt") for row in _lines(file, HEADERS["va"])]
    assert {len(row) for row in rows} == {2}
    missing = np.array([row == ["-5", "-5"] for row in rows])
    values = np.array(rows, float)[~missing]
    assert (np.abs(values) <= 1).all() and 0 < missing.mean() < 0.1
    np.testing.assert_allclose(values, values.round(3), rtol=0, atol=1e-12)


def test_names_have_the_three_official_forms_and_pairs_of_one_video_share_a_split(mtl):
    names = [track.name for track in mtl.tracks]
    assert any(name.isdigit() for name in names)
    assert any(name.startswith("video") for name in names)
    assert any(name.count("-") == 2 for name in names)
    left = [t for t in mtl.tracks if t.name.endswith("_left")]
    right = [t for t in mtl.tracks if t.name.endswith("_right")]
    assert left and len(right) > len(left)  # the other person's name may be without a suffix
    splits = {}
    for track in mtl.tracks:
        splits.setdefault(track.group, set()).add(track.split)
    assert max(len(found) for found in splits.values()) == 1


def test_the_test_split_is_listed_in_the_official_form_and_has_no_labels(files, tmp_path):
    for name, (first, fields) in {"mtl": ("image", 2), "va": (VA_EXAMPLE, 3)}.items():
        rows = _lines(files[name] / "annotations" / affwild2.TEST_LIST[name], first)
        assert {len(row) for row in rows} == {fields} and len(rows) > 200
        source.fill(files[name], tmp_path / name, **affwild2.FLAGS[name])
        store = Store(tmp_path / name)
        tracks = [store.tracks[i] for i in store.split("test")]
        assert list(dict.fromkeys(row[0].split("/")[0] for row in rows)) == [
            track.name for track in tracks
        ]
        assert not any(
            mask[_labelled(store).stop :].any() for _, mask in map(store.label, store.labels)
        )
        numbers = store.frames[_labelled(store).stop :]
        assert [int(row[0].split("/")[1][:-4]) for row in rows] == numbers.tolist()


def test_the_test_split_leaves_everything_else_as_it_is_without(files, tmp_path):
    without = dataclasses.replace(SIZES["small"], test=(0, 0))
    for name, path in files.items():
        affwild2.write(name, tmp_path / name, without, seed=0)
        assert not list((tmp_path / name).rglob("*_test_set_*"))
        lists = [p.relative_to(path) for p in path.rglob("*.txt") if "_test_set_" not in p.name]
        assert len(lists) >= 2
        for file in lists:
            assert filecmp.cmp(path / file, tmp_path / name / file, shallow=False), file
        for file in path.glob("features/*.h5"):
            with (
                h5py.File(file) as more,
                h5py.File(tmp_path / name / "features" / file.name) as few,
            ):
                assert len(more) == len(few) + 3
                for track in few:
                    a, b = (np.asarray(f[track]["feature"]) for f in (more, few))
                    assert a.tobytes() == b.tobytes(), track


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(files, tmp_path):
    for name, size in (("mtl", "small"), ("va", "small")):
        affwild2.write(name, tmp_path / name, SIZES[size], seed=0)
        relative = [p.relative_to(files[name]) for p in files[name].rglob("*") if p.is_file()]
        assert len(relative) > 7
        for path in relative:
            assert filecmp.cmp(files[name] / path, tmp_path / name / path, shallow=False), path
    affwild2.write("mtl", tmp_path / "other", SIZES["small"], seed=1)
    for path in ("annotations/training_set_annotations.txt", "features/mae.h5"):
        assert (tmp_path / "other" / path).read_bytes() != (files["mtl"] / path).read_bytes()


def test_written_by_hand_and_prepared_by_the_command_it_is_the_same_store(tmp_path, capsys):
    folder, store = tmp_path / "twin_va", tmp_path / "store"
    assert write_by_hand(["--name=va", f"--output={folder}", "--size=small", "--seed=3"]) == 0
    command = next(x for x in capsys.readouterr().out.splitlines() if "prepare" in x).split()[3:]
    assert prepare([*command[:-1], f"--store={store}"]) == 0
    kept = twins.store("va", tmp_path, size="small", seed=3)
    written = json.loads((store / "manifest.json").read_text())
    assert written == json.loads((kept / "manifest.json").read_text())
    assert write_by_hand(["--name=va", f"--output={folder}"]) == 2


# What is in them.


def test_verify_has_no_complaint_about_a_twin(mtl):
    assert verify.check(mtl).problems == []


def test_features_say_that_they_are_synthetic(mtl):
    assert set(mtl.features) == {"mae", "ires100", "fau"}
    assert all(f.extractor.startswith("synthetic") for f in mtl.features.values())
    assert mtl.name == "twin_mtl"


def test_tracks_are_of_very_different_length(mtl):
    sizes = {s: [t.frames for t in mtl.tracks if t.split == s] for s in mtl.splits}
    assert {s: len(n) for s, n in sizes.items()} == {"train": 60, "validation": 20, "test": 10}
    assert sum(sizes["train"]) == pytest.approx(12_000, rel=0.01)
    assert sum(sizes["validation"]) == pytest.approx(4_000, rel=0.01)
    assert sum(sizes["test"]) == pytest.approx(2_000, rel=0.01)
    assert max(sizes["train"]) > 1000
    for lengths in (sizes["train"], sizes["validation"]):
        assert 0.2 < np.mean(np.array(lengths) < 64) < 0.5


def test_about_a_third_of_the_rows_has_all_kinds_of_labels(mtl):
    rows = _labelled(mtl)
    kinds = np.stack([_mask(mtl, label)[rows] for label in ("valence", "expression", "au")])
    assert 0.25 < kinds.all(axis=0).mean() < 0.45
    assert (kinds.mean(axis=1) > 0.5).all()
    assert np.asarray(mtl.label("au")[1])[rows].any(axis=1)[~kinds[:2].any(axis=0)].all()


def test_some_tracks_lack_one_kind_altogether(mtl):
    for label in ("valence", "expression", "au"):
        mask = _mask(mtl, label)
        tracks = [t for t in mtl.tracks if t.split in LABELLED]
        lacking = [t for t in tracks if not mask[t.offset : t.offset + t.frames].any()]
        assert 2 <= len(lacking) <= 20


def test_single_action_units_are_missing_in_a_few_rows(mtl):
    mask = np.asarray(mtl.label("au")[1])
    assert 0 < (mask.any(axis=1) & ~mask.all(axis=1)).mean() < 0.1


def test_expressions_and_action_units_have_the_stated_rates(mtl):
    values, mask = mtl.label("expression")
    shares = np.bincount(values[mask], minlength=8) / mask.sum()
    np.testing.assert_allclose(shares, EXPRESSION_RATES, atol=0.05)
    assert shares.min() > 0.015 and shares.max() < 0.42
    assert EXPRESSIONS[shares.argmax()] == "Neutral"
    assert {EXPRESSIONS[i] for i in np.argsort(shares)[:2]} == {"Disgust", "Fear"}
    units, known = mtl.label("au")
    rates = np.array([units[known[:, k], k].mean() for k in range(len(ACTION_UNITS))])
    np.testing.assert_allclose(rates, UNIT_RATES, atol=0.07)
    assert rates.min() > 0.02 and rates.max() < 0.65


def test_noise_free_rates_are_exact():
    latents = make_latents(make_tracks(SIZES["small"], 0, sparse=True), 4, seed=0)
    latents = [latent for latent in latents if latent.track.split in LABELLED]
    expression = np.concatenate([latent.truth["expression"] for latent in latents])
    shares = np.bincount(expression, minlength=8) / len(expression)
    np.testing.assert_allclose(shares, EXPRESSION_RATES, atol=0.01)
    units = np.concatenate([latent.truth["au"] for latent in latents])
    np.testing.assert_allclose(units.mean(axis=0), UNIT_RATES, atol=0.002)


def test_labels_are_near_the_truth_but_not_it():
    latents = make_latents(make_tracks(SIZES["small"], 0, sparse=False), 1, seed=0)
    pairs = zip(latents, annotate(latents, 0, gaps="few"))
    errors = [a.values["valence"] - latent.truth["valence"] for latent, a in pairs]
    assert 0.08 < np.concatenate(errors).std() < 0.18


def test_the_smooth_process_has_unit_variance_and_the_stated_time():
    x = smooth(np.random.default_rng(0), 2000, 20, 200)
    assert x.var() == pytest.approx(1, abs=0.05)
    assert (x[20:] * x[:-20]).mean() == pytest.approx(np.exp(-1), abs=0.05)
    assert (x[0] ** 2).mean() == pytest.approx(1, abs=0.3)  # stationary from its first step


# What can be learned.


def test_the_linear_baseline_stays_far_below_the_oracle(mtl):
    assert mtl.references("test") == {}
    for split in LABELLED:
        found = mtl.references(split)
        assert set(found) == {"oracle", "linear baseline", "smoothed linear"}
        for who in found.values():
            keys = {"valence/ccc", "arousal/ccc", "expression/f1", "au/f1_binary", "P_MTL"}
            assert set(who) == keys
        assert all(found["linear baseline"][k] < found["oracle"][k] - 0.1 for k in keys)
        assert found["linear baseline"]["P_MTL"] < found["oracle"]["P_MTL"] - 0.15
    assert 1.0 < found["linear baseline"]["P_MTL"] < 1.4
    assert 2.0 < found["oracle"]["P_MTL"] < 2.5


def test_averages_are_means_of_the_rows_of_one_track(mtl):
    x = _features(mtl)
    means = averaged(mtl, x, 2)
    for track in mtl.tracks[1:3]:
        of_track = x[track.offset : track.offset + track.frames].astype(np.float64)
        for at in (0, 1, 5, track.frames - 1):
            want = of_track[max(at - 2, 0) : at + 3].mean(axis=0)
            np.testing.assert_allclose(means[track.offset + at], want, atol=1e-9)


def _means(store: Store, half: int, *, shuffle: bool = False) -> np.ndarray:
    """float64 [N, D]: features averaged over 2 * half + 1 rows of a track, in order or shuffled."""
    features, order = _features(store), np.arange(sum(track.frames for track in store.tracks))
    if shuffle:
        rng = np.random.default_rng(0)
        ends = [track.offset for track in store.tracks[1:]]
        order = np.concatenate([rng.permutation(rows) for rows in np.split(order, ends)])
    means = np.empty(features.shape)
    means[order] = averaged(store, features[order], half)
    return means


def _features(store: Store) -> np.ndarray:
    return np.concatenate([store.feature(name) for name in store.features], axis=1)


def _gain(store: Store, features: np.ndarray) -> float:
    """P_MTL of a linear model on other features, less that of the frame-wise baseline."""
    found = scores(store, "validation", linear_baseline(store, features))
    return found["P_MTL"] - store.references("validation")["linear baseline"]["P_MTL"]


def test_a_linear_model_on_smoothed_features_gains_and_on_shuffled_ones_loses(mtl):
    found = mtl.references("validation")
    assert found["smoothed linear"]["P_MTL"] > found["linear baseline"]["P_MTL"] + 0.4
    assert _gain(mtl, _means(mtl, 8, shuffle=True)) < -0.2


@pytest.mark.slow
@pytest.mark.parametrize("half", [8, 16])
def test_neighbours_beside_the_frame_gain_much_and_shuffled_neighbours_little(mtl, half):
    gains = [
        _gain(mtl, np.concatenate([_features(mtl), _means(mtl, half, shuffle=s)], axis=1))
        for s in (False, True)
    ]
    assert gains[0] > 0.4
    assert gains[1] < gains[0] / 3


def test_valence_is_not_in_the_features_of_a_single_row(mtl):
    values, mask = (np.asarray(a)[:, 0] for a in mtl.label("valence"))
    for name in mtl.features:
        x = np.asarray(mtl.feature(name), np.float64)
        weights, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))][mask], values[mask])
        assert ccc(np.c_[x, np.ones(len(x))][mask] @ weights, values[mask]) < 0.7


# The cache.


def test_a_twin_in_a_config_is_made_once_and_its_arguments_count(folder, capsys):
    first = twins.resolve("twin:va?size=small&seed=5", folder)
    assert "synthetic twin 'va'" in capsys.readouterr().err
    stamp = (first / "manifest.json").stat().st_mtime_ns
    assert twins.resolve("twin:va?seed=5&size=small", folder) == first
    assert (first / "manifest.json").stat().st_mtime_ns == stamp
    assert capsys.readouterr().err == ""
    assert twins.resolve("twin:va?size=small&seed=6", folder) != first
    assert set(Store(first).references("validation")["oracle"]) == {
        "valence/ccc",
        "arousal/ccc",
        "CCC",
    }


@pytest.mark.parametrize(
    "root, words",
    [
        ("twin:mlt", "Did you mean 'mtl'?"),
        ("twin:mtl?sead=1", "Did you mean 'seed'?"),
        ("twin:mtl?size=smal", "Did you mean 'small'?"),
        ("twin:mtl?seed=-1", "expected a whole number"),
        ("twin:mtl?seed=" + "9" * 5000, "expected a whole number"),
    ],
)
def test_a_misspelt_twin_is_refused_with_the_nearest_name(root, words, tmp_path):
    with pytest.raises(UserError, match="twin") as caught:
        twins.resolve(root, tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", "", "9" * 5000])
def test_a_seed_that_is_none_is_one_line(seed, tmp_path, capsys):
    assert write_by_hand(["--name=va", f"--output={tmp_path / 'x'}", f"--seed={seed}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --seed=") and error.count("\n") == 1 and len(error) < 200
    assert not list(tmp_path.iterdir())


def test_two_at_once_make_one_whole_store_and_leave_nothing_else(tmp_path):
    def make(_: int) -> pathlib.Path:
        return twins.store("va", tmp_path, size="small", seed=7)

    with futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(make, range(2))
    assert first == second and list(tmp_path.iterdir()) == [first]
    assert verify.check(Store(first)).problems == []


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path):
    old, young = tmp_path / ".making-old", tmp_path / ".making-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (0, 0))
    twins.store("va", tmp_path, size="small", seed=8)
    assert young.exists() and not old.exists()


def test_a_cache_that_cannot_be_written_is_named_and_another_used(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(twins.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    path = twins.store("va", size="small", seed=9)
    assert path.is_relative_to(tmp_path / "tmp") and Store(path).splits == SPLITS
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert twins.store("va", size="small", seed=9) == path
    with pytest.raises(UserError, match="cannot be kept"):
        twins.store("va", tmp_path / "file", size="small", seed=9)


def test_a_twin_that_exists_is_found_without_slow_imports(mtl, folder):
    code = (
        "import sys; from data_pipelines import twins; "
        f"assert str(twins.store('mtl', {str(folder)!r})) == {str(mtl.path)!r}; "
        "slow = {'sklearn', 'scipy', 'h5py', 'jax'} & set(sys.modules); assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
