"""Data sets: the originals' batches of whole videos, read from a store of the same arrays.

Ours mask what is missing; the originals' codes for it are put in here, from outside.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.bins import assign
from affect_jax.normalise import standardised
from data_pipelines.rows import segments
from data_pipelines.source import Source
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.golden.adapters.abaw3_original import bins_of
from tests.golden.adapters.abaw4_traces import INPUTS, MISSING
from tests.golden.fixture import Answer, Fixture, adapter

OWN_FRAMES = "normalised by a video's own frames, not by its padding"
VALUES = dict(kind="values", size=1)


@adapter("abaw4__collate")
def collate(fixture: Fixture) -> Answer:
    """Labels of the columns valence, arousal, expression, 12 action units."""
    config, given = fixture.meta["config"], fixture.arrays
    names = sorted(fixture.meta["video_ids"])  # the order of an HDF5 file
    label = {name: given[f"in_label__{name}"] for name in names}
    parts = {"v": slice(0, 1), "a": slice(1, 2), "expr": 2, "au": slice(3, None)}
    kinds = {
        "valence": VALUES,
        "arousal": VALUES,
        "expression": dict(kind="classes", size=8),
        "au": dict(kind="labels", size=label[names[0]].shape[1] - 3),
    }
    tracks = {
        name: (
            {f: given[f"in_feature__{f}__{name}"] for f in config["feature_set"]},
            {
                INPUTS[short]: (label[name][:, part], label[name][:, part] != MISSING[short])
                for short, part in parts.items()
            },
        )
        for name in names
    }
    statistics = {f: (given[f"in_mean__{f}"], given[f"in_std__{f}"]) for f in _normalised(config)}
    batch = _batch(tracks, kinds, names, statistics)
    arrays = {
        "feature_trn": batch["feature"],
        "mask": batch["mask"].astype(np.float32),
        "length": batch["mask"].sum(1),
        "video_id": np.array(names),
        "feature_dims": np.array([x.shape[1] for x in tracks[names[0]][0].values()]),
    }
    for short, name in INPUTS.items():
        filled = np.where(batch["label_mask"][name], batch["labels"][name], MISSING[short])
        arrays[name] = filled[..., 0] if short in "va" else filled
    return Answer({f"out_{k}": x for k, x in arrays.items()}, {"out_feature_batch": OWN_FRAMES})


@adapter("abaw3__dataset")
def dataset(fixture: Fixture) -> Answer:
    """The original leaves values on a bound, and outside, in bin 0; padding has no bin."""
    meta, given = fixture.meta, fixture.arrays
    labels = ("valence", "arousal")
    statistics = {f: (given[f"in_mean/{f}"], given[f"in_std/{f}"]) for f in _normalised(meta)}
    arrays: dict[str, Any] = {}
    for part, batches in meta["batch_order"].items():
        for i, names in enumerate(batches):
            labelled = all(f"in_valence/{part}/{name}" in given for name in names)
            kinds = dict.fromkeys(labels, VALUES) if labelled else {}
            tracks = {
                name: (
                    {f: given[f"in_feature/{part}/{f}/{name}"] for f in meta["features"]},
                    {k: given[f"in_{k}/{part}/{name}"] for k in kinds},
                )
                for name in names
            }
            batch = _batch(tracks, kinds, names, statistics)
            found = {
                "feature": batch["feature"],
                "mask": batch["mask"].astype(np.float32),
                "length": batch["mask"].sum(1),
            }
            for name in kinds:
                values = batch["labels"][name][..., 0]
                edges = bins_of(name, weighted=meta.get("cls_weighted", False))["edges"]
                inside = ~np.isin(values, np.float32(edges)) & (np.abs(values) < 1)
                number = np.where(inside, assign(values[..., None], edges)[..., 0], 0)
                found |= {name: values, f"{name}_cls": np.where(batch["mask"], number, -1)}
            arrays |= {f"out_trn/{part}/{key}_{i}": x for key, x in found.items()}
    return Answer(arrays, {"out_batch/*": OWN_FRAMES})


def _normalised(options: Mapping[str, Any]) -> list[str]:
    """Features to normalise; the original's option for none of them is the name "None"."""
    return [name for name in options["norm_features"] or () if name != "None"]


def _batch(
    tracks: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    labels: Mapping[str, Any],
    names: Sequence[str],
    statistics: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    """One batch of whole videos, with `feature` [B, T, D], all features joined.

    Args:
        tracks: {video: (features, labels)}.
        labels: {label: kind and size}.
        names: the videos of the batch, in order.
        statistics: {feature: (mean, std)} of those that are normalised.
    """
    sizes = {f: x.shape[1] for f, x in tracks[names[0]][0].items()}
    mean = {f: np.zeros(size, np.float32) for f, size in sizes.items()}
    std = {f: np.ones(size, np.float32) for f, size in sizes.items()}
    for f, (m, s) in statistics.items():
        mean[f], std[f] = m, s
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "store"
        features = {f: dict(size=size) for f, size in sizes.items()}
        with StoreWriter(path, name="fixture", features=features, labels=labels) as writer:
            for name in names:
                x, y = tracks[name]
                writer.add(track=name, split="all", features=x, labels=y)
        store = Store(path)
        frames = [track.frames for track in store.tracks]
        source, rows = Source(store, tuple(sizes), tuple(labels)), segments(frames, max(frames))
        batch = source.batch(rows, source.shape(rows), np.arange(len(names)))
        inputs = {
            f: np.asarray(standardised(x, mean[f], std[f], batch["mask"]))
            for f, x in batch["inputs"].items()
        }
    batch["inputs"] = inputs
    return batch | {"feature": np.concatenate([inputs[f] for f in sizes], -1)}
