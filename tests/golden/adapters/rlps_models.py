"""Classifiers of RLPS: the six-convolution network, and VGG-19 with its ten crops and training."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, losses, models
from affect_jax.augment_images import centre, ten_crops
from affect_jax.interop.families import image as names
from affect_jax.interop.rules import Rule, Table
from affect_jax.optim import Optimiser
from affect_jax.tasks import Task
from configs.fer2013 import get_config
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, adapter

TASK = "expression"


def classifier(backbone: str, feature: int, classes: int, **options: Any) -> Any:
    """(config.model, the module) without dropout, which the traces are made without."""
    config = ConfigDict(dict(name="image", features=("face",), dropout=0.0, dtype="float32"))
    config.backbone = ConfigDict(dict(name=backbone, **{k: tuple(v) for k, v in options.items()}))
    config.feature = feature
    return config, models.build(config, (Task(TASK, "classes", classes),))


def batch_of(pictures: Any) -> dict[str, Any]:
    """A batch of pictures or of their views: uint8 is divided by 255."""
    x = jnp.asarray(pictures)
    x = x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
    return {"inputs": {"face": x}, "mask": jnp.ones(len(x), bool)}


def seen(output: models.Output) -> tuple[jax.Array, jax.Array]:
    """(logits, feature)."""
    return output.predictions[TASK], output.aux["arrays"]["embedding"]


@adapter("rlps__six_conv_cnn")
def six_conv(fixture: Fixture) -> Answer:
    config, given = fixture.meta["config"], fixture.arrays
    size, classes = config["feature_dim"], config["num_classes"]
    widths, pooled = config["conv_widths"], config["pool_after_conv"]
    _, model = classifier("six_conv", size, classes, channels=widths, pooled=pooled)
    batch, labels = batch_of(given["in_images"]), given["in_labels"]
    table = _six_conv_names(fixture.weights["conv_0.kernel"].shape[2])
    variables = variables_of(fixture, table, model, batch)

    @jax.jit
    def run(params: Any) -> Any:
        def loss(params: Any) -> Any:
            output, state = model.apply({"params": params}, batch, capture_intermediates=True)
            logits, feature = seen(output)
            value = losses.LOSSES["ce"](logits, labels, jnp.ones(len(labels), bool))
            before = state["intermediates"]["feature"]["__call__"][0]
            return value, (logits, feature, before)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, (logits, feature, before)), grads = run(variables["params"])
    grads = interop.to_original(table, {"params": grads})
    arrays = {
        "out_dense_0_before_relu": before,
        "out_feature": feature,
        "out_logits": logits,
        "out_probs": jax.nn.softmax(logits),
        "out_loss": value,
    }
    arrays |= {f"out_grad_{name.replace('.', '_')}": x for name, x in grads.items()}
    return Answer(arrays)


def _six_conv_names(channels: int) -> Table:
    """Names of the fixture, whose layouts are ours.

    Ours sees a grey picture as three equal channels, and a kernel of one channel reads the first.
    """
    places = {"conv_{i}": "backbone/conv_{i}", "dense_0": "feature", "dense_1": f"task_{TASK}"}
    others = [(0, 0), (0, 0), (0, 3 - channels), (0, 0)]
    first = Rule(
        "conv_0.kernel",
        "backbone/conv_0/kernel",
        lambda x: np.pad(x, others),
        lambda x: x[:, :, :channels],
    )
    same = (
        Rule(f"{name}.{part}", f"{path}/{part}")
        for name, path in places.items()
        for part in ("kernel", "bias")
    )
    return Table((first, *same))


@adapter("rlps__vgg19_bn")
def vgg19(fixture: Fixture) -> Answer:
    given = fixture.arrays
    classes = len(fixture.weights["classifier.bias"])
    channels = fixture.meta["config"]["channels"]["here"]
    config, model = classifier("vgg19", 0, classes, channels=channels)
    pictures = given["in_images_uint8"]
    table = names.table(config, (TASK,), fixture.weights)
    variables = variables_of(fixture, table, model, batch_of(pictures[:1]))
    run = jax.jit(lambda x: seen(model.apply(variables, batch_of(x))))
    arrays: dict[str, Any] = {}
    for name, x in fixture.outputs.items():
        if side := re.fullmatch(r"out_logits_topleft(\d+)", name):
            corner = pictures[: len(x), : int(side[1]), : int(side[1])]
            logits, feature = run(corner)
            arrays |= {name: logits, name.replace("logits", "features"): feature}
    stored = given["out_ten_crops_uint8"]
    crops = ten_crops(pictures[: len(stored), ..., None], stored.shape[-1])
    arrays["out_ten_crops_uint8"] = crops[..., 0]
    arrays["out_ten_crop_mean_logits"] = run(crops)[0]
    each = run(crops.reshape(-1, *crops.shape[2:]))[0]
    arrays["out_ten_crop_logits"] = each.reshape(*crops.shape[:2], -1)
    return Answer(arrays | _trained(fixture, model, table, variables, stored.shape[-1]))


def _trained(
    fixture: Fixture, model: Any, table: Table, variables: Any, side: int
) -> dict[str, Any]:
    """Losses, rates, first gradients, and what is left after some updates of the recipe."""
    given, recipe = fixture.arrays, get_config("ten_crop")
    pictures = centre(given["in_images_uint8"][..., None], side)
    optimiser = Optimiser(recipe.optim, variables["params"], epochs=recipe.epochs)
    params, statistics = variables["params"], variables["batch_stats"]
    state, scale = optimiser.init(params), optimiser.fresh_plateau()["scale"]

    def loss(params: Any, statistics: Any, x: Any, labels: Any) -> Any:
        variables = {"params": params, "batch_stats": statistics}
        output, updated = model.apply(variables, batch_of(x), train=True, mutable=["batch_stats"])
        value = losses.LOSSES["ce"](seen(output)[0], labels, jnp.ones(len(labels), bool))
        return value, updated["batch_stats"]

    @jax.jit
    def step(params: Any, statistics: Any, state: Any, epoch: Any, x: Any, labels: Any) -> Any:
        by_params = jax.value_and_grad(loss, has_aux=True)
        (value, statistics), grads = by_params(params, statistics, x, labels)
        params, state = optimiser.update(grads, state, params, epoch, scale)
        return params, statistics, state, value, grads

    value_of, rows = jax.jit(lambda *given: loss(*given)[0]), 0
    arrays, values, rates = {}, [], []
    for epoch, stored in zip(np.float32(given["in_train_epochs"]), given["out_train_losses"]):
        now = functools.partial(value_of, params, statistics)
        batch = _batch(now, pictures, given["in_labels"], rows, float(stored))
        rows = len(batch[0])
        params, statistics, state, value, grads = step(params, statistics, state, epoch, *batch)
        values.append(value)
        rates.append(optimiser.rates(epoch, scale)["default"])
        if len(values) == 1:
            first = interop.to_original(table, {"params": grads})
            arrays |= {f"out_grad_{name}_step0": x for name, x in first.items()}
    left = interop.to_original(table, {"params": params, "batch_stats": statistics})
    arrays |= {f"out_final_{name}": x for name, x in left.items()}
    return arrays | {"out_train_losses": np.stack(values), "out_train_lrs": np.stack(rates)}


def _batch(
    loss: Callable[[Any, Any], Any], pictures: Any, labels: Any, rows: int, stored: float
) -> tuple[Any, Any]:
    """Pictures and labels that a step was trained on: those of its stored loss.

    No array says which they are. They follow each other.

    Args:
        rows: how many they are; 0: any number. Half of all and powers of two are tried first.
    """
    total, misses = len(pictures), {}
    likely = sorted(range(1, total + 1), key=lambda n: (n != total // 2, n.bit_count() > 1, -n))
    for size in [rows] if rows else likely:
        for first in range(total - size + 1):
            at = slice(first, first + size)
            miss = abs(float(loss(pictures[at], labels[at])) - stored)
            if miss < 1e-5 * (1 + stored):
                return pictures[at], labels[at]
            misses[miss] = at
    return pictures[misses[min(misses)]], labels[misses[min(misses)]]
