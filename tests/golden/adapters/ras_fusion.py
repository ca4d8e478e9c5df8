"""RAS, fusion models: evaluation, gradients and updates.

The original reads zeros where a stream is missing, and attends to such frames: here streams exist
everywhere, and a frame is a key wherever the row has one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax import interop, losses
from affect_jax.interop.families import fusion
from affect_jax.models.blocks.fusion_cross import CrossFusion
from affect_jax.models.blocks.fusion_raav import RaavFusion
from affect_jax.models.blocks.heads import NormHead
from affect_jax.models.blocks.structures import TaskNetwork
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

Batch = dict[str, Any]


class Whole(nn.Module):
    """A fuser and the head behind it, called as the family does, without zeroing anything."""

    fuser: Any
    head: Any

    @nn.compact
    def __call__(self, streams: Any, tokens: Any, mask: Any, keys: Any = None) -> Any:
        own = {} if keys is None else {"keys_bt": keys}
        x, given = self.fuser(name="fuser")(streams, tokens, mask, False, **own)
        raw, taps = TaskNetwork(None, self.head, name="joint")(x, mask, False)
        return raw, taps["head"], x, given


# --- the FusionModel -----------------------------------------------------------------------------


@adapter("ras__fusion_cross", "ras__fusion_mean", "ras__fusion_evolving")
def cross(fixture: Fixture) -> Answer:
    """A stream that nothing reads is not made here; the original never trains it."""
    given, arrays = fixture.arrays, {}
    model, table, names = _fusion_model(fixture.meta["constructor"])
    first = _streams(given, names, "in_feat_{}_0")
    params = params_of(fixture, table, model, first, {}, given["in_mask_0"])
    forward = jax.jit(lambda params, *batch: model.apply({"params": params}, *batch)[:2])

    def evaluated(params: Any, i: int) -> list[Any]:
        streams = _streams(given, names, f"in_feat_{{}}_{i}")
        every = np.ones(streams[names[0]][0].shape[:2], bool)
        return forward(params, streams, {}, given.get(f"in_mask_{i}", every))

    for name in fixture.outputs:
        if name.startswith("out_pred_"):
            i = int(name.rpartition("_")[2])
            arrays[f"out_pred_{i}"], arrays[f"out_embedding_{i}"] = evaluated(params, i)

    def loss(params: Any, k: int) -> jax.Array:
        streams = _streams(given, names, "in_train_feat_{}", k)
        time = streams[names[0]][0].shape[1]
        mask = np.arange(time) < given["in_train_lengths"][k][:, None]
        pred = model.apply({"params": params}, streams, {}, mask)[0]
        valid = mask & given["in_train_valid"][k] & ~given["in_train_missing_any"][k]
        return _by_row(pred, given["in_train_labels"][k], valid)

    final, arrays["out_losses"], grads = _trained(
        fixture, params, loss, len(given["in_train_lengths"])
    )
    named = {
        k: interop.to_original(table, {"params": x}) for k, x in (("grad", grads), ("final", final))
    }
    for key, tensor in fixture.meta["trained_tensors"].items():
        for part in key.split("/"):
            kind = part.rstrip("0123456789")
            arrays[f"out_{part}"] = named[kind].get(tensor, _untrained(fixture, kind, tensor))
    arrays["out_after_pred"], arrays["out_after_embedding"] = evaluated(final, 0)
    return Answer(arrays)


def _fusion_model(options: Mapping[str, Any]) -> tuple[Whole, interop.Table, list[str]]:
    """The model, its rules, and the names of the streams that it reads."""
    hidden = options["hidden_dim"]
    fuser = functools.partial(
        CrossFusion,
        hidden=hidden,
        heads=options["num_heads"],
        dropout=0.0,
        layers=options["tr_layers"],
        query=options["q_modality"],
        key=options["k_modality"],
        value=options["v_modality"],
    )
    unread = fuser().unread(tuple(options["modalities"]))
    names = [name for name in options["modalities"] if name not in unread]
    width = hidden if options["head_type"] == "mlp" else 0
    head = functools.partial(NormHead, size=options["out_dim"], hidden=width, dropout=0.0)
    return Whole(fuser, head), fusion.cross({n: n for n in names}, width, unread), names


def _streams(given: Mapping[str, Any], names: list[str], form: str, k: int | None = None) -> Batch:
    streams = {}
    for name in names:
        x = given[form.format(name)]
        x = x if k is None else x[k]
        streams[name] = jnp.asarray(x), np.ones(x.shape[:2], bool)
    return streams


def _by_row(pred: jax.Array, target: np.ndarray, valid: np.ndarray) -> jax.Array:
    """The mean over all rows and both outputs of 1 - CCC; 1 for a row without labels."""
    labels = np.nan_to_num(target)

    def row(pred: jax.Array, target: jax.Array, valid: jax.Array) -> jax.Array:
        mask = jnp.broadcast_to(valid[:, None], target.shape)
        return jnp.where(valid.any(), losses.by_dimension(losses.ccc, pred, target, mask).mean(), 1)

    return jax.vmap(row)(pred, labels, jnp.asarray(valid)).mean()


def _trained(fixture: Fixture, params: Any, loss: Any, steps: int) -> tuple[Any, np.ndarray, Any]:
    """(parameters after AdamW, the losses before each step, the first gradients)."""
    options = fixture.meta["optimiser"]
    adamw = optax.adamw(
        options["lr"], *options["betas"], options["eps"], weight_decay=options["weight_decay"]
    )
    state, values, first = adamw.init(params), [], None
    for k in range(steps):
        value, grads = jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, k)
        first = grads if first is None else first
        updates, state = adamw.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        values.append(value)
    return params, np.array(values), first


def _untrained(fixture: Fixture, kind: str, tensor: str) -> np.ndarray:
    """A tensor that the original has and never trains."""
    return fixture.weights[tensor] * (kind == "final")


@adapter("ras__fusion_test_export")
def export(fixture: Fixture) -> Answer:
    why = (
        "frames of a missing stream are no keys here, and affect_jax.submission writes the file; "
        "records, windows and the mean over them have fixtures of their own"
    )
    return Answer(differs={"*": why})


# --- RAAV ----------------------------------------------------------------------------------------


@adapter("ras__raav")
def raav(fixture: Fixture) -> Answer:
    config, arrays = fixture.meta["config"], {}
    frames = tuple(config["frame_modalities"])
    fuser = functools.partial(
        RaavFusion,
        hidden=config["hidden"],
        heads=config["num_heads"],
        dropout=0.0,
        layers=config["num_temporal_layers"],
        latents=config["num_audio_latents"],
        priors=config["modality_priors"],
        tokens=("audio",),
    )
    head = functools.partial(NormHead, size=2, hidden=config["hidden"], dropout=0.0, norm="input")
    model = Whole(fuser, head)
    table = fusion.raav({name: name for name in frames}, config["modality_priors"])
    batches = {i: _batch(fixture, f"{{}}_{i}") for i in _cases(fixture)}
    first = next(iter(batches.values()))
    params = params_of(fixture, table, model, *_inputs(first))
    seen = jax.jit(
        lambda params, *batch: model.apply({"params": params}, *batch, capture_intermediates=True)
    )
    for i, batch in batches.items():
        (raw, _, embs, _), state = seen(params, *_inputs(batch))
        inside = state["intermediates"]["fuser"]
        mask = batch["targets_sequence_mask"]
        exists = np.any([batch["valid"][name] for name in frames], 0)
        arrays |= {
            f"out_preds_{i}": raw,
            f"out_embs_{i}": embs,
            f"out_frame_tokens_{i}": inside["gate"]["__call__"][0][0],
            f"out_audio_latents_{i}": _latents(inside["context"], params, batch["valid"]["audio"]),
            f"out_frame_valid_{i}": mask & exists,
            f"out_loss_{i}": ccc_mse(raw, batch, config["loss"]),
        }
    arrays |= _raav_trace(fixture, model, table, params, batches)
    return Answer({name: x for name, x in arrays.items() if name in fixture.outputs})


def _latents(inside: Mapping[str, Any], params: Any, valid: np.ndarray) -> np.ndarray:
    """Latents behind the tokens; as they were learned in a row without tokens."""
    own = params["fuser"]["context"]["latents"]
    return np.where(valid.any(1)[:, None, None], inside["latent_norm"]["__call__"][0], own)


def _cases(fixture: Fixture) -> list[int]:
    names = (name.rpartition("_") for name in fixture.arrays)
    return sorted(int(number) for name, _, number in names if name == "in_targets")


def _batch(fixture: Fixture, form: str) -> Batch:
    """One batch; a modality that it lacks is missing everywhere."""
    config, given = fixture.meta["config"], fixture.arrays
    widths = {"audio": config["audio_dim"], **config["modality_dims"]}
    batch: Batch = {"streams": {}, "valid": {}}
    for name, width in widths.items():
        parts = ("embedding", "prediction") if config["use_predictions"] else ("embedding",)
        names = [f"in_{form}".format(f"{name}_{part}") for part in parts]
        valid = given[f"in_{form}".format(f"valid_{name}")]
        if names[0] in given:
            x = np.concatenate([given[n] for n in names if n in given], -1)
        else:
            x, valid = (
                np.zeros((*valid.shape, width + 2 * (len(parts) - 1)), np.float32),
                valid & False,
            )
        batch["streams"][name], batch["valid"][name] = x, valid
    for name in ("targets", "targets_valid_mask", "targets_sequence_mask"):
        batch[name] = given[f"in_{form}".format(name)]
    return batch


def _inputs(batch: Batch) -> tuple[Any, Any, Any, Any]:
    """Arguments of the model: every frame of a row is a key, whatever exists there."""
    both = {name: (x, batch["valid"][name]) for name, x in batch["streams"].items()}
    tokens, mask = {"audio": both.pop("audio")}, batch["targets_sequence_mask"]
    return both, tokens, mask, mask


def ccc_mse(pred: Any, batch: Mapping[str, Any], options: Mapping[str, Any]) -> jax.Array:
    """The original's sum of losses: 1 - CCC weighted by task, and the squared error of both alike.

    Of fewer than `min_valid` labelled rows it takes the squared error alone.
    """
    target = jnp.asarray(batch["targets"])
    valid = (jnp.isfinite(target) & (target != -5)).all(-1)
    for name in ("targets_valid_mask", "targets_sequence_mask"):
        valid &= batch.get(name, True)
    mask = jnp.broadcast_to(valid[..., None], target.shape)
    shares = np.array([options.get("v_weight", 0.5), options.get("a_weight", 0.5)])
    each = losses.by_dimension(losses.ccc, pred, target, mask)
    ccc = (each * shares).sum() / shares.sum()
    error = losses.mse(pred, target, mask)
    whole = options["ccc_weight"] * ccc + options["mse_weight"] * error
    return jnp.where(valid.sum() < options.get("min_valid", 4), error, whole)


def _raav_trace(
    fixture: Fixture, model: Whole, table: interop.Table, params: Any, batches: Mapping[int, Batch]
) -> dict[str, Any]:
    config, arrays, values, norms = fixture.meta["config"], {}, [], []
    options = config["optimizer"]
    adamw = optax.adamw(
        options["lr"], *options["betas"], options["eps"], weight_decay=options["weight_decay"]
    )
    clip = optax.clip_by_global_norm(options["grad_clip_norm"])
    states = {name: adamw.init(part) for name, part in _halves(params).items()}

    def loss(params: Any, batch: Batch) -> jax.Array:
        raw = model.apply({"params": params}, *_inputs(batch))[0]
        return ccc_mse(raw, batch, config["loss"])

    for k in range(len(fixture.arrays["out_trace_loss"])):
        batch = batches[0] if k == 0 else _batch(fixture, f"trace{k}_{{}}")
        value, grads = jax.jit(jax.value_and_grad(loss))(params, batch)
        values.append(value)
        norms.append(optax.tree.norm(grads))
        grads, _ = clip.update(grads, clip.init(params))
        if k == 0:
            clipped = interop.to_original(table, {"params": grads})
        own, steps = _halves(params), _halves(grads)
        # The original leaves alone what has no gradient at all: what reads sound, without any.
        for name in ("rest", "sound") if batch["valid"]["audio"].any() else ("rest",):
            updates, states[name] = adamw.update(steps[name], states[name], own[name])
            own[name] = optax.apply_updates(own[name], updates)
        params = own["rest"] | {"fuser": own["rest"]["fuser"] | {"context": own["sound"]}}
    final = interop.to_original(table, {"params": params})
    arrays |= {"out_trace_loss": np.array(values), "out_trace_gradnorm": np.array(norms)}
    arrays |= {f"out_grad_{name}": x for name, x in clipped.items()}
    return arrays | {f"out_final_{name}": x for name, x in final.items()}


def _halves(tree: Any) -> dict[str, Any]:
    """Parameters that read sound, and all others."""
    fuser = dict(tree["fuser"])
    return {"sound": fuser.pop("context"), "rest": {**tree, "fuser": fuser}}


# --- losses --------------------------------------------------------------------------------------


@adapter("ras__losses")
def fusion_losses(fixture: Fixture) -> Answer:
    """Scores are those of all rows: the original's metric knows no masks."""
    given, arrays, differs = fixture.arrays, {}, {}
    for case, options in fixture.meta["config"]["cases"].items():
        args, pred = options["args"], given[f"in_preds_{case}"]
        batch = {
            name: given[f"in_{name}_{case}"]
            for name in ("targets", "targets_valid_mask", "targets_sequence_mask")
            if f"in_{name}_{case}" in given
        }
        arrays[f"out_metric_{case}"] = _scores(pred, batch["targets"])
        if any(args.get(name) for name in ("smooth_weight", "temporal_diff_weight")):
            why = "differences between neighbouring frames are no part of any loss here"
            differs |= {f"out_loss_{case}": why, f"out_grad_{case}": why}
            continue
        value_of = functools.partial(ccc_mse, batch=batch, options=args)
        value, grad = jax.jit(jax.value_and_grad(value_of))(pred)
        arrays[f"out_loss_{case}"] = value
        if f"out_grad_{case}" in fixture.outputs:
            arrays[f"out_grad_{case}"] = grad
    return Answer(arrays, {k: v for k, v in differs.items() if k in fixture.outputs})


def _scores(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """CCC of valence, of arousal, and their mean over rows with both labels; 0 without any."""
    from affect_jax.metrics import ccc

    valid = (np.isfinite(target) & (target != -5)).all(-1)
    if not valid.any():
        return np.zeros(3)
    own = [float(ccc(pred[valid][:, k], target[valid][:, k])) for k in range(2)]
    return np.array([*own, sum(own) / 2])
