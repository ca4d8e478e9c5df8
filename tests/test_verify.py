import json
import re
import shutil

import numpy as np
import pytest

from data_pipelines import verify
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.streams import tracks_store

SPECS = {
    "valence": dict(kind="values", size=1),
    "expression": dict(kind="classes", size=3, names=("Calm", "Angry", "Sad")),
    "au": dict(kind="labels", size=2, names=("AU1", "AU2")),
}


def fill(path, *tracks, **provenance):
    """A store of tracks of 4 frames; a track is a dict of what differs from the usual."""
    features = {"face": dict(size=2), "voice": dict(size=1)}
    with StoreWriter(path, name="toy", features=features, labels=SPECS, **provenance) as into:
        for number, track in enumerate(tracks):
            given = dict(
                track=f"t{number}",
                split="train",
                features={"face": np.ones((4, 2)), "voice": np.ones((4, 1))},
                labels={
                    "valence": np.array([0.5, -0.5, np.nan, 1.0]),
                    "expression": np.array([0, 1, 1, 2]),
                    "au": np.array([[0, 1]] * 4),
                },
            )
            into.add(**{**given, **track})
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


def run(path, capsys):
    code = verify.main([f"--store={path}"])
    return code, capsys.readouterr().out


def test_a_sound_store_has_no_findings(path, capsys):
    fill(path, {}, {"split": "validation"})
    code, out = run(path, capsys)
    assert code == 0 and out.splitlines()[-1].endswith("0 problems, 0 notes")


def test_the_table_counts_what_each_split_has(path, capsys):
    fill(path, {}, {"group": "t0"}, {"split": "validation", "labels": {}})
    lines = run(path, capsys)[1].splitlines()
    assert lines[0] == "train: 2 tracks, 1 groups, 8 frames"
    assert [" ".join(line.split()) for line in lines[1:5]] == [
        "valence 6 labelled mean 0.333, std 0.624",
        "expression 8 labelled Calm 2, Angry 4, Sad 2",
        "au 8 labelled AU1 0.0 %, AU2 100.0 %",
        "validation: 1 tracks, 1 groups, 4 frames",
    ]
    assert [" ".join(line.split()) for line in lines[5:8]] == [
        "valence 0 labelled",
        "expression 0 labelled",
        "au 0 labelled",
    ]


def test_notes_of_the_preparation_are_repeated(path):
    fill(path, {}, notes=["splits that are not there: test"])
    assert verify.check(Store(path)).notes == [
        "from the preparation: splits that are not there: test"
    ]


def test_tracks_and_frames_that_lack_a_feature_are_notes_and_one_that_no_track_has_is_a_problem(
    path, capsys
):
    face = {"face": np.ones((4, 2))}
    seen = {"face": np.array([True, False, True, True])}
    fill(path, {}, {"features": face}, {"feature_masks": seen}, {"features": face})
    found = verify.check(Store(path))
    assert found.notes == [
        "feature 'face' has gaps in t2 (1 of 4)",
        "feature 'voice' is missing in t1, t3",
    ]
    assert not found.problems
    fill(path, {"features": face}, {"features": face})
    code, out = run(path, capsys)
    assert code == 1 and "problem: feature 'voice' is missing in every track\n" in out


def test_tracks_and_splits_without_labels_are_noted(path):
    bare = {"labels": {}}
    fill(path, {}, bare, {**bare, "split": "test"})
    found = verify.check(Store(path))
    assert found.notes == [
        "split 'train': tracks without a label: t1",
        "split 'test' has no labels",
    ]
    assert not found.problems


def test_a_group_in_two_splits_is_a_problem(path):
    fill(path, {"group": "g"}, {"group": "g", "split": "validation"}, {"group": "g"})
    assert verify.check(Store(path)).problems == [
        "group 'g' is in several splits (train: t0, t2; validation: t1)"
    ]


def test_the_first_row_that_is_not_finite_is_named(path):
    face = np.ones((4, 2))
    face[2, 1] = np.nan
    fill(path, {}, {"features": {"face": face, "voice": np.ones((4, 1))}})
    assert verify.check(Store(path)).problems == ["feature 'face': not finite at track 't1', row 2"]


def test_a_line_has_twenty_names_and_says_how_many_more(path):
    face = {"face": np.ones((4, 2))}
    fill(path, {}, *[{"group": "g", "labels": {}, "split": f"s{i // 30}",
                      "features": face} for i in range(60)])  # fmt: skip
    found = verify.check(Store(path))
    assert any(line.endswith("t20, ... (60 in all)") for line in found.notes)
    assert max(map(len, found.problems + found.notes)) < 300


def test_pieces_of_a_store_are_checked_as_the_whole(path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    face = {"face": np.ones((4, 2)), "voice": np.r_[1, 1, 1, np.inf]}
    fill(path, *[{"labels": {
        "valence": np.where(rng.random(4) < 0.3, np.nan, rng.normal(size=4)),
        "expression": (rng.integers(0, 3, 4), rng.random(4) < 0.5),
        "au": (rng.integers(0, 2, (4, 2)), rng.random((4, 2)) < 0.5)},
        "split": ("train", "validation")[i % 3 > 1], "features": face if i == 4 else {
        "face": np.ones((4, 2)), "voice": np.ones(4)}} for i in range(6)])  # fmt: skip
    np.save(path / "frames.npy", np.array([1, 2, 3, 4, 1, 2, 2, 2] * 3, np.int32))
    whole = run(path, capsys)
    assert len([line for line in whole[1].splitlines() if "image number 2" in line]) == 3
    for size in (1, 24, 40):
        monkeypatch.setattr("data_pipelines.chunks.CHUNK_BYTES", size)
        assert run(path, capsys) == whole


@pytest.mark.parametrize(
    ("valence", "questions"),
    [
        ([0.5, -0.5, 0.1, 1.0], []),
        ([-5, 0.5, -5, 0.1], ["'valence': 2 are -5, no other is below 0.1."]),
        ([-5, 3, 9, 1], ["'valence': 1 are -5", "'valence': from 1 to 9."]),
        ([1, 9, 5, 2], ["'valence': from 1 to 9."]),
        ([0, 100, 5, 2], ["'valence': from 0 to 100."]),
        ([0, 1, 0.5, 0.2], []),
        ([-3, 3, 0, 1.5], []),
        ([-5, -4, 0, 5], []),
        ([np.nan] * 4, []),
    ],
)
def test_values_that_look_like_a_mark_or_a_scale_are_asked_about(path, valence, questions):
    specs = {"valence": dict(kind="values", size=1), "mood": dict(kind="values", size=2)}
    with StoreWriter(path, name="toy", features={}, labels=specs) as into:
        for name, half in (("a", valence[:2]), ("b", valence[2:])):
            both = {"valence": half, "mood": np.stack([np.zeros(2), half], axis=1)}
            into.add(track=name, split="train", features={}, labels=both)
    notes = [note for note in verify.check(Store(path)).notes if note.startswith("label ")]
    expected = questions + [q.replace("'valence':", "'mood', column 1:") for q in questions]
    assert len(notes) == len(expected)
    for note, part in zip(notes, expected):
        assert part in note


def test_a_store_without_tracks_is_a_problem(path, capsys):
    fill(path)
    assert verify.check(Store(path)).problems == ["no track in the store"]
    assert run(path, capsys)[0] == 1


def test_table_features_are_placed_by_their_own_rows(path):
    clip = np.ones((5, 2))
    clip[3] = np.inf
    features = {"clip": dict(size=2, axis="table", rate_hz=2.0)}
    with StoreWriter(path, name="toy", features=features, labels={}) as into:
        frames = np.arange(1, 10)
        into.add(track="a", split="train", frames=frames, features={"clip": np.ones((7, 2))})
        into.add(track="b", split="train", frames=frames, features={"clip": clip})
        into.add(track="c", split="train", frames=frames, features={})
    problems = verify.check(Store(path)).problems
    assert problems[0] == "feature 'clip': not finite at track 'b', row 3"


def streams(path):
    """A store of a table, of audio and of pictures."""
    features = {
        "words": dict(size=2, dtype="float16", axis="table"),
        "audio": dict(shape=(), dtype="int16", axis="rate", rate_hz="30000/1001"),
        "face": dict(shape=(2, 3), dtype="uint8"),
    }
    with StoreWriter(path, name="toy", features=features, labels={}) as into:
        for track in "ab":
            x = {"words": np.ones((3, 2)), "audio": np.ones(9), "face": np.ones((4, 2, 3))}
            spans = {"words": [[0, 2], [1, 2], [1.5, 9]]}
            into.add(track=track, split="train", features=x, spans=spans)
    return path


def test_the_table_shows_the_item_the_dtype_and_the_axis_of_features(path, capsys):
    code, out = run(streams(path), capsys)
    assert code == 0 and [" ".join(line.split()) for line in out.splitlines()[1:5]] == [
        "features:",
        "words float16 [2], rows with spans",
        "audio int16 [], 30000/1001 rows a second",
        "face uint8 [2, 3], a row a frame",
    ]


@pytest.mark.parametrize(
    ("row", "span", "shown"),
    [
        (4, [3, 2], r"\[3.0, 2.0\] at track 'b', row 1, expected .*start <= stop"),
        (5, [0.5, 2], r"\[0.5, 2.0\] at track 'b', row 2, expected .*starts that ascend"),
        (0, [np.nan, 2], r"\[nan, 2.0\] at track 'a', row 0, expected finite"),
    ],
)
def test_spans_that_cannot_be_are_problems(path, row, span, shown):
    overwrite(streams(path) / "features/words.spans.npy", at(row, span))
    problems = verify.check(Store(path)).problems
    assert len(problems) == 2 and re.search(f"features/words.spans.npy: {shown}", problems[1])
    assert problems[0].startswith(f"features/words.spans.npy: {SHA}")


def test_spans_that_are_gone_are_a_problem(path, capsys):
    (streams(path) / "features/words.spans.npy").unlink()
    code, out = run(path, capsys)
    assert code == 1 and "words.spans.npy: not a readable array file (No such file" in out


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_large_items_are_checked_in_pieces(path, monkeypatch, size):
    monkeypatch.setattr("data_pipelines.chunks.CHUNK_BYTES", size)
    overwrite(streams(path) / "features/words.npy", at((4, 1), np.inf))
    overwrite(path / "features/face.npy", at((7, 1, 2), 9))
    assert [problem.partition("; ")[0] for problem in verify.check(Store(path)).problems] == [
        f"features/words.npy: {SHA}",
        "feature 'words': not finite at track 'b', row 1",
        f"features/face.npy: {SHA}",
    ]


def overwrite(path, change):
    """Change an array in place, shape, header and all."""
    array = np.load(path)
    np.save(path, change(array))


def at(row, value):
    def change(array):
        array[row] = value
        return array

    return change


SHA = "its SHA-256 is not the manifest's"


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("features/face.npy", at(0, 7), [f"features/face.npy: {SHA}"]),
        ("labels/valence.mask.npy", at(0, False), [f"labels/valence.mask.npy: {SHA}"]),
        ("frames.npy", at(7, 9), [f"frames.npy: {SHA}"]),
        ("frames.npy", at(6, 1), [SHA, "track 't1', row 2: image number 1"]),
        ("frames.npy", at(4, 0), [SHA, "track 't1', row 0: image number 0"]),
        ("frames.npy", lambda a: a[:-1], ["frames.npy: int32 (7,), expected int32 (8,)"]),
        ("labels/valence.npy", at(5, 1.5), [SHA, "label 'valence': [1.5] at track 't1', row 1"]),
        ("labels/valence.npy", at(2, 9.0), [SHA]),  # not labelled there
        ("labels/expression.npy", at(0, 3), ["3 at track 't0', row 0 (image 1), expected 0 to 2"]),
        ("labels/expression.npy", at(6, -1), ["-1 at track 't1', row 2 (image 3), expected 0"]),
        ("labels/expression.npy", lambda a: a.astype(np.float32), ["float32 (8,), expected int32"]),
        ("labels/au.npy", at(7, 2), ["[2 2] at track 't1', row 3 (image 4), expected 0 to 1"]),
        ("labels/au.npy", lambda a: a[:-1], ["au.npy: int8 (7, 2), expected int8 (8, 2)"]),
        ("features/face.npy", lambda a: a[:, :1], ["float32 (8, 1), expected float32 (8, 2)"]),
        ("features/face.npy", lambda a: a[0, 0], ["float32 (), expected float32 (8, 2)"]),
        ("features/face.npy", lambda a: a.astype(str), ["<U32 (8, 2), expected float32"]),
        ("features/face.npy", lambda a: a.astype(np.float64), ["float64 (8, 2), expected float32"]),
        ("labels/au.npy", lambda a: a.astype(np.int64), ["au.npy: int64 (8, 2), expected int8"]),
    ],
)  # fmt: skip
def test_damage_is_found_and_placed(path, capsys, file, change, expected):
    fill(path, {}, {})
    overwrite(path / file, change)
    problems = verify.check(Store(path)).problems
    assert len(problems) == len(expected)
    for problem, part in zip(problems, expected):
        assert part in problem
    assert run(path, capsys)[0] == 1


def test_the_mask_of_gaps_has_a_row_a_frame(path):
    fill(path, {"feature_masks": {"face": np.array([True, False, True, True])}})
    np.save(path / "features" / "face.mask.npy", np.ones(5, bool))
    problems = verify.check(Store(path)).problems
    assert [p.partition("face.mask.npy: ")[2] for p in problems] == [
        "bool (5,), expected bool (4,). Prepare it again."
    ]


@pytest.mark.parametrize("file", ["features/face.npy", "labels/au.npy", "frames.npy"])
def test_a_file_that_is_gone_is_a_problem_by_name(path, capsys, file):
    fill(path, {})
    (path / file).unlink()
    code, out = run(path, capsys)
    assert code == 1 and f"{file}: not a readable array file (No such file" in out


def test_a_store_of_other_hands_needs_no_hashes(path):
    fill(path, {})
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]
    for part in ("features", "labels"):
        for entry in manifest[part].values():
            del entry["sha256"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert verify.check(Store(path)) == verify.Findings()


def test_no_store_is_a_user_error_of_one_line(tmp_path, capsys):
    assert verify.main([f"--store={tmp_path}"]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("error: ") and out.err.count("\n") == 1


def test_a_wrong_flag_is_a_user_error_with_the_nearest(capsys):
    assert verify.main(["--store=x", "--stroe=y"]) == 2
    assert "unknown argument '--stroe=y'. Did you mean --store?" in capsys.readouterr().err


def test_a_copy_of_a_store_is_the_same_store(path):
    fill(path, {})
    shutil.copytree(path, path.with_name("copy"))
    assert verify.check(Store(path.with_name("copy"))) == verify.Findings()


def test_a_stream_without_rows_in_a_track_is_a_note(tmp_path):
    found = verify.check(tracks_store(tmp_path / "s"))
    notes = [note for note in found.notes if "no rows" in note]
    assert notes == [f"feature {name!r} has no rows in t1" for name in ("audio", "words")]
    assert not [problem for problem in found.problems if "t1" in problem]
