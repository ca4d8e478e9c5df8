"""From places to a batch: one function for numpy on the host and for the compiled program.

The arrays of a source (data_pipelines/source.py) are flat: rows of all tracks one behind the other.
A place is where the data of a fed row stand in them. Nothing is computed here: integers stay
integers, and what lies behind a row's end or does not exist is zero and masked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    """Static sizes of a batch.

    Attributes:
        length: frames T of a row.
        stride: frames from one fed frame to the next.
        clip: rows have no time axis.
        rates: {stream that is not on the frames: its padded number of rows S}.
    """

    length: int
    stride: int
    clip: bool
    rates: Mapping[str, int]


def gather(arrays: Mapping[str, Any], at: Mapping[str, Any], shape: Shape, xp: Any = np) -> Any:
    """A batch.

    Args:
        arrays: inputs and inputs_mask {stream: [N, ...]}, labels and label_mask {task: [N, ...]},
            times {"frames": [N]} in seconds, or {}; moments {stream: {"mean", "std":
            [tracks, ...]}} where each track has its own.
        at: row [B], row ids, below 0 of an empty place; start [B], where a track begins; frames
            and each other stream: (first [B], count [B]) in the flat arrays; track [B] where there
            are moments; begin [B], seconds, where there are times.
        xp: numpy, or jax.numpy inside a compiled program.

    Returns:
        inputs {stream: [B, T, ...], or [B, S, ...] of those with rows of their own}; mask bool
        [B, T]; inputs_mask {stream: bool}, of streams with gaps or rows of their own; labels,
        label_mask {task: [B, T, ...]}; row int32 [B]; start bool [B]; moments, where there are any;
        times [B, T], where there are any: seconds from the beginning of the row. Clips lack T.
    """
    first, count = at["frames"]
    frames = _places(first, count, shape.length, shape.stride, xp)
    if shape.clip:
        frames = tuple(part[:, 0] for part in frames)

    def stream(array: Any, name: str) -> Any:
        if name not in shape.rates:
            return _take(array, *frames, xp)
        return _take(array, *_places(*at[name], shape.rates[name], 1, xp), xp)

    masks = {name: stream(mask, name) for name, mask in arrays["inputs_mask"].items()}
    for name, size in shape.rates.items():
        if name in arrays["inputs"] and name not in masks:
            masks[name] = _places(*at[name], size, 1, xp)[1]
    batch = {
        "inputs": {name: stream(array, name) for name, array in arrays["inputs"].items()},
        "inputs_mask": masks,
        "labels": {k: _take(array, *frames, xp) for k, array in arrays["labels"].items()},
        "label_mask": {k: _take(array, *frames, xp) for k, array in arrays["label_mask"].items()},
        "mask": frames[1],
        "row": at["row"],
        "start": at["start"],
    }
    if times := arrays["times"]:
        begin = at["begin"] if shape.clip else at["begin"][:, None]
        batch["times"] = xp.where(frames[1], times["frames"][frames[0]] - begin, 0)
    if moments := arrays["moments"]:
        batch["moments"] = {
            name: {kind: array[at["track"]] for kind, array in parts.items()}
            for name, parts in moments.items()
        }
    return batch


def _places(first: Any, count: Any, size: int, stride: int, xp: Any) -> tuple[Any, Any]:
    """(index [B, size] into a flat array, bool [B, size]: is it one of the row's)."""
    step = xp.arange(size, dtype=first.dtype)
    mask = step[None] < count[:, None]
    return xp.where(mask, first[:, None] + stride * step[None], 0), mask


def _take(array: Any, index: Any, mask: Any, xp: Any) -> Any:
    taken = array[index]
    mask = mask.reshape(mask.shape + (1,) * (taken.ndim - mask.ndim))
    return xp.where(mask, taken, xp.zeros((), taken.dtype))
