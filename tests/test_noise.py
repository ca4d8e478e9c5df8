"""Noise added to a store: exact counts, what was, and nothing else changed."""

import csv
import filecmp
import json

import numpy as np
import pytest

from data_pipelines import noise, verify
from data_pipelines.errors import UserError
from data_pipelines.noise import CORNERS, HALVES, crop
from data_pipelines.noise import main as command
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.stores import small_store
from tests.streams import clips_store

COUNT, CLASSES, NAMES = 42, 4, ("a", "b, b", "c", "d")


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Store:
    """40 pictures of training, two of them without a label and one not there, and 2 of test."""
    path = tmp_path_factory.mktemp("faces") / "faces"
    rng = np.random.default_rng(0)
    features = {
        "face": dict(shape=(10, 8, 3), dtype="uint8"),
        "flat": dict(size=3),
        "audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=40),
        "words": dict(size=2, axis="table"),
    }
    labels = {
        "expression": dict(kind="classes", size=CLASSES, names=NAMES),
        "valence": dict(kind="values", size=1),
    }
    with StoreWriter(
        path, name="faces", features=features, labels=labels, source="rafdb", notes=["kept"]
    ) as writer:
        for i in range(COUNT):
            writer.add(
                track=f"t,{i}",
                split="train" if i < 40 else "test",
                group=f"g{i // 2}",
                features={
                    "face": rng.integers(0, 256, (1, 10, 8, 3)),
                    "flat": rng.normal(size=(1, 3)),
                    "audio": rng.integers(-9, 9, i),
                    "words": np.ones((i % 3, 2)),
                },
                feature_masks={"face": [i != 5]},
                spans={"words": np.tile([0.0, 1.0], (i % 3, 1))},
                labels={
                    "expression": ([i % CLASSES], [i not in (3, 8)]),
                    "valence": rng.normal(size=1),
                },
                fps="30000/1001",
            )
    scores = {split: {"oracle": {"expression/accuracy": 1.0}} for split in ("train", "test")}
    (path / "references.json").write_text(json.dumps(scores))
    return Store(path)


def noisy(store: Store, folder, **how) -> Store:
    noise.add(store.path, folder / "noisy", **how)
    return Store(folder / "noisy")


def labels(store: Store, name: str = "expression") -> np.ndarray:
    return np.asarray(store.label(name)[0])


def test_uniform_changes_an_exact_number_of_labels_of_the_split_to_any_other_class(faces, tmp_path):
    store = noisy(faces, tmp_path, kind="uniform", share=0.5, seed=3)
    before, after = labels(faces), labels(store)
    known = faces.label("expression")[1]
    wrong = before != after
    assert wrong.sum() == 19 and not wrong[40:].any() and not wrong[~known].any()
    steps = (after - before)[wrong] % CLASSES
    assert set(steps.tolist()) == {1, 2, 3}
    np.testing.assert_array_equal(labels(store, "clean"), before)
    np.testing.assert_array_equal(labels(store, "kind"), wrong)
    assert store.labels["kind"].names == ("right", "wrong")
    assert store.labels["clean"].names == NAMES
    for name in ("clean", "kind", "expression"):
        np.testing.assert_array_equal(store.label(name)[1], known)


def test_the_other_classes_are_equally_probable(tmp_path):
    with StoreWriter(
        tmp_path / "many", name="x", features={}, labels={"y": dict(kind="classes", size=4)}
    ) as writer:
        writer.add(track="t", split="train", features={}, labels={"y": np.full(3000, 2)})
    after = labels(noisy(Store(tmp_path / "many"), tmp_path, kind="uniform", share=1), "y")
    counts = np.bincount(after, minlength=4)
    assert counts[2] == 0 and np.abs(counts[[0, 1, 3]] - 1000).max() < 100


def test_flip_takes_the_next_class_and_of_the_last_the_first(faces, tmp_path):
    store = noisy(faces, tmp_path, kind="flip", share="1")
    before, after, known = labels(faces), labels(store), faces.label("expression")[1]
    np.testing.assert_array_equal(after[:40], np.where(known, (before + 1) % 4, before)[:40])
    np.testing.assert_array_equal(after[40:], before[40:])


@pytest.mark.parametrize(("share", "wrong"), [("0", 0), ("0.1", 4), (0.4, 15), ("1/4", 10)])
def test_counts_are_the_share_of_the_labels_rounded(faces, tmp_path, share, wrong):
    store = noisy(faces, tmp_path, kind="flip", share=share)  # of 38
    assert labels(store, "kind").sum() == wrong
    assert store.manifest["noise"]["counts"] == {"right": 38 - wrong, "wrong": wrong}


def test_what_a_smaller_share_changes_a_larger_one_changes_alike(faces, tmp_path):
    for kind, name in (("uniform", "expression"), ("crops", "kind")):
        (tmp_path / kind).mkdir()
        small = labels(noisy(faces, tmp_path / kind, kind=kind, share=0.3), name)
        large = labels(noisy(faces, tmp_path / kind, kind=kind, share=0.6), name)
        clean = labels(faces) if name == "expression" else np.zeros_like(small)
        changed = small != clean
        assert 0 < changed.sum() < (large != clean).sum()
        np.testing.assert_array_equal(small[changed], large[changed])


def test_crops_cut_a_quarter_to_halves_and_a_quarter_to_corners(faces, tmp_path):
    store = noisy(faces, tmp_path, kind="crops")
    kind = labels(store, "kind")
    assert store.labels["kind"].names == ("full", "half", "none")
    assert np.bincount(kind[:40][np.arange(40) != 5]).tolist() == [19, 10, 10]  # of 39
    assert not kind[40:].any() and not store.label("kind")[1][5]
    np.testing.assert_array_equal(labels(store), labels(faces))
    np.testing.assert_array_equal(labels(store, "clean"), labels(faces))
    with open(store.path / "assignment.csv", newline="") as file:
        part = {row["track"]: row["part"] for row in csv.DictReader(file)}
    assert len(part) == 39
    for i, track in enumerate(store.tracks):
        before, after = faces.feature("face")[i], store.feature("face")[i]
        name = part.get(track.name, "")
        assert name in {0: ("",), 1: HALVES, 2: CORNERS}[kind[i]]
        np.testing.assert_array_equal(after, crop(before, name) if name else before)


@pytest.mark.parametrize("shape", [(8, 8), (9, 7, 1), (9, 7, 3)])
def test_a_crop_holds_nothing_of_the_rest_of_the_picture(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = np.zeros(shape, np.uint8)
    for part, inside in {
        "left": x < shape[1] / 2,
        "right": x >= shape[1] // 2,
        "top": y < shape[0] / 2,
        "bottom": y >= shape[0] // 2,
        "top left": (y < shape[0] / 4) & (x < shape[1] / 4),
        "bottom right": (y >= shape[0] * 3 // 4) & (x >= shape[1] * 3 // 4),
        "top right": (y < shape[0] / 4) & (x >= shape[1] * 3 // 4),
        "bottom left": (y >= shape[0] * 3 // 4) & (x < shape[1] / 4),
    }.items():
        picture[inside], picture[~inside] = 200, 0
        cut = crop(picture, part)
        assert (cut.shape, cut.dtype) == (shape, np.uint8) and (cut == 200).all(), part


def test_everything_else_is_copied_byte_for_byte(faces, tmp_path):
    for kind, changed in (("flip", "labels/expression.npy"), ("crops", "features/face.npy")):
        (tmp_path / kind).mkdir()
        store = noisy(faces, tmp_path / kind, kind=kind)
        files = [str(p.relative_to(faces.path)) for p in faces.path.rglob("*.npy")]
        assert len(files) == 11
        same, differing, _ = filecmp.cmpfiles(faces.path, store.path, files, shallow=False)
        assert differing == [changed] and len(same) == 10
        assert store.tracks == faces.tracks and list(store.features) == list(faces.features)
        assert store.manifest["source"] == "rafdb" and store.name == "faces"
        assert store.references("test") == faces.references("test")
        assert store.references("train") == {}
        assert verify.check(store).problems == verify.check(faces).problems
        notes = store.manifest["notes"]
        assert notes[0] == "kept" and notes[1].startswith(f"noise {kind!r} in ")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(faces, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        noise.add(faces.path, tmp_path / name, kind="crops", seed=seed)
    files = [str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*.*")]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    _, differing, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)
    assert {"assignment.csv", "features/face.npy", "labels/kind.npy"} <= set(differing)


def test_frames_of_videos_change_one_by_one_and_are_named_by_their_images(tmp_path):
    clean = small_store(tmp_path / "clean")
    store = noisy(clean, tmp_path, kind="uniform", share=0.5)
    before, known = (np.asarray(a) for a in clean.label("expression"))
    train = np.zeros(clean.frames_total, bool)
    for i in clean.split("train"):
        train[clean.tracks[i].span] = True
    wrong = labels(store, "kind") == 1
    n = (train & known).sum()
    assert wrong.sum() == (n + 1) // 2 and not wrong[~(train & known)].any()
    with open(store.path / "assignment.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    at = np.flatnonzero(train & known)
    places = [clean.place(row) for row in at]  # "track 'a', row 3 (image 7)"
    for row, place in zip(rows, places, strict=True):
        assert repr(row["track"]) in place and place.endswith(f"(image {row['frame']})")
    names = clean.labels["expression"].names
    assert [row["before"] for row in rows] == [names[v] for v in before[at]]
    assert [row["after"] for row in rows] == [names[v] for v in labels(store)[at]]
    assert [row["kind"] == "wrong" for row in rows] == wrong[at].tolist()


def test_several_splits_can_have_noise(faces, tmp_path):
    store = noisy(faces, tmp_path, kind="flip", share=1, split="train+test")
    assert labels(store, "kind").sum() == 40 and store.references("test") == {}


def test_the_command_says_what_it_has_done(faces, tmp_path, capsys):
    out = tmp_path / "noisy"
    given = [f"--store={faces.path}", f"--out={out}", "--kind=uniform", "--share=.2", "--seed=4"]
    assert command(given) == 0
    said = capsys.readouterr().out
    assert "noise 'uniform' in 'expression' of split 'train': 30 right, 8 wrong" in said
    noise.add(faces.path, tmp_path / "again", kind="uniform", share=0.2, seed=4)
    assert filecmp.cmp(out / "manifest.json", tmp_path / "again" / "manifest.json", shallow=False)
    assert Store(out).manifest["noise"] == {
        "kind": "uniform",
        "share": 0.2,
        "seed": 4,
        "split": "train",
        "label": "expression",
        "counts": {"right": 30, "wrong": 8},
    }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--kind=unifrm"], "kind of noise 'unifrm'. Did you mean 'uniform'?"),
        (["--kind=flip", "--share=1.5"], "share '1.5': expected a number from 0 to 1"),
        (["--kind=flip", "--share=nan"], "share 'nan': expected a number from 0 to 1"),
        (["--kind=flip", "--share=1/0"], "share '1/0': expected a number from 0 to 1"),
        (["--kind=flip", "--seed=-1"], "expected a whole number from 0"),
        (["--kind=flip", "--split=trian"], "no split 'trian'. Did you mean 'train'?"),
        (["--kind=flip", "--label=expresion"], "no label 'expresion'. Did you mean 'expression'?"),
        (["--kind=flip", "--label=valence"], "label 'valence' is of values. Known: expression"),
        (
            ["--kind=flip", "--feature=face"],
            "feature 'face': kind 'flip' leaves pictures as they are.",
        ),
        (["--kind=crops", "--feature=fase"], "no feature 'fase'. Did you mean 'face'?"),
        (["--kind=crops", "--feature=flat"], "feature 'flat' is float32 [3] on the axis 'frame'"),
        (["--kind=crops", "--feature=audio"], "feature 'audio' is int16 [] on the axis 'rate'"),
        (["--kind=flip", "--sahre=1"], "Did you mean --share?"),
        (["--kind=flip", "--store=twin:mtl"], "by its name, such as twin:rafdb?noise=flip"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(faces, tmp_path, capsys, flags, said):
    assert command([f"--store={faces.path}", f"--out={tmp_path / 'noisy'}", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_stores_that_cannot_have_noise_are_refused(faces, tmp_path):
    for place in (faces.path, faces.path / "noisy"):
        with pytest.raises(UserError, match="is the store itself, or in it"):
            noise.add(faces.path, place, kind="flip")
    once = noisy(faces, tmp_path, kind="crops")
    with pytest.raises(UserError, match="has a label 'clean', as a store .* Give the store that"):
        noise.add(once.path, tmp_path / "twice", kind="flip")
    with pytest.raises(UserError, match="has a label 'kind', .* prepare it under another name"):
        noise.add(clips_store(tmp_path / "clips").path, tmp_path / "x", kind="flip")
    with pytest.raises(UserError, match="is no store"):
        noise.add(tmp_path / "nowhere", tmp_path / "x", kind="flip")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="exists and is no store"):
        noise.add(faces.path, tmp_path / "mine", kind="flip")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("definitions", "values", "said"),
    [
        ({"y": dict(kind="classes", size=1)}, {"y": [0, 0]}, "has one class"),
        ({"y": dict(kind="values", size=1)}, {"y": [0, 0]}, "no label of classes"),
        ({"y": dict(kind="classes", size=2)}, {}, "split 'train' has no 'y' to change"),
        (
            {"y": dict(kind="classes", size=2), "z": dict(kind="classes", size=2)},
            {"y": [0, 0]},
            "labels of classes: y, z. Name one",
        ),
    ],
)
def test_a_label_to_be_changed_must_be_there(tmp_path, definitions, values, said):
    with StoreWriter(tmp_path / "s", name="s", features={}, labels=definitions) as writer:
        writer.add(track="t", split="train", features={}, labels=values, frames=[1, 2])
    with pytest.raises(UserError, match=said):
        noise.add(tmp_path / "s", tmp_path / "noisy", kind="flip")
    assert not (tmp_path / "noisy").exists()
