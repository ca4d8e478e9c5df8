"""Classifiers of FER2013 at full width: VGG-19 and ResNet-18, stage by stage."""

from __future__ import annotations

import re
import zlib
from typing import Any

import jax
import numpy as np

from affect_jax.interop.families import image as names
from affect_jax.models.blocks.vision.layers import halved
from affect_jax.models.blocks.vision.vgg import DEPTHS
from tests.golden.adapters.rlps_models import TASK, batch_of, classifier, seen
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter

WINDOW = 4  # of the original's pooling: of a map of 6 x 6 it takes the first 4 x 4


@adapter("vision__vgg19_bn_full")
def vgg19(fixture: Fixture) -> Answer:
    stages = np.cumsum([0, *(3 * depth + 1 for depth in DEPTHS)])[:-1]
    output, state, _ = _run(fixture, "vgg19", [f"features.{i}.weight" for i in stages])
    logits, features = seen(output)
    arrays = {"out_logits": logits, "out_features": features}
    place, i = 0, 0
    for depth in DEPTHS:
        for _ in range(depth):
            x = jax.nn.relu(state["backbone"][f"norm_{i}"]["__call__"][0])
            arrays[f"out_stage_features_{place + 2}"] = x.mean((1, 2))
            place, i = place + 3, i + 1
        arrays[f"out_stage_features_{place}"] = halved(x).mean((1, 2))
        place += 1
    return Answer(arrays)


@adapter("vision__resnet18_fer")
def resnet18(fixture: Fixture) -> Answer:
    stages = [f"layer{i}.0.conv1.weight" for i in range(1, 5)]
    _, state, params = _run(fixture, "resnet18", stages)
    blocks = {
        name: state["backbone"][f"layer_{name[5]}_{name[7]}"]["__call__"][0]
        for name in fixture.meta["blocks"]
    }
    arrays = {"out_stage_bn1": state["backbone"]["norm_1"]["__call__"][0].mean((1, 2))}
    arrays |= {f"out_stage_{name[:6]}": x.mean((1, 2)) for name, x in blocks.items()}  # the last
    each = [np.float64(x) for x in blocks.values()]
    arrays["out_block_mean"] = np.stack([x.mean((1, 2, 3)) for x in each])
    arrays["out_block_rms"] = np.stack([np.sqrt((x**2).mean((1, 2, 3))) for x in each])
    *_, last = blocks.values()
    output = params[f"task_{TASK}"]
    pooled = last[:, :WINDOW, :WINDOW].mean((1, 2))
    arrays["out_logits"] = pooled @ output["kernel"] + output["bias"]
    return Answer(arrays)


def _run(fixture: Fixture, backbone: str, stages: list[str]) -> tuple[Any, Any, Any]:
    """(output, what stands in between, parameters) on the fixture's pictures.

    Args:
        stages: names of the first kernels of the stages, which say how many channels these have.
    """
    pictures = fixture.arrays["in_image"].astype(np.float32) / 255
    mean, std = (np.float32(fixture.meta["input"][key]) for key in ("mean", "std"))
    batch = batch_of((pictures - mean) / std)
    classes = fixture.meta["constructor"]["num_classes"]
    weights = weights_by_rule(fixture.meta)
    channels = [len(weights[name]) for name in stages]
    config, model = classifier(backbone, 0, classes, channels=channels)
    table = names.table(config, (TASK,), weights)
    variables = variables_of(fixture, table, model, batch, weights=weights)
    run = jax.jit(lambda variables: model.apply(variables, batch, capture_intermediates=True))
    output, state = run(variables)
    return output, state["intermediates"], variables["params"]


def weights_by_rule(meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """The state dict that meta.json describes, made from the names of its tensors.

    Raises:
        Mismatch: it is not the one whose sums meta.json has.
    """
    weights = {name: _drawn(name, tuple(shape), meta) for name, shape in meta["tensors"]}
    check = meta["weights_check"]
    sums = {
        "sum": sum(x.sum(dtype=np.float64) for x in weights.values()),
        "sum_abs": sum(np.abs(x).sum(dtype=np.float64) for x in weights.values()),
    }
    for key, value in sums.items():
        if not np.isclose(value, check[key], rtol=1e-9):
            raise Mismatch(f"weights_check: {key} is {value}, not {check[key]}")
    return weights


def _drawn(name: str, shape: tuple[int, ...], meta: dict[str, Any]) -> np.ndarray:
    seed = zlib.crc32(name.encode()) + meta["weights_seed"]
    x = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    rule = next(
        rule
        for rule in meta["rules"]
        if re.search(rule["match"], name) and rule.get("ndim", len(shape)) == len(shape)
    )
    std = rule["std"] / np.sqrt(np.prod(shape[1:])) if rule.get("fan_in") else rule["std"]
    return (rule["mean"] + std * (np.abs(x) if rule.get("abs") else x)).astype(np.float32)
