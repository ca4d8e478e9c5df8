"""RAS, face branch: records of a model on windows of features, as its export writes them."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.tasks import Task
from data_pipelines.overlap import reconstruct
from data_pipelines.records import FrameRecords, read_frames, write_frames
from data_pipelines.rows import windows
from tests.golden.adapters.ras_face_frames import ccc_of
from tests.golden.adapters.ras_windows import ANY, Track, lines_of, windows_of
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}
NO_LABELS = (-5, 5)


@adapter("ras__face_export")
def face_export(fixture: Fixture) -> Answer:
    """Ours also has records of frames without a label; the original calls 5 a missing one too."""
    arrays: dict[str, Any] = {}
    forward = _model(fixture)
    for split, texts in fixture.meta["annotation_files"].items():
        short = {folder: name for name, folder in FOLDERS.items()}[split]
        records = _records(fixture, forward, texts, short)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{short}.pkl"
            write_frames(path, records)
            read = read_frames(path)
        keys = [f"{track}/{image:05d}.jpg" for track, one in read.items() for image in one.frames]
        arrays[f"out_{short}_keys"] = np.array(keys)
        for what in ("embedding", "prediction", "label"):
            arrays[f"out_{short}_{what}"] = np.concatenate(
                [getattr(x, what) for x in read.values()]
            )
        scores = ccc_of(arrays[f"out_{short}_prediction"], arrays[f"out_{short}_label"])
        arrays[f"out_{short}_metrics"] = np.array([*scores, scores.mean()])
    return Answer(arrays)


def _records(
    fixture: Fixture,
    forward: Callable[..., dict[str, jax.Array]],
    texts: dict[str, str],
    split: str,
) -> dict[str, FrameRecords]:
    config, tracks = fixture.meta["config"], {}
    for name in sorted(texts):
        video = name.removesuffix(".txt")
        images, labels = zip(*lines_of(texts[name]))
        cache = (
            fixture.arrays[f"in_cache_{split}_{video}_{key}"] for key in ("frames", "features")
        )
        tracks[video] = Track(np.array(images), np.array(labels, np.float32), *cache)
    gap = ANY if config[f"allow_nearest_{split}"] else 0.0
    batch = windows_of(tracks, gap, config["window_length"], config["hop_length"])
    rows = windows(
        [len(one.images) for one in tracks.values()], config["window_length"], config["hop_length"]
    )
    mask = np.arange(rows.length) < rows.sizes[:, None]
    out = forward(batch["features"], mask)
    records = {}
    for i, (video, one) in enumerate(tracks.items()):
        own, total = np.flatnonzero(rows.track == i), len(one.images)
        made = {
            what: reconstruct(rows, own, np.asarray(x)[own], total)
            for what, x in (out | {"missing": batch["missing_mask"][..., None]}).items()
        }
        kept = (np.isfinite(one.labels) & ~np.isin(one.labels, NO_LABELS)).all(1)
        kept &= made["missing"][:, 0] == 0
        if kept.any():
            arrays = (x[kept] for x in (made["embedding"], made["pred"], one.labels))
            records[video] = FrameRecords(one.images[kept].astype(np.int32), *arrays)
    return records


def _model(fixture: Fixture) -> Callable[..., dict[str, jax.Array]]:
    """(features [B, T, D], mask [B, T]) -> predictions, and what the last linear layer reads."""
    own = fixture.meta["constructor"]
    width, tasks = own["hidden_dim"], interop.ras.TASKS
    encoder = dict(name="dynamic", hidden=width, layers=own["tr_layers"], heads=own["num_heads"])
    config = ConfigDict(
        dict(
            name="multitask",
            features=("x",),
            feature_norm=False,
            encoder=encoder | dict(ffn=width, dropout=0.0),
            structure=dict(name="joint"),
            head=dict(name="norm", hidden=width if own["head_type"] == "mlp" else 0, dropout=0.0),
            dtype="float32",
        )
    )
    model = models.build(config, [Task(task, "values", 1) for task in tasks])
    table = interop.ras.table(tasks, config, fixture.weights)
    size = fixture.meta["config"]["window_length"]
    x, mask = np.zeros((1, size, own["input_dim"]), np.float32), np.ones((1, size), bool)
    params = params_of(fixture, table, model, {"inputs": {"x": x}, "mask": mask})

    @jax.jit
    def forward(x: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        hidden, _ = model.encoder().apply({"params": params["encoder"]}, x, mask, None, False)
        head = {"params": params["joint"]["head"]}
        pred, read = model.head(size=len(tasks)).apply(head, hidden, False)
        return {"pred": pred, "embedding": read}

    return forward
