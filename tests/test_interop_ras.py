"""Weights of team RAS's branches: checkpoints as they are saved, and what is refused."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.interop.families import multitask
from affect_jax.interop.wrapping import unwrapped
from affect_jax.models.blocks.transformer import position_table
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

TASKS = ("valence", "arousal")
ENCODERS = {
    "dynamic": dict(name="dynamic", hidden=4, layers=2, heads=2, ffn=4, dropout=0.1),
    "mamba": dict(name="mamba", hidden=4, layers=2, dropout=0.1, discretisation="ras"),
}


def model(encoder, **changes):
    own = dict(
        name="multitask",
        features=("face",),
        feature_norm=False,
        encoder=encoder,
        structure=dict(name="joint"),
        head=dict(name="norm", hidden=3, dropout=0.1),
        dtype="float32",
    )
    return ConfigDict(own | changes)


def shapes(config):
    module = models.build(config, [Task(name, "values", 1) for name in TASKS])
    batch = {"inputs": {"face": np.zeros((1, 5, 6), np.float32)}, "mask": np.ones((1, 5), bool)}
    return jax.eval_shape(module.init, jax.random.key(0), batch)


@pytest.fixture(params=[*ENCODERS, "d"])
def case(request):
    """A config of the original's models, and variables for it."""
    gate = {} if request.param in ENCODERS else {"gate": request.param}
    config = model(ENCODERS.get(request.param, ENCODERS["dynamic"]) | gate)
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), shapes(config))
    return config, drawn


@pytest.mark.parametrize("wrapper", ["", "model.", "model_state_dict.", "state_dict."])
@pytest.mark.parametrize("prefix", ["", "temporal."])
def test_weights_come_back_from_any_checkpoint_of_the_original(case, wrapper, prefix):
    config, variables = case
    original = multitask.to_original(config, TASKS, variables)
    assert {name.split(".")[0] for name in original} <= {
        *("image_proj", "transformer", "mamba", "d_gates", "head"),
    }
    if config.encoder.name == "dynamic":
        for i in range(2):
            name = f"transformer.{i}.positional_encoding.pe"
            original[name] = position_table(50, 4, "sinusoid")
    if config.encoder.get("gate") == "d":
        original |= {f"{gate}_gates.0": np.ones((4, 1), np.float32) for gate in ("bt", "bd", "t")}
    saved = {f"{wrapper}{prefix}{name}": x for name, x in original.items()}
    state_dict, _ = unwrapped(saved)
    table = multitask.table(config, TASKS, state_dict)
    loaded, report = interop.to_variables(table, state_dict, shapes(config))
    assert report.complete, str(report)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_positions_of_another_kind_are_no_weights_of_the_original():
    config = model(ENCODERS["dynamic"])
    state_dict = {
        "image_proj.1.bias": np.zeros(4),
        "transformer.0.positional_encoding.pe": np.ones((9, 4)),
    }
    table = multitask.table(config, TASKS, state_dict)
    _, report = interop.to_variables(table, state_dict, shapes(config))
    assert "positional_encoding.pe differs" in report.mismatched[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(encoder=ENCODERS["mamba"] | {"discretisation": "zoh"}), "weights are for 'ras'"),
        (dict(encoder=dict(name="lstm", hidden=4)), "'lstm'.*dynamic and mamba"),
        (dict(structure=dict(name="se")), "structure.name = 'joint'"),
        (dict(head=dict(layers=(3,), dropout=0.1)), "head.name = 'norm'"),
        (dict(head=dict(name="norm", hidden=3, dropout=0.1, norm="input")), "head.name = 'norm'"),
    ],
)
def test_models_that_the_original_has_not_are_one_line(changes, message):
    config = model(**{"encoder": ENCODERS["dynamic"], **changes})
    with pytest.raises(UserError, match=message):
        multitask.table(config, TASKS, {"image_proj.0.bias": np.zeros(4)})
    with pytest.raises(UserError, match="valence and arousal, in this order"):
        multitask.table(model(ENCODERS["dynamic"]), TASKS[::-1], {})
