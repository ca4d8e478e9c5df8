"""Load that others put on the machine while something is timed."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time

# Share of the machine's cores that others may take in a round that counts as quiet.
QUIET = 0.05
_PROC = pathlib.Path("/proc")


@dataclasses.dataclass(frozen=True)
class Load:
    """The load of a stretch of time.

    Attributes:
        average: the machine's load average over a minute, ours included.
        others: cores that other processes kept busy on the mean; NaN where the system does not say.
        cores: of the machine.
    """

    average: float
    others: float
    cores: int

    @property
    def quiet(self) -> bool:
        """Did others leave the machine alone?"""
        return not self.others > QUIET * self.cores

    def __str__(self) -> str:
        mark = "" if self.quiet else "   UNDER LOAD"
        return f"load {self.average:.2f}, others {self.others:.2f} of {self.cores} cores{mark}"


class Watch:
    """A stretch of time that begins now; `stop` says what else was computed in it."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.perf_counter(), _busy(), _own()

    def stop(self) -> Load:
        """The load since the beginning."""
        wall = max(time.perf_counter() - self._start, 1e-9)
        # Processes that ended in between took their time with them: never below 0.
        others = max((_busy() - self._busy) - (_own() - self._own), 0.0) / wall
        return Load(os.getloadavg()[0], others, os.cpu_count() or 1)


def _busy() -> float:
    """Seconds that all cores have computed since the start of the machine."""
    try:
        fields = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return float("nan")
    user, nice, system, _, _, *interrupts = map(int, fields[:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds that this process and all that it started have computed."""
    parents, seconds = {}, {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The name in brackets may hold anything; the state follows, then the parent's number.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        seconds[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(seconds.get(pid, 0.0) for pid in own)
