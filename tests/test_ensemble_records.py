"""Pickles of team RAS as members: one file a split, and none has to have all frames."""

import json

import numpy as np
import pytest

from affect_jax.ensemble.fitted import Fitted
from affect_jax.prediction_files import Predictions
from data_pipelines.records import FrameRecords, write_frames
from data_pipelines.store_writer import StoreWriter
from tests.ensembles import MEANS, run

FRAMES = 40


def truth(track):
    wave = 0.5 * np.sin(np.arange(FRAMES) / 6 + ord(track[0]))
    return np.stack([wave, -0.5 * wave], 1).astype(np.float32)


def write(file, seed, noise, tracks, left_out=(), labelled=True, size=2):
    """Records of all frames of the tracks but those left out."""
    rng, table = np.random.default_rng(seed), {}
    for track in tracks:
        label = truth(track)
        raw = (label + noise * rng.normal(size=label.shape)).astype(np.float32)
        raw = np.concatenate([raw] * 2, 1)[:, :size]
        kept = np.setdiff1d(np.arange(FRAMES), left_out)
        label = label if labelled else np.full_like(label, -5)
        table[track] = FrameRecords(kept.astype(np.int32) + 1, None, raw[kept], label[kept])
    file.parent.mkdir(exist_ok=True)
    write_frames(file, table)


@pytest.fixture
def members(tmp_path):
    """Two models; of the second the last frames of each track are missing, the first lacks some."""
    for split, tracks in (("val", ["a", "b_left", "c"]), ("test", ["d", "e"])):
        common = dict(tracks=tracks, labelled=split == "val")
        write(tmp_path / f"face/{split}.pkl", 0, 0.3, left_out=[3, 4], **common)
        write(tmp_path / f"audio/{split}.pkl", 1, 0.5, left_out=range(30, 40), **common)
    return [f"records:{tmp_path / name}" for name in ("face", "audio")]


def test_records_are_fitted_without_a_store_and_applied_to_their_other_splits(
    members, tmp_path, capsys
):
    out = tmp_path / "out"
    code, lines, _ = run(capsys, *members, f"--out={out}", "--windows=0,2")
    scores = json.loads(lines[-1])
    assert code == 0 and scores["valence/ccc"] > 0.7 and scores["arousal/ccc"] > 0.5
    said = "\n".join(lines)
    assert "face: has no number for 6 of 120 frames" in said
    assert "audio: has no number for 30 of 120 frames" in said
    assert Fitted.read(out).fitted_on["split"] == "validation"
    code, lines, _ = run(capsys, f"--apply={out}", "--config.data.split=test")
    assert code == 0 and "valence/ccc" not in " ".join(lines)  # no label there
    made = Predictions.read(out / "predictions/test/valence.npz")
    assert made.label is None and len(made.raw) == 80 and np.isfinite(made.raw).all()
    assert made.tracks.tolist() == ["d", "e"] and made.frame[:40].tolist() == [*range(1, 41)]
    made = Predictions.read(out / "predictions/validation/valence.npz")
    assert made.groups.tolist() == ["a", "b", "c"]


def test_records_are_members_on_the_frames_of_a_store(members, tmp_path, capsys):
    store, labels = (
        tmp_path / "store",
        {n: dict(kind="values", size=1) for n in ("valence", "arousal")},
    )
    with StoreWriter(store, name="toy", features={"x": dict(size=1)}, labels=labels) as writer:
        for track in ("a", "b_left", "c"):
            y = truth(track)
            writer.add(track=track, split="dev", features={"x": y[:, :1]},
                       labels={"valence": y[:, :1], "arousal": y[:, 1:]})  # fmt: skip
    data = [f"--config.data.root={store}", "--config.data.split=dev", *MEANS]
    files = [f"{name}/val.pkl" for name in members]
    code, _, error = run(capsys, *files, f"--out={tmp_path / 'out'}", *data)
    assert code == 2 and "no records of split 'dev'. Known: test, validation" in error
    alone = tmp_path / "all.pkl"
    (tmp_path / "face/val.pkl").rename(alone)
    code, lines, _ = run(capsys, f"records:{alone}", f"--out={tmp_path / 'out'}", *data)
    assert code == 0 and "all: has no number for 6 of 120 frames" in "\n".join(lines)
    write(alone, 0, 0.3, ["a", "x"])
    code, _, error = run(capsys, f"records:{alone}", f"--out={tmp_path / 'out'}", *data)
    assert (
        code == 2 and "member all predicts image 1 of track 'x', which the store has not" in error
    )


def test_a_file_and_its_folder_are_one_member_whatever_the_case_of_its_name(
    members, tmp_path, capsys
):
    (tmp_path / "face/test.pkl").rename(tmp_path / "face/TEST.pkl")
    code, _, error = run(capsys, members[0], f"{members[0]}/TEST.pkl", f"--out={tmp_path / 'out'}")
    assert code == 2 and "member face is named twice" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(size=3), "val.pkl: predictions of 3 numbers, expected valence, arousal"),
        ("gone", "records:FOLDER: no such file or folder"),
        ("empty", "records:FOLDER: no records here (*.pkl"),
        ("twice", "validation.pkl: val.pkl is of the same split. Leave one"),
    ],
)
def test_what_is_no_member_is_one_line(tmp_path, capsys, change, message):
    folder = tmp_path / "m"
    if change == "empty":
        folder.mkdir()
    elif change != "gone":
        write(folder / "val.pkl", 0, 0.3, ["a"], **(change if isinstance(change, dict) else {}))
    if change == "twice":
        write(folder / "validation.pkl", 0, 0.3, ["a"])
    code, _, error = run(capsys, f"records:{folder}", f"--out={tmp_path / 'out'}", *MEANS)
    message = message.replace("FOLDER", str(folder))
    assert code == 2 and message in error and error.count("\n") == 0
