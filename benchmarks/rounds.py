"""Rounds of two sides in turns, printed as they are taken, and what they say together."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from benchmarks import load

Times = dict[str, float]  # {"ours chunk": seconds a step, "torch epoch": ...}


def alternate(
    timers: Mapping[str, Callable[[], float]], rounds: int
) -> Iterator[tuple[Times, load.Load]]:
    """Seconds of every timer, and what else the machine computed, round by round."""
    for timer in timers.values():
        timer()  # compile, fill caches
    for _ in range(rounds):
        watch = load.Watch()
        times = {name: timer() for name, timer in timers.items()}
        yield times, watch.stop()


def printed(measured: Iterable[tuple[Times, load.Load]], items: int, unit: str) -> list[Any]:
    """Prints the rounds and `report` of them; returns them as JSON has them."""
    rounds, loads = [], []
    for times, each in measured:
        rounds.append(times)
        loads.append(each)
        line = "   ".join(f"{name} {1e3 * seconds:.2f}" for name, seconds in times.items())
        print(f"  round {len(rounds)}   {line}   {each}", flush=True)
    print(report(items, unit, rounds), flush=True)
    if noisy := sum(not each.quiet for each in loads):
        print(f"  {noisy} of {len(loads)} rounds were taken under load", flush=True)
    return [
        times | dataclasses.asdict(each) | {"quiet": each.quiet}
        for times, each in zip(rounds, loads, strict=True)
    ]


def report(items: int, unit: str, rounds: list[Times]) -> str:
    """A line on each thing that was timed; a step has `items` of the unit ("frames")."""
    lines = []
    for what in (name.removeprefix("ours ") for name in rounds[0] if name.startswith("ours ")):
        ours = statistics.median(r[f"ours {what}"] for r in rounds)
        digits = 0 if items / ours >= 100 else 1
        line = f"  {what:<9} ours {ours * 1e3:8.2f} ms a step ({items / ours:,.{digits}f} {unit}/s)"
        if f"torch {what}" in rounds[0]:
            theirs = statistics.median(r[f"torch {what}"] for r in rounds)
            ratios = sorted(r[f"torch {what}"] / r[f"ours {what}"] for r in rounds)
            line += (
                f"   torch {theirs * 1e3:8.2f} ms   ratio {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} rounds)"
            )
        lines.append(line)
    return "\n".join(lines)
