"""Config of fusion: modalities and their streams, the published sizes, their original's names."""

import jax
import numpy as np
import pytest

from affect_jax import interop, models
from affect_jax.config import load, override
from affect_jax.interop.families import fusion
from affect_jax.tasks import tasks_from_config
from data_pipelines.errors import UserError


def test_features_follow_the_streams_of_the_modalities():
    config = load("configs/ras_fusion.py")
    assert config.model.features == ("behaviour", "face")
    override(config, [("model.streams.audio", "audio/valence"), ("model.streams.face", "a,b")])
    assert config.model.features == ("audio/valence", "behaviour", "a", "b")
    override(config, [("model.streams.behaviour", "")])
    assert config.model.features == ("audio/valence", "a", "b")


def original(spec, *changes):
    """(config, tasks, shapes of the variables, our variables) of a config, every feature 6 wide."""
    config = load(spec)
    override(config, changes)
    tasks = tasks_from_config(config)
    inputs = {name: np.zeros((2, 8, 6), np.float32) for name in config.model.features}
    batch = {"inputs": inputs, "mask": np.ones((2, 8), bool)}
    model = models.build(config.model, tasks)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    ours = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    return config, [task.name for task in tasks], shapes, ours


@pytest.mark.parametrize("spec", ["raav,branches,paper", "raav,paper", "cross,paper"])
def test_published_models_are_written_and_read_by_the_originals_names(spec):
    config, tasks, shapes, ours = original(f"configs/ras_fusion.py:{spec}")
    theirs = fusion.to_original(config.model, tasks, ours)
    # As the original's own configs call the modality.
    name = "llm_multimodal_featuress" if spec.startswith("cross") else "qwen_mm"
    theirs = {key.replace(".behaviour.", f".{name}."): x for key, x in theirs.items()}
    table = fusion.table(config.model, tasks, theirs)
    back, report = interop.to_variables(table, theirs, shapes)
    assert report.complete, report
    jax.tree.map(np.testing.assert_array_equal, back, ours)
    priors = [x for key, x in theirs.items() if "log_priors" in key]
    if spec == "raav,branches,paper":
        np.testing.assert_allclose(np.exp(priors[0]), [0.15, 0.85], rtol=1e-6)


def test_a_mixture_has_no_original():
    config = load("configs/ras_fusion.py")
    with pytest.raises(UserError, match="fuser.name = 'experts': team RAS's original has cross"):
        fusion.table(config.model, ("valence", "arousal"), {})


def test_systems_that_hear_are_context_for_those_that_see():
    config = load("configs/ras_fusion.py:avec2019,raav")
    assert len(config.model.features) == 9 and len(config.model.fuser.tokens) == 5
    assert (config.data.train_split, config.data.split, config.checkpoint) == ("fit", "", "last")
