"""A toy of two networks in turns: a classifier of pictures, and a policy that selects its pictures.

Each turn scores all training pictures, updates the policy by what they earned, selects, and trains
the classifier on the selection. Nothing of it is a method; it shows what a system of its own needs.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax.models import Output
from affect_jax.phases import Phase, Program
from affect_jax.step import advanced
from affect_jax.systems.supervised import Supervised

POLICY = optax.adam(0.05)
WIDTH = 4


class Classifier(nn.Module):
    """uint8 pictures in, logits of a task of classes and the hidden features out."""

    task: str
    classes: int

    @nn.compact
    def __call__(self, batch, carry=None, train=False, progress=0.0):
        x = batch["inputs"]["face"]
        x = nn.relu(nn.Conv(WIDTH, (3, 3), name="conv")(x)).mean((1, 2))
        return Output(
            {self.task: nn.Dense(self.classes, name="head")(x)}, aux={"arrays": {"embedding": x}}
        )


def policy(params: Any, hidden: jax.Array) -> jax.Array:
    """Logits [N] of keeping each row."""
    return hidden @ params["weight"] + params["bias"]


class Selector(Supervised):
    """Turns of two phases: score, then train on what is selected."""

    def make_model(self) -> nn.Module:
        (task,) = self.tasks
        return Classifier(task.name, task.size)

    def phase(self, state) -> Phase | None:
        turn, training = divmod(int(state.position), 2)
        if turn >= self.config.epochs:
            return None
        if not training:
            return Phase("score", turn)
        return Phase("train", turn, True, np.flatnonzero(state.extra["kept"]))

    def programs(self) -> dict[str, Program]:
        return super().programs() | {"score": Program(self.score, train=False)}

    def score(self, state, batch, epoch, progress):
        """Keep what each row's features and the probability of its label are."""
        (task,) = self.tasks
        output = self.model.apply(state.variables(), batch)
        chosen = jax.nn.softmax(output.predictions[task.name])
        chosen = jnp.take_along_axis(chosen, batch["labels"][task.name][:, None], 1)[:, 0]
        # Row -1 would be the last one: places that do not exist are sent out of range.
        row = jnp.where(batch["row"] >= 0, batch["row"], len(state.extra["chosen"]))
        extra = state.extra | {
            "hidden": state.extra["hidden"]
            .at[row]
            .set(output.aux["arrays"]["embedding"], mode="drop"),
            "chosen": state.extra["chosen"].at[row].set(chosen, mode="drop"),
        }
        return advanced(state).replace(extra=extra), {}

    def after(self, state, phase):
        return self._select(state) if phase.program == "score" else state

    @functools.cached_property
    def _select(self):
        def select(state):
            extra = state.extra
            reward = extra["chosen"] - extra["chosen"].mean()

            def loss(params):
                logits = policy(params, extra["hidden"])
                signed = jnp.where(extra["kept"], logits, -logits)
                return -(reward * jax.nn.log_sigmoid(signed)).mean()

            grads = jax.grad(loss)(extra["policy"])
            updates, optimiser = POLICY.update(grads, extra["optimiser"])
            params = optax.apply_updates(extra["policy"], updates)
            key = jax.random.fold_in(state.rng, state.position)
            draws = jax.random.uniform(key, reward.shape)
            kept = draws < jax.nn.sigmoid(policy(params, extra["hidden"]))
            return state.replace(
                extra=extra | {"policy": params, "optimiser": optimiser, "kept": kept}
            )

        return jax.jit(select)

    def extra(self) -> Any:
        rows = len(self.data.training_rows)
        params = {"weight": jnp.zeros(WIDTH), "bias": jnp.ones(())}
        return {
            "hidden": jnp.zeros((rows, WIDTH)),
            "chosen": jnp.zeros(rows),
            "kept": jnp.ones(rows, bool),
            "policy": params,
            "optimiser": POLICY.init(params),
        }


def build(config, **given) -> Selector:
    return Selector(config, **given)
