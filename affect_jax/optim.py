"""Learning rates over epochs, clipping by sub-network, and the optimiser itself.

The learning rate is no part of the optax chain: the step multiplies it in, so that it can follow
the epoch that the loop is in (epochs of carried state differ in length), and so that a rate cut
on a plateau is a number in the state.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_pipelines.errors import UserError, nearest

Rate = Callable[[jax.Array], jax.Array]


def _constant(c: Any) -> Rate:
    return lambda epoch: jnp.full_like(epoch, c.lr)


def _linear(c: Any) -> Rate:
    """Hold, then fall towards zero, which is reached one epoch after the last that falls."""

    def rate(epoch):
        fallen = jnp.maximum(0, epoch + 1 - c.hold_epochs) / (c.decay_epochs + 1)
        return c.lr * jnp.maximum(0, 1 - fallen)

    return rate


def _warmup(c: Any) -> Rate:
    """Rise linearly from `warmup_start` of the rate over `hold_epochs`, then fall to zero.

    The original starts at 0, so that its first epoch learns nothing (specs/abaw4, 6.1); ours
    starts one step up the same ramp by default.
    """

    def rate(epoch):
        hold, decay = c.hold_epochs, c.decay_epochs
        up = (epoch + c.warmup_offset) / max(1, hold + c.warmup_offset)
        down = jnp.maximum(0, hold + decay - epoch) / decay
        return c.lr * jnp.where(epoch < hold, up, down)

    return rate


def _cosine(c: Any) -> Rate:
    """Half a cosine from the rate to zero over all epochs, after `hold_epochs` of warm-up."""

    def rate(epoch):
        up = (epoch + 1) / (c.hold_epochs + 1)
        x = jnp.clip((epoch - c.hold_epochs) / max(1, c.decay_epochs), 0, 1)
        return c.lr * jnp.where(epoch < c.hold_epochs, up, 0.5 * (1 + jnp.cos(jnp.pi * x)))

    return rate


def _step(c: Any) -> Rate:
    """Multiply by `factor` every `every_epochs`."""
    return lambda epoch: c.lr * c.factor ** jnp.floor(epoch / c.every_epochs)


SCHEDULES: dict[str, Callable[[Any], Rate]] = {
    "constant": _constant,
    "linear": _linear,
    "warmup": _warmup,
    "cosine": _cosine,
    "step": _step,
    "plateau": _constant,  # cut by `Plateau` on the monitored score
}


def learning_rate(config: Any, epochs: int) -> Rate:
    """The rate as a function of the 0-based epoch.

    Args:
        config: schedule (a key of SCHEDULES), lr, hold_epochs, decay_epochs (0: what is left of
            `epochs`), warmup_offset, factor, every_epochs, by: "epoch" (one rate an epoch, as the
            originals) or "step" (follows the fraction of the epoch that is done).
        epochs: of the whole training.
    """
    if config.schedule not in SCHEDULES:
        raise UserError(
            f"config.optim.schedule = {config.schedule!r}: {nearest(config.schedule, SCHEDULES)}"
        )
    if config.by not in ("epoch", "step"):
        raise UserError(f"config.optim.by = {config.by!r}: expected 'epoch' or 'step'.")
    config = config.copy_and_resolve_references()
    config.decay_epochs = config.decay_epochs or max(1, epochs - config.hold_epochs)
    rate = SCHEDULES[config.schedule](config)

    def at(epoch: jax.Array) -> jax.Array:
        epoch = jnp.asarray(epoch, jnp.promote_types(jnp.result_type(epoch), jnp.float32))
        return rate(jnp.floor(epoch) if config.by == "epoch" else epoch)

    return at


def same_rates(config: Any, epochs: int, others: int) -> bool:
    """Have trainings of so many epochs one learning rate, as far as the shorter one goes?"""
    if epochs == others:
        return True
    shorter = min(epochs, others)
    points = min(16 * shorter, 2**20)
    grid = np.linspace(0, shorter, points, endpoint=False, dtype=np.float32)
    a, b = (learning_rate(config, n)(grid) for n in (epochs, others))
    return bool((a == b).all())


def plateau(
    scale: float, stale: int, improved: bool, *, factor: float, patience: int
) -> tuple[float, int]:
    """One evaluation of the plateau rule: (factor on the rate, evaluations without a better score).

    The rate is multiplied by `factor` once more than `patience` evaluations in a row are no better.
    """
    stale = 0 if improved else stale + 1
    return (scale * factor, 0) if stale > patience else (scale, stale)


def clip_by_subnetwork(max_norm: float) -> optax.GradientTransformation:
    """Scale each sub-network (first key of params) to L2 norm `max_norm` if it exceeds it.

    factor = min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ applied to every
    net of the original on its own (specs/abaw4, 6.1).
    """

    def update(grads, state, params=None):
        del params
        clipped = {
            name: _scaled(tree, jnp.minimum(1.0, max_norm / (optax.tree.norm(tree) + 1e-6)))
            for name, tree in grads.items()
        }
        return clipped, state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _scaled(tree: Any, factor: jax.Array) -> Any:
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), tree)


def optimiser(
    config: Any, params: Any, freeze: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Direction of the update before the learning rate: clip, then Adam or AdamW.

    Args:
        config: name "adam" or "adamw", beta1, beta2, eps, weight_decay (adamw: lr * decay a
            step), clip_norm (0: off), clip ("subnetwork" or "global").
        params: tree that `freeze` patterns are matched in.
        freeze: regular expressions over parameter paths ("encoder/layer_0/.*"); what matches gets
            no update and no optimiser state.
    """
    if config.name not in ("adam", "adamw"):
        raise UserError(
            f"config.optim.name = {config.name!r}: {nearest(config.name, ('adam', 'adamw'))}"
        )
    if config.clip not in ("subnetwork", "global"):
        raise UserError(
            f"config.optim.clip = {config.clip!r}: {nearest(config.clip, ('subnetwork', 'global'))}"
        )
    if config.name == "adam" and config.weight_decay:
        raise UserError(
            f"config.optim.weight_decay = {config.weight_decay}: 'adam' has none; "
            "use --config.optim.name=adamw."
        )
    parts = []
    if config.clip_norm:
        by = {"subnetwork": clip_by_subnetwork, "global": optax.clip_by_global_norm}
        parts.append(by[config.clip](config.clip_norm))
    parts.append(optax.scale_by_adam(config.beta1, config.beta2, config.eps))
    if config.weight_decay:
        # Learned weights of the losses are no weights of the model: decay would undo them.
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=_of_the_model))
    chain = optax.chain(*parts)
    if not freeze:
        return chain
    frozen = matching(params, freeze)
    labels = jax.tree.map(lambda f: "frozen" if f else "trained", frozen)
    return optax.multi_transform({"trained": chain, "frozen": optax.set_to_zero()}, labels)


def _of_the_model(params: Any) -> Any:
    return {k: jax.tree.map(lambda _, k=k: k != "weighting", v) for k, v in params.items()}


def paths(tree: Any) -> dict[str, Any]:
    """{"encoder/layer_0/query/kernel": leaf, ...}."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(str(getattr(k, "key", k)) for k in path): leaf for path, leaf in flat}


def matching(params: Any, patterns: tuple[str, ...]) -> Any:
    """Tree of bool: does the whole path of the leaf match one of the regular expressions?

    Raises:
        UserError: a pattern matches nothing (a misspelt name would freeze nothing, silently).
    """
    names, compiled = list(paths(params)), patterns_of("config.freeze", patterns)
    for p in compiled:
        if not any(p.fullmatch(name) for name in names):
            hint = nearest(p.pattern, names)
            raise UserError(f"config.freeze: pattern {p.pattern!r} matches no parameter. {hint}")
    hits = [any(p.fullmatch(name) for p in compiled) for name in names]
    return jax.tree.unflatten(jax.tree.structure(params), hits)


def patterns_of(key: str, patterns: tuple[str, ...]) -> list[re.Pattern]:
    """The regular expressions of a config key, compiled; UserError for one that is none."""
    try:
        return [re.compile(str(p)) for p in patterns]
    except re.error as error:
        raise UserError(
            f"{key}: {error.pattern!r} is no regular expression ({error}). All is '.*'."
        ) from None
