"""A-VB: the optimisers that the original chooses from, at constant rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from affect_jax.optim import Optimiser
from configs.base import base_config


def optimiser_of(options: Mapping[str, Any], params: Any, **groups: Mapping[str, Any]) -> Optimiser:
    """The optimiser of a fixture.

    Args:
        options: optimizer (adam, adamw, sgd or rmsprop) and lr; weight_decay, which adamw alone
            heeds; betas, eps, amsgrad and momentum, which are the original's where they are not
            there.
        groups: as in config.optim.group.
    """
    name = options["optimizer"].lower()
    betas = _betas(options)
    eps = float(options.get("eps", 1e-8))
    config = base_config().optim
    config.update(name=name, schedule="constant", clip_norm=0.0, lr=float(options["lr"]))
    config.update(beta1=betas[0], beta2=betas[1], eps=eps)
    config.update(momentum=float(options.get("momentum", 0.9)), nesterov=False)
    config.weight_decay = float(options.get("weight_decay", 0.0)) if name == "adamw" else 0.0
    config.update(groups=tuple(groups), group=ConfigDict(groups))
    if name == "rmsprop":
        return _Other(optax.scale_by_rms(0.95, 1e-7, eps_in_sqrt=False), config, params)
    if options.get("amsgrad"):
        return _Other(_amsgrad(*betas, eps), config, params)
    return Optimiser(config, params, epochs=1)


def unrounded(options: Mapping[str, Any], step: int) -> float:
    """Factor on the rate of a step, counted from 1, as if Adam's 1 - beta^step were not rounded.

    In float32 it is short of digits, and the weights of many losses are as small as such steps.
    """
    if not options["optimizer"].lower().startswith("adam") or options.get("amsgrad"):
        return 1.0
    mean, square = (
        optax.tree.bias_correction(jnp.ones(()), beta, jnp.asarray(step)) * (1 - beta**step)
        for beta in _betas(options)
    )
    return float(jnp.sqrt(square) / mean)


def _betas(options: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(map(float, options.get("betas", (0.9, 0.999))))


class _Other(Optimiser):
    """One whose direction ours has not."""

    def __init__(self, direction: optax.GradientTransformation, config: Any, params: Any):
        self._direction = direction
        super().__init__(config, params, epochs=1)

    def _build(self) -> optax.GradientTransformation:
        return optax.chain(self._direction, *self._decays())


def _amsgrad(beta1: float, beta2: float, eps: float) -> optax.GradientTransformation:
    """Adam by the largest second moment until now, as torch has it: corrected after that."""
    adam = optax.scale_by_adam(beta1, beta2, eps)

    def init(params: Any) -> Any:
        return adam.init(params), jax.tree.map(jnp.zeros_like, params)

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        _, now = adam.update(grads, state[0], params)
        largest = jax.tree.map(jnp.maximum, state[1], now.nu)
        of_mean, of_square = (-jnp.expm1(now.count * np.log(beta)) for beta in (beta1, beta2))

        def direction(mean: jax.Array, square: jax.Array) -> jax.Array:
            return mean / of_mean / (jnp.sqrt(square / of_square) + eps)

        return jax.tree.map(direction, now.mu, largest), (now, largest)

    return optax.GradientTransformation(init, update)
