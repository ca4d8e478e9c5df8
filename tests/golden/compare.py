"""One rule of comparison for all fixtures (golden/README.md)."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.golden.fixture import Answer, Fixture

# In a text file; parts of a name count too, and are equal.
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# Left after optimiser steps: weights, statistics, outputs.
TRAINED = (
    *("out_final*", "out_eval_after*", "out_after*", "out_ema_*", "out_stat_*", "*_final"),
    *("buf_*", "weights_final/*"),
)


def limit(name: str, stored: np.ndarray, limits: Mapping[str, float]) -> float:
    """Largest allowed |ours - stored| of the array `name`.

    With m the largest absolute entry of the stored array: 1e-4 (1 + m) after training,
    2e-4 m + 2e-6 for gradients and norms, 2e-5 (1 + m) for the rest.

    Args:
        limits: {glob: limit} of meta.json, which goes first.
    """
    own = _glob(limits, name)
    if own is not None:
        return own
    finite = np.abs(stored[np.isfinite(stored)].astype(np.float64))
    m = finite.max(initial=0)
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in TRAINED):
        return 1e-4 * (1 + m)
    if "grad" in name or "norm" in name:
        return 2e-4 * m + 2e-6
    return 2e-5 * (1 + m)


@dataclasses.dataclass(frozen=True)
class Difference:
    """One array compared.

    Attributes:
        array: its name.
        error: largest |ours - stored|; infinite where that is no number.
        limit: what is allowed.
        fault: what is wrong, or "".
    """

    array: str
    error: float
    limit: float
    fault: str

    @property
    def share(self) -> float:
        """Share of the limit that the error uses; the limit of what must be equal is 0."""
        return self.error / self.limit if self.limit else self.error


@dataclasses.dataclass(frozen=True)
class Result:
    """The verdict on one fixture.

    Attributes:
        verdict: "pass", "differs", "fail" or "not built".
        reason: why it differs or fails; which cases of a passing one differ.
        worst: the comparison that came nearest to its limit, or passed it furthest.
    """

    verdict: str
    reason: str = ""
    worst: Difference | None = None

    def line(self, name: str, width: int = 0) -> str:
        """One line for the terminal: name, worst error, verdict."""
        error = "-"
        if self.worst is not None:
            error = f"{self.worst.error:.1e} of {self.worst.limit:.1e} in {self.worst.array}"
        return f"{name:{width}}  {error:46}  {self.verdict}" + (
            f" ({self.reason})" if self.reason else ""
        )


def judge(fixture: Fixture, adapter: Callable[[Fixture], Answer] | None) -> Result:
    """Run the adapter and compare every stored output."""
    if adapter is None:
        return Result("not built", "no adapter")
    answer = adapter(fixture)
    limits = fixture.meta.get("limits", {})
    compared: list[Difference] = []
    differing: collections.Counter[str] = collections.Counter()
    for name, stored in fixture.outputs.items():
        if (why := _glob(answer.differs, name)) is not None:
            differing[why] += 1
        elif _glob(answer.ignored, name) is None:
            compared.append(difference(name, answer.arrays.get(name), stored, limits))
    if answer.files is not None:
        compared += files(answer.files, fixture.expected(answer.inputs))
    worst = max(compared, key=lambda one: one.share, default=None)
    faults = [one.fault for one in compared if one.fault]
    if faults:
        more = f"; {len(faults) - 1} more" if len(faults) > 1 else ""
        return Result("fail", faults[0] + more, worst)
    counted = (f"{why}, {n} array{'s' * (n > 1)}" for why, n in differing.items())
    reason = "; ".join(counted)
    if not compared:
        return Result("differs", reason or "no outputs to compare", worst)
    return Result("pass", f"differs: {reason}" if reason else "", worst)


def difference(name: str, ours: Any, stored: np.ndarray, limits: Mapping[str, float]) -> Difference:
    """Ours against the stored array: floats within `limit`, the rest exactly or by `limits`."""
    if ours is None:
        return Difference(name, np.inf, 0, f"{name} was not computed")
    ours = np.asarray(ours)
    if ours.shape != stored.shape:
        return Difference(name, np.inf, 0, f"{name}: ours {ours.shape}, stored {stored.shape}")
    if not np.issubdtype(stored.dtype, np.floating) and _glob(limits, name) is None:
        wrong = int((ours != stored).sum())
        fault = f"{name}: {wrong} of {stored.size} entries differ" if wrong else ""
        return Difference(name, np.inf if wrong else 0, 0, fault)
    allowed = limit(name, stored, limits)
    # NaN: the original has no value there. Ours must have one, whatever it is.
    known = ~np.isnan(stored)
    if not np.isfinite(ours[~known]).all():
        fault = f"{name}: ours is not finite where the original has no value"
        return Difference(name, np.inf, allowed, fault)
    a, b = ours[known].astype(np.float64), stored[known].astype(np.float64)
    with np.errstate(invalid="ignore"):  # equal infinities
        error = float(np.where(a == b, 0, np.abs(a - b)).max(initial=0))
    if error <= allowed:
        return Difference(name, error, allowed, "")
    error = np.inf if np.isnan(error) else error
    return Difference(name, error, allowed, f"{name}: off by {error:.1e}, {allowed:.1e} allowed")


def files(ours: Mapping[str, str], wanted: Mapping[str, pathlib.Path]) -> list[Difference]:
    """A comparison for each stored file, and for each of ours beyond them.

    Args:
        ours: {path: text}. Texts must be equal, numbers in them to 1e-5 (1 + |stored|).
        wanted: {path: file}.
    """
    more = [f"{name}: a file that is not expected" for name in ours if name not in wanted]
    found = [Difference(fault, np.inf, 0, fault) for fault in more]
    for name, path in wanted.items():
        text, fault, error, allowed = path.read_text(), "", np.zeros(1), np.full(1, 1e-5)
        if name not in ours:
            fault = f"{name} was not written"
        elif NUMBER.sub("#", ours[name]) != NUMBER.sub("#", text):
            fault = f"{name}: the texts differ in more than numbers"
        elif NUMBER.search(text):
            a, b = (np.array([float(x) for x in NUMBER.findall(t)]) for t in (ours[name], text))
            error, allowed = np.abs(a - b), 1e-5 * (1 + np.abs(b))
        worst = int((error / allowed).argmax())
        if error[worst] > allowed[worst]:
            fault = f"{name}: number {worst + 1} is off by {error[worst]:.1e}"
        difference = float(error[worst]) if not fault or error[worst] else np.inf
        found.append(Difference(name, difference, float(allowed[worst]), fault))
    return found


def _glob(table: Mapping[str, Any], name: str) -> Any:
    """The value of the entry that is `name`, or of the first pattern that matches it, or None."""
    hits = (value for pattern, value in table.items() if fnmatch.fnmatchcase(name, pattern))
    return table.get(name, next(hits, None))
