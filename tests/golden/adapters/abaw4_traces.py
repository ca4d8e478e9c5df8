"""ABAW4 models: evaluation, then an update a segment, then evaluation again.

The original's own ways are reproduced here, from outside: squared errors divided by all positions,
losses divided by themselves, loss weights that are not clipped, and an optimiser that knows a net
from its first gradient on.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax import interop, losses, optim
from affect_jax.interop import Rule, Table
from affect_jax.weighting import WEIGHTINGS
from tests.golden.adapters import abaw4_models as models
from tests.golden.adapters.abaw4_models import SUBNETWORKS, TASKS, Segment
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

MISSING = {"v": -5, "a": -5, "expr": -1, "au": -1}
INPUTS = {"v": "valence", "a": "arousal", "expr": "expression", "au": "au"}
# The scales of the losses that the original learns, in its order; no part of its model.
SCALES = "net_weight"
ORDER = ("v", "a", "au", "expr")


@adapter(
    "abaw4__model_bilstm",
    "abaw4__model_gru",
    "abaw4__model_lstm",
    "abaw4__model_lstm_au_only",
    "abaw4__model_transformer",
    "abaw4__model_transformer_fft",
    "abaw4__model_transformer_nope",
    "abaw4__mtl_fft_sbe",
    "abaw4__mtl_only_classifier",
    "abaw4__mtl_sbe",
    "abaw4__mtl_sbe_hsf",
    "abaw4__mtl_sbe_hsf_head64",
    "abaw4__mtl_sbe_no_bottom",
    "abaw4__mtl_se",
    "abaw4__mtl_se_hsf",
    "abaw4__mtl_weight_normalized_fixed",
    "abaw4__mtl_weight_param_adjust",
)
def trace(fixture: Fixture) -> Answer:
    meta, arrays = fixture.meta, {}
    config, wanted = meta["config"], fixture.outputs
    batches = [_segments(fixture, i) for i in range(_count(fixture, "in_feature_"))]
    see = functools.partial(models.inputs, config)
    model, weights = models.build(fixture), dict(fixture.weights)
    scales = {SCALES: weights.pop(SCALES)} if SCALES in weights else {}
    table = interop.abaw4.table(tuple(TASKS.values()), **interop.abaw4.spelling(weights))
    params = params_of(fixture, table, model, see(batches[0][0]), weights=weights) | scales
    table |= Table((Rule(SCALES, SCALES),))
    predict = jax.jit(lambda params, x, carry: model.apply({"params": params}, x, carry))

    def evaluate(params: Any, when: str) -> None:
        for i, segments in enumerate(batches):
            if f"out_{when}_v_{i}" not in wanted:
                continue
            outputs, carry = [], None
            for segment in segments:
                output = predict(params, see(segment), carry)
                outputs.append(output.predictions)
                carry = output.carry
            arrays.update(_joined(outputs, when, i))

    evaluate(params, "eval")
    training = _Training(model, config, params)
    step = 0
    for i, segments in enumerate(batches):
        outputs, carry = [], None
        for segment in segments:
            norms, grads, (values, output) = training.update(segment, carry)
            outputs.append(output.predictions)
            carry = output.carry
            arrays[f"out_clip_norm_step{step}"] = np.stack(
                [norms[SUBNETWORKS[net]] for net in meta["model_names"]]
            )
            arrays |= {f"out_loss_{name}_step{step}": value for name, value in values.items()}
            clipped = interop.to_original(table, {"params": grads})
            for k, name in enumerate(meta["grad_names"]):
                arrays[f"out_grad{k}_step{step}"] = clipped.get(name, 0 * fixture.weights[name])
            step += 1
        arrays |= _joined(outputs, "train", i)
    evaluate(training.params, "eval_after")
    final = fixture.weights | interop.to_original(table, {"params": training.params})
    arrays |= {f"out_final{k}": final[name] for k, name in enumerate(meta["final_names"])}
    return Answer(arrays | _summaries(final, meta), ignored=_noise(meta))


class _Training:
    """Adam with one state a net, as torch counts steps from a net's first gradient."""

    def __init__(self, model: Any, config: dict[str, Any], params: dict[str, Any]):
        self.params = params
        self._trained, weights = _trained(config), _weights(config)
        b1, b2 = config["adam_betas"]
        adam = optax.adam(config["lr"], b1, b2, config["adam_eps"])
        clip = optim.clip_by_subnetwork(config["clip_norm_per_net"])
        combine = COMBINE[config.get("weight_type", "fixed")]
        self._states = {net: adam.init(tree) for net, tree in params.items()}
        self._started: set[str] = set()

        def total(params: Any, segment: Segment, carry: Any) -> Any:
            batch = models.inputs(config, segment)
            output = model.apply({"params": params}, batch, carry, train=True)
            values = {name: _loss(name, output.predictions, segment) for name in self._trained}
            values["total"] = combine(params, weights, values)
            return values["total"], (values, output)

        @jax.jit
        def gradient(params: Any, segment: Segment, carry: Any) -> Any:
            grads, seen = jax.grad(total, has_aux=True)(params, segment, carry)
            norms = {net: optax.tree.norm(tree) for net, tree in grads.items()}
            free = {net: tree for net, tree in grads.items() if net == SCALES}
            return norms, clip.update(grads, clip.init(params))[0] | free, seen

        @functools.partial(jax.jit, static_argnames="nets")
        def step(params: Any, states: Any, grads: Any, nets: tuple[str, ...]) -> Any:
            for net in nets:
                updates, state = adam.update(grads[net], states[net])
                params = params | {net: optax.apply_updates(params[net], updates)}
                states = states | {net: state}
            return params, states

        self._gradient, self._step = gradient, step

    def update(self, segment: Segment, carry: Any) -> tuple[dict[str, Any], Any, Any]:
        """One step: norm of each net's gradient, clipped gradients, (losses, the output)."""
        norms, grads, seen = self._gradient(self.params, segment, carry)
        # Without any AU label the original cuts the AU loss off; the other losses stay connected.
        reached = [n for n in self._trained if n != "au" or (segment["au"] != MISSING["au"]).any()]
        if reached:
            self._started |= {"encoder", "feature_norm", *(TASKS[name] for name in reached)}
        self._started.add(SCALES)
        nets = tuple(sorted(self._started & set(self.params)))
        self.params, self._states = self._step(self.params, self._states, grads, nets)
        return norms, grads, seen


def _sum(params: Any, weights: dict[str, float], values: dict[str, jax.Array]) -> jax.Array:
    return sum(weights[name] * value for name, value in values.items())


def _of_shares(params: Any, weights: dict[str, float], values: dict[str, jax.Array]) -> jax.Array:
    """Each loss divided by its own value: the total is a constant, the gradient that of logs."""
    fixed = {name: jax.lax.stop_gradient(value) for name, value in values.items()}
    shares = {n: values[n] / jnp.where(fixed[n] > 0, fixed[n], 1) for n in values}
    return _sum(params, weights, shares)


def _of_scales(params: Any, weights: dict[str, float], values: dict[str, jax.Array]) -> jax.Array:
    """Our learned weighting, whose parameters are the logarithms of the original's.

    There a task without labels still takes part with its scale.
    """
    taken = [i for i, name in enumerate(ORDER) if name in values]
    weighted = jnp.array([weights[ORDER[i]] * values[ORDER[i]] for i in taken])
    logs = {"log_sigma": jnp.log(params[SCALES])[jnp.array(taken)]}
    every = jnp.ones(len(taken), bool)
    return WEIGHTINGS["uncertainty"].combine(logs, {}, weighted, every, 0)[0]


COMBINE = {
    "original": _sum,
    "weighted": _sum,
    "fixed": _sum,
    "normalized_fixed": _of_shares,
    "loss_adjust": _of_shares,  # the same there: it records no losses to adjust by
    "param_adjust": _of_scales,
}


def _trained(config: dict[str, Any]) -> list[str]:
    names = config["loss_type"]
    return list(TASKS) if names == "multitask" else [n.strip() for n in names.split(",")]


def _weights(config: dict[str, Any]) -> dict[str, float]:
    if config["model"] == "mtl_transformer":
        listed = [float(w) for w in str(config["loss_weights"]).split(",")]
    else:
        listed = {"original": [1, 1, 1, 1], "weighted": [12, 12, 1, 0.35]}[config["weight_type"]]
    return dict(zip(ORDER, listed))


def _count(fixture: Fixture, prefix: str) -> int:
    return sum(name.startswith(prefix) for name in fixture.arrays)


def _segments(fixture: Fixture, i: int) -> list[Segment]:
    """Batch i cut along time; the last segment keeps its own length."""
    kinds = ("feature", "mask", *INPUTS.values())
    whole = {kind: fixture.arrays[f"in_{kind}_{i}"] for kind in kinds}
    length = fixture.meta["config"]["max_seq_len"]
    starts: Iterator[int] = range(0, whole["mask"].shape[1], length)
    return [{kind: x[:, s : s + length] for kind, x in whole.items()} for s in starts]


def _loss(name: str, predictions: dict[str, jax.Array], segment: Segment) -> jax.Array:
    raw, target = predictions[TASKS[name]], segment[INPUTS[name]]
    labelled = target != MISSING[name]
    if name == "au":
        return losses.bce(raw, target, labelled)
    labelled &= segment["mask"] > 0
    if name == "expr":
        return losses.ce(raw, target, labelled)
    share = labelled.sum() / labelled.size  # of all positions, which the original divides by
    return share * losses.mse(raw, target[..., None], labelled[..., None])


def _joined(outputs: list[Any], when: str, i: int) -> dict[str, np.ndarray]:
    joined = {name: np.concatenate([o[task] for o in outputs], 1) for name, task in TASKS.items()}
    joined = {name: x[..., 0] if name in "va" else x for name, x in joined.items()}
    return {f"out_{when}_{name}_{i}": x for name, x in joined.items()}


def _summaries(final: dict[str, np.ndarray], meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """Norm and sum of every tensor, 0 where it is noise."""
    tensors = [final[name].astype(np.float64) for name in meta["param_names"]]
    known = np.array([name not in meta["params_not_to_compare"] for name in meta["param_names"]])
    return {
        "out_final_l2": np.array([np.linalg.norm(x) for x in tensors]) * known,
        "out_final_sum": np.array([x.sum() for x in tensors]) * known,
    }


def _noise(meta: dict[str, Any]) -> dict[str, str]:
    """Tensors whose true gradient is zero, in part."""
    why = "rounding noise of attention key biases"
    named = {"out_grad{}_step*": meta["grad_names"], "out_final{}": meta["final_names"]}
    return {
        pattern.format(k): why
        for pattern, names in named.items()
        for k, name in enumerate(names)
        if name in meta["params_not_to_compare"]
    }
