"""The ensemble command on made-up folders of predictions, on features of a store, on tiny runs."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from affect_jax.bins import uniform_bins
from affect_jax.ensemble.__main__ import cli
from affect_jax.ensemble.agree import class_counts, reference_of
from affect_jax.ensemble.fitted import Fitted
from affect_jax.interop import abaw3_files
from affect_jax.prediction_files import Predictions, find_tasks, read_split
from affect_jax.run import Run
from affect_jax.tasks import Task, decode, to_json
from benchmarks import subsets
from data_pipelines.sources import avec2019
from data_pipelines.store_writer import StoreWriter
from tests.stores import small_store

EXPRESSIONS = ("Neutral", "Happiness", "Other")
TASKS = (
    Task("valence", "values", 1, loss="mse", metrics=("ccc", "rmse")),
    Task("expression", "classes", 3, EXPRESSIONS, "ce", ("f1", "confusion")),
    Task("au", "labels", 2, ("AU1", "AU2"), "bce", ("f1_binary", "f1_per_label")),
)
MEANS = ("--values=mean", "--classes=mean", "--labels=vote", "--smooth=none", "--match=no")
FIT, TEST = ("a", "b", "c", "d"), ("e", "f", "g")


def labels_of(track, frames):
    rng = np.random.default_rng(ord(track))
    valence = (0.6 * np.sin(np.arange(frames) / 9 + ord(track)))[:, None]
    return {
        "valence": valence.astype(np.float32),
        "arousal": -valence.astype(np.float32),
        "expression": rng.integers(0, 3, frames).astype(np.int32),
        "au": (rng.random((frames, 2)) < 0.3).astype(np.int8),
    }


def write_member(folder, seed, noise, tracks, labelled=True, tasks=TASKS):
    """A folder of predictions for tracks of 40 frames, with its task table inside."""
    rng, frames = np.random.default_rng(seed), 40
    truth = [labels_of(track, frames) for track in tracks]
    for task in tasks:
        label = np.concatenate([one[task.name] for one in truth])
        clean = (
            np.eye(3)[label] if task.kind == "classes" else label - 0.5 * (task.kind != "values")
        )
        raw = (0.5 if task.kind == "values" else 3) * clean
        raw = raw + noise * rng.normal(size=raw.shape)
        Predictions(
            tracks=np.array(tracks),
            track=np.repeat(np.arange(len(tracks), dtype=np.int32), frames),
            frame=np.tile(np.arange(1, 2 * frames, 2, dtype=np.int32), len(tracks)),
            raw=raw.astype(np.float32),
            groups=np.array(tracks),
            **({"label": label, "label_mask": np.ones(label.shape, bool)} if labelled else {}),
        ).write(folder / f"{task.name}.npz")
    (folder / "tasks.json").write_text(to_json(tasks))
    return str(folder)


@pytest.fixture
def members(tmp_path):
    """Three members, predictions/fit and predictions/test each."""
    found = []
    for i, noise in enumerate((0.4, 0.8, 2.0)):
        for split, tracks in (("fit", FIT), ("test", TEST)):
            folder = tmp_path / f"m{i}" / "predictions" / split
            write_member(folder, 10 * i + len(tracks), noise, tracks)
        found.append(str(tmp_path / f"m{i}" / "predictions" / "fit"))
    return found


def run(capsys, *words):
    """(exit code, lines printed, error line)."""
    code = cli([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.strip()


def test_an_ensemble_is_fitted_marked_applied_and_better_than_its_members(
    members, tmp_path, capsys
):
    out = tmp_path / "fitted"
    code, lines, _ = run(capsys, members[0], f"--out={out}", *members[1:], "--windows=0,2,5")
    assert code == 0
    assert "ensemble (fitted on this split)" in "\n".join(lines)
    assert json.loads(lines[-1])["fitted_on_this_split"] is True
    kept = json.loads((out / "ensemble.json").read_text())
    assert kept["fitted_on"] == {"store": "", "split": "fit", "tracks": list(FIT)}
    assert [m["where"] for m in kept["members"]] == [f"../m{i}/predictions/fit" for i in range(3)]
    assert len(kept["notes"]["tried"]["valence"]) == (3 + 3) * 3 * 2

    code, lines, _ = run(capsys, f"--apply={out}", "--config.data.split=test")
    scores = json.loads(lines[-1])
    assert code == 0 and scores["fitted_on_this_split"] is False
    assert scores == json.loads((out / "predictions" / "test" / "scores.json").read_text())
    for name in ("valence/ccc", "expression/f1", "au/f1_binary"):
        row = next(line for line in lines if line.startswith(name)).split()
        assert float(row[1]) == round(scores[name], 3)
        assert scores[name] >= float(row[-1]) - 0.02, row  # the best member, in hindsight
    assert (out / "plots" / "members_test.png").is_file()
    loaded = read_split(out / "predictions" / "test", find_tasks(out / "predictions" / "test"))
    assert {task.name: p.raw.shape for task, p in loaded.items()} == {
        "valence": (120, 1),
        "expression": (120, 3),
        "au": (120, 2),
    }
    assert not [p for p in out.iterdir() if p.name.startswith(".members")]


def test_files_of_the_abaw3_original_are_written_beside(members, tmp_path, capsys):
    out, files = tmp_path / "fitted", tmp_path / "abaw3"
    assert cli([*members, f"--out={out}", f"--abaw3={files}", *MEANS, "--tasks=valence"]) == 0
    assert sorted(p.name for p in files.iterdir()) == ["1-m0", "2-m1", "3-m2", "ensemble"]
    kept = abaw3_files.read(files / "2-m1" / "val_pred_valence_nosmooth_ori.json")
    stored = Predictions.read(tmp_path / "m1/predictions/fit/valence.npz")
    assert list(kept) == list(FIT)
    np.testing.assert_array_equal(np.concatenate([p for p, _ in kept.values()]), stored.raw[:, 0])
    made = Predictions.read(out / "predictions/fit/valence.npz").raw[40:80, 0]
    lines = (files / "ensemble/valence/b.txt").read_text().splitlines()
    assert lines[0] == "valence" and [float(x) for x in lines[1:]] == [float(x) for x in made]


def test_a_fit_moves_with_its_members(members, tmp_path, capsys):
    out = tmp_path / "fitted"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    before = Predictions.read(out / "predictions" / "test" / "valence.npz").raw
    shutil.move(tmp_path, tmp_path.parent / "elsewhere")
    out = tmp_path.parent / "elsewhere" / "fitted"
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    after = Predictions.read(out / "predictions" / "test" / "valence.npz").raw
    np.testing.assert_array_equal(before, after)
    shutil.move(tmp_path.parent / "elsewhere", tmp_path)


def test_an_ensemble_is_a_member_and_what_it_was_fitted_on_is_remembered(members, tmp_path, capsys):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    assert cli([*members[:2], f"--out={inner}", *MEANS[1:]]) == 0
    assert cli([f"--apply={inner}", "--config.data.split=test"]) == 0
    where = [inner, members[2], f"--out={outer}", "--config.data.split=test"]
    code, lines, _ = run(capsys, *where, *MEANS)
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is False
    fitted = Fitted.read(outer)
    assert fitted.fitted_on is None and fitted.fitted_tracks == set(FIT)
    code, lines, _ = run(capsys, f"--apply={outer}", "--config.data.split=fit")
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is True


def test_without_labels_members_are_averaged_and_a_fit_is_refused(tmp_path, capsys):
    members = [
        write_member(tmp_path / f"m{i}" / "new", i, 1.0, TEST, labelled=False) for i in (0, 1)
    ]
    out = tmp_path / "fitted"
    code, lines, _ = run(capsys, *members, f"--out={out}")
    assert code == 0 and "scores" not in " ".join(lines)
    assert {r.method for rs in Fitted.read(out).recipes.values() for r in rs} == {"mean"}
    raws = [Predictions.read(tmp_path / f"m{i}" / "new" / "valence.npz").raw for i in (0, 1)]
    made = Predictions.read(out / "predictions" / "new" / "valence.npz").raw
    np.testing.assert_allclose(made, np.mean(raws, 0), rtol=1e-6)
    p = [
        1 / (1 + np.exp(-Predictions.read(tmp_path / f"m{i}" / "new" / "au.npz").raw))
        for i in (0, 1)
    ]
    made = Predictions.read(out / "predictions" / "new" / "au.npz").raw
    np.testing.assert_array_equal(decode(TASKS[2], made), np.mean(p, 0) >= 0.5)
    code, _, error = run(capsys, *members, f"--out={out}", "--values=convex")
    assert code == 2 and "task valence: nothing to fit on, there is no label of it" in error


def test_a_head_over_bins_joins_as_the_values_it_decodes_to(members, tmp_path):
    bins = Task("valence", "bins", 1, loss="ce", metrics=("ccc",), **uniform_bins(5))
    stored = Predictions.read(tmp_path / "m0/predictions/fit/valence.npz")
    raw = np.random.default_rng(0).normal(size=(160, 1, 5)).astype(np.float32)
    folder = tmp_path / "bins" / "predictions" / "fit"
    dataclasses.replace(stored, raw=raw).write(folder / "valence.npz")
    (folder / "tasks.json").write_text(to_json((bins,)))
    out = tmp_path / "fitted"
    assert cli([members[0], str(folder), f"--out={out}", "--tasks=valence", *MEANS]) == 0
    assert [task.kind for task in find_tasks(out)] == ["values"]
    made = Predictions.read(out / "predictions/fit/valence.npz").raw
    np.testing.assert_allclose(made, (stored.raw + decode(bins, raw)) / 2, atol=1e-6)


@pytest.fixture
def store(tmp_path):
    """Tracks of both splits with two features that are predictions of valence and arousal."""
    features = {name: dict(size=2, columns=("valence", "arousal")) for name in ("face", "voice")}
    labels = {name: dict(kind="values", size=1) for name in ("valence", "arousal")}
    rng = np.random.default_rng(0)
    features["plain"] = dict(size=2)
    with StoreWriter(tmp_path / "store", name="toy", features=features, labels=labels) as writer:
        for track in (*FIT, *TEST):
            y = labels_of(track, 40)["valence"]
            y = np.c_[y, -y]
            x = {
                name: 0.4 * y + s * rng.normal(size=y.shape)
                for name, s in (("face", 0.2), ("voice", 0.5), ("plain", 1))
            }
            writer.add(track=track, split="fit" if track in FIT else "test", features=x,
                       labels={"valence": y[:, 0], "arousal": y[:, 1]})  # fmt: skip
    return tmp_path / "store"


def test_features_that_are_predictions_are_members(store, tmp_path, capsys):
    out = tmp_path / "fitted"
    data = [f"--config.data.root={store}", "--config.data.split=fit"]
    code, lines, _ = run(capsys, "feature:*", f"--out={out}", *data)
    assert code == 0
    kept = json.loads((out / "ensemble.json").read_text())
    assert kept["members"] == [{"kind": "feature", "where": n} for n in ("face", "voice")]
    assert kept["fitted_on"]["store"] == "toy" and list(kept["recipes"]) == ["valence", "arousal"]
    data = [f"--config.data.root={store}", "--config.data.split=test"]
    code, lines, _ = run(capsys, f"--apply={out}", *data)
    scores = json.loads(lines[-1])
    assert code == 0 and scores["valence/ccc"] > 0.8 and not scores["fitted_on_this_split"]
    code, _, error = run(capsys, "feature:plain", f"--out={out}", *data)
    assert code == 2 and "no such feature whose columns name labels" in error and "face" in error


def test_columns_of_one_name_are_the_values_of_one_label(tmp_path, capsys):
    path, out, rng = tmp_path / "store", tmp_path / "out", np.random.default_rng(0)
    features = {"x": dict(size=3, columns=("mood", "valence", "mood"))}
    labels = {"mood": dict(kind="values", size=2, names=("a", "b"))}
    y = rng.normal(size=(6, 3)).astype(np.float32)
    with StoreWriter(path, name="toy", features=features, labels=labels) as writer:
        writer.add(track="t", split="fit", features={"x": y}, labels={"mood": y[:, ::2]})
    data = [f"--config.data.root={path}", "--config.data.split=fit"]
    code, lines, _ = run(capsys, "feature:x", f"--out={out}", *MEANS, *data)
    assert code == 0 and json.loads(lines[-1])["mood/ccc"] == pytest.approx(1)
    made = Predictions.read(out / "predictions" / "fit" / "mood.npz")
    np.testing.assert_allclose(made.raw, y[:, ::2], atol=1e-6)
    (mood, valence) = Fitted.read(out).tasks
    assert (mood.size, mood.names, valence.size) == (2, ("a", "b"), 1)
    labels["mood"]["size"], labels["mood"]["names"] = 3, ()
    with StoreWriter(path, name="toy", features=features, labels=labels) as writer:
        writer.add(track="t", split="fit", features={"x": y})
    code, _, error = run(capsys, "feature:x", f"--out={out}", *MEANS, *data)
    assert code == 2 and "columns 'mood' are values of size 2, the label is values of" in error


@pytest.mark.slow
def test_two_runs_predict_other_data_and_keep_their_own_predictions(tmp_path, capsys):
    from affect_jax.main import cli as train

    runs = []
    for seed in (0, 1):
        runs.append(tmp_path / f"run{seed}")
        flags = [f"--config.seed={seed}", "--config.epochs=1"]
        assert train(["--config=configs/va.py:smoke", f"--workdir={runs[-1]}", *flags]) == 0
    own = [(run / "predictions/validation/valence.npz").read_bytes() for run in runs]
    out = tmp_path / "fitted"
    assert cli([*map(str, runs), f"--out={out}"]) == 0
    assert Fitted.read(out).total[0] == "CCC"
    data = ["--config.data.root=twin:va?seed=5&size=small", "--config.data.split=validation"]
    code, lines, _ = run(capsys, f"--apply={out}", *data)
    assert code == 0
    assert own == [(run / "predictions/validation/valence.npz").read_bytes() for run in runs]
    assert "CCC" in json.loads(lines[-1])
    # No split, no data: the mean of both is defined, and applied later.
    plain = tmp_path / "plain"
    for run_folder in runs:
        shutil.rmtree(run_folder / "predictions")
        config = json.loads((run_folder / "config.json").read_text())
        config["data"]["split"] = ""
        (run_folder / "config.json").write_text(json.dumps(config))
    code, lines, said = run(capsys, *runs, f"--out={plain}")
    assert code == 0 and "nothing fitted" in lines[-1] and "in training" not in said
    Run(runs[1]).finished_file.unlink()
    code, _, said = run(capsys, *runs, f"--out={plain}")
    assert code == 0 and "warning: run1: in training still" in said
    code, lines, _ = run(capsys, f"--apply={plain}", *data)
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is False
    code, _, error = run(capsys, *runs, f"--out={plain}", "--match=yes")
    assert code == 2 and "this needs data to fit on" in error


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


def test_another_fit_takes_the_predictions_of_the_last_one_with_it(members, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    assert cli([*members, f"--out={out}", *MEANS, "--tasks=valence,au"]) == 0
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*.*"))
    assert made == [
        "ensemble.json",
        "plots/members_fit.png",
        "predictions/fit/au.npz",
        "predictions/fit/scores.json",
        "predictions/fit/valence.npz",
        "tasks.json",
    ]
    inside = out / "predictions" / "fit"
    code, _, error = run(capsys, inside, f"--out={out}", *MEANS, "--tasks=valence")
    assert code == 2 and "member out is in it" in error and inside.is_dir()


def test_scores_of_a_split_go_when_it_is_predicted_without_labels(members, tmp_path):
    out = tmp_path / "out"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    for i in range(3):
        write_member(tmp_path / f"m{i}/predictions/test", i, 1.0, TEST, labelled=False)
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    assert not (out / "predictions/test/scores.json").exists()
    assert not (out / "plots/members_test.png").exists()


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


def test_each_task_may_have_a_window_of_its_own(members, tmp_path, capsys):
    out, arousal = tmp_path / "out", dataclasses.replace(TASKS[0], name="arousal")
    both = [
        write_member(tmp_path / f"n{i}/predictions/fit", i, 0.5, FIT, tasks=(TASKS[0], arousal))
        for i in (0, 1)
    ]
    flags = [f"--out={out}", "--values=mean", "--match=no"]
    assert cli([*both, *flags, "--smooth=valence:50,arousal:20"]) == 0
    assert [r.window for rs in Fitted.read(out).recipes.values() for r in rs] == [50, 20]
    assert cli([*both, *flags, "--smooth=arousal:none", "--windows=7,8"]) == 0
    windows = [r.window for rs in Fitted.read(out).recipes.values() for r in rs]
    assert windows[0] in (7, 8) and windows[1] == 0


OTHER_CLASSES = Task("expression", "classes", 3, ("x", "y", "z"), "ce", ("f1",))


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


@pytest.mark.slow
def test_folds_are_one_member_with_held_out_predictions_or_many(tmp_path, capsys):
    from affect_jax.main import cli as train

    folds = tmp_path / "folds"
    flags = ["--mode=folds", "--config.folds.count=2", "--config.folds.official=false"]
    flags += ["--config.epochs=1", f"--workdir={folds}"]
    assert train(["--config=configs/va.py:smoke", *flags]) == 0
    one, many = tmp_path / "one", tmp_path / "many"
    assert cli([f"folds:{folds}", f"--out={one}", *MEANS]) == 0
    (folds / "scores.json").rename(tmp_path / "scores.json")
    code, _, error = run(capsys, f"folds:{folds}", f"--out={one}", *MEANS)
    assert code == 2 and "not all folds are trained" in error
    (tmp_path / "scores.json").rename(folds / "scores.json")
    held_out = Predictions.read(folds / "predictions/train/valence.npz").raw
    made = Predictions.read(one / "predictions/train/valence.npz").raw
    np.testing.assert_array_equal(made, held_out)
    code, lines, _ = run(capsys, folds, f"--out={many}")
    assert code == 0 and "2 members, nothing fitted" in lines[-1]
    data = ["--config.data.root=twin:va?size=small", "--config.data.split=validation"]
    files = []
    for fitted in (one, many):
        code, lines, _ = run(capsys, f"--apply={fitted}", *data)
        assert code == 0 and "CCC" in json.loads(lines[-1])
        files.append(Predictions.read(fitted / "predictions/validation/valence.npz").raw)
    np.testing.assert_allclose(files[0], files[1], atol=1e-6)


@pytest.mark.slow
def test_nine_systems_together_beat_their_mean_on_recordings_that_were_not_fitted_on(
    shared, tmp_path, capsys
):
    store, out = tmp_path / "store", tmp_path / "fitted"
    avec2019.fill(shared / "data" / "avec2019", store)
    data = f"--config.data.root={store}"
    assert cli(["feature:*", f"--out={out}", data, "--config.data.split=fit"]) == 0
    code, lines, _ = run(capsys, f"--apply={out}", data, "--config.data.split=report")
    scores = json.loads(lines[-1])
    assert code == 0 and not scores["fitted_on_this_split"]
    assert scores["arousal/ccc"] > 0.569 and scores["valence/ccc"] > 0.445  # the plain mean


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out=o"], "no member is named"),
        (["m", "--apply=o"], "has its own members"),
        (["m"], "give either --out=FITTED with members, or --apply=FITTED"),
        (["m", "--out=o"], "no run (config.json), no ensemble"),
        (["--apply=o"], "no ensemble here"),
        (["feature:*", "--out=o"], "needs the store"),
        (["m", "--out=o", "--vales=mean"], "Did you mean --values"),
        (["MEMBER", "--out=o", "--values=meen"], "Did you mean 'mean'"),
        (["MEMBER", "--out=o", "--smooth=wide"], "--smooth=wide: expected numbers of frames"),
        (["MEMBER", "--out=o", "--match=maybe"], "--match=maybe"),
        (["MEMBER", "--out=o", "--smooth=valenc:5"], "Did you mean 'valence'"),
        (["MEMBER", "--out=o", "--smooth=5,10"], "expected W for all, or TASK:W,TASK:W"),
        (["MEMBER", "--out=o", "--smooth=valence:wide"], "expected numbers of frames"),
        (["MEMBER", "--out=o", "--config.data.train_split=x"], "of which data? Give"),
        (["MEMBER", "MEMBER", "--out=o"], "named twice"),
        (["MEMBER", "MEMBER/../fit", "--out=o"], "named twice"),
        (["MEMBER", "--out=o", "--tasks=arousal"], "has no task 'arousal'"),
        (["MEMBER", "--out=MEMBER"], "exists and is no ensemble"),
        (["MEMBER", "--out=MEMBER/au.npz"], "MEMBER/au.npz: no folder that can be written"),
        (["MEMBER", "--out=o", "--abaw3=MEMBER/au.npz"], "--abaw3=MEMBER/au.npz: cannot be made"),
        (["MEMBER", "--out=o", "--tasks=au,au"], "--tasks names 'au' twice"),
        (["MEMBER@3", "--out=o"], "only a run has epochs"),
        (["MEMBER@3-1", "--out=o"], "the first comes after the last"),
        (["MEMBER", "--out=o", "--config.data.split=tset"], "Known: fit, test"),
        (["MEMBER", "--out=o", "--config.data.split=../x"], "--config.data.split '../x': the name"),
        (["MEMBER", "--out=o", "--windows=0,9999999999"], "expected numbers of frames"),
        (["MEMBER", "--out=o", "--smooth=none", "--windows=x"], "--windows=x: expected numbers"),
        (["MEMBER", "--out=o", "--smooth=valence:1,valence:2"], "names 'valence' twice"),
        (["MEMBER", "--out=o", "--smooth=-1"], "expected numbers of frames"),
        (["MEMBER", f"--out={'o' * 300}"], "longer than the name of a file can be"),
        (["MEMBER", "--out=o", f"--abaw3={'o' * 300}"], "longer than the name of a file can be"),
        (["m" * 300, "--out=o"], "longer than the name of a file can be"),
        ([f"--apply={'o' * 300}"], "longer than the name of a file can be"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    members, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    message, *words = (text.replace("MEMBER", members[0]) for text in (message, *words))
    code, _, error = run(capsys, *words)
    assert code == 2 and message in error and error.count("\n") == 0


def test_an_ensemble_is_no_member_of_itself(members, tmp_path, capsys):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    assert cli([members[0], f"--out={inner}", *MEANS]) == 0
    assert cli([str(inner), f"--out={outer}", *MEANS]) == 0
    for member in (inner, outer):
        code, _, error = run(capsys, member, members[1], f"--out={inner}", *MEANS)
        assert code == 2 and "is a member, or in one" in error


def test_a_run_without_its_config_is_no_folder_of_predictions(tmp_path, capsys):
    np.savez(tmp_path / "statistics.npz", mean=np.zeros(2))
    code, _, error = run(capsys, tmp_path, f"--out={tmp_path}/o", *MEANS)
    assert code == 2 and "no run (config.json)" in error


def test_a_broken_file_of_an_ensemble_is_named(members, tmp_path, capsys):
    out = tmp_path / "fitted"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    text = (out / "ensemble.json").read_text()
    for broken in (text.replace('"format": 1', '"format": 9'), "{}", text.replace("weights", "w")):
        (out / "ensemble.json").write_text(broken)
        code, _, error = run(capsys, f"--apply={out}", "--config.data.split=test")
        assert code == 2 and "not an ensemble that this version wrote" in error


def test_subsets_are_listed_by_the_score_that_the_ensemble_chooses_by(tmp_path, capsys):
    members = [
        write_member(
            tmp_path / str(noise) / "predictions" / "fit", seed, noise, FIT, tasks=TASKS[:1]
        )
        for seed, noise in enumerate((0.4, 0.8, 2.0))
    ]
    subsets.main([*members, "--split=fit"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 3 + 1  # subsets of one, two and three members
    assert f"  {members[0]}: valence" in lines[0]  # the one with the least noise
    code, _, _ = run(capsys, *members, f"--out={tmp_path / 'all'}", "--config.data.split=fit")
    assert code == 0
    tried = json.loads((tmp_path / "all" / "ensemble.json").read_text())["notes"]["tried"]
    best = max(one["score"] for one in tried["valence"])
    assert float(lines[-1].split()[0]) == pytest.approx(best, abs=1e-4)
