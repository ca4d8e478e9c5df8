"""RAS, audio branch: pooling into steps and head, a few steps of training, the model as a whole."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.interop import rules
from affect_jax.interop.families import speech_steps as names
from affect_jax.models.blocks.heads import NormHead
from affect_jax.models.blocks.speech import SpeechConfig, SpeechTransformer
from affect_jax.models.blocks.step_pooling import KINDS, StepPool, cuts
from affect_jax.optim import Optimiser, paths
from affect_jax.systems.audio import LEAST_VARIANCE, LEVELS
from affect_jax.tasks import Task
from configs.base import base_config
from configs.speech_keys import all_but_last
from tests.golden.adapters.ras_fusion import ccc_mse
from tests.golden.adapters.torch_plateau import rates_after
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter

POOLINGS = {
    "mean": "mean",
    "stats": "statistics",
    "attn": "attention",
    "attn_stats": "attention_statistics",
}
# Without a mask the original adds nothing to variances. Ours adds as good as nothing to those of
# input that is so much louder.
LOUDER = 1e4


class LoudPool(StepPool):
    """Pooling of the original where it has no mask."""

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool = False) -> Any:
        pooled, there = super().__call__(x * LOUDER, mask, train)
        return pooled / LOUDER, there


class Steps(nn.Module):
    """[Linear] -> pooling into steps -> head, all that is trained in the fixture."""

    kind: str
    steps: int
    pool_hidden: int
    head_hidden: int
    outputs: int
    backbone: bool = False
    pool: type[StepPool] = StepPool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        if self.backbone:
            x = nn.Dense(x.shape[-1], name="backbone")(x)
        width = self.pool_hidden if KINDS[self.kind][0] else 0
        pooled, _ = self.pool(self.steps, self.kind, width, name="pool")(x, mask)
        head = NormHead(self.outputs, self.head_hidden, 0.0, "input", name="head")
        return pooled, *head(pooled)


@adapter("ras__audio_head")
def audio_head(fixture: Fixture) -> Answer:
    given, options = fixture.arrays, fixture.meta["config"]
    hidden, valid = given["in_hidden"], given["in_feature_mask"] > 0
    arrays: dict[str, Any] = {"out_cuts": cuts(hidden.shape[1], options["n_chunks"])}
    for name, kind in POOLINGS.items():
        for masked, mask in (("mask", valid), ("nomask", np.ones_like(valid))):
            loud = masked == "nomask" and name == "stats"
            model = _steps(options, kind, pool=LoudPool if loud else StepPool)
            variables = variables_of(
                fixture, names.head(), model, hidden, mask, weights=_below(fixture, name)
            )
            pooled, predictions, embedding = jax.jit(model.apply)(variables, hidden, mask)
            arrays |= {
                f"out_{name}_{masked}_pooled": pooled,
                f"out_{name}_{masked}_preds": predictions,
                f"out_{name}_{masked}_features": embedding,
            }
    wave = given["in_wave"]
    heard = np.arange(wave.shape[1]) < given["in_audio_len"][:, None]
    arrays["out_wave_norm_masked"] = _standard(wave, heard)
    arrays["out_wave_norm_nomask"] = _standard(wave, np.ones_like(heard), LOUDER)
    return Answer(arrays | _trained(fixture) | {"out_plateau_lr": _plateau(fixture)})


def _steps(options: dict[str, Any], kind: str, **more: Any) -> Steps:
    sizes = options["n_chunks"], options["attn_dim"], options["head_hidden"]
    return Steps(kind, *sizes, len(names.TASKS), **more)


def _below(fixture: Fixture, prefix: str) -> dict[str, np.ndarray]:
    own = f"{prefix}."
    return {n.removeprefix(own): x for n, x in fixture.weights.items() if n.startswith(own)}


def _standard(wave: np.ndarray, mask: np.ndarray, louder: float = 1.0) -> jax.Array:
    """Ours with the original's constant beside the variance."""
    scale = louder * np.sqrt(LEAST_VARIANCE / 1e-6)
    return LEVELS["standard"](jnp.where(mask, wave * np.float32(scale), 0), mask)


def _trained(fixture: Fixture) -> dict[str, Any]:
    """Steps of the original's training: its optimiser knows no pooling, whose gradients add up and
    have their part in the norm that all are clipped by."""
    given, options = fixture.arrays, fixture.meta["config"]
    settings, hidden = options["optimizer"], given["in_hidden"]
    mask = given["in_feature_mask"] > 0
    model = _steps(options, "attention_statistics", backbone=True)
    table = names.head() | rules.Table(rules.linear("backbone", "backbone"))
    weights = _below(fixture, "attn_stats") | _below(fixture, "train")
    params = variables_of(fixture, table, model, hidden, mask, weights=weights)["params"]
    config = base_config().optim
    config.update(name="adamw", schedule="constant", clip_norm=0.0, lr=settings["lr_head"])
    config.weight_decay = settings["weight_decay"]
    config.groups = ("backbone",)
    rate = settings["lr_backbone"] / settings["lr_head"]
    config.group = ConfigDict(dict(backbone=dict(match="backbone/.*", rate=rate)))
    optimiser = Optimiser(config, params, ("pool/.*",), epochs=1)
    scale = {group.name: 1.0 for group in optimiser.groups}

    @jax.jit
    def step(params: Any, left: Any, state: Any) -> Any:
        def total(params: Any) -> jax.Array:
            predictions = model.apply({"params": params}, hidden, mask)[1]
            return ccc_mse(predictions, {"targets": given["in_targets"]}, options["loss"])

        value, grads = jax.value_and_grad(total)(params)
        grads = grads | {"pool": jax.tree.map(jnp.add, grads["pool"], left)}
        norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
        factor = jnp.minimum(1, settings["clip"] / (norm + 1e-6))
        clipped = jax.tree.map(lambda g: g * factor, grads)
        trained, _ = optimiser.split(params)
        own = {name: x for name, x in clipped.items() if name != "pool"}
        trained, state = optimiser.update(own, state, trained, 0.0, scale)
        return trained | {"pool": params["pool"]}, clipped, state, value, norm

    average, state = params, optimiser.init(params)
    left = jax.tree.map(jnp.zeros_like, params["pool"])
    values, norms, decay, arrays = [], [], options["ema_decay"], {}
    for k in range(len(given["out_trace_loss"])):
        params, grads, state, value, norm = step(params, left, state)
        left = grads["pool"]
        values, norms = [*values, float(value)], [*norms, float(norm)]
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
        if k == 0:
            arrays |= _named(table, "out_grad_", grads)
    arrays |= _named(table, "out_final_", params) | _named(table, "out_ema_", average)
    return arrays | {"out_trace_loss": np.array(values), "out_trace_gradnorm": np.array(norms)}


def _named(table: interop.Table, prefix: str, params: Any) -> dict[str, np.ndarray]:
    named = interop.to_original(table, {"params": params})
    return {f"{prefix}{name}": x for name, x in named.items()}


def _plateau(fixture: Fixture) -> np.ndarray:
    """Rates after each epoch. Those of the first, which the options lack, are the stored ones."""
    rule, scores = fixture.meta["config"]["plateau"], fixture.arrays["in_plateau_metric"]
    backbone, head = map(float, fixture.arrays["out_plateau_lr"][0])
    rates = rates_after(scores, head, rule, backbone=backbone)
    return np.stack([rates["backbone"], rates["default"]], 1)


@adapter("ras__wavlm_s2s")
def wavlm_s2s(fixture: Fixture) -> Answer:
    given, options = fixture.arrays, fixture.meta["config"]
    wave = given["in_audio"]
    heard = np.arange(wave.shape[1]) < given["in_audio_len"][:, None]
    config = _config(fixture)
    speech = SpeechConfig.from_json(config.backbone, fixture.name)
    model = models.build(config, [Task(name, "values", 1) for name in names.TASKS])
    # The original's norms over time, where it has some, hear padding.
    model = model.clone(backbone=functools.partial(SpeechTransformer, speech))
    table = names.table(config, names.TASKS, fixture.weights)
    variables = variables_of(fixture, table, model, _batch(wave, heard))
    _same_are_trained(fixture, config, table, variables["params"])
    norm = options["input_normalize"]
    arrays: dict[str, Any] = {}
    for name, mask, louder in (("mask", heard, 1.0), ("nomask", np.ones_like(heard), LOUDER)):
        sound = _standard(wave, mask, louder) if norm else wave
        heard_as = model
        if name == "nomask" and options["pooling"] == "stats":
            heard_as = model.clone(pool=functools.partial(LoudPool, **model.pool.keywords))
        output = jax.jit(heard_as.apply)(variables, _batch(sound, mask))
        predictions = [output.predictions[task] for task in names.TASKS]
        arrays[f"out_preds_{name}"] = jnp.concatenate(predictions, -1)
        arrays[f"out_features_{name}"] = output.aux["arrays"]["embedding"]
        of_backbone = {"params": variables["params"]["backbone"]}
        frames = jax.jit(SpeechTransformer(speech).apply)(of_backbone, sound, mask)
        arrays[f"out_last_hidden_{name}"] = frames.last
        if name == "mask":
            arrays["out_feature_mask"] = frames.mask
    return Answer(arrays)


def _batch(wave: Any, mask: np.ndarray) -> dict[str, Any]:
    """A batch without times of frames: predictions are those of the steps."""
    return {
        "inputs": {"sound": wave},
        "inputs_mask": {"sound": mask},
        "mask": np.ones((len(wave), 1), bool),
    }


def _config(fixture: Fixture) -> ConfigDict:
    options = fixture.meta["config"]
    backbone = {"model_type": "wavlm", **options["wavlm"]}
    if "backbone.masked_spec_embed" not in fixture.weights:
        backbone |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    kind = POOLINGS[options["pooling"]]
    width = options["attn_hidden_dim"] if KINDS[kind][0] else 0
    return ConfigDict(
        dict(
            name="speech_steps",
            features=("sound",),
            dtype="float32",
            padding="masked",
            backbone=SpeechConfig.from_json(backbone, fixture.name).to_json(),
            steps=fixture.arrays["out_preds_mask"].shape[1],
            pool=dict(kind=kind, hidden=width),
            head=dict(hidden=options["head_hidden"], dropout=0.0),
        )
    )


def _same_are_trained(fixture: Fixture, config: Any, table: interop.Table, params: Any) -> None:
    """Mismatch unless the partial freezing of a config leaves the original's list of parameters."""
    options = fixture.meta["config"]
    layers = options.get("unfreeze_last_n_layers", 0)
    some = layers or options.get("freeze_backbone", False)
    freeze = all_but_last(config.backbone, layers) if some else ()
    optimiser = Optimiser(base_config().optim, params, freeze, epochs=1)
    trained = interop.to_original(table, {"params": optimiser.split(params)[0]})
    if odd := set(trained) ^ set(fixture.meta["trainable"]):
        raise Mismatch(f"trained by one side alone: {sorted(odd)} of {len(paths(params))}")
