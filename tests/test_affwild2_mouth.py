"""The slice of mouths is a store, or one line that says what contradicts what."""

import json

import numpy as np
import pytest

from benchmarks import ridge_mouth
from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import affwild2_mouth
from data_pipelines.store import Store
from tests.inputs import VA, write


@pytest.fixture
def mouth(tmp_path):
    """Three tracks in two splits; arrays longer, as long and shorter than the annotation."""
    root = tmp_path / "slice"
    rng = np.random.default_rng(0)
    for split, tracks in {
        "train": {"1": (5, 7)},
        "hidden": {"2": (4, 4), "3_left": (6, 3)},
    }.items():
        arrays = {}
        for track, (frames, mouths) in tracks.items():
            write(root / "annotations" / split / f"{track}.txt", VA, *["0.5,-0.5"] * frames)
            arrays[f"{track}/area_e6"] = rng.integers(100, 3000, mouths).astype(np.uint16)
            arrays[f"{track}/state"] = np.arange(mouths).astype(np.uint8) % 3
        (root / "mouth").mkdir(exist_ok=True)
        np.savez(root / "mouth" / f"{split}.npz", **arrays)
    entries = {"train": [{"track": "1", "video_group": "one", "fps": 25.0, "frames": 5}]}
    write(root / "manifest.json", json.dumps({"tracks": entries}))
    return root


def test_splits_of_any_name_are_taken_and_the_missing_named(mouth, store):
    report = Report()
    affwild2_mouth.fill(mouth, store, report)
    made = Store(store)
    assert [(t.name, t.split, t.group, t.fps, t.frames) for t in made.tracks] == [
        ("1", "train", "one", 25.0, 5),
        ("2", "hidden", "2", 30.0, 4),
        ("3_left", "hidden", "3", 30.0, 6),
    ]
    assert made.feature("mouth").shape == (15, 5) and made.feature("mouth_4s").shape == (15, 6)
    assert report.notes == [
        "splits that are not there: validation",
        "tracks without a known rate, taken as 30 frames/s: 2, 3_left",
        f"{mouth}/mouth/hidden.npz: arrays shorter than the annotation, no face in the rest: "
        "3_left (3 of 6)",
    ]
    assert verify.check(made).problems == []


def test_arrays_are_cut_or_filled_up_to_the_annotation(mouth, store):
    affwild2_mouth.fill(mouth, store)
    face = Store(store).feature("mouth")[:, 0]
    assert face.tolist() == [0, 1, 1, 0, 1] + [0, 1, 1, 0] + [0, 1, 1, 0, 0, 0]


def test_a_slice_without_manifest_needs_none(mouth, store):
    (mouth / "manifest.json").unlink()
    affwild2_mouth.fill(mouth, store)
    assert [t.fps for t in Store(store).tracks] == [30.0] * 3


def test_references_belong_to_the_published_slice_alone(mouth, store):
    affwild2_mouth.fill(mouth, store)
    assert not (store / "references.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update({"2/state": np.zeros(3, np.uint8)}), "has 4 values, 2/state 3"),
        (lambda a: a.update({"2/state": np.full(4, 3, np.uint8)}), r"2/state\[0\] is 3, expected"),
        (lambda a: a.pop("2/state"), "2/state is missing"),
        (lambda a: a.update({"2/area_e6": np.zeros(4)}), "2/area_e6 is float64"),
    ],
)  # fmt: skip
def test_mouth_tables_that_contradict_themselves_are_refused(mouth, store, change, message):
    file = mouth / "mouth" / "hidden.npz"
    arrays = dict(np.load(file))
    change(arrays)
    np.savez(file, **arrays)
    with pytest.raises(UserError, match=message):
        affwild2_mouth.fill(mouth, store)


def test_a_track_without_a_table_has_no_face_and_is_named(mouth, store):
    file = mouth / "mouth" / "hidden.npz"
    arrays = {k: v for k, v in np.load(file).items() if not k.startswith("2/")}
    np.savez(file, **arrays, **{"9/area_e6": np.zeros(2, int), "9/state": np.zeros(2, int)})
    report = Report()
    affwild2_mouth.fill(mouth, store, report)
    assert not Store(store).feature("mouth")[5:9].any()
    assert f"{file}: tracks without arrays, no face in any frame: 2" in report.notes
    assert f"{file}: arrays without an annotation, left out: 9" in report.notes


def test_a_split_without_its_table_is_refused(mouth, store):
    (mouth / "mouth" / "hidden.npz").unlink()
    with pytest.raises(UserError, match=r"mouth: no hidden\.npz in it"):
        affwild2_mouth.fill(mouth, store)


def test_the_real_slice_has_the_sizes_of_its_description(shared, store):
    folder = shared / "data" / "affwild2_va"
    assert prepare.main(["--source=affwild2_mouth", f"--input={folder}", f"--store={store}"]) == 0
    made = Store(store)
    mask = made.label("valence")[1][:, 0]
    entries = json.loads((folder / "manifest.json").read_text())["tracks"]
    expected = {"train": (94, 94, 387_735, 387_735), "validation": (57, 53, 255_770, 254_240)}
    for split, sizes in expected.items():
        tracks = [made.tracks[i] for i in made.split(split)]
        rows = np.concatenate([np.arange(t.offset, t.offset + t.frames) for t in tracks])
        groups = len({t.group for t in tracks})
        assert (len(tracks), groups, len(rows), mask[rows].sum()) == sizes
        faces = sum(e["mouth_frames"] - e["mouth_rows_beyond_annotation"] for e in entries[split])
        assert made.feature("mouth")[rows, 0].sum() == faces
    assert made.references("validation")["ridge, matched"]["arousal/ccc"] == 0.425
    assert verify.check(made) == verify.Findings()


@pytest.mark.slow
def test_the_ridge_on_the_real_slice_scores_as_published(shared, store):
    affwild2_mouth.fill(shared / "data" / "affwild2_va", store)
    made = Store(store)
    scores = ridge_mouth.baseline(made)
    for form, published in made.references("validation").items():
        for score, value in published.items():
            assert abs(scores[form][score.removesuffix("/ccc")]["ccc"] - value) <= 0.0005
