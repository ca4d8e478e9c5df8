"""Faces of team RAS: letterbox, frame encoder, its features, and Grad-CAM through both models."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from affect_jax import models
from affect_jax.interop.families import image as names
from affect_jax.tasks import Task
from data_pipelines import images
from tests.golden.adapters.rlps_models import batch_of
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, adapter

MEAN, STD = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
TASKS = ("expression", "valence", "arousal")


def tasks_of(emotions: int) -> tuple[Task, ...]:
    return (Task("expression", "classes", emotions), *(Task(t, "values", 1) for t in TASKS[1:]))


def heads_of(output: models.Output) -> dict[str, Any]:
    """What the original's encoder gives: embedding, probabilities of emotions, both values."""
    found = output.predictions
    return {
        "embedding": output.aux["arrays"]["embedding"],
        "emo_probs": jax.nn.softmax(found["expression"]),
        "va_pred": np.concatenate([found[task] for task in TASKS[1:]], -1),
    }


@adapter("ras__grada_small")
def grada_small(fixture: Fixture) -> Answer:
    given, arrays = fixture.meta["constructor"], {}
    kernels, stages = fixture.weights, []
    for i, s in enumerate(given["stages"], 1):
        expand = s["expand_ratio"]
        # torchvision rounds the channels that it is given to multiples of eight.
        narrow = kernels[f"model.features.{i}.0.block.{3 if expand > 1 else 2}.0.weight"]
        stages.append((expand, s["kernel"], s["stride"], len(narrow), s["num_layers"]))
    backbone = dict(stem=len(kernels["model.features.0.0.weight"]), stages=tuple(stages))
    backbone |= dict(name="efficientnet_b1", last=given["last_channel"])
    config = ConfigDict(dict(name="image", features=("face",), dropout=0.0, dtype="float32"))
    config.backbone, config.feature = ConfigDict(backbone), given["embedding"]
    config.feature_norm, config.activation = True, "tanh"
    model = models.build(config, tasks_of(given["emotions"]))
    weights = names.by_row(fixture.weights)
    table = names.table(config, TASKS, weights)
    for name, pictures in fixture.arrays.items():
        if not name.startswith("in_image_"):
            continue
        batch, case = batch_of(np.moveaxis(pictures, 1, -1)), name.removeprefix("in_image_")
        variables = variables_of(fixture, table, model, batch, weights=weights)

        @jax.jit
        def run(variables: Any, batch: Any) -> Any:
            return model.apply(variables, batch, capture_intermediates=True)

        output, state = run(variables, batch)
        seen = state["intermediates"]["backbone"]
        arrays[f"out_pooled_{case}"] = seen["__call__"][0]
        last = np.moveaxis(seen["last"]["__call__"][0], -1, 1)
        arrays[f"out_last_map_{case}"] = last
        arrays |= {f"out_{key}_{case}": x for key, x in heads_of(output).items()}
    return Answer(arrays)


@adapter("ras__face_preprocess")
def face_preprocess(fixture: Fixture) -> Answer:
    arrays: dict[str, Any] = {}
    for case in fixture.meta["cases"]:
        i, picture = case["case"], fixture.arrays[f"in_image_{case['case']}"]
        canvas, box = images.letterboxed(Image.fromarray(picture), case["expected_size"])
        arrays[f"out_canvas_{i}"] = np.asarray(canvas)
        arrays[f"out_bbox_{i}"] = np.array(box)
        arrays[f"out_tensor_{i}"] = np.moveaxis(normalised(canvas), -1, 0)
    return Answer(arrays)


def normalised(canvas: Any) -> np.ndarray:
    """float32 [S, S, 3]: the original feeds pictures so, black stripes included."""
    return (np.asarray(canvas, np.float32) / 255 - MEAN) / STD
