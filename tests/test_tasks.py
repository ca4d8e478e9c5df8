"""Task tables: from configs and JSON, decoding, totals, and what is said about mistakes."""

import ml_collections
import numpy as np
import pytest

from affect_jax import losses, tasks
from affect_jax.tasks import Task, better_sign, decode, from_json, tasks_from_config, to_json
from configs.abaw_tasks import ABAW_TASKS, abaw_task
from data_pipelines.errors import UserError


def config(names=tuple(ABAW_TASKS), **changes):
    """The four ABAW tasks, with fields of single tasks changed."""
    table = {name: abaw_task(name, **changes.get(name, {})) for name in ABAW_TASKS}
    return ml_collections.ConfigDict(dict(tasks=names, task=table))


def test_tasks_come_in_the_order_of_the_config():
    order = ("au", "valence", "expression")
    found = tasks_from_config(config(order))
    assert tuple(t.name for t in found) == order
    assert found[2].names[7] == "Other" and found[2].size == 8 and found[2].loss == "ce"
    assert tasks_from_config(config(())) == ()


def test_a_list_of_names_with_commas_is_what_the_command_line_gives():
    found = tasks_from_config(config(("valence,au",)))
    assert [t.name for t in found] == ["valence", "au"]


def test_json_gives_equal_tasks_back():
    table = tasks_from_config(config(au=dict(weight=0.25)))
    assert from_json(to_json(table)) == table and hash(table)
    assert from_json(to_json(())) == ()


@pytest.mark.parametrize("text", ["{", "3", '[{"kind": "values"}]', '["valence"]', "[" * 5000])
def test_a_broken_task_table_is_named(text):
    with pytest.raises(UserError, match=r"^runs/a/tasks.json: not a task table"):
        from_json(text, "runs/a/tasks.json")


def test_decoding_is_by_kind_when_none_is_named():
    found = tasks_from_config(config(expression=dict(decode=""), au=dict(decode="")))
    assert [t.decode for t in found] == ["identity", "identity", "argmax", "threshold"]
    assert Task("x", "classes", 3) == Task("x", "classes", 3, decode="")


def test_predictions_are_decoded_by_kind():
    raw = np.array([[-0.5, 0.0, 2.0], [1.0, 1.0, -3.0]], np.float32)
    np.testing.assert_array_equal(decode(Task("x", "values", 3), raw), raw)
    classes = decode(Task("x", "classes", 3), raw)
    np.testing.assert_array_equal(classes, [2, 0])
    labels = decode(Task("x", "labels", 3), raw)
    np.testing.assert_array_equal(labels, [[0, 1, 1], [1, 1, 0]])
    assert classes.dtype == np.int32 and labels.dtype == np.int8
    with pytest.raises(ValueError, match=r"task x: .*3\], got \(2, 2\)"):
        decode(Task("x", "classes", 3), raw[:, :2])


@pytest.mark.parametrize(
    "task, change, message",
    [
        (
            "valence",
            dict(loss="mes"),
            "config.task.valence.loss = 'mes': no such name. Did you mean 'mse'",
        ),
        ("valence", dict(loss="bce"), "config.task.valence.loss = 'bce': not for values. "),
        (
            "valence",
            dict(loss="ccc+x*mse"),
            "config.task.valence.loss = 'ccc.x.mse': .*ccc.0.1.mse",
        ),
        ("valence", dict(loss="-1*mse"), "config.task.valence.loss = '-1.mse': '-1' is no number"),
        (
            "valence",
            dict(loss="nan*mse"),
            "config.task.valence.loss = 'nan.mse': 'nan' is no number",
        ),
        (
            "valence",
            dict(loss="ccc+"),
            "config.task.valence.loss = 'ccc.': the name of a loss is missing",
        ),
        ("valence", dict(loss="ccc+0.1*"), "loss = 'ccc.0.1.': the name of a loss is missing"),
        ("valence", dict(loss="ccc*0.1"), "loss = 'ccc.0.1': 'ccc' is no number above 0. Expected"),
        ("valence", dict(loss="0.1mse"), "loss = '0.1mse': no such name. Did you mean 'mse'"),
        ("valence", dict(label_smoothing=0.1), "label_smoothing: only classes and labels"),
        ("au", dict(label_smoothing=1.0), "config.task.au.label_smoothing = 1.0: .* below 1"),
        ("au", dict(weighting="fixd"), "config.task.au.weighting = 'fixd': Did you mean 'fixed'"),
        ("expression", dict(weighting="fixed"), "expression.weighting: classes have one loss"),
        (
            "valence",
            dict(metrics=("cc",)),
            "config.task.valence.metrics = 'cc': .* Did you mean 'ccc'",
        ),
        (
            "valence",
            dict(kind="value"),
            "config.task.valence.kind = 'value': .* Did you mean 'values'",
        ),
        ("valence", dict(decode="argmax"), "config.task.valence.decode = 'argmax': not for values"),
        ("valence", dict(wieght=2.0), "config.task.valence.wieght: .* Did you mean 'weight'"),
        ("valence", dict(weight=-1.0), "config.task.valence.weight = -1.0: "),
        ("valence", dict(weight="high"), "config.task.valence.weight = 'high': "),
        ("valence", dict(size=0), "config.task.valence.size = 0: "),
        ("expression", dict(size=7), "config.task.expression.size = 7, but .* lists 8"),
        ("expression", dict(size=2, names=("a", "a")), "config.task.expression.names .* a, a"),
        ("au", dict(metrics=("f1",)), "config.task.au.metrics = 'f1': not for labels. .*f1_binary"),
    ],
)
def test_a_wrong_field_is_named_with_the_nearest_right_one(task, change, message):
    with pytest.raises(UserError, match=message) as error:
        tasks_from_config(config(**{task: change}))
    assert "\n" not in str(error.value)


def test_a_task_that_is_not_defined_or_named_twice_is_refused():
    with pytest.raises(UserError, match=r"config.tasks names 'valance'.* Did you mean 'valence'"):
        tasks_from_config(config(("valance",)))
    with pytest.raises(UserError, match="'au' twice"):
        tasks_from_config(config(("au", "valence", "au")))


@pytest.mark.parametrize("name", ["encoder", "weighting", "a/b"])
def test_a_task_may_not_take_the_name_of_another_group_of_parameters(name):
    table = ml_collections.ConfigDict(dict(tasks=(name,), task={name: abaw_task("au")}))
    with pytest.raises(UserError, match="cannot be called"):
        tasks_from_config(table)


@pytest.mark.parametrize("key", ["kind", "size"])
def test_a_field_that_must_be_there_is_missed(key):
    entry = abaw_task("au")
    del entry[key]
    with pytest.raises(UserError, match=rf"config.task.au.{key} is missing"):
        tasks_from_config(dict(tasks=("au",), task=dict(au=entry)))


def test_the_sign_of_a_score_says_which_way_is_better():
    better = ("ccc", "valence/ccc", "expression/f1", "sentiment/accuracy", "P_MTL", "CCC")
    worse = ("rmse", "valence/mse", "loss/valence", "loss/ccc", "ce", "aux/router")
    assert {better_sign(name) for name in better} == {1}
    assert {better_sign(name) for name in worse} == {-1}
    with pytest.raises(UserError, match="no best value"):
        better_sign("expression/confusion")


def test_a_changed_definition_leaves_the_ready_made_one():
    assert abaw_task("valence", loss="ccc")["loss"] == "ccc"
    assert ABAW_TASKS["valence"]["loss"] == "mse"


def test_the_loss_of_a_task_is_its_sum_with_coefficients_of_smoothed_labels():
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
    mask = np.ones(pred.shape, bool)
    task = Task("x", "values", 2, loss="ccc+0.1*mse")
    want = losses.ccc(pred, target, mask) + 0.1 * losses.mse(pred, target, mask)
    np.testing.assert_allclose(tasks.loss(task, pred, target, mask), want, rtol=1e-6)
    columns = tasks.loss(task, pred, target, mask, dimensions=True)
    one = Task("x", "values", 1, loss="ccc+0.1*mse")
    for k in range(2):
        alone = (x[..., k : k + 1] for x in (pred, target, mask))
        np.testing.assert_allclose(columns[k], tasks.loss(one, *alone), rtol=1e-6)
    au = Task("x", "labels", 2, loss="bce", label_smoothing=0.2)
    want = losses.bce(pred, 0.8 * (target > 0) + 0.1, mask)
    np.testing.assert_allclose(tasks.loss(au, pred, target > 0, mask), want, rtol=1e-6)


def test_a_task_of_training_alone_is_not_scored():
    found = tasks_from_config(config(au=dict(train_only=True)))
    assert [t.name for t in tasks.scored(found)] == ["valence", "arousal", "expression"]
    assert from_json(to_json(found)) == found


def test_every_kind_has_a_decoder():
    assert {kind for _, kinds in tasks.DECODERS.values() for kind in kinds} == set(tasks.KINDS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("names", (1, 2)),
        ("metrics", ("ccc", 3)),
        ("loss", 5),
        ("kind", ("values",)),
        ("size", True),
        ("size", 1.0),
        ("weight", float("nan")),
        ("weight", "1"),
        ("centres", (0.5,)),
        ("edges", ((float("inf"),),)),
    ],
)
def test_a_field_of_another_kind_is_named(field, value):
    with pytest.raises(UserError, match=rf"^config.task.valence.{field} = .*: expected ") as caught:
        tasks_from_config(config(("valence",), valence={field: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [(1,), 5, ("valence", 2), (("valence",),)])
def test_a_task_that_is_no_name_is_named(names):
    with pytest.raises(UserError, match="config.tasks = .*: expected names"):
        tasks_from_config({"tasks": names, "task": {}})


def test_a_task_whose_files_could_not_be_called_so_is_refused():
    name = "a" * 250
    table = {"tasks": (name,), "task": {name: dict(kind="values", size=1)}}
    with pytest.raises(UserError, match="a task cannot be called"):
        tasks_from_config(table)
