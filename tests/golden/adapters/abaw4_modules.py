"""ABAW4: encoder, heads, position tables, losses, metrics and schedules, one at a time."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, losses, metrics, schedules
from affect_jax.models.blocks.heads import FCHead
from affect_jax.models.blocks.relative import Relative
from affect_jax.models.blocks.transformer import Transformer, position_table
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter


@adapter("abaw4__transformer_encoder", "abaw4__transformer_encoder_noaffine")
def transformer_encoder(fixture: Fixture) -> Answer:
    """Every layer's output; the original's attention without a mask is one over a mask of ones."""
    config, x = fixture.meta["config"], fixture.arrays["in_x"]
    cases = config.get("cases", {"": {}})
    arrays, differs = {}, {"out_pooled*": "the pooled branch, which no model reads, is not built"}
    for case, options in cases.items():
        suffix = f"_{case}" if case else ""
        if "add" in options:
            differs[f"out_hidden*{suffix}"] = "masks added to the scores are not offered"
            continue
        positions = options.get("use_pe", config.get("use_pe", True))
        model = Transformer(
            hidden=config["affine_dim"] if config["affine"] else x.shape[-1],
            layers=config["num_layers"],
            heads=config["nhead"],
            ffn=config["dim_feedforward"],
            dropout=0.0,
            positions="abaw4" if positions else "none",
            project=config["affine"],
        )
        valid = np.ones(x.shape[:2], bool)
        if "mask" in options:
            valid = ~fixture.arrays[options["mask"]].astype(bool)
        params = params_of(fixture, interop.abaw4.transformer("", ""), model, x, valid)
        _, state = model.apply({"params": params}, x, valid, capture_intermediates=True)
        for i in range(config["num_layers"]):
            layer = state["intermediates"][f"layer_{i}"]["__call__"][0]
            arrays[f"out_hidden{i}{suffix}"] = layer
    return Answer(arrays, differs)


@adapter("abaw4__fft_encoder")
def fft_encoder(fixture: Fixture) -> Answer:
    config, params, arrays = fixture.meta["config"], None, {}
    model = Relative(
        hidden=config["affine_dim"],
        layers=config["num_layers"],
        heads=config["nhead"],
        dropout=0.0,
        window=config["window_size"],
        kernel=config["kernel_size"],
    )
    for name in fixture.outputs:
        case = name.removeprefix("out_hidden_")
        given = fixture.arrays[f"in_x_{case}"], fixture.arrays[f"in_mask_{case}"] > 0
        if params is None:
            params = params_of(fixture, interop.abaw4.relative("", ""), model, *given)
        arrays[name], _ = model.apply({"params": params}, *given)
    return Answer(arrays)


@adapter("abaw4__position_tables")
def position_tables(fixture: Fixture) -> Answer:
    arrays = {}
    for name, stored in fixture.outputs.items():
        rows, width = stored.shape
        if part := re.fullmatch(r"out_sinusoid_rows_(\d+)_to_(\d+)", name):
            first, last = int(part[1]), int(part[2])
            arrays[name] = position_table(last + 1, width, "sinusoid")[first:]
        elif name in ("out_sinusoid", "out_sinusoid_row0_zero"):
            kind = "abaw4" if name.endswith("row0_zero") else "sinusoid"
            arrays[name] = position_table(rows, width, kind)
    return Answer(arrays, {"out_alternative": "a table that no model uses is not offered"})


@adapter("abaw4__fc_heads")
def fc_heads(fixture: Fixture) -> Answer:
    """In evaluation; dropout only decides what the tensors are called."""
    config, x = fixture.meta["config"], fixture.arrays["in_x"]
    arrays, differs = {}, {}
    for case, options in config["cases"].items():
        if options["batch_norm"]:
            differs[f"out_{case}__*"] = "batch norm inside a head, off in every model"
            continue
        layers = tuple(options.get("layers", config["layers"]))
        own = {n: w for n, w in fixture.weights.items() if n.startswith(f"{case}.")}
        if options["kind"] == "encoder":  # a head without its output: any output will do
            own[f"{case}.fc_out.weight"] = np.zeros((1, layers[-1]), np.float32)
            own[f"{case}.fc_out.bias"] = np.zeros(1, np.float32)
        model = FCHead(size=options["out"] or 1, layers=layers, dropout=0.0)
        indices = interop.abaw4.head_indices(
            len(layers), dropout=options["dropout"] > 0, input_dropout=options["dropout_input"]
        )
        table = interop.abaw4.head(f"{case}.", "", indices)
        params = params_of(fixture, table, model, x, weights=own)
        arrays[f"out_{case}__out"], arrays[f"out_{case}__feat"] = model.apply({"params": params}, x)
    return Answer(arrays, differs)


@adapter("abaw4__losses")
def task_losses(fixture: Fixture) -> Answer:
    config, arrays = fixture.meta["config"], {}
    for name in fixture.arrays:
        if not (match := re.fullmatch(r"in_v_pred_(\w+)", name)):
            continue
        case = match[1]
        mask = jnp.asarray(fixture.arrays[f"in_mask_{case}"]) > 0

        def given(kind: str, case: str = case) -> tuple[np.ndarray, np.ndarray]:
            return tuple(fixture.arrays[f"in_{kind}_{part}_{case}"] for part in ("pred", "target"))

        pred, target = given("v")
        labelled = mask & (target != config["va_missing"])

        def mse(pred: Any, target: Any = target, labelled: Any = labelled) -> jax.Array:
            # The original divides by all positions of the batch.
            share = labelled.sum() / labelled.size
            return share * losses.mse(pred, target[..., None], labelled[..., None])

        arrays |= _value_and_grad(f"mse{{}}_{case}", mse, pred)
        pred, target = given("expr")
        labelled = mask & (target != config["expr_missing"])
        arrays |= _value_and_grad(f"ce{{}}_{case}", losses.ce, pred, target, labelled)
        pred, target = given("au")
        labelled = target != config["au_missing"]

        def bce(pred: Any, target: Any = target, labelled: Any = labelled) -> jax.Array:
            # The original's logarithm ends near e^-100.
            return losses.bce(jnp.clip(pred, -100, 100), target, labelled)

        arrays |= _value_and_grad(f"bce{{}}_{case}", bce, pred)
    return Answer(arrays)


def _value_and_grad(name: str, loss: Any, pred: np.ndarray, *rest: Any) -> dict[str, Any]:
    value, grad = jax.jit(jax.value_and_grad(loss))(pred, *rest)
    return {f"out_{name.format('')}": value, f"out_{name.format('_grad')}": grad}


@adapter("abaw4__metrics")
def scores(fixture: Fixture) -> Answer:
    """The original's arrays per class leave absent classes out."""
    arrays = {}
    for name in fixture.arrays:
        if not (match := re.fullmatch(r"in_(reg|cls|au)_true_(\w+)", name)):
            continue
        kind, case = match[1], match[2]
        true, pred = fixture.arrays[name], fixture.arrays[f"in_{kind}_pred_{case}"]
        if kind == "reg":
            named = {n: getattr(metrics, n)(pred, true) for n in ("mse", "rmse", "ccc")}
            named["pcc"] = metrics.pearson(pred, true)
        elif kind == "cls":
            present = np.union1d(true, pred)
            counts = {"classes": int(present.max()) + 1}
            named = {
                "acc": metrics.accuracy(pred, true),
                "recall": metrics.uar(pred, true, **counts),
                "precision": metrics.precision(pred, true, **counts),
                "macro_f1": metrics.f1(pred, true, **counts),
                "confusion": metrics.confusion(pred, true, **counts)[np.ix_(present, present)],
                "per_class_f1": metrics.f1_per_class(pred, true, **counts)[present],
            }
        else:
            named = {
                "au_f1": metrics.f1_binary(pred, true),
                "au_f1_each": metrics.f1_per_label(pred, true),
            }
        arrays |= {f"out_{n}_{case}": value for n, value in named.items()}
    return Answer(arrays)


@adapter("abaw4__lr_schedules")
def lr_schedules(fixture: Fixture) -> Answer:
    base = float(fixture.arrays["in_base_lr"])
    arrays, differs = {}, {}
    for name, options in fixture.meta["config"].items():
        stored = fixture.arrays[f"out_{name}"]
        if options["lr_policy"] == "plateau":
            arrays[f"out_{name}"] = _plateau(base, options, len(stored))
            continue
        rates = _rates(base, options, len(stored))
        arrays[f"out_{name}"] = rates
        if options["lr_policy"] == "cosine":
            falling = options["t_max"] + 1
            if options.get("eta_min", 0):
                differs[f"out_{name}"] = "the cosine ends at 0"
            elif len(stored) > falling:
                differs[f"out_{name}"] = "the cosine stays at 0 where the original rises again"
                if np.abs(rates - stored)[:falling].max() > 1e-6 * base:
                    raise Mismatch(f"out_{name}: off while the cosine falls")
    return Answer(arrays, differs)


def _rates(base: float, options: dict[str, Any], epochs: int) -> np.ndarray:
    policies = {"linear": "linear", "linear_with_warmup": "warmup", "cosine": "cosine"}
    cosine = options["lr_policy"] == "cosine"
    config = ConfigDict(
        dict(
            schedule=policies.get(options["lr_policy"], options["lr_policy"]),
            by="epoch",
            lr=base,
            hold_epochs=0 if cosine else options["niter"],
            decay_epochs=options["t_max"] if cosine else options["niter_decay"],
            warmup_offset=0,  # the original's first epoch runs at rate 0
            factor=options.get("factor", 1.0),
            every_epochs=options.get("lr_decay_iters", 1),
        )
    )
    with jax.enable_x64(True):  # stored in float64
        rate = schedules.learning_rate(config, epochs)
        return np.stack([rate(epoch) for epoch in np.arange(epochs, dtype=np.float64)])


def _plateau(base: float, options: dict[str, Any], epochs: int) -> list[float]:
    """The original's rule of what is better, on the constant that it is driven by."""
    scale, stale, best, rates = 1.0, 0, np.inf, []
    for _ in range(epochs):
        rates.append(base * scale)
        improved = options["metric"] < best * (1 - options["threshold"])
        best = options["metric"] if improved else best
        lower, stale = schedules.plateau(
            scale, stale, improved, factor=options["factor"], patience=options["patience"]
        )
        # It ignores steps of the rate below 1e-8.
        scale = lower if base * (scale - lower) > 1e-8 else scale
    return rates
