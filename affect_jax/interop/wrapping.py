"""Prefixes that PyTorch and training scripts put before a model's names, taken off again.

DataParallel calls everything "module.x", torch.compile "_orig_mod.x"; a checkpoint of a training
holds the model under "state_dict" or "model", beside the optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from data_pipelines.errors import listed

T = TypeVar("T")

_COMPILED = "_orig_mod"
_WRAPPERS = ("module", "state_dict", "model_state_dict", "model", "net")
# Beginnings of what a checkpoint holds beside the model: "optimizer_state_dict", "lr_scheduler".
_BESIDE = (
    *("optim", "scheduler", "scaler", "lr", "ema", "rng", "random", "args", "loss", "best"),
    *("epoch", "step", "iter", "global_step", "acc", "model_ema"),
)


def unwrapped(state_dict: Mapping[str, T]) -> tuple[dict[str, T], str]:
    """(the tensors by the model's own names, a line on what was taken off, or "").

    Nothing is taken off that does not stand around all of the model.
    """
    names = {name: tuple(name.split(".")) for name in state_dict}
    taken_off, left_out = [], set()
    if any(_COMPILED in parts for parts in names.values()):
        names = {k: tuple(p for p in parts if p != _COMPILED) for k, parts in names.items()}
        taken_off.append(f"{_COMPILED}.")
    while wrapper := _wrapper(list(names.values())):
        taken_off.append(f"{wrapper}.")
        left_out |= {parts[0] for parts in names.values()} - {wrapper}
        names = {k: parts[1:] for k, parts in names.items() if parts[0] == wrapper}
    bare = {".".join(parts): state_dict[name] for name, parts in names.items()}
    # Two names that differ in a prefix alone are two tensors: then it means something.
    if not taken_off or len(bare) < len(names):
        return dict(state_dict), ""
    line = f"{' and '.join(map(repr, taken_off))} taken off the names"
    return bare, line + (f", {listed(sorted(left_out), 5)} left out" if left_out else "")


def _wrapper(names: list[tuple[str, ...]]) -> str:
    """The first part that all names of the model share and that is no part of it; or ""."""
    inside = [n for n in names if not n[0].lower().startswith(_BESIDE)]
    first = {n[0] for n in inside}
    for wrapper in _WRAPPERS:
        # A layer list called "module" has numbers below it: it is the model's own.
        if first == {wrapper} and all(len(n) > 1 and not n[1].isdecimal() for n in inside):
            return wrapper
    return ""
