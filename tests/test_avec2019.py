"""The AVEC 2019 source: recordings in the published form, as a store whose features predict."""

import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import avec2019
from data_pipelines.store import Store


def recording(path, frames=6, seed=0, **changes):
    rng = np.random.default_rng(seed)
    arrays = {
        "labels": rng.uniform(-1, 1, (frames, 3)).astype(np.float32),
        "predictions": rng.normal(size=(frames, 9, 3)).astype(np.float32),
        "svr": np.zeros((frames, 3), np.float32),
    }
    np.savez(path, **arrays | changes)
    return arrays


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "avec2019"
    root.mkdir()
    return root


def test_each_system_is_a_feature_with_a_column_a_task(folder, tmp_path):
    written = {
        name: recording(folder / f"{name}.npz", frames=5 + i, seed=i)
        for i, name in enumerate(("DE_01", "DE_02", "HU_09"))
    }
    report = Report()
    avec2019.fill(folder, tmp_path / "store", report)
    store = Store(tmp_path / "store")
    assert [(t.name, t.split, t.group, t.fps) for t in store.tracks] == [
        ("DE_01", "fit", "DE_01", 10.0),
        ("DE_02", "report", "DE_02", 10.0),
        ("HU_09", "test", "HU_09", 10.0),
    ]
    assert tuple(store.features) == avec2019.SYSTEMS
    assert {f.columns for f in store.features.values()} == {("arousal", "valence", "liking")}
    for track in store.tracks:
        rows = slice(track.offset, track.offset + track.frames)
        arrays = written[track.name]
        for i, system in enumerate(avec2019.SYSTEMS):
            np.testing.assert_array_equal(store.feature(system)[rows], arrays["predictions"][:, i])
        for k, task in enumerate(("arousal", "valence", "liking")):
            values, mask = store.label(task)
            np.testing.assert_array_equal(values[rows, 0], arrays["labels"][:, k])
            assert mask[rows].all()
    assert "DE_03, DE_04" in report.notes[0] and "HU_09" not in report.notes[0]
    assert not verify.check(store).problems


def test_odd_recordings_are_for_fitting_and_late_ones_for_the_test():
    splits = [avec2019.split_of(number) for number in range(1, 15)]
    assert splits == ["fit", "report"] * 4 + ["test"] * 6


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("DE_15", {}, "not a recording; expected a name from DE_01 to HU_14"),
        ("DE_01", {"predictions": np.zeros((6, 8, 3))}, r"predictions has shape \(6, 8, 3\)"),
        ("DE_01", {"labels": np.zeros((6, 2))}, r"labels has shape \(6, 2\)"),
        ("DE_01", {"predictions": np.full((6, 9, 3), np.nan)}, "row 0 are not finite"),
    ],
)
def test_a_broken_recording_is_named(folder, tmp_path, name, changes, message):
    recording(folder / f"{name}.npz", **changes)
    with pytest.raises(UserError, match=message):
        avec2019.fill(folder, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_folder_without_recordings_is_refused_by_the_command(folder, tmp_path, capsys):
    arguments = ["--source=avec2019", f"--input={folder}", f"--store={tmp_path / 'store'}"]
    assert prepare.main(arguments) == 2
    assert "no <LANG>_<NN>.npz in it" in capsys.readouterr().err
