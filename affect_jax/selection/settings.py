"""Settings of the system "rlps": the keys of `config.rlps`, checked."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from affect_jax.config import require_kind
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
    if given.reward == "f1" and given.method == "sigmoid":
        raise UserError(
            "config.rlps.reward = 'f1': config.rlps.method = 'sigmoid' has a reward of its own, of "
            "bags. Set 'probability', which is shown."
        )
    if given.alternations > config.epochs:
        raise UserError(
            f"config.rlps.alternations = {given.alternations}: more than config.epochs = "
            f"{config.epochs}, of which they are the last. Set config.epochs to as many or more."
        )
    return settings


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
