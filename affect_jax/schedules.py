"""Learning rates over epochs, and the plateau rule.

The learning rate is no part of the optax chain: the step multiplies it in, so that it can follow
the epoch that the loop is in (epochs of carried state differ in length), and so that a rate cut
on a plateau is a number in the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

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
    """Rise linearly to the rate over `hold_epochs`, then fall to zero.

    The original starts at 0, so that its first epoch learns nothing (code of ABAW4); ours
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


def _held_step(c: Any) -> Rate:
    """Hold for `hold_epochs`, then go by steps."""
    step = _step(c)
    return lambda epoch: step(jnp.maximum(0, epoch - c.hold_epochs))


SCHEDULES: dict[str, Callable[[Any], Rate]] = {
    "constant": _constant,
    "linear": _linear,
    "warmup": _warmup,
    "cosine": _cosine,
    "step": _step,
    "held_step": _held_step,
    "plateau": _constant,  # cut by `plateau` on the first monitored score
}


def require_schedule(key: str, name: str) -> None:
    """UserError that begins with the key where no schedule has the name."""
    if name not in SCHEDULES:
        raise UserError(f"{key} = {name!r}: {nearest(name, SCHEDULES)}")


def learning_rate(config: Any, epochs: int, schedule: str = "") -> Rate:
    """The rate as a function of the 0-based epoch.

    Args:
        config: schedule (a key of SCHEDULES), lr, hold_epochs, decay_epochs (0: what is left of
            `epochs`), warmup_offset, factor, every_epochs, by: "epoch" (one rate an epoch, as the
            originals) or "step" (follows the fraction of the epoch that is done).
        epochs: of the whole training.
        schedule: in the place of the config's; "": that one.
    """
    schedule = schedule or config.schedule
    require_schedule("config.optim.schedule", schedule)
    if config.by not in ("epoch", "step"):
        raise UserError(f"config.optim.by = {config.by!r}: expected 'epoch' or 'step'.")
    config = config.copy_and_resolve_references()
    config.decay_epochs = config.decay_epochs or max(1, epochs - config.hold_epochs)
    rate = SCHEDULES[schedule](config)

    def at(epoch: jax.Array) -> jax.Array:
        epoch = jnp.asarray(epoch, jnp.promote_types(jnp.result_type(epoch), jnp.float32))
        return rate(jnp.floor(epoch) if config.by == "epoch" else epoch)

    return at


def is_better(value: float, best: float, sign: int, threshold: float) -> bool:
    """Is a score better than the best by more than the share `threshold` of it?

    Of scores where higher is better (sign 1) value > best * (1 + threshold), of others (-1)
    value < best * (1 - threshold), as torch.optim.lr_scheduler.ReduceLROnPlateau has it in its
    mode "rel". Below zero the share counts the other way.

    Args:
        value, best: multiplied by the sign, so that higher is better.
    """
    return bool(value > best * (1 + sign * threshold))


def plateau(
    scale: float, waited: int, improved: bool, *, factor: float, patience: int, least: float = 0.0
) -> tuple[float, int]:
    """One evaluation of the plateau rule: (factor on the rate, evaluations without a better score).

    The rate is multiplied by `factor` once more than `patience` evaluations in a row are no better,
    but not to below `least`, in the unit of `scale`.
    """
    waited = 0 if improved else waited + 1
    if waited <= patience:
        return scale, waited
    return min(scale, max(scale * factor, least)), 0
