"""Keep files of python -m affect_jax.selection: which rows each method keeps."""

import dataclasses
import shutil

import numpy as np
import pytest
from scipy.special import log_softmax

from affect_jax import config as configs
from affect_jax import systems
from affect_jax.checkpoint import Checkpoints
from affect_jax.environment import environment
from affect_jax.main import cli as main
from affect_jax.prediction_files import Predictions
from affect_jax.run import Run
from affect_jax.selection.__main__ import cli
from affect_jax.selection.candidates import Candidates
from affect_jax.tasks import Task
from data_pipelines.keep import kept_rows
from data_pipelines.rows import segments
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.tiny import tiny_config

NAMES = ("anger", "joy", "fear")
FRAMES = (5, 1, 4, 6)
KINDS = ("full", "half", "none")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Frames of three expressions; the fourth of each track is wrong, the first without a label."""
    path, rng = tmp_path_factory.mktemp("store") / "s", np.random.default_rng(0)
    classes = dict(kind="classes", size=3, names=NAMES)
    labels = {"expression": classes, "clean": classes, "kind": classes | {"names": KINDS}}
    features = {"a": dict(size=3), "b": dict(size=2)}
    with StoreWriter(path, name="noisy", features=features, labels=labels) as writer:
        for i, n in enumerate((*FRAMES, 3)):
            clean = rng.integers(0, 3, n)
            wrong = np.arange(n) == 3
            label, mask = np.where(wrong, (clean + 1) % 3, clean), np.arange(n) > 0
            writer.add(
                track=f"t{i}",
                split="train" if i < len(FRAMES) else "validation",
                features={"a": np.eye(3)[clean], "b": rng.normal(size=(n, 2))},
                labels={
                    "expression": (label, mask | (n == 1)),
                    "clean": clean,
                    "kind": np.where(wrong, 0, np.arange(n) % 3),
                },
                frames=2 * np.arange(n) + 1,
            )
    return Store(path)


def config_of(store, **changes):
    changes = dict(data__length=1, tasks="expression", monitor="expression/f1") | changes
    config = tiny_config(store.path, **changes)
    config.task.expression.size, config.task.expression.names = 3, NAMES
    config.total.terms = ()
    return config


def untrained(config, folder):
    """A run that ends with its first values."""
    run, system = Run(folder), systems.build(config)
    run.create()
    run.write_tasks(system.tasks)
    run.write_statistics(system.data.statistics)
    configs.save(config, run.config_file)
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.save(1, system.init(), {"environment": environment()})
    return run.folder


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return untrained(config_of(store), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def rows(store):
    return segments([track.frames for track in store.tracks], 1)


@pytest.fixture(scope="module")
def truth(store):
    """What is known of every training row: bool labelled, bool right."""
    label, mask = (np.asarray(x[: sum(FRAMES)]) for x in store.label("expression"))
    clean, kind = (np.asarray(store.label(name)[0][: sum(FRAMES)]) for name in ("clean", "kind"))
    return mask, (label == clean) & (kind == 0)


@pytest.fixture
def kept(store, rows, run, tmp_path, capsys):
    """The rows that a command keeps; its line."""

    def keep(method, *flags, of=run):
        out = tmp_path / f"{method}.txt"
        assert cli([method, f"--run={of}", f"--out={out}", *flags]) == 0
        return kept_rows(str(out), store, rows), capsys.readouterr().out

    return keep


def test_small_loss_keeps_the_rows_whose_label_the_run_holds_likeliest(store, run, kept, truth):
    root = f"--config.data.root={store.path}"
    command = ["--mode=predict", f"--workdir={run}", root, "--config.data.split=train"]
    assert main(command) == 0
    predicted = Predictions.read(run / "predictions" / "train" / "expression.npz")
    raw, label = np.array(predicted.raw, np.float64), np.asarray(predicted.label)
    loss = -log_softmax(raw, -1)[np.arange(len(label)), label]
    labelled = np.flatnonzero(truth[0])
    rows, line = kept("small_loss", "--rate=0.5")
    lowest = labelled[np.argsort(loss[labelled])[: len(rows)]]
    np.testing.assert_array_equal(rows, np.sort(lowest))
    assert (
        len(rows) == round(0.5 * len(labelled)) and f"{len(rows)} of {len(labelled)} rows" in line
    )


def test_the_oracle_keeps_right_labels_of_whole_pictures_and_fills_up_by_kind(kept, truth, store):
    labelled, right = truth
    rows, line = kept("oracle")
    np.testing.assert_array_equal(rows, np.flatnonzero(labelled & right))
    assert "precision 1.000, recall 1.000" in line
    kind = np.asarray(store.label("kind")[0])
    half = np.flatnonzero(labelled & (kind[: len(labelled)] == 1))
    more, _ = kept("oracle", f"--rate={(len(rows) + len(half)) / labelled.sum()}")
    np.testing.assert_array_equal(more, np.sort([*rows, *half]))


def test_random_rows_differ_by_seed_alone_and_are_as_many_as_another_file_keeps(
    kept, truth, tmp_path
):
    rows, _ = kept("random", "--rate=0.4", "--seed=1")
    again, _ = kept("random", "--rate=0.4", "--seed=1")
    np.testing.assert_array_equal(rows, again)
    (tmp_path / "random.txt").rename(tmp_path / "other.txt")
    like = f"--like={tmp_path / 'other.txt'}"
    other, _ = kept("random", like, "--seed=2")
    assert len(other) == len(rows) and set(other) != set(rows)
    assert truth[0][other].all()


def test_removed_is_what_another_file_leaves_of_the_labelled_training_rows(kept, truth, tmp_path):
    rows, _ = kept("random", "--rate=0.4")
    removed, _ = kept("removed", f"--of={tmp_path / 'random.txt'}")
    assert not set(rows) & set(removed)
    np.testing.assert_array_equal(np.sort([*rows, *removed]), np.flatnonzero(truth[0]))


def test_of_a_run_with_a_keep_file_only_its_rows_are_candidates(kept, run, tmp_path, capsys):
    (tmp_path / "keep.txt").write_text("t0\nt2,3\nt3,5\nt3,9\n")
    of = shutil.copytree(run, tmp_path / "run")
    config = configs.read(of / "config.json")
    config.data.keep = str(tmp_path / "keep.txt")
    configs.save(config, of / "config.json")
    rows, _ = kept("random", "--rate=1", of=of)  # of the track t2 one row, not all
    np.testing.assert_array_equal(rows, [1, 2, 3, 4, 7, 12, 14])
    (tmp_path / "other.txt").write_text("t1\n")
    flags = [f"--run={of}", f"--like={tmp_path / 'other.txt'}", f"--out={tmp_path / 'new.txt'}"]
    assert cli(["random", *flags]) == 2
    assert f"other.txt: keeps no row that {of} is trained on" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folds(store, tmp_path_factory):
    """A cross-validation with held-out predictions of the clean label, a little unsure."""
    folder, config = tmp_path_factory.mktemp("folds"), config_of(store, folds__count=2)
    config.folds.official = False
    configs.save(config, folder / "folds.json")
    (folder / "scores.json").write_text("{}")
    shutil.copy(untrained(config, folder / "fold1") / "tasks.json", folder)
    shutil.copytree(folder / "fold1", folder / "fold2")
    chosen, rng = store.split("train"), np.random.default_rng(0)
    spans = np.concatenate([np.arange(*store.tracks[i].span.indices(10**6)) for i in chosen])
    clean = np.asarray(store.label("clean")[0])[spans]
    raw = 4 * np.eye(3)[clean] + 0.1 * rng.normal(size=(len(clean), 3))
    track = np.repeat(np.arange(len(chosen)), FRAMES)
    names = np.array([store.tracks[i].name for i in chosen])
    stored = Predictions(names, track, store.frames[spans], raw.astype(np.float32))
    stored.write(folder / "predictions" / "train" / "expression.npz")
    return folder


def test_confident_learning_keeps_what_held_out_predictions_agree_with(kept, folds, truth):
    pytest.importorskip("cleanlab")
    labelled, _ = truth
    wrong = {3, 9, 13}  # the fourth frames of the tracks
    rows, _ = kept("confident", of=f"folds:{folds}")
    np.testing.assert_array_equal(rows, sorted({*np.flatnonzero(labelled)} - wrong))
    rate = (labelled.sum() - len(wrong) + 1) / labelled.sum()
    more, _ = kept("confident", f"--rate={rate}", of=f"folds:{folds}")
    assert len(more) == len(rows) + 1 and set(rows) < set(more)


def test_small_loss_takes_held_out_predictions_too(kept, folds, truth):
    rows, _ = kept("small_loss", "--rate=0.75", of=f"folds:{folds}")
    assert not {3, 9, 13} & set(rows)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["smal_loss"], "Did you mean 'small_loss'?"),
        (["small_loss"], "small_loss: how many rows? Give --rate=SHARE or --like=KEEP."),
        (["random", "--rate=0"], "expected a share above 0, up to 1"),
        (["random", "--rate=nan"], "expected a share above 0, up to 1"),
        (["random", "--rate=.5", "--like=x"], "give one"),
        (["random", "--like=nowhere.txt"], "nowhere.txt: "),
        (["random", "--rate=.5", "--of=x"], "--of=KEEP and the method removed go together"),
        (["removed"], "--of=KEEP and the method removed go together"),
        (["removed", "--of=x", "--rate=.5"], "no --rate and no --like"),
        (["removed", "--of=ALL"], "keeps all rows, so none is removed"),
        (["confident"], "--run=folds:RUNS, a folder of --mode=folds"),
        (["random", "--rate=.5", "--run=nowhere"], "no run here (no config.json)"),
        (["random", "--rate=.5", "--run=folds:nowhere"], "no cross-validation here"),
        (["random", "--rate=.5", "--out=nowhere/keep.txt"], "no folder nowhere"),
        (["random", "--rate=.5", "--out=."], "--out=.: a folder"),
        (["random", "--rat=.5"], "Did you mean --rate?"),
    ],
)
def test_a_wrong_flag_is_one_line_and_nothing_is_written(run, tmp_path, capsys, flags, message):
    (tmp_path / "all.txt").write_text("".join(f"t{i}\n" for i in range(len(FRAMES))))
    flags = [flag.replace("ALL", str(tmp_path / "all.txt")) for flag in flags]
    assert cli([f"--run={run}", f"--out={tmp_path / 'keep.txt'}", *flags]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and not out
    assert not (tmp_path / "keep.txt").exists()


def test_rows_of_several_labels_are_refused(store, run, tmp_path, capsys):
    of = shutil.copytree(run, tmp_path / "run")
    configs.save(config_of(store, data__length=4), of / "config.json")
    assert cli(["random", "--rate=.5", f"--run={of}", f"--out={tmp_path / 'keep.txt'}"]) == 2
    assert "a row holds up to 4 labels, expected one" in capsys.readouterr().err


def test_a_run_of_several_tasks_of_classes_is_refused_and_others_do_not_matter(
    run, tmp_path, capsys
):
    of = Run(shutil.copytree(run, tmp_path / "run"))
    (task,) = of.read_tasks()
    of.write_tasks((task, dataclasses.replace(task, name="gender")))
    assert cli(["random", "--rate=.5", f"--run={of.folder}", f"--out={tmp_path / 'k.txt'}"]) == 2
    error = capsys.readouterr().err
    assert "its tasks are expression (classes), gender (classes), expected one of classes" in error
    of.write_tasks((task, Task("age", "values", 1, loss="ccc")))
    assert Candidates(str(of.folder)).task == task


def test_where_nobody_knows_what_is_right_there_is_no_oracle(run, store, tmp_path, capsys):
    labels = {"expression": dict(kind="classes", size=3, names=NAMES)}
    features = {"a": dict(size=3), "b": dict(size=2)}
    with StoreWriter(tmp_path / "s", name="s", features=features, labels=labels) as writer:
        label = {"expression": np.array([0, 1])}
        given = {"a": np.zeros((2, 3)), "b": np.zeros((2, 2))}
        writer.add(track="a", split="train", features=given, labels=label)
    of = shutil.copytree(run, tmp_path / "run")
    configs.save(config_of(Store(tmp_path / "s")), of / "config.json")
    flags = [f"--run={of}", f"--out={tmp_path / 'keep.txt'}"]
    assert cli(["oracle", *flags]) == 2
    assert "has no label 'clean' or 'kind'" in capsys.readouterr().err
    assert cli(["random", "--rate=1", *flags]) == 0
    assert "precision" not in capsys.readouterr().out
