"""Settings of the system "rlps": the keys of `config.rlps`, checked."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from affect_jax.config import differences, installed, require_kind
from affect_jax.selection.rewards import RETURNS
from data_pipelines.errors import UserError, nearest, shown

POLICIES = ("dnn", "linear")
REWARDS = ("probability", "class", "f1")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Keys of `config.rlps`; what each means: configs/rlps_keys.py."""

    system: str
    method: str
    alternations: int
    policy_passes: int
    policy: Mapping[str, Any]
    first_rate: float
    reward: str
    held_out: float
    returns: str
    entropy: float
    lr: float
    minibatch: int
    bag: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Hidden layers of the policy."""
        return tuple(self.policy["widths"]) if self.policy["name"] == "dnn" else ()

    @property
    def turns(self) -> int:
        """Turns in all: the policy's alone, and those in which the classifier is trained."""
        return self.policy_passes + self.alternations


def settings_of(config: ConfigDict) -> Settings:
    """The settings of a config.

    Raises:
        UserError: names the key that is missing, unknown or out of its range.
    """
    given = config.get("rlps", ConfigDict())
    kinds = typing.get_type_hints(Settings)
    for key in given:
        if key not in kinds:
            raise UserError(f"config.rlps.{key}: no such key. {nearest(key, kinds)}")
    for key, kind in kinds.items():
        if key not in given:
            raise UserError(f"config.rlps.{key} is missing. All keys: configs/rlps_keys.py.")
        require_kind(f"config.rlps.{key}", given[key], kind)
    settings = Settings(**{key: given[key] for key in kinds})
    _check_policy(given.policy)
    for key, known in (("reward", REWARDS), ("returns", RETURNS)):
        _choice(key, given[key], known)
    for key, above, below in (("first_rate", 0, 1), ("held_out", 0, 0.51), ("lr", 0, 10)):
        if not above < given[key] < below:
            raise UserError(
                f"config.rlps.{key} = {given[key]}: expected a number above {above} and below "
                f"{below}."
            )
    for key, least in (("minibatch", 1), ("bag", 1), ("alternations", 0), ("policy_passes", 0)):
        if given[key] < least:
            raise UserError(f"config.rlps.{key} = {given[key]}: expected a number from {least} on.")
    if given.entropy < 0:
        raise UserError(f"config.rlps.entropy = {given.entropy}: expected a number from 0 on.")
    _require_read(given)
    if given.alternations > config.epochs:
        raise UserError(
            f"config.rlps.alternations = {given.alternations}: more than config.epochs = "
            f"{config.epochs}, of which they are the last. Set config.epochs to as many or more."
        )
    if not settings.turns:
        raise UserError(
            "config.rlps.alternations = 0 and config.rlps.policy_passes = 0: the policy never "
            "learns. Set one of them from 1 on."
        )
    return settings


def _require_read(given: ConfigDict) -> None:
    """UserError for a key that is set although the others leave it unread."""
    method, policy, reward = given.method, given.policy.name, given.reward
    unread = {
        ("method", method): ("bag",),
        ("policy.name", policy): ("policy.widths",) if policy == "linear" else (),
        ("reward", reward): ("held_out",) if reward != "f1" else (),
    }
    if method == "sigmoid":
        of_rlps = ("policy.name", "policy.widths", "first_rate", "reward", "held_out", "returns")
        unread = {("method", method): (*of_rlps, "entropy", "minibatch")}
    default = installed("rlps_keys.py").rlps_keys(given.system)
    set_here = {key: (old, new) for key, old, new in differences(default, given)}
    for (by, value), keys in unread.items():
        for key in filter(set_here.get, keys):
            old, new = map(shown, set_here[key])
            raise UserError(
                f"config.rlps.{key} = {new}: is not read where config.rlps.{by} = {value!r}. "
                f"Leave it at {old}."
            )


def _check_policy(policy: Any) -> None:
    """UserError for a policy that is none."""
    known = {"name": str, "widths": tuple[int, ...]}
    if not isinstance(policy, Mapping | ConfigDict) or set(policy) != set(known):
        raise UserError(
            f"config.rlps.policy = {shown(policy)}: expected dict(name='dnn', widths=(64, 16))."
        )
    for key, kind in known.items():
        require_kind(f"config.rlps.policy.{key}", policy[key], kind)
    _choice("policy.name", policy["name"], POLICIES)
    if any(width < 1 for width in policy["widths"]):
        raise UserError(f"config.rlps.policy.widths = {shown(policy['widths'])}: from 1 on each.")


def _choice(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise UserError(
            f"config.rlps.{key} = {shown(value)}: no such choice. {nearest(value, known)}"
        )
