"""Classifiers of RLPS: the six-convolution network, and VGG-19 with its ten crops and training."""

from __future__ import annotations

import re
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
    variables = variables_of(fixture, _six_conv_names(), model, batch)

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
    grads = interop.to_original(_six_conv_names(), {"params": grads})
    arrays = {
        "out_dense_0_before_relu": before,
        "out_feature": feature,
        "out_logits": logits,
        "out_probs": jax.nn.softmax(logits),
        "out_loss": value,
    }
    arrays |= {f"out_grad_{name.replace('.', '_')}": x for name, x in grads.items()}
    return Answer(arrays)


def _six_conv_names() -> Table:
    """Names of the fixture, whose layouts are ours."""
    places = {"conv_{i}": "backbone/conv_{i}", "dense_0": "feature", "dense_1": f"task_{TASK}"}
    return Table(
        tuple(
            Rule(f"{name}.{part}", f"{path}/{part}")
            for name, path in places.items()
            for part in ("kernel", "bias")
        )
    )


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
    n, hop, rows = _rows(fixture)
    optimiser = Optimiser(recipe.optim, variables["params"], epochs=recipe.epochs)
    params, statistics = variables["params"], variables["batch_stats"]
    state, scale = optimiser.init(params), optimiser.fresh_plateau()["scale"]

    @jax.jit
    def step(params: Any, statistics: Any, state: Any, epoch: Any, x: Any, labels: Any) -> Any:
        def loss(params: Any) -> Any:
            variables = {"params": params, "batch_stats": statistics}
            output, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
            value = losses.LOSSES["ce"](seen(output)[0], labels, jnp.ones(len(labels), bool))
            return value, updated["batch_stats"]

        (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(params)
        params, state = optimiser.update(grads, state, params, epoch, scale)
        return params, statistics, state, value, grads

    arrays, values, rates = {}, [], []
    for s, epoch in enumerate(given["in_train_epochs"]):
        chosen = slice(s % n * hop, s % n * hop + rows)
        x = batch_of(centre(given["in_images_uint8"][chosen, ..., None], side))
        labels = given["in_labels"][chosen]
        epoch = np.float32(epoch)
        params, statistics, state, value, grads = step(params, statistics, state, epoch, x, labels)
        values.append(value)
        rates.append(optimiser.rates(epoch, scale)["default"])
        if s == 0:
            first = interop.to_original(table, {"params": grads})
            arrays |= {f"out_grad_{name}_step0": x for name, x in first.items()}
    left = interop.to_original(table, {"params": params, "batch_stats": statistics})
    arrays |= {f"out_final_{name}": x for name, x in left.items()}
    return arrays | {"out_train_losses": np.stack(values), "out_train_lrs": np.stack(rates)}


def _rows(fixture: Fixture) -> tuple[int, int, int]:
    """(n, hop, rows): step s is trained on `rows` pictures from the one with number (s % n) hop."""
    note = next(note for note in fixture.meta["notes"] if note.startswith("Training trace"))
    found = re.search(r"rows \(s%(\d+)\)\*(\d+) \.\. \(s%\d+\)\*\d+\+(\d+)", note)
    return tuple(map(int, found.groups()))
