"""Agreement of members: what they must have in common, and ties of their votes."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from affect_jax.ensemble.__main__ import cli
from affect_jax.ensemble.agree import class_counts, reference_of
from affect_jax.ensemble.fitted import Fitted
from affect_jax.prediction_files import Predictions
from affect_jax.tasks import Task, to_json
from tests.ensembles import FIT, MEANS, TASKS, TEST, run, write_member, write_members
from tests.stores import small_store

OTHER_CLASSES = Task("expression", "classes", 3, ("x", "y", "z"), "ce", ("f1",))


@pytest.fixture
def members(tmp_path):
    return write_members(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tracks": ("a", "b", "x", "d")}, "has track 'x' where member m0 has 'c'"),
        ({"tracks": FIT[:3]}, r"has 3 tracks, member m0 4; the first that is not in both is 'd'"),
        ({"tasks": TASKS[:2]}, "member m0 has task 'au', member m1 has not"),
        ({"tasks": (TASKS[0], OTHER_CLASSES)}, "is classes of size 3 ('x', 'y', 'z')"),
    ],
)
def test_members_that_do_not_fit_together_are_named(tmp_path, capsys, change, message):
    first = write_member(tmp_path / "m0" / "predictions" / "fit", 0, 1.0, FIT)
    folder = tmp_path / "m1" / "predictions" / "fit"
    write_member(folder, 1, 1.0, **({"tracks": FIT} | change))
    words = [first, folder, f"--out={tmp_path / 'out'}"]
    words += ["--tasks=valence,expression"] if "classes" in message else []
    code, _, error = run(capsys, *words)
    assert code == 2 and message in error and error.count("\n") == 0


def test_a_member_that_lost_a_task_or_its_folder_is_named(members, tmp_path, capsys):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    assert cli([members[0], f"--out={inner}", *MEANS]) == 0
    assert cli([str(inner), members[1], f"--out={outer}", *MEANS, "--config.data.split=fit"]) == 0
    apply = [f"--apply={outer}", "--config.data.split=test"]
    write_member(tmp_path / "m1/predictions/test", 0, 1.0, TEST, tasks=TASKS[:2])
    code, _, error = run(capsys, *apply)
    assert code == 2 and "member m1 has no task 'au'" in error
    write_member(tmp_path / "m1/predictions/test", 0, 1.0, TEST, tasks=(TASKS[2], OTHER_CLASSES))
    other = (TASKS[0], OTHER_CLASSES, TASKS[2])
    (tmp_path / "m1/predictions/test/tasks.json").write_text(to_json(other))
    code, _, error = run(capsys, *apply)
    assert code == 2 and "'expression' of member m1 is classes of size 3 ('x', 'y', 'z')" in error
    shutil.rmtree(tmp_path / "m1")
    code, _, error = run(capsys, *apply)
    assert code == 2 and "predictions/fit: member m1 is gone" in error
    assert cli([members[0], f"--out={inner}", *MEANS, "--tasks=valence"]) == 0
    code, _, error = run(capsys, inner, members[0], f"--out={outer}", *MEANS, "--tasks=au")
    assert code == 2 and "member inner has no task 'au'" in error


def test_a_frame_that_differs_or_is_no_number_is_named(members, tmp_path, capsys):
    file = tmp_path / "m1" / "predictions" / "fit" / "valence.npz"
    with np.load(file) as arrays:
        good = dict(arrays)
    frame, raw = good["frame"].copy(), good["raw"].copy()
    frame[45] += 1
    np.savez(file, **good | {"frame": frame})
    code, _, error = run(capsys, *members, f"--out={tmp_path / 'out'}")
    assert (
        code == 2 and "track 'b': frames differ from those of member m0, first at image 12" in error
    )
    raw[45] = np.nan
    np.savez(file, **good | {"raw": raw})
    code, _, error = run(capsys, *members, f"--out={tmp_path / 'out'}")
    assert code == 2 and "no number for track 'b', image 11" in error


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        ("valence", np.zeros(160), "labels (160,), expected (160, 1) of 1 values"),
        ("expression", np.full(160, 7), "label 7 at track 'a', image 1; expected 0 to 2"),
        ("expression", np.full(160, -1), "label -1 at track 'a', image 1; expected 0 to 2"),
        ("au", np.full((160, 2), 2), "label 2 at track 'a', image 1; expected 0 to 1"),
    ],
)
def test_labels_that_the_task_does_not_have_are_named(
    members, tmp_path, capsys, task, label, message
):
    file = tmp_path / f"m0/predictions/fit/{task}.npz"
    odd = {"label": label, "label_mask": np.ones(label.shape, bool)}
    dataclasses.replace(Predictions.read(file), **odd).write(file)
    code, _, error = run(capsys, members[0], f"--out={tmp_path / 'out'}")
    assert code == 2 and f"member m0, task {task}: {message}" in error


@pytest.mark.parametrize(
    ("named", "train", "known", "where"),
    [
        (None, "train", slice(0, 70), "train"),
        (None, "fitting", slice(70, 95), "validation"),
        ("validation", "train", slice(70, 95), "validation"),
        ("train+validation", "train", slice(0, 95), "train+validation"),
    ],
)
def test_classes_are_counted_in_training_or_else_in_the_fitted_split(
    tmp_path, named, train, known, where
):
    store = small_store(tmp_path / "store", frames=(40, 30), validation=(25,))
    store = store.with_splits({"train0": train, "train1": train})
    task = Task("expression", "classes", 8)
    label, mask = store.label("expression")
    here = reference_of(task, "validation", store)
    expected = tuple(np.bincount(label[known][mask[known]], minlength=8))
    assert class_counts(task, store, named, here, "validation") == (expected, where)
    unlabelled = dataclasses.replace(here, label=None, label_mask=None)
    assert class_counts(task, None, None, unlabelled, "validation") == ((), "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.data.train_split=trian"], "has no split 'trian'. Did you mean 'train'?"),
        (["--config.data.train_split=train+tset"], "has no split 'tset'"),
    ],
)
def test_the_split_whose_classes_are_counted_must_be_there(tmp_path, capsys, words, message):
    store = small_store(tmp_path / "store")
    data = [f"--config.data.root={store.path}", "--config.data.split=validation"]
    code, _, error = run(capsys, "m", f"--out={tmp_path / 'out'}", *data, *words)
    assert code == 2 and message in error and error.count("\n") == 0


def test_a_vote_is_marked_on_the_split_whose_classes_decide_its_ties(members, tmp_path, capsys):
    out, vote = tmp_path / "out", ("--tasks=expression", "--classes=vote")
    code, lines, _ = run(capsys, *members, f"--out={out}", *vote)
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is True
    assert Fitted.read(out).fitted_on["tracks"] == list(FIT)
    code, lines, _ = run(capsys, f"--apply={out}", "--config.data.split=test")
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is False
