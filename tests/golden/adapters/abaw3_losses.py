"""ABAW3: the losses under their original names, bins, schedules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import losses
from affect_jax.bins import assign
from affect_jax.schedules import learning_rate
from configs.va import COUNTS
from tests.golden.adapters.abaw3_original import bins_of, scrambled
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter


def total(names: Any, weights: Sequence[float], segment: Mapping[str, Any]) -> jax.Array:
    """The original's weighted sum of losses.

    Args:
        names: loss_type; of a plain string the original takes the letters, which name no loss.
        weights: one a name.
        segment: pred, target [B, T, targets], mask [B, T]; with bins logits [B, T, bins, targets]
            and cls [B, T, targets].
    """
    if isinstance(names, str):
        return jnp.float32(0)
    return sum(w * _loss(name, segment) for name, w in zip(names, weights, strict=True))


def _loss(name: str, segment: Mapping[str, Any]) -> jax.Array:
    """The mean over the targets, or over the first (v...) or last (a...) alone."""
    exists = segment["mask"] > 0
    if name == "ce":
        logits, numbers = segment["logits"], segment["cls"]
        each = [
            losses.ce(logits[..., t], numbers[..., t], exists & (numbers[..., t] >= 0))
            for t in range(numbers.shape[-1])
        ]
        return sum(each) / len(each)
    batch, column, kind = re.fullmatch("(batch_)?([va]?)(mse|ccc)", name).groups()
    columns = {"": slice(None), "v": slice(0, 1), "a": slice(-1, None)}[column]
    pred, target = segment["pred"][..., columns], segment["target"][..., columns]
    mask = jnp.broadcast_to(exists[..., None], pred.shape)
    if batch:
        return losses.ccc(pred, target, mask)
    if kind == "mse":  # a sum
        return mask.sum() / pred.shape[-1] * losses.mse(pred, target, mask)
    # Row by row, zeros in the place of padding.
    pred, target = jnp.where(mask, pred, 0), jnp.where(mask, target, 0)
    return jax.vmap(losses.ccc)(pred, target, jnp.ones_like(mask)).mean()


@adapter("abaw3__losses")
def multiple_loss(fixture: Fixture) -> Answer:
    given = {
        name.removeprefix("in_"): x for name, x in fixture.arrays.items() if name.startswith("in_")
    }
    given["logits"] = np.moveaxis(given["logits"], 1, 2)
    seen = {name: given[name] for name in ("pred", "logits")}

    def value_and_grad(names: Any, weights: Sequence[float], **changes: Any) -> Any:
        def loss(seen: Mapping[str, Any]) -> jax.Array:
            return total(names, weights, given | seen | changes)

        value, grads = jax.jit(jax.value_and_grad(loss))(seen)
        return value, grads | {"logits": np.moveaxis(grads["logits"], 2, 1)}

    arrays = {}
    for case in fixture.meta["cases"]:
        i = case["case"]
        arrays[f"out_loss_{i}"], grads = value_and_grad(case["loss_type"], case["loss_weights"])
        arrays |= {f"out_grad_{name}_{i}": grad for name, grad in grads.items()}
    empty = value_and_grad(["ccc"], [1.0], mask=given["mask_rowempty"])
    arrays["out_loss_ccc_rowempty"] = empty[0]
    arrays["out_loss_string_mse"] = total("mse", [1.0], given)
    return Answer(arrays)


@adapter("abaw3__bins")
def bins(fixture: Fixture) -> Answer:
    """Centres, bounds and the bins of values; the original leaves a value on a bound in bin 0."""
    arrays = {}
    values = fixture.arrays["in_values"]
    for i, weighted in enumerate((False, True)):
        arrays[f"out_expect_weights_{i}"] = scrambled(weighted=weighted)
        for task in COUNTS:
            table = bins_of(task, weighted=weighted)
            centres, edges = table["centres"][0], table["edges"][0]
            arrays[f"out_centers_{task}_{i}"] = np.array(centres)
            arrays[f"out_bounds_{task}_{i}"] = np.array([-1, *edges, 1])
            ours = assign(values[:, None], table["edges"])[:, 0]
            bounds = fixture.arrays[f"out_bounds_{task}_{i}"].astype(np.float32)
            inside = ~np.isin(values, bounds) & (np.abs(values) < 1)
            arrays[f"out_labels_{task}_{i}"] = np.where(inside, ours, 0)
    return Answer(arrays)


@adapter("abaw3__schedules")
def schedules(fixture: Fixture) -> Answer:
    arrays, differs = {}, {}
    for case in fixture.meta["cases"]:
        name = f"out_lr_{case['case']}"
        stored = fixture.arrays[name]
        if case["lr_policy"] == "plateau":
            differs[name] = "driven by a constant"
            continue
        arrays[name] = rates = _rates(case, len(stored))
        if case["lr_policy"] == "cosine" and len(stored) > case["niter"] + 1:
            differs[name] = "the cosine stays at 0 where the original rises again"
            if np.abs(rates - stored)[: case["niter"] + 1].max() > 1e-6 * case["lr"]:
                raise Mismatch(f"{name}: off while the cosine falls")
    return Answer(arrays, differs)


def _rates(case: dict[str, Any], epochs: int) -> np.ndarray:
    policies = {"linear_with_warmup": "warmup"}
    # A start at another epoch than 1 moves the fall forward.
    late = case["epoch_count"] - 1 if case["lr_policy"] == "linear" else 0
    cosine = case["lr_policy"] == "cosine"
    config = ConfigDict(
        dict(
            schedule=policies.get(case["lr_policy"], case["lr_policy"]),
            by="epoch",
            lr=case["lr"],
            hold_epochs=0 if cosine else case["niter"],
            decay_epochs=case["niter"] if cosine else case["niter_decay"],
            warmup_offset=0,  # the original's first epoch runs at rate 0
            factor=0.1,
            every_epochs=case["lr_decay_iters"],
        )
    )
    with jax.enable_x64(True):  # stored in float64
        rate = learning_rate(config, epochs)
        return np.stack([rate(epoch + late) for epoch in np.arange(epochs, dtype=np.float64)])
