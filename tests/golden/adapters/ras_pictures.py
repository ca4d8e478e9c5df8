"""Faces and descriptions of team RAS: letterbox, frame encoder, Grad-CAM, pooling of tokens."""

from __future__ import annotations

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from affect_jax import gradcam, models
from affect_jax.interop import rules
from affect_jax.interop.families import image as names
from affect_jax.interop.families import multitask as temporal_names
from affect_jax.interop.rules import Table
from affect_jax.models.image import ImageModel
from affect_jax.tasks import Task
from configs.base import multitask_model
from data_pipelines import images
from data_pipelines.descriptions import clean, pooled, token_mask
from data_pipelines.nearest_frames import nearest_frames
from tests.golden.adapters.rlps_models import batch_of
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, adapter

MEAN, STD = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
TASKS = ("expression", "valence", "arousal")


def tasks_of(emotions: int) -> tuple[Task, ...]:
    return (Task("expression", "classes", emotions), *(Task(t, "values", 1) for t in TASKS[1:]))


def heads_of(output: models.Output) -> dict[str, Any]:
    """Outputs of the original's encoder: embedding, probabilities of emotions, both values."""
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


class StandIn(nn.Module):
    """The fixtures' backbone: two convolutions; attributes are the shapes of their kernels."""

    sizes: tuple[tuple[int, ...], ...]
    halvings = 0

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        (size, _, *window), (last, _, *around) = self.sizes
        x = jnp.tanh(nn.Conv(size, window, window, "VALID", name="conv")(x))
        padding = [(side // 2, side // 2) for side in around]
        return nn.silu(nn.Conv(last, around, padding=padding, name="conv2")(x)).mean((1, 2))


def frame_encoder(
    fixture: Fixture, weights: dict[str, np.ndarray], pictures: Any
) -> tuple[ImageModel, Any]:
    """(model, variables) of the stand-in."""
    sizes = tuple(weights[f"model.{name}.weight"].shape for name in ("conv", "conv2"))
    model = ImageModel(
        stream="face",
        backbone=lambda name: StandIn(sizes, name=name),
        feature=len(weights["embeddings_layer.weight"]),
        dropout=0.0,
        sizes={task.name: task.size for task in tasks_of(len(weights["classifier.weight"]))},
        feature_norm=True,
        activation=nn.tanh,
    )
    own = names.behind(TASKS)
    for name in ("conv", "conv2"):
        own += rules.conv(f"model.{name}", f"backbone/{name}")
    weights = names.by_row(weights)
    return model, variables_of(fixture, Table(own), model, batch_of(pictures[:1]), weights=weights)


@adapter("ras__face_extract")
def face_extract(fixture: Fixture) -> Answer:
    """Features by video, of frames that have a picture, in their order."""
    config, arrays = fixture.meta["config"], {}
    for file in fixture.meta["annotation_files"]:
        start = f"in_img_{file.removesuffix('.txt')}_f"
        frames = sorted(int(n.removeprefix(start)) for n in fixture.arrays if n.startswith(start))
        if not frames:
            continue
        pictures = [fixture.arrays[f"{start}{frame}"] for frame in frames]
        fed = np.stack([fed_of(picture, config["expected_size"]) for picture in pictures])
        model, variables = frame_encoder(fixture, fixture.weights, fed)
        found = heads_of(jax.jit(model.apply)(variables, batch_of(fed)))
        out = f"out_{file.removesuffix('.txt')}_"
        arrays[f"{out}frames"] = np.array(frames, np.int32)
        arrays[f"{out}features"] = found.pop("embedding")
        arrays |= {f"{out}{name}": x for name, x in found.items()}
    return Answer(arrays)


def fed_of(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture as it is fed."""
    return normalised(images.letterboxed(Image.fromarray(picture), size)[0])


def window(count: int, position: int, width: int) -> tuple[int, int]:
    """(start, stop) of `width` of `count` frames, or of all, around a position as the middle."""
    width = min(width, count)
    start = min(max(position - width // 2, 0), count - width)
    return start, start + width


@adapter("ras__gradcam")
def through_time(fixture: Fixture) -> Answer:
    given, config, arrays = fixture.arrays, fixture.meta["config"], {}
    frames = np.array(config["video_frames"])
    size = config["expected_size"]
    black = np.zeros((size, size, 3), np.uint8)
    fed = np.stack([fed_of(given.get(f"in_img_f{frame}", black), size) for frame in frames])
    parts: dict[str, dict[str, np.ndarray]] = {"grada": {}, "temporal": {}}
    for name, x in fixture.weights.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = x
    encoder, own = frame_encoder(fixture, parts["grada"], fed)
    temporal, reader = _temporal(fixture, parts["temporal"])

    def encoded(x: Any) -> tuple[Any, Any]:
        output = encoder.apply(own, batch_of(x))
        return output.aux["arrays"]["embedding"], output.predictions

    def predicted(embedding: Any) -> Any:
        batch = {"inputs": {"face": embedding[None]}, "mask": jnp.ones((1, len(embedding)), bool)}
        return {task: y[0] for task, y in temporal.apply(reader, batch).predictions.items()}

    @jax.jit
    def explained(x: Any, place: Any, outputs: Any) -> Any:
        embedding, static = encoded(x)
        found = {"pred": predicted(embedding), "static_pred": static}
        score = lambda y: (y[place] * outputs).sum()  # noqa: E731
        joined = lambda y: jnp.concatenate([y[task] for task in TASKS[1:]], -1)  # noqa: E731
        by_frame = gradcam.importance(jax.grad(lambda e: score(joined(predicted(e))))(embedding))
        frame_wise = lambda x: score(joined(encoded(x)[1]))  # noqa: E731
        through = lambda x: score(joined(predicted(encoded(x)[0])))  # noqa: E731
        static_cam, dynamic = (
            gradcam.cam(*gradcam.map_and_gradient(one, x)) for one in (frame_wise, through)
        )
        maps = {"static": static_cam, "dynamic": dynamic, "joint": gradcam.joint(by_frame, dynamic)}
        return found, by_frame, maps

    for case in config["cases"]:
        i = case["case"]
        at = int(nearest_frames(case["target_frame"], frames))
        start, stop = window(len(frames), at, config["window_length"])
        place, shown = at - start, frames[start:stop]
        outputs = np.float32([task == case["output"] for task in TASKS[1:]])
        found, by_frame, maps = explained(fed[start:stop], place, outputs)
        for name, y in found.items():
            arrays |= {f"out_{name}_{task}_{i}": y[task][:, 0] for task in TASKS[1:]}
        arrays |= {f"out_{name}_cam_mean_{i}": x.mean((1, 2)) for name, x in maps.items()}
        kept = gradcam.shown(np.asarray(by_frame), place, config["max_output_frames"])
        arrays |= {
            f"out_window_frames_{i}": shown,
            f"out_temporal_importance_{i}": by_frame,
            f"out_target_pos_{i}": np.array(place),
            f"out_saved_static_cams_{i}": maps["static"][kept],
            f"out_saved_joint_cams_{i}": maps["joint"][kept],
            f"out_files_{i}": np.array(
                [
                    f"{n:03d}_{'target' if p == place else 'ctx'}_f{shown[p]:05d}_p{p:03d}"
                    f"_imp{by_frame[p]:.3f}.png"
                    for n, p in enumerate(kept)
                ]
            ),
        }
    frames = given["in_uniform_frames"]
    for name in given:
        if name.startswith("out_uniform_k"):
            k = int(name.removeprefix("out_uniform_k"))
            arrays[name] = frames[gradcam.uniform(len(frames), k)]
    windows = []
    for asked, width in given["in_select"]:
        # 0: the frame in the middle, and all frames.
        at = int(nearest_frames(asked, frames)) if asked else len(frames) // 2
        start, stop = window(len(frames), at, width or len(frames))
        windows.append([frames[start], frames[stop - 1], stop - start, at - start])
    return Answer(arrays | {"out_select": np.array(windows)})


def _temporal(fixture: Fixture, weights: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """(model, variables) of the temporal model."""
    given, config = fixture.meta["constructor"], multitask_model()
    config.features = ("face",)
    config.structure = ConfigDict(dict(name="joint"))
    config.encoder = ConfigDict(dict(name="dynamic", dropout=0.0))
    config.encoder.update(hidden=given["hidden_dim"], ffn=given["hidden_dim"])
    config.encoder.update(heads=given["num_heads"], layers=given["tr_layers"])
    hidden = given["hidden_dim"] if given["head_type"] == "mlp" else 0
    config.head = ConfigDict(dict(name="norm", hidden=hidden, dropout=0.0))
    model = models.build(config, tasks_of(1)[1:])
    batch = {
        "inputs": {"face": np.zeros((1, 2, given["input_dim"]), np.float32)},
        "mask": np.ones((1, 2), bool),
    }
    table = temporal_names.table(config, TASKS[1:], weights)
    return model, variables_of(fixture, table, model, batch, weights=weights)


@adapter("ras__desc_pooling")
def desc_pooling(fixture: Fixture) -> Answer:
    given, arrays = fixture.arrays, {}
    for name in given:
        if name.startswith("in_hidden_"):
            case = name.removeprefix("in_hidden_")
            for statistic, x in pooled(given[name], given[f"in_mask_{case}"]).items():
                arrays[f"out_{statistic}_{case}"] = x
                arrays[f"out_{statistic}_f16_{case}"] = x.astype(np.float16)
    # The original ends every text with a full stop, whatever mark is there.
    cleaned = [clean(text) for text in given["in_text"]]
    arrays["out_text"] = np.array([t if t.endswith(".") or not t else f"{t}." for t in cleaned])
    note = next(note for note in fixture.meta["notes"] if "vision start/end" in note)
    found = [int(x) for x in re.findall(r"\d+", note)]
    for name, tokens in (("plain", found[:2]), ("with_video_id", found)):
        arrays[f"out_marker_ids_{name}"] = np.sort(tokens)
        arrays[f"out_visual_mask_{name}"] = token_mask(given["in_ids"], *tokens)
    halves = re.findall(r"case (\d+) was computed in bfloat16", " ".join(fixture.meta["notes"]))
    return Answer(arrays, {f"out_*_{case}": "ours sums in float32" for case in halves})
