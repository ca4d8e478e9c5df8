"""What the variants of configs/vocal_bursts.py stand for."""

import dataclasses

import jax.numpy as jnp
import pytest

from affect_jax import systems
from affect_jax.config import load
from affect_jax.models.blocks.speech import SpeechConfig
from affect_jax.models.blocks.speech.chosen import speech_config
from affect_jax.optim import Optimiser
from configs.vocal_bursts import HEADS, SCORES, WEIGHTINGS
from data_pipelines.bursts import DEFINITIONS
from data_pipelines.errors import UserError


def of(variants):
    return load(f"configs/vocal_bursts.py:{variants}")


def test_the_papers_recipe_trains_the_backbone_at_a_hundredth_of_the_rate_and_halves_both():
    config = of("chain,dwa,paper")
    params = {part: {"kernel": jnp.zeros(2)} for part in ("backbone", "head")}
    optimiser = Optimiser(config.optim, params, epochs=config.epochs)
    state = optimiser.fresh_plateau()
    for _ in range(2 + config.optim.patience):
        state = optimiser.evaluated(state, 0.5, 0.5, 1)
    rates = optimiser.rates(0.0, state["scale"])
    assert rates == {"backbone": pytest.approx(5e-6), "default": pytest.approx(5e-4)}
    assert (config.optim.name, config.data.batch_size, config.epochs) == ("adamw", 8, 30)
    assert (config.model.head.name, config.weighting) == ("chain", "dwa")


def test_the_papers_backbone_is_wav2vec2_base_and_its_features_are_masked():
    got, base = speech_config(of("paper").model.backbone), SpeechConfig(model_type="wav2vec2")
    differ = {
        f.name for f in dataclasses.fields(got) if getattr(got, f.name) != getattr(base, f.name)
    }
    of_training = {"activation_dropout", "feat_proj_dropout", "layerdrop", "mask_feature_prob"}
    assert differ == of_training and got.mask_feature_prob == 0.05


def test_the_released_code_weighs_the_dimensions_of_a_task_by_the_same_rule():
    inside = {name: of(f"{name},script").task.high.weighting for name in WEIGHTINGS}
    assert inside == {name: name for name in WEIGHTINGS} | {"fixed": ""}
    assert of("druw,script").task.culture.weighting == "druw" == of("druw,paper").weighting
    assert of("druw,paper").task.culture.weighting == ""


@pytest.mark.parametrize("head", HEADS)
def test_the_tasks_are_those_of_the_challenge_and_their_mean_alone_is_monitored(head):
    config = of(head)
    assert config.tasks == tuple(SCORES) and config.monitor == ("total",)
    assert config.model.head.name == head
    for name in config.tasks:
        assert {k: config.task[name][k] for k in DEFINITIONS[name]} == DEFINITIONS[name]
    assert dict(config.total.terms) == dict.fromkeys(SCORES.values(), 0.25)


@pytest.mark.parametrize("head", HEADS)
def test_some_of_the_tasks_in_any_order_need_no_other_change(head):
    config = of(f"{head},smoke")
    config.tasks = ("high", "type")
    made = systems.build(config).model.head(parent=None)
    assert [(task.name, task.sigmoid) for task in made.tasks] == [("high", True), ("type", False)]


def test_a_squashed_task_that_no_config_defines_is_named():
    config = of("smoke")
    config.model.head.sigmoid = ("hihg", "culture")
    with pytest.raises(UserError, match="head.sigmoid: 'hihg' is no task .* Did you mean 'high'"):
        systems.build(config)
