"""One supervised update, and many of them in one compiled scan."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import linen as nn
from jax.sharding import Mesh

from affect_jax import sharding
from affect_jax.feed import Batch, Fetch
from affect_jax.objective import Objective
from affect_jax.optim import Optimiser
from affect_jax.state import State, merged, of_the_model, zero_carry

Logs = dict[str, jax.Array]
# step(state, batch, epoch, progress): `epoch` is 0-based with the fraction done, `progress` the
# share of the whole training that is done.
Step = Callable[[State, Batch, jax.Array, jax.Array], tuple[State, Logs]]


def key_for(state: State, name: str) -> jax.Array:
    """Random key of one purpose in this step."""
    return jax.random.fold_in(jax.random.fold_in(state.rng, zlib.crc32(name.encode())), state.step)


def supervised(
    model: nn.Module, objective: Objective, optimiser: Optimiser, *, ema_decay: float = 0.0
) -> Step:
    """The step: forward, masked losses, weighting, clipped update, moving average.

    Teacher-forcing models see the labels in training.
    """

    def averaged(ema: Any, now: Any) -> Any:
        return jax.tree.map(lambda e, x: ema_decay * e + (1 - ema_decay) * x, ema, now)

    def step(state: State, batch: Batch, epoch: jax.Array, progress: jax.Array):
        carry = None if state.carry is None else zero_carry(state.carry, batch["start"])
        trained, frozen = optimiser.split(state.params)

        def total(trained: Any):
            params = merged(frozen, trained)
            mutable = ["batch_stats"] if state.batch_stats else []
            output, updated = model.apply(
                of_the_model(params, state.batch_stats),
                batch,
                carry=carry,
                train=True,
                progress=progress,
                rngs={"dropout": key_for(state, "dropout")},
                mutable=mutable,
            )
            value, weighting, logs = objective(
                params.get("weighting", {}), state.weighting, output, batch, epoch
            )
            return value, (logs, output.carry, updated, weighting)

        grads, ((losses, counts), carry, updated, weighting) = jax.grad(total, has_aux=True)(
            trained
        )
        trained, opt_state = optimiser.update(
            grads, state.opt_state, trained, epoch, state.plateau["scale"]
        )
        batch_stats = updated.get("batch_stats", state.batch_stats)
        log = {
            name: {
                "sum": state.log[name]["sum"] + counts[name] * losses[name],
                "count": state.log[name]["count"] + counts[name],
            }
            for name in state.log
        }
        state = advanced(state).replace(
            params=merged(frozen, trained),
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=averaged(state.ema, trained) if state.ema else {},
            ema_batch_stats=averaged(state.ema_batch_stats, batch_stats)
            if state.ema_batch_stats
            else {},
            weighting=weighting,
            carry=jax.lax.stop_gradient(carry),
            log=log,
        )
        return state, losses | {"gradient_norm": optax.tree.norm(grads)}

    return step


def advanced(state: State) -> State:
    """The state one batch further, whatever a program has made of it."""
    return state.replace(step=state.step + 1, batch=state.batch + 1)


def row_keys(rng: jax.Array, epoch: jax.Array, row: jax.Array) -> jax.Array:
    """Random keys [B] of rows int32 [B] in an epoch, for what changes examples."""
    key = jax.random.fold_in(jax.random.fold_in(rng, zlib.crc32(b"rows")), epoch)
    return jax.vmap(lambda one: jax.random.fold_in(key, one))(row)


def chunk(
    step: Step,
    fetch: Fetch,
    prepare: Callable[[Batch, jax.Array], Batch],
    mesh: Mesh,
    options: dict[str, str],
) -> Callable[..., tuple[State, Logs]]:
    """Compile `run(state, data, xs, epoch, epochs, progress) -> (state, logs)`: K steps in a scan.

    Args:
        prepare: of a fetched batch and the keys of its rows, [B].
        options: the compiler's.

    Args of run: data, what stays on the device; xs, leaves [K, B, ...]; epoch int32, epochs and
    progress float32 [K]. logs have leaves [K]. The state is donated.
    """

    def run(
        state: State,
        data: Any,
        xs: Any,
        epoch: jax.Array,
        epochs: jax.Array,
        progress: jax.Array,
    ):
        def body(state: State, x: Any):
            piece, at, done = x
            batch = fetch(data, piece)
            batch = prepare(batch, row_keys(state.rng, epoch, batch["row"]))
            return step(state, batch, at, done)

        return jax.lax.scan(body, state, (xs, epochs, progress))

    same = sharding.replicated(mesh)
    batched = sharding.batched(mesh, 1)
    return jax.jit(
        run,
        in_shardings=(same, same, batched, same, same, same),
        out_shardings=(same, same),
        donate_argnums=0,
        compiler_options=options,
    )
