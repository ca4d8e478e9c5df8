"""Trainings that start from others' weights, and weights that go back to the original's names."""

import logging
import shutil

import jax
import numpy as np
import pytest

from affect_jax import config as configs
from affect_jax import interop, systems
from affect_jax.check import check
from affect_jax.checkpoint import Checkpoints
from affect_jax.initial import source_of, start_from_others
from affect_jax.interop.__main__ import main
from affect_jax.interop.families import family_of
from affect_jax.optim import paths
from affect_jax.restore import choose_step, variables_of
from affect_jax.run import Run
from affect_jax.train_run import train_run
from data_pipelines.errors import UserError
from tests.stores import small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s").path


def config_of(store, spec, **changes):
    """A shipped config on the small store; keyword a__b=1 changes a.b."""
    c = configs.load(f"configs/{spec}")
    c.data.root, c.model.features, c.data.normalise = str(store), ("a", "b"), "none"
    c.data.length, c.data.batch_size, c.chunk_steps = 4, 3, 2
    if "gru" in spec:
        c.model.encoder.layers = 2  # as the original
    configs.override(c, [(key.replace("__", "."), str(value)) for key, value in changes.items()])
    return c


def system_of(store, spec, **changes):
    return systems.build(config_of(store, spec, **changes))


def untrained(folder, store, spec, **changes):
    """A run with a checkpoint of its first moment."""
    system, run = system_of(store, spec, **changes), Run(folder)
    run.create()
    run.write_tasks(system.tasks)
    configs.save(system.config, run.config_file)
    state = system.init()
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.save(3, state, {"environment": {}})
    return run


def started(system, state):
    return start_from_others(state, source_of(system.config, system.tasks))


@pytest.fixture(scope="module")
def gru(store, tmp_path_factory):
    """(run, the file that its weights are exported to)."""
    folder = tmp_path_factory.mktemp("gru")
    run = untrained(folder / "run", store, "mtl.py:gru,smoke")
    assert main(["export", str(run.folder), str(folder / "a.safetensors")]) == 0
    return run, folder / "a.safetensors"


def exported(run, out):
    """(variables of the run, those in its export, what became of the tensors)."""
    config, tasks = configs.read(run.config_file), [task.name for task in run.read_tasks()]
    family = family_of(config.model.name)
    state_dict = family.load(out, config.model)
    own = variables_of(choose_step(run, "last")[1])
    read = interop.to_variables(family.table(config.model, tasks, state_dict), state_dict, own)
    return own, *read


@pytest.mark.parametrize(
    "spec", ["mtl.py:sbe,hsf,smoke", "mtl.py:relative,smoke", "va.py:transformer_lstm,bins,smoke"]
)
def test_what_a_run_exports_is_read_back_bit_for_bit(spec, store, tmp_path, capsys):
    run = untrained(tmp_path / "run", store, spec)
    out = tmp_path / "a.safetensors"
    assert main(["export", str(run.folder), str(out), "--checkpoint=last"]) == 0
    assert "tensors of step 3 of " in capsys.readouterr().out
    own, read, report = exported(run, out)
    report.require_complete(out)
    jax.tree.map(np.testing.assert_array_equal, read, own)
    assert not list(tmp_path.glob(".*"))


def test_features_that_are_normalised_are_said(gru, tmp_path, capsys):
    run = Run(shutil.copytree(gru[0].folder, tmp_path / "run"))
    config = configs.read(run.config_file)
    config.data.normalise = "track"
    configs.save(config, run.config_file)
    assert main(["export", str(run.folder), str(tmp_path / "a.safetensors")]) == 0
    assert "features are normalised (data.normalise = 'track')" in capsys.readouterr().out


def test_a_training_starts_from_the_weights_of_a_file(gru, store, caplog):
    run, file = gru
    changes = dict(seed=1, ema_decay=0.9, init__weights=file)
    system = system_of(store, "mtl.py:gru,smoke", **changes)
    check(system)
    own = system.init()
    theirs = paths(choose_step(run, "last")[1]["params"])
    with caplog.at_level(logging.INFO):
        state = started(system, own)
    assert f"{len(theirs)} of {len(theirs)} parameters taken from {file}" in caplog.text
    for tree in (state.params, state.ema):
        for path, leaf in paths(tree).items():
            np.testing.assert_array_equal(leaf, theirs[path])
    system = system_of(
        store, "mtl.py:gru,smoke", **changes, init__match="encoder/.*,au/head/out/bias"
    )
    with caplog.at_level(logging.INFO):
        part = started(system, own)
    assert "; as they were: arousal/head/hidden_0/bias" in caplog.text
    assert f"{file} (15 of its tensors left out: net_" in caplog.text
    before = paths(own.params)
    for path, leaf in paths(part.params).items():
        taken = path.startswith("encoder/") or path == "au/head/out/bias"
        np.testing.assert_array_equal(leaf, (theirs if taken else before)[path])


def test_weights_of_a_file_and_of_its_run_are_the_same(gru, store):
    run, file = gru
    states = []
    for key, source in (("run", run.folder), ("weights", file)):
        system = system_of(store, "mtl.py:gru,smoke", seed=1, **{f"init__{key}": source})
        states.append(started(system, system.init()))
    jax.tree.map(np.testing.assert_array_equal, states[0].params, states[1].params)


def test_batch_statistics_start_with_the_parameters_that_they_belong_to(gru, store, tmp_path):
    system = system_of(store, "mtl.py:gru,smoke", init__match="encoder/.*")

    def state(value):
        stats = {name: {"norm": {"mean": np.full(2, value)}} for name in ("encoder", "au")}
        return system.init().replace(batch_stats=stats)

    run = Run(shutil.copytree(gru[0].folder, tmp_path / "run"))
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.save(4, state(3.0), {"environment": {}})
    system.config.init.run = str(run.folder)
    got = started(system, state(5.0)).batch_stats
    assert got["encoder"]["norm"]["mean"].tolist() == [3, 3]
    assert got["au"]["norm"]["mean"].tolist() == [5, 5]


def test_the_nets_of_an_epoch_and_the_latest_ones_are_a_start(gru, store, tmp_path):
    state_dict = interop.load(gru[1])
    for net in {name.split(".")[0] for name in state_dict}:
        own = {n.removeprefix(f"{net}."): x for n, x in state_dict.items() if n.startswith(net)}
        for epoch, factor in (("12", 2), ("latest", 3)):
            tensors = {n: factor * x for n, x in own.items()}
            interop.save_safetensors(tmp_path / f"{epoch}_{net}.safetensors", tensors)
    theirs = paths(choose_step(gru[0], "last")[1]["params"])
    for source, factor in (("12", 2), ("", 3)):
        system = system_of(store, "mtl.py:gru,smoke", init__weights=tmp_path / source)
        state = started(system, system.init())
        for path, leaf in paths(state.params).items():
            np.testing.assert_array_equal(leaf, factor * theirs[path])


@pytest.mark.slow
def test_a_training_of_nothing_ends_with_the_weights_that_it_started_from(gru, store, tmp_path):
    run, file = gru
    changes = dict(seed=1, init__weights=file, freeze=".*", epochs=1)
    train_run(config_of(store, "mtl.py:gru,smoke", **changes), Run(tmp_path / "new"))
    new, old = (variables_of(choose_step(r, "last")[1]) for r in (Run(tmp_path / "new"), run))
    jax.tree.map(np.testing.assert_array_equal, new, old)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(init__run="RUN"), "a training starts from one of them"),
        (dict(init__match="encodr/.*"), "no parameter of .*a.safetensors matches. Known: arousal"),
        (dict(init__match="*"), r"config.init.match: '\*' is no regular expression"),
        (
            dict(model__encoder__hidden=8),
            r"a.safetensors: net_.*, arousal/head/hidden_0/kernel is \(8, 8\)",
        ),
        (dict(init__weights="/nowhere/a.pth"), "/nowhere/a.pth: no such weight file"),
        (dict(init__weights="/nowhere/12"), "/nowhere: no files 12_net<net>.pth"),
        (dict(init__weights="OTHER"), "other.safetensors: the weights hold no head"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_compiled(
    changes, message, gru, store, tmp_path
):
    interop.save_safetensors(tmp_path / "other.safetensors", {"fc.weight": np.zeros(1)})
    places = {"RUN": gru[0].folder, "OTHER": tmp_path / "other.safetensors"}
    changes = dict(init__weights=gru[1]) | {k: places.get(v, v) for k, v in changes.items()}
    system = system_of(store, "mtl.py:gru,smoke", **changes)
    with pytest.raises(UserError, match=message) as error:
        check(system)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(init__weights="/nowhere/a.pth"), "/nowhere/a.pth: no such weight file"),
        (dict(init__run="/nowhere/run"), "/nowhere/run: no run here"),
        (dict(init__weights="OTHER"), "other.safetensors: the weights hold no head"),
    ],
)
def test_a_source_that_is_none_is_refused_before_the_model_is_traced(
    changes, message, store, tmp_path
):
    interop.save_safetensors(tmp_path / "other.safetensors", {"fc.weight": np.zeros(1)})
    places = {"OTHER": tmp_path / "other.safetensors"}
    changes = {key: places.get(value, value) for key, value in changes.items()}
    system = system_of(store, "mtl.py:gru,smoke", **changes)
    system.model = None
    with pytest.raises(UserError, match=message):
        check(system)


def test_shapes_that_do_not_match_the_patterns_are_no_matter(gru, store):
    changes = dict(model__head__layers="(4,)", init__weights=gru[1], init__match="encoder/.*")
    check(system_of(store, "mtl.py:gru,smoke", **changes))


def test_a_model_of_other_positions_is_refused(store, tmp_path):
    run = untrained(tmp_path / "run", store, "va.py:transformer,smoke")
    out = tmp_path / "a.safetensors"
    assert main(["export", str(run.folder), str(out)]) == 0
    check(system_of(store, "va.py:transformer,smoke", init__weights=out))
    other = dict(init__weights=out, model__encoder__positions="abaw4")
    with pytest.raises(UserError, match="net_seq.position_embeddings.weight differs by 1"):
        check(system_of(store, "va.py:transformer,smoke", **other))
    check(
        system_of(
            store, "va.py:transformer,smoke", **other | dict(model__encoder__positions="none")
        )
    )


def test_a_family_without_an_original_is_one_line():
    with pytest.raises(
        UserError, match="'multitsk': no original of it .* Did you mean 'multitask'"
    ):
        family_of("multitsk")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exprt", "RUN", "OUT"], "command 'exprt'. Did you mean 'export'"),
        (["export", "RUN"], "the following arguments are required: OUT"),
        (["export", "/nowhere", "OUT"], "/nowhere: no run here"),
        (["export", "RUN", "a.pth"], "a.pth: weights are written as safetensors"),
        (["export", "RUN", "OUT", "--checkpoint=bset"], "checkpoint 'bset': Did you mean 'best'"),
        (["export", "RUN", "OUT", "--checkpoint=epoch:9"], "no checkpoint of epoch 9"),
        (["export", "RUN", "/nowhere/a.safetensors"], "there is no folder /nowhere. Make it"),
    ],
)
def test_an_export_that_cannot_be_made_is_one_line(arguments, message, gru, tmp_path, capsys):
    places = {"RUN": str(gru[0].folder), "OUT": str(tmp_path / "a.safetensors")}
    assert main([places.get(word, word) for word in arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "tasks", "message"),
    [
        (dict(model__encoder__name="averages"), ["au"], "ABAW4 original has no encoder 'averages'"),
        ({}, ["au", "mood"], "the ABAW4 original has no task 'mood'. Known: valence"),
        ({}, ["au"], "the model of its system has no parameters 'encoder'. Did you mean 'inner'"),
    ],
)
def test_models_that_no_original_has_are_not_exported(changes, tasks, message, store):
    config = config_of(store, "mtl.py:gru,smoke", **changes)
    with pytest.raises(UserError, match=message):
        family_of("multitask").to_original(config.model, tasks, {"params": {"inner": {}}})
