import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import systems
from affect_jax.check import check, doubts
from affect_jax.monitor import monitored
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter
from tests.stores import LABELS
from tests.tiny import tiny_config, tiny_system

TASKS = ("valence", "arousal", "expression", "au")


def store(folder, **labelled):
    """Two splits that have labels of some tasks each: train=("valence",)."""
    with StoreWriter(folder, name="some", features={"a": dict(size=2)}, labels=LABELS) as writer:
        for split, names in labelled.items():
            full = {
                "valence": np.linspace(-1, 1, 9),
                "arousal": np.linspace(-1, 1, 9),
                "expression": (np.arange(9) % 8, np.ones(9, bool)),
                "au": (np.ones((9, 12), int), np.ones((9, 12), bool)),
            }
            labels = {name: full[name] for name in names}
            writer.add(track=split, split=split, features={"a": np.ones((9, 2))}, labels=labels)
    return folder


def said(folder, monitored, **changes):
    system = tiny_system(folder, model__features="a", data__normalise="none", **changes)
    return list(doubts(system, monitored))


def test_a_training_split_without_a_label_is_refused_before_anything_is_built(tmp_path):
    folder = store(tmp_path / "s", train=(), validation=TASKS)
    system = tiny_system(folder, model__features="a", data__normalise="none")
    with pytest.raises(UserError, match="nothing to learn: split 'train' has no label of valence"):
        check(system)


def test_a_weight_of_a_loss_that_the_model_does_not_give_is_refused(tmp_path):
    config = tiny_config(store(tmp_path / "s", train=TASKS, validation=TASKS))
    config.model.features, config.aux.router = ("a",), 0.5
    with pytest.raises(UserError, match=r"config.aux.router: the model gives no .* It gives none"):
        check(systems.build(config))


@pytest.mark.parametrize("group", [{}, dict(rest=dict(match=".*", frozen=True))])
def test_a_training_of_which_all_is_frozen_is_said(tmp_path, group, caplog):
    config = tiny_config(store(tmp_path / "s", train=TASKS, validation=TASKS))
    config.model.features, config.optim.groups = ("a",), tuple(group)
    config.freeze, config.optim.group = () if group else (".*",), ConfigDict(group)
    check(systems.build(config))
    assert "all parameters are frozen: nothing is trained" in caplog.text


def test_losses_of_the_model_can_be_monitored_and_tasks_of_training_alone_cannot(tmp_path):
    config = tiny_config(store(tmp_path / "s", train=TASKS, validation=TASKS))
    config.model.features, config.monitor = ("a",), ("aux/router", "loss/router", "loss/au")
    config.task.au.train_only = True
    tasks = systems.build(config).tasks
    assert monitored(config, tasks, ("router",)) == config.monitor
    config.monitor = ("au/f1_binary", "valence/ccc")
    assert monitored(config, tasks) == ("valence/ccc",)


def test_a_task_without_a_label_in_training_is_said_and_what_it_would_choose(tmp_path):
    folder = store(tmp_path / "s", train=("valence",), validation=TASKS)
    lines = said(folder, ("valence/ccc", "arousal/ccc", "loss/arousal"), tasks="valence,arousal")
    assert lines == [
        "arousal is not trained: split 'train' has no label of arousal",
        "config.monitor: arousal/ccc is of a task that is not trained, at least in part (split "
        "'train' has no label of arousal)",
        "config.monitor: loss/arousal is of a task that is not trained, at least in part (split "
        "'train' has no label of arousal)",
    ]


def test_a_task_of_weight_0_is_not_trained(tmp_path):
    folder = store(tmp_path / "s", train=TASKS, validation=TASKS)
    lines = said(folder, ("au/f1_binary",), task__au__weight=0)
    assert "au is not trained: config.task.au.weight is 0" in lines
    assert lines[-1].endswith("(config.task.au.weight is 0); 'best' is chosen by it")


def test_a_monitored_score_that_is_never_scored_is_said(tmp_path):
    folder = store(tmp_path / "s", train=TASKS, validation=("valence",))
    lines = said(folder, ("P_MTL", "valence/ccc"))
    assert lines == [
        "config.monitor: P_MTL is never scored, its best checkpoint is the last (split "
        "'validation' has no label of arousal); 'best' is chosen by it"
    ]


def test_training_and_evaluating_on_one_split_is_said(tmp_path):
    folder = store(tmp_path / "s", train=TASKS, validation=TASKS)
    lines = said(folder, ("P_MTL",), data__train_split="train+validation")
    assert lines == ["split 'validation' is trained on and evaluated: its scores are too good"]
    assert said(folder, ("P_MTL",)) == []


def test_training_on_all_folds_and_evaluating_one_is_said(tmp_path):
    folder = store(tmp_path / "s", train=TASKS, other=TASKS)
    cut = dict(folds__cut="train+other", folds__count=2, data__split="fold1")
    for own in ("train+other", "fold1+fold2"):
        lines = said(folder, ("P_MTL",), **cut, data__train_split=own)
        assert lines == ["split 'fold1' is trained on and evaluated: its scores are too good"]
    assert said(folder, ("P_MTL",), **cut, data__train_split="fold2") == []
