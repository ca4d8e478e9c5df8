"""RLPS through the loop as it is: phases, resume, guards and files of a selection."""

import contextlib
import csv
import shutil
import types

import jax
import numpy as np
import pytest

from affect_jax import checkpoint, systems
from affect_jax import config as configs
from affect_jax import train as loop
from affect_jax.main import cli
from affect_jax.restore import choose_step
from affect_jax.run import Run
from affect_jax.selection.settings import settings_of
from affect_jax.step import chunk
from affect_jax.systems import rlps
from data_pipelines.errors import UserError
from data_pipelines.keep import kept_rows
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.conftest import ROOT
from tests.stores import small_store
from tests.test_train import _StopAfter
from tests.tiny import tiny_config
from tests.toys.stores import pictures

TOYS = ROOT / "tests" / "toys"
CONFIG = TOYS / "rlps_config.py"
ROWS = 22


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("rlps") / "pictures", train=ROWS)


def flags(store, run, *more):
    return [f"--config={CONFIG}", f"--config.data.root={store}", f"--workdir={run}", *more]


def system_of(store, **changes):
    config = configs.load(str(CONFIG))
    config.data.root = str(store)
    configs.override(config, [(k.replace("__", "."), str(v)) for k, v in changes.items()])
    return systems.build(config)


def raw_state(run):
    return checkpoint.last_whole(Run(run).checkpoints)[1]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """(run, programs that were compiled, phases) of two epochs of all rows and three turns."""
    programs, phases = {}, []

    def compiled(step, *arguments):
        programs[step] = chunk(step, *arguments)
        return programs[step]

    def phase(self, phase):
        phases.append(phase)
        programs.update({name: getattr(self.system._turns, name) for name in ("begin", "end")})
        return ran(self, phase)

    ran = loop._Loop._phase
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "chunk", compiled)
        patch.setattr(loop._Loop, "_phase", phase)
        run = tmp_path_factory.mktemp("runs") / "whole"
        assert cli(flags(store, run)) == 0
    return Run(run), programs, phases


def test_a_classifier_trains_on_all_rows_then_in_turns_with_the_selector(whole):
    run, _, phases = whole
    train, score = "train", "score"
    assert [p.program for p in phases] == [train, train, score, *[train, score] * 3]
    trained = [p for p in phases if p.program == train]
    assert [p.epoch for p in trained] == [0, 1, 2, 3, 4]
    assert [record["epoch"] for record in run.records()] == [1, 2, 3, 4, 5]
    assert all(p.rows is None for p in phases if p not in trained[2:])
    fed = [p.rows.tolist() for p in trained[2:]]
    assert len(set(map(tuple, fed))) == 3 and all(0 < len(rows) < ROWS for rows in fed)


def test_the_report_shows_the_selection(whole):
    run, _, _ = whole
    card = (run.folder / "README.md").read_text()
    for name in ("selection_turns", "selection_rows", "selection_faces", "selection_validation"):
        assert f"plots/{name}.png" in card
    assert f" of {ROWS} training rows are retained" in card


def test_a_changing_number_of_retained_rows_compiles_nothing_anew(whole):
    _, programs, phases = whole
    batches = {-(-len(p.rows) // 4) for p in phases if p.rows is not None}
    assert len(batches) > 1
    # One program for a chunk of the full table, and one for a single step.
    assert all(program._cache_size() <= 2 for program in programs.values())
    assert programs["begin"]._cache_size() == programs["end"]._cache_size() == 1


def walked(policy, feature, order, bag=10**9):
    """P(retain) [N] of a walk at 1/2 through these rows, in float64."""
    layers, chances = [policy[name] for name in sorted(policy)], np.zeros(len(feature))
    for place, row in enumerate(order):
        if place % bag == 0:
            kept = np.zeros((0, feature.shape[1]))
        x = np.concatenate([feature[row], kept.mean(0) if len(kept) else 0 * feature[row]])
        for i, layer in enumerate(layers):
            x = x @ np.float64(layer["kernel"]) + layer["bias"]
            x = np.maximum(x, 0) if i + 1 < len(layers) else x
        chances[row] = 1 / (1 + np.exp(-x[0]))
        kept = np.r_[kept, feature[row][None]] if chances[row] >= 0.5 else kept
    return chances


def test_the_selection_is_a_walk_in_row_order_at_one_half(whole):
    extra = raw_state(whole[0].folder)["extra"]
    rows = table(whole[0].folder / "selection" / "selection.csv")
    chances = walked(extra["policy"], np.float64(extra["scored"]["feature"]), range(ROWS))
    # The walk itself is float32.
    np.testing.assert_allclose([float(row["p_retain"]) for row in rows], chances, atol=1e-4)
    assert [row["retained"] for row in rows] == [str(int(p >= 0.5)) for p in chances]
    names = [row["track"] for row in rows if row["retained"] == "1"]
    assert [row["track"] for row in rows] == [f"train{i}" for i in range(ROWS)]
    assert (whole[0].folder / "selection" / "keep.txt").read_text().split() == names


def test_scores_are_those_of_the_classifier_in_evaluation_mode(whole, store):
    system, raw = system_of(store), raw_state(whole[0].folder)
    data = system.data
    batch = data.source().batch(data.training_rows, data.shape(), np.arange(ROWS, dtype=np.int32))
    batch = system.prepare(batch, None, False)
    output = system.model.apply({"params": raw["params"]}, batch)
    chances = jax.nn.softmax(output.predictions["kind"])
    scored = raw["extra"]["scored"]
    np.testing.assert_allclose(
        scored["probability"], chances[np.arange(ROWS), batch["labels"]["kind"]], rtol=1e-5
    )
    feature = output.aux["arrays"]["embedding"].reshape(ROWS, -1)
    np.testing.assert_allclose(scored["feature"], feature, rtol=1e-5)
    assert (scored["prediction"] == chances.argmax(-1)).all()


def test_the_history_has_every_turn(whole):
    run, _, phases = whole
    with np.load(run.folder / "selection" / "history.npz") as file:
        history = dict(file)
    assert history["alone"].tolist() == [True] * 2 + [False] * 3
    fed = [len(p.rows) / ROWS for p in phases if p.rows is not None]
    np.testing.assert_allclose(history["keep_rate"][2:], fed, rtol=1e-6)
    assert ((history["p_retain"] > 0) & (history["p_retain"] < 1)).all()
    assert history["rewards"].shape == (5, ROWS)
    np.testing.assert_allclose(history["rewards"].sum(1), 0, atol=1e-5)  # of all rows, here
    assert history["track"].tolist() == [f"train{i}" for i in range(ROWS)]
    assert np.isnan(history["score"]).all()
    extra = raw_state(run.folder)["extra"]
    mean = extra["scored"]["probability"].mean()
    assert history["p_label"][-1] == pytest.approx(mean, rel=1e-5)
    kept = extra["retained"].astype(bool)
    assert history["reward"][-1] == pytest.approx(
        (extra["scored"]["probability"] - mean)[kept].sum(), abs=1e-5
    )


def content(run):
    return {path.name: path.read_bytes() for path in (Run(run).folder / "selection").iterdir()}


# A look at the signals is taken once a chunk, of which a phase has 2 to 4.
LOOKS = [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 2, 5, 6, 8, 13)), 10]


@pytest.mark.parametrize("looks", LOOKS)
def test_a_run_that_is_killed_in_any_phase_goes_the_same_way(store, tmp_path, whole, looks):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(looks)))
        assert cli(flags(store, run)) == 0
    assert Run(run).started and not Run(run).finished
    assert int(raw_state(run)["position"]) < 9
    assert cli(flags(store, run)) == 0
    assert checkpoint.digest(raw_state(run)) == checkpoint.digest(raw_state(whole[0].folder))
    assert Run(run).metrics_file.read_text() == whole[0].metrics_file.read_text()
    assert content(run) == content(whole[0].folder)


def test_predictions_of_any_split_have_a_selection_beside_them(whole, tmp_path):
    out = tmp_path / "out"
    predict = ["--mode=predict", f"--workdir={whole[0].folder}", "--config.data.split=train"]
    for _ in range(2):  # again over what is there
        assert cli([*predict, f"--output={out}"]) == 0
    rows = table(out / "selection.csv")
    known = table(whole[0].folder / "selection" / "selection.csv")
    for row, same in zip(rows, known, strict=True):
        assert float(row.pop("p_retain")) == pytest.approx(float(same.pop("p_retain")), abs=1e-4)
        assert row == same
    validation = whole[0].predictions / "validation"
    assert len(table(validation / "selection.csv")) == 9


def test_pictures_of_a_store_that_has_no_training_split_are_judged(whole, store, tmp_path):
    there = Store(store)
    few = there.split("validation")[:2]
    features = {"face": dict(shape=there.features["face"].shape, dtype="uint8")}
    with StoreWriter(tmp_path / "s", name="s", features=features, labels={}) as writer:
        for i in few:
            track = there.tracks[i]
            picture = {"face": np.array(there.feature("face")[track.span])}
            writer.add(track=track.name, split="test", features=picture)
    predict = ["--mode=predict", f"--workdir={whole[0].folder}", "--config.data.split=test"]
    root = f"--config.data.root={tmp_path / 's'}"
    assert cli([*predict, root, f"--output={tmp_path / 'out'}"]) == 0
    known = table(whole[0].predictions / "validation" / "selection.csv")[: len(few)]
    for row, same in zip(table(tmp_path / "out" / "selection.csv"), known, strict=True):
        assert row["label"] == "" and row["track"] == same["track"]
        assert float(row["p_retain"]) == pytest.approx(float(same["p_retain"]), abs=1e-4)


def test_a_turn_that_retains_less_than_a_batch_leaves_the_classifier_as_it_is_and_logs_no_loss(
    store, tmp_path, caplog, capsys
):
    never = ["--config.rlps.first_rate=1e-6", "--config.rlps.lr=1e-9", "--config.epochs=3"]
    never += ["--config.monitor=loss/total,kind/f1"]
    assert cli(flags(store, tmp_path / "run", *never)) == 0
    assert [record["loss"] for record in Run(tmp_path / "run").records()] == [{}] * 3
    assert capsys.readouterr().err.count("no row to train on") == 3
    assert np.isinf(raw_state(tmp_path / "run")["best"]["loss/total"])
    assert "keep.txt: is empty, as the selector retains no training row" in caplog.text
    assert "turn 1 of 3: 0 rows are retained, less than a batch of " in caplog.text
    state = raw_state(tmp_path / "run")
    assert not state["extra"]["retained"].any()
    assert np.isfinite(jax.tree.leaves(state["extra"]["policy"])[0]).all()
    fresh = system_of(store, epochs=3).init()
    for before, after in zip(jax.tree.leaves(fresh.params), jax.tree.leaves(state["params"])):
        np.testing.assert_array_equal(before, after)
    folder = tmp_path / "run" / "selection"
    assert (folder / "keep.txt").read_bytes() == b""
    again = [f"--config.data.keep={folder / 'keep.txt'}", f"--workdir={tmp_path / 'other'}"]
    assert cli(flags(store, tmp_path, *again)) == 2
    assert "keep.txt: is empty, as a selector that retains no row" in capsys.readouterr().err
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"None of {ROWS} training rows is retained" in card
    assert {row["retained"] for row in table(folder / "selection.csv")} == {"0"}


@pytest.mark.slow
def test_turns_begin_from_a_classifier_that_another_run_has_trained(store, tmp_path):
    system = f"--config.system={TOYS / 'pictures.py'}"
    assert cli(flags(store, tmp_path / "first", system, "--config.epochs=4")) == 0
    first = choose_step(Run(tmp_path / "first"), "best")[1]["params"]
    given = [f"--config.init.run={tmp_path / 'first'}", "--config.init.match=.*"]
    never = ["--config.rlps.first_rate=1e-6", "--config.rlps.lr=1e-9", "--config.epochs=3"]
    assert cli(flags(store, tmp_path / "run", *given, *never)) == 0
    for theirs, ours in zip(
        jax.tree.leaves(first), jax.tree.leaves(raw_state(tmp_path / "run")["params"])
    ):
        np.testing.assert_array_equal(theirs, ours)


def phases_of(system, retained):
    """The phases of a schedule whose walks all retain these rows."""
    state = system.init()
    state = state.replace(extra=state.extra | {"retained": retained})
    for position in range(100):
        phase = system.phase(state.replace(position=position))
        if phase is None:
            return
        yield phase


def test_rows_that_f1_is_measured_on_are_scored_alone(store):
    system = system_of(store, rlps__reward="f1", rlps__held_out=0.25)
    turns = system._turns
    assert turns.held.sum() in (5, 6) and not (turns.held & turns.valid).any()
    assert (turns.held | turns.valid).all()
    for phase in phases_of(system, turns.valid):
        if phase.program == "score":
            assert phase.rows is None
        else:
            assert phase.rows.tolist() == np.flatnonzero(turns.valid).tolist()


def test_the_final_selection_judges_the_rows_that_f1_is_measured_on_too(
    store, tmp_path, monkeypatch
):
    system, run = system_of(store, rlps__reward="f1", rlps__held_out=0.25), Run(tmp_path / "run")
    run.create()
    # Of the first policy, which retains every row.
    monkeypatch.setattr(rlps, "choose_step", lambda *a: (0, {"extra": system.init().extra}))
    system.write_run(run)
    rows = table(run.folder / "selection" / "selection.csv")
    assert len(rows) == ROWS and {row["p_retain"] for row in rows} == {"0.500000"}
    lines = (run.folder / "selection" / "keep.txt").read_text().split()
    assert lines == [row["track"] for row in rows]


def test_the_sigmoid_selector_takes_its_best_turn_alone_and_goes_on_beside_the_classifier(
    store, tmp_path
):
    keys = dict(bag=8, policy_passes=4, minibatch=1024, policy__widths="128,64,32,16")
    system = system_of(store, rlps__method="sigmoid", **{f"rlps__{k}": x for k, x in keys.items()})
    state, turns = system.init(), system._turns
    rng = np.random.default_rng(0)
    scored = {
        "feature": np.float32(rng.normal(size=(ROWS, 4))),
        "probability": np.float32(rng.uniform(0.1, 0.9, ROWS)),
        "prediction": np.zeros(ROWS, np.int32),
    }
    scored = jax.tree.map(jax.numpy.asarray, scored)
    state = state.replace(extra=state.extra | {"scored": scored}, position=np.int32(2))
    state = system.after(state, system.phase(state))
    extra = state.extra
    assert int(extra["turn"]) == 4
    best = extra["learner"]["best"]["dense_0"]["kernel"]
    np.testing.assert_array_equal(extra["policy"]["dense_0"]["kernel"], best)
    assert best.any() and np.isfinite(extra["learner"]["score"])
    feature, order = np.float64(extra["feature"]), np.asarray(extra["order"])
    retained = walked(extra["policy"], feature, order, bag=8) >= 0.5
    np.testing.assert_array_equal(extra["retained"], retained)
    selection = {name: part for name, part in extra.items() if name != "before"}
    after = turns.end(selection, jax.random.key(0))
    assert (after["policy"]["dense_0"]["kernel"] != best).any()
    assert turns.begin._cache_size() == turns.end._cache_size() == 1


def test_the_change_of_f1_on_rows_held_out_is_the_reward_of_all_others(store):
    system = system_of(store, rlps__reward="f1", rlps__held_out=0.25)
    turns, extra = system._turns, system.init().extra
    extra = {name: part for name, part in extra.items() if name != "before"}
    scores = []
    for right in (0, 0, 1):
        predicted = np.where(right, turns.labels, (turns.labels + 1) % 3).astype(np.int32)
        extra = turns.begin(extra, jax.random.key(0))
        scored = extra["scored"] | {"prediction": jax.numpy.asarray(predicted)}
        extra = turns.end(extra | {"scored": scored}, jax.random.key(0))
        scores.append(float(extra["score"]))
    np.testing.assert_allclose(scores, [0, 0, 1], rtol=1e-6)
    rewards = np.asarray(extra["history"]["rewards"])[:3]
    expected = np.broadcast_to(np.array([[0], [0], [1]]), rewards.shape)
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    np.testing.assert_array_equal(extra["history"]["score"][:3], scores)
    assert turns.end._cache_size() == 1


def test_all_epochs_may_be_turns_and_none_may_be(store):
    everything = np.ones(ROWS, bool)
    programs = [p.program for p in phases_of(system_of(store, epochs=3), everything)]
    assert programs == ["score", *["train", "score"] * 3]
    alone = system_of(store, epochs=1, rlps__alternations=0)
    assert [p.program for p in phases_of(alone, everything)] == ["train", "score"]


def test_other_epochs_of_all_rows_are_refused_and_a_finished_run_stays_finished(
    whole, tmp_path, capsys
):
    run = shutil.copytree(whole[0].folder, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in run.glob("*.json")}
    assert cli([f"--workdir={run}", "--config.epochs=7"]) == 2
    assert "was started with 2 epochs of all rows before" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in run.glob("*.json")} == before
    assert cli([f"--workdir={run}"]) == 0
    assert "this run is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rlps__method", "rpls", "config.rlps.method = 'rpls': no such choice. Did you mean 'rlps"),
        (
            "rlps__bag",
            64,
            "bag = 64: is not read where config.rlps.method = 'rlps'. Leave it at 128",
        ),
        ("rlps__held_out", 0.2, "held_out = 0.2: is not read where config.rlps.reward = 'probab"),
        ("rlps__policy__name", "linear", r"policy.widths = \(4,\): is not read where .*'linear'"),
        ("rlps__reward", "f2", "config.rlps.reward = 'f2': no such choice"),
        ("rlps__returns", "none", "config.rlps.returns = 'none': no such choice"),
        ("rlps__policy__name", "cnn", "config.rlps.policy.name = 'cnn': no such choice"),
        ("rlps__policy__widths", "8,0", r"widths = \(8, 0\): from 1 on each"),
        ("rlps__first_rate", 1.0, "first_rate = 1.0: expected a number above 0 and below 1"),
        ("rlps__held_out", 0.7, "held_out = 0.7: expected a number above 0 and below 0.51"),
        ("rlps__lr", 0.0, "lr = 0.0: expected a number above 0"),
        ("rlps__entropy", -1.0, "entropy = -1.0: expected a number from 0 on"),
        ("rlps__minibatch", 0, "minibatch = 0: expected a number from 1 on"),
        ("epochs", 2, "alternations = 3: more than config.epochs = 2"),
        ("rlps__system", "imgae", "config.rlps.system = 'imgae': Did you mean 'image'"),
        ("rlps__system", "rlps", "expected that of the classifier"),
        ("rlps__system", ROOT / "tests/toys/selector.py", "trains in phases of its own"),
        ("data__lanes", True, "config.data.lanes and config.data.clips exclude each other"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_a_line(store, key, value, message):
    with pytest.raises(UserError, match=message):
        system_of(store, **{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("policy__name", "linear"),
        ("policy__widths", "8,"),
        ("first_rate", 0.8),
        ("reward", "f1"),
        ("reward", "class"),
        ("held_out", 0.2),
        ("returns", "literal"),
        ("entropy", 0.1),
        ("minibatch", 64),
    ],
)
def test_what_the_sigmoid_selector_does_not_read_is_refused(key, value):
    config = configs.load("configs/rlps.py:sigmoid,smoke")
    assert settings_of(config).bag == 128
    configs.override(config, [(f"rlps.{key}".replace("__", "."), str(value))])
    name = key.replace("__", ".")
    with pytest.raises(UserError, match=f"rlps.{name} = .*is not read where .* = 'sigmoid'. Leave"):
        settings_of(config)


def test_a_policy_that_never_learns_is_refused():
    config = configs.load("configs/rlps.py:smoke")
    config.rlps.alternations = config.rlps.policy_passes = 0
    with pytest.raises(UserError, match="policy_passes = 0: the policy never learns"):
        settings_of(config)


def test_missing_and_unknown_keys_are_named(store):
    config = configs.load(str(CONFIG))
    config.data.root = str(store)
    config.rlps.rewad = "f1"
    with pytest.raises(UserError, match="config.rlps.rewad: no such key. Did you mean 'reward'"):
        systems.build(config)
    del config.rlps["rewad"], config.rlps["reward"]
    with pytest.raises(UserError, match=r"config.rlps.reward is missing. All keys: configs/rlps"):
        systems.build(config)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("rlps") / "frames").path


def of_frames(store, **changes):
    """The small multi-task model as a classifier of single frames, under RLPS."""
    toy = configs.load(str(CONFIG))
    config = tiny_config(store, data__length=1, tasks="expression", monitor="expression/f1")
    config.system, config.rlps = "rlps", toy.rlps
    config.rlps.system = "supervised"
    config.total.terms = ()
    config.epochs, config.rlps.alternations, config.rlps.lr = 2, 1, 1e-3
    configs.override(config, [(k.replace("__", "."), str(v)) for k, v in changes.items()])
    return config


@pytest.mark.slow
def test_frames_are_selected_one_by_one(frames, tmp_path):
    system, run = systems.build(of_frames(frames)), Run(tmp_path / "run")
    loop.train(system, run)
    system.write_run(run)
    rows = table(run.folder / "selection" / "selection.csv")
    known = system.data.store.label("expression")[1]
    training = np.concatenate(
        [known[t.span] for t in system.data.store.tracks if t.split == "train"]
    )
    assert len(rows) == training.sum() < len(training)  # those that have a label
    kept = [(row["track"], int(row["frame"])) for row in rows if row["retained"] == "1"]
    lines = (run.folder / "selection" / "keep.txt").read_text().splitlines()
    assert [tuple(line.rsplit(",", 1)) for line in lines] == [(t, str(f)) for t, f in kept]
    names = system.data.store.labels["expression"].names
    assert {row["label"] for row in rows} <= set(names) >= {row["prediction"] for row in rows}
    numbers = kept_rows(
        str(run.folder / "selection" / "keep.txt"), system.data.store, system.data.training_rows
    )
    assert len(numbers) == len(kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(data__length=4),
            "config.data.length = 4: config.system = 'rlps' selects rows of one",
        ),
        (dict(tasks="valence", monitor="valence/ccc"), "expected one task of kind classes"),
    ],
)
def test_rows_without_one_class_each_are_refused(frames, changes, message):
    with pytest.raises(UserError, match=message):
        systems.build(of_frames(frames, **changes))


def test_a_model_without_features_is_refused(store):
    system = system_of(store)
    nothing = types.SimpleNamespace(aux={"arrays": {}})
    with pytest.raises(UserError, match="gives no array 'embedding'"):
        system.__dict__["_output"] = nothing
        system._require_rows()
