"""The variants of the configs: their published sizes, what they choose, and that each trains."""

import importlib
import math

import jax
import numpy as np
import pytest

from affect_jax import systems
from affect_jax.check import check
from affect_jax.config import differences, load
from affect_jax.run import Run
from affect_jax.train import train
from configs.mtl import ENCODERS, VARIANTS
from data_pipelines.errors import UserError
from tests.test_configs import shapes

# Parameters at 1000 inputs by sheet abaw4, 3.7, and the widths of the transformers in it: each has
# a pooled branch there, H^2 + H parameters that nothing reads and that ours has not.
PUBLISHED = {
    "paper": (29_911_574, (1024,)),
    "script": (38_304_278, (1024,)),
    "relative,paper": (41_459_222, ()),
    "lstm,script": (9_616_918, ()),
    "bilstm,script": (18_963_990, ()),
    "gru,script": (15_151_638, ()),
    "sbe,script": (118_101_526, (1024,) * 5),
    "hsf,script": (141_708_822, (1024,) * 4 + (1536,)),
}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_sizes_have_the_parameters_of_the_sheet(variant):
    _, params, _ = shapes(load(f"configs/mtl.py:{variant}"))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    sheet, pooled = PUBLISHED[variant]
    assert count == sheet - sum(width * width + width for width in pooled)


def test_feedback_on_one_shared_encoder_widens_the_target_head():
    _, plain, _ = shapes(load("configs/mtl.py:script"))
    _, params, _ = shapes(load("configs/mtl.py:se,hsf,script"))
    first = [p["arousal"]["head"]["hidden_0"]["kernel"].shape[0] for p in (plain, params)]
    assert first == [1024, 1024 + 2 * 256]  # the last hidden layers of valence and au


@pytest.mark.parametrize(
    ("variant", "tasks", "monitor", "feeds"),
    [
        ("valence", ("valence", "expression"), "valence/ccc", ("valence", "expression")),
        ("arousal", ("valence", "arousal", "au"), "arousal/ccc", ("valence", "au", "arousal")),
        ("expression", ("valence", "expression"), "expression/f1", ("expression", "valence")),
        ("au", ("valence", "au"), "au/f1_binary", ("valence", "au")),
    ],
)
def test_task_sets_are_those_of_the_paper(variant, tasks, monitor, feeds):
    config = load(f"configs/mtl.py:{variant},hsf,paper")
    structure = config.model.structure
    assert tuple(config.tasks) == tasks and tuple(config.monitor) == (monitor,)
    assert (*structure.sources, *structure.targets) == feeds
    assert structure.tap == "encoder"
    assert config.data.length == (250 if variant == "arousal" else 64)


def changed(first, second):
    """Keys in which two variants of configs/mtl.py differ, the name left out."""
    pair = (load(f"configs/mtl.py:{variants}") for variants in (first, second))
    return {key for key, *_ in differences(*pair)} - {"name"}


# All that the default does in another way than the systems of the paper.
AVERAGES = {
    *("checkpoint", "epochs", "optim.lr", "data.length", "data.hop"),
    *("model.head.layers", "model.head.dropout"),
    *(f"task.{task}.loss" for task in ("valence", "arousal", "expression", "au")),
}


def test_the_default_is_a_linear_model_of_moving_averages_under_the_losses_of_its_scores():
    assert changed("", "averages") == set()
    keys = {key for key in changed("", "transformer") if not key.startswith("model.encoder.")}
    assert keys <= AVERAGES
    config = load("configs/mtl.py")
    assert config.model.encoder.name == "averages" and config.model.head.layers == ()
    losses = [config.task[name].loss for name in config.tasks]
    assert losses == ["ccc", "ccc", "balanced_ce", "balanced_bce"]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "averages"])
def test_any_variant_but_the_default_is_the_paper_s_system_as_before(variant):
    config = load(f"configs/mtl.py:{variant}")
    losses = [config.task[name].loss for name in ("valence", "arousal", "expression", "au")]
    assert losses == ["mse", "mse", "ce", "bce"] and config.data.hop == 0
    if variant in ENCODERS:
        keys = {key for key in changed(variant, "transformer") if key != "optim.lr"}
        assert all(key.startswith("model.encoder.") for key in keys)
    else:
        assert config.model.encoder.name == "transformer"
        assert changed(variant, f"transformer,{variant}") == set()


def test_the_transformer_has_the_values_that_the_tables_were_made_with():
    config = load("configs/mtl.py:transformer")
    assert dict(config.model.encoder) == dict(
        name="transformer",
        hidden=64,
        layers=2,
        heads=4,
        ffn=128,
        dropout=0.1,
        positions="sinusoid",
    )
    assert (config.model.head.layers, config.model.head.dropout) == ((64, 32), 0.1)
    assert (config.epochs, config.data.length, config.data.batch_size) == (80, 64, 8)
    optim = config.optim
    assert (optim.name, optim.lr, optim.weight_decay, optim.hold_epochs) == ("adamw", 2e-3, 0.1, 2)
    assert (optim.schedule, optim.by, config.checkpoint) == ("cosine", "step", "best")


@pytest.mark.parametrize(
    "variants",
    ["averages,paper", "averages,transformer", "lstm,gru", "smoke,sbe,se", "valence,paper,au"],
)
def test_variants_that_exclude_each_other_are_refused(variants):
    with pytest.raises(UserError, match="config variants '.*' and '.*' exclude each other"):
        load(f"configs/mtl.py:{variants}")


def smoked(system):
    """Every variant in small."""
    known = importlib.import_module(f"configs.{system}").VARIANTS
    return [f"configs/{system}.py:{name},smoke" for name in known if name != "smoke"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(*smoked("mtl"), *smoked("va"), "configs/mtl.py:hsf,lstm,smoke"),
        *("configs/mtl.py:se,hsf,smoke", "configs/ras_audio.py:smoke"),
    ],
)
def test_every_variant_trains_on_its_twin(name, tmp_path):
    config = load(name)
    if not config.data.root:
        pytest.skip(f"{name} is for a store of one's own")
    system, run = systems.build(config), Run(tmp_path)
    check(system)
    state = train(system, run)
    records = run.records()
    assert int(state.position) == config.epochs == len(records) == 2
    assert all(np.isfinite(list(record["loss"].values())).all() for record in records)
    if config.data.split:
        scores = records[-1]["scores"][config.data.split]
        assert set(config.monitor) <= set(scores)
