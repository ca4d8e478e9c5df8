"""Groups of parameters, and the update that each gets: clipping, direction and rate.

`config.optim.groups` names groups in order, `config.optim.group` defines each as plain values:

    config.optim.groups = ("backbone", "scale")
    config.optim.group.backbone = dict(match="encoder/.*", rate=0.1, schedule="constant")
    config.optim.group.scale = dict(match=(".*/scale", ".*/bias"), weight_decay=0.0)

The first group that matches the whole path of a parameter has it; the others are trained as
`config.optim` says, in the group "default". Adam is elementwise, so that one state serves all
groups.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from affect_jax.config import names_in, require_kind
from affect_jax.schedules import is_better, learning_rate, plateau, require_schedule
from data_pipelines.errors import UserError, nearest

KINDS = ("adam", "adamw", "sgd")
DEFAULT = "default"  # the group of the parameters that no other one has
_FREEZE = "freeze"  # the group of config.freeze


@dataclasses.dataclass(frozen=True)
class Group:
    """One group of parameters.

    Attributes:
        name: as in `config.optim.groups`.
        match: regular expressions; the whole path of a parameter ("encoder/layer_0/query/kernel")
            must match one.
        rate: factor on the learning rate.
        weight_decay: None: that of `config.optim`.
        clip_norm: bound of the group's own gradient by the rule `config.optim.clip`; 0: none. None:
            the group is clipped together with the default's, to `config.optim.clip_norm`.
        schedule: of the learning rate (schedules.SCHEDULES); "": that of `config.optim`.
        frozen: its parameters keep their values: no gradient, no optimiser state, no average.
    """

    name: str
    match: tuple[str, ...]
    rate: float = 1.0
    weight_decay: float | None = None
    clip_norm: float | None = None
    schedule: str = ""
    frozen: bool = False

    @property
    def key(self) -> str:
        """Key of the config that the patterns stand in."""
        return "config.freeze" if self.name == _FREEZE else f"config.optim.group.{self.name}.match"


_FIELDS = dict(
    match=tuple[str, ...],
    rate=float,
    weight_decay=float,
    clip_norm=float,
    schedule=str,
    frozen=bool,
)


def groups_from_config(config: Any, freeze: Sequence[str] = ()) -> tuple[Group, ...]:
    """The groups of `config.optim`, checked, those of `freeze` first and the default last.

    Raises:
        UserError: names the key that is wrong, and the nearest right value.
    """
    names = names_in("config.optim.groups", config.groups, "config.optim.group", config.group)
    groups = [_group(name, config.group[name]) for name in names]
    frozen = [Group(_FREEZE, tuple(freeze), frozen=True)] if freeze else []
    return (*frozen, *groups, Group(DEFAULT, (".*",)))


def _group(name: str, entry: Any) -> Group:
    where = f"config.optim.group.{name}"
    if name in (DEFAULT, _FREEZE):
        raise UserError(f"{where}: the name is taken, by what config.optim and config.freeze say.")
    fields = {key: (x,) if key == "match" and isinstance(x, str) else x for key, x in entry.items()}
    for key, value in fields.items():
        if key not in _FIELDS:
            raise UserError(f"{where}.{key}: no such field. {nearest(key, _FIELDS)}")
        require_kind(f"{where}.{key}", value, _FIELDS[key])
        if _FIELDS[key] is float and value < 0:
            raise UserError(f"{where}.{key} = {value}: expected a number from 0 on.")
    if not fields.get("match"):
        raise UserError(f"{where}.match is missing: a regular expression over parameter paths.")
    group = Group(name, **fields | {"match": tuple(fields["match"])})
    if group.schedule:
        require_schedule(f"{where}.schedule", group.schedule)
    return group


class Optimiser:
    """The update of a run's parameters, group by group.

    Attributes:
        groups: in order, the default last.
    """

    def __init__(self, config: Any, params: Any, freeze: Sequence[str] = (), *, epochs: int):
        """Match the groups and build the chain: clip, then the direction of the update.

        Args:
            config: `config.optim`.
            params: tree of all parameters, or of their shapes.
            freeze: patterns of `config.freeze`.
            epochs: of the whole training, which the rates follow.

        Raises:
            UserError: a name or a pattern is wrong, or a group has no parameter.
        """
        self._config = config
        self.groups = groups_from_config(config, freeze)
        self._of = _assigned(self.groups, list(paths(params)))
        self._trained = [group for group in self.groups if not group.frozen]
        self._rates = {g.name: learning_rate(config, epochs, g.schedule) for g in self._trained}
        self._chain = self._build()

    @property
    def summary(self) -> str:
        """One line: how many parameters each group has; empty without groups."""
        names = list(self._of.values())
        counts = [f"{g.name} {names.count(g.name)}{' (frozen)' * g.frozen}" for g in self.groups]
        return f"parameters by group: {', '.join(counts)}" if len(counts) > 1 else ""

    def split(self, params: Any) -> tuple[Any, Any]:
        """(the trained leaves, the frozen leaves) as nested dicts; `state.merged` joins them."""
        if all(name in self._rates for name in self._of.values()):
            return params, {}
        parts: tuple[dict, dict] = {}, {}
        for path, leaf in flatten_dict(params).items():
            parts[self._of["/".join(path)] not in self._rates][path] = leaf
        return unflatten_dict(parts[0]), unflatten_dict(parts[1])

    def init(self, params: Any) -> optax.OptState:
        """The state before the first update: nothing of frozen parameters."""
        return self._chain.init(self.split(params)[0])

    def rates(self, epoch: Any, scale: Any) -> dict[str, jax.Array]:
        """{group that is trained: learning rate}.

        Args:
            epoch: 0-based, with the fraction done.
            scale: {group: factor}, what the plateau rule has cut (`State.plateau`).
        """
        return {g.name: g.rate * self._rates[g.name](epoch) * scale[g.name] for g in self._trained}

    def update(
        self, grads: Any, state: optax.OptState, trained: Any, epoch: Any, scale: Any
    ) -> tuple[Any, optax.OptState]:
        """(the trained leaves after one update, the next state). Arguments as `rates` and `split`.

        SGD is torch's: v <- momentum v + (g + decay p), p <- p - rate v, g the clipped gradient.
        """
        direction, state = self._chain.update(grads, state, trained)
        rates = self.rates(epoch, scale)

        def moved(path: Any, p: jax.Array, d: jax.Array) -> jax.Array:
            return p - rates[self._of[_name(path)]].astype(p.dtype) * d

        return jax.tree_util.tree_map_with_path(moved, trained, direction), state

    def fresh_plateau(self) -> dict[str, Any]:
        """State.plateau before the first evaluation."""
        return {
            "scale": {group.name: jnp.ones(()) for group in self._trained},
            "waited": jnp.zeros((), jnp.int32),
            "best": jnp.full((), -jnp.inf, jnp.float32),
        }

    def evaluated(self, state: Any, value: float, best: float, sign: int) -> dict[str, Any]:
        """State.plateau after an evaluation, of host numbers; as it is where no group has the rule.

        Args:
            value, best: the first monitored score now and the best before, times `sign`.
            sign: 1 where higher is better, -1 where lower is.
        """
        c = self._config
        cut = [g for g in self._trained if (g.schedule or c.schedule) == "plateau"]
        if not cut:
            return state
        # Small steps in a row may add up to one that counts: the best is the last that did.
        best = float(state["best"]) if c.threshold else best
        improved = bool(np.isfinite(value)) and is_better(value, best, sign, c.threshold)
        rule = dict(factor=c.factor, patience=c.patience)
        scale, before = dict(state["scale"]), int(state["waited"])
        for group in cut:
            rate = group.rate * c.lr
            least = c.least_rate / rate if rate else 0.0
            new, waited = plateau(float(scale[group.name]), before, improved, least=least, **rule)
            scale[group.name] = np.float32(new)
        best = np.float32(value) if improved else state["best"]
        return {"scale": scale, "waited": np.int32(waited), "best": best}

    def _build(self) -> optax.GradientTransformation:
        c = self._config
        for key, known in (("name", KINDS), ("clip", CLIPS)):
            if c[key] not in known:
                raise UserError(f"config.optim.{key} = {c[key]!r}: {nearest(c[key], known)}")
        decays = self._decays()
        if c.name == "sgd":
            after = [*decays, *([optax.trace(c.momentum, c.nesterov)] if c.momentum else [])]
        else:
            after = [optax.scale_by_adam(c.beta1, c.beta2, c.eps), *decays]
        # The gradient itself is the direction of an SGD that has nothing to add.
        return optax.chain(*(self._clips() + after or [optax.identity()]))

    def _clips(self) -> list[optax.GradientTransformation]:
        c, rule = self._config, CLIPS[self._config.clip]
        own = [(g.clip_norm, {g.name}) for g in self._trained if g.clip_norm is not None]
        if not own:
            return [rule(c.clip_norm)] if c.clip_norm else []
        others = {group.name for group in self._trained if group.clip_norm is None}
        parts = [*own, (c.clip_norm, others)]
        return [optax.masked(rule(norm), self._mask(names)) for norm, names in parts if norm]

    def _decays(self) -> list[optax.GradientTransformation]:
        decays = []
        for group in self._trained:
            own = group.weight_decay is not None
            decay = group.weight_decay if own else self._config.weight_decay
            if decay and self._config.name == "adam":
                key = f"group.{group.name}.weight_decay" if own else "weight_decay"
                raise UserError(
                    f"config.optim.{key} = {decay}: 'adam' has none; use --config.optim.name=adamw."
                )
            if decay:
                # Learned weights of the losses are no weights of the model: decay would undo them.
                mask = self._mask({group.name}, model=True)
                decays.append(optax.add_decayed_weights(decay, mask=mask))
        return decays

    def _mask(self, names: set[str], *, model: bool = False) -> Callable[[Any], Any]:
        """Function of a tree: is each leaf in one of the groups, and with `model` the model's?"""

        def chosen(path: Any, _: Any) -> bool:
            name = _name(path)
            return self._of[name] in names and not (model and name.startswith("weighting/"))

        return lambda tree: jax.tree_util.tree_map_with_path(chosen, tree)


def clip_by_subnetwork(max_norm: float) -> optax.GradientTransformation:
    """Scale each sub-network (first key of params) to L2 norm `max_norm` if it exceeds it.

    factor = min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ applied to every
    net on its own in the released code of ABAW4 (arXiv 2207.09373).
    """

    def update(grads, state, params=None):
        del params
        clipped = {
            name: _scaled(tree, jnp.minimum(1.0, max_norm / (optax.tree.norm(tree) + 1e-6)))
            for name, tree in grads.items()
        }
        return clipped, state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


# optax.clip clamps every element by itself.
CLIPS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "subnetwork": clip_by_subnetwork,
    "global": optax.clip_by_global_norm,
    "value": optax.clip,
}


def _scaled(tree: Any, factor: jax.Array) -> Any:
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), tree)


def same_rates(config: Any, epochs: int, others: int) -> bool:
    """Have trainings of so many epochs one learning rate, as far as the shorter one goes?"""
    if epochs == others:
        return True
    shorter = min(epochs, others)
    points = min(16 * shorter, 2**20)
    grid = np.linspace(0, shorter, points, endpoint=False, dtype=np.float32)
    schedules = {group.schedule for group in groups_from_config(config) if not group.frozen}
    pairs = [[learning_rate(config, n, s)(grid) for n in (epochs, others)] for s in schedules]
    return all(bool((a == b).all()) for a, b in pairs)


def paths(tree: Any) -> dict[str, Any]:
    """{"encoder/layer_0/query/kernel": leaf, ...}."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in flat}


def _name(path: Any) -> str:
    return "/".join(str(getattr(k, "key", k)) for k in path)


def _assigned(groups: Sequence[Group], names: Sequence[str]) -> dict[str, str]:
    """{path: name of the first group that matches it}.

    Raises:
        UserError: a pattern matches nothing (a misspelt name would freeze nothing, silently), or
            other groups leave a group nothing; `config.freeze` may.
    """
    of: dict[str, str] = {}
    for group in groups:
        owners = set()  # of what it matches, freeze aside
        for pattern in patterns_of(group.key, group.match):
            hits = [name for name in names if pattern.fullmatch(name)]
            if not hits and group.name != DEFAULT:
                hint = nearest(pattern.pattern, names)
                raise UserError(
                    f"{group.key}: pattern {pattern.pattern!r} matches no parameter. {hint}"
                )
            of = {name: group.name for name in hits} | of
            owners |= {of[name] for name in hits} - {_FREEZE}
        if group.name != DEFAULT and owners and group.name not in owners:
            raise UserError(
                f"{group.key}: groups before it have all that it matches. Name it earlier in "
                "config.optim.groups, or leave it out."
            )
    return of


def patterns_of(key: str, patterns: Sequence[str]) -> list[re.Pattern]:
    """The regular expressions of a config key, compiled; UserError for one that is none."""
    try:
        return [re.compile(str(p)) for p in patterns]
    except re.error as error:
        raise UserError(
            f"{key}: {error.pattern!r} is no regular expression ({error}). All is '.*'."
        ) from None
