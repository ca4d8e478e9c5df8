"""Progress of a training: lines for a person, and TensorBoard (times and rates live there)."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

from affect_jax.disk import require_writable, writing
from affect_jax.run import Run
from affect_jax.shown import decimals

_log = logging.getLogger("affect_jax")


class Progress:
    """Lines on standard error, a bar within an epoch on a terminal, TensorBoard events.

    Attributes:
        unit: what rates count.
    """

    def __init__(self, run: Run):
        self._run = run
        self._bar: Any = None
        self._rate, self.unit = 0.0, "frames"

    def __enter__(self) -> Progress:
        self._events = _Events(self._run.folder / "events")
        return self

    def __exit__(self, *exception: Any) -> None:
        self._close_bar()
        self._events.close()

    def say(self, text: str, *, quiet: bool = False) -> None:
        """A line; a quiet one is shown with --verbose only."""
        text = f"{self._run.label}  {text}" if self._run.label else text
        if quiet:
            _log.debug(text)
            return
        if self._bar is not None:
            _shown(self._bar.clear)
        _shown(print, text, file=sys.stderr, flush=True)

    def begin(self, total: int, done: int) -> None:
        """An epoch of `total` steps begins, `done` of them done before."""
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="step", leave=False)

    def advance(self, steps: int) -> None:
        """That many steps more."""
        if self._bar is not None:
            _shown(self._bar.update, steps)

    def end(self, rate: float) -> None:
        """The epoch's steps are done, so many frames or clips a second."""
        self._close_bar()
        self._rate = rate

    def _close_bar(self) -> None:
        if self._bar is not None:
            _shown(self._bar.close)
            self._bar = None

    def evaluated(self, record: dict[str, Any], epochs: int, shown: tuple[str, ...]) -> None:
        """One evaluation: a line, and all its numbers to TensorBoard."""
        step = record["step"]
        numbers = {f"loss/{name}": value for name, value in record["loss"].items()}
        numbers |= {"learning_rate": record["lr"], f"{self.unit}_per_second": self._rate}
        numbers |= {f"learning_rate/{name}": x for name, x in record.get("group_lr", {}).items()}
        loss = record["loss"].get("total")
        parts = ["no row to train on" if loss is None else f"loss {loss:.4f}"]
        for split, scores in record.get("scores", {}).items():
            numbers |= {f"{split}/{name}": value for name, value in scores.items()}
            parts += [f"{name} {decimals(scores[name])}" for name in shown if name in scores]
        self._events.add(numbers, step)
        self.say(
            f"epoch {record['epoch']:>3}/{epochs}  step {step:>6}  {'  '.join(parts)}"
            f"  [{self._rate:,.0f} {self.unit}/s]"
        )


class _Events:
    """TensorBoard events, written in the caller's thread.

    The SummaryWriter has one of its own, which a full disk ends, and waits for it for ever.
    """

    def __init__(self, folder: pathlib.Path):
        from tensorboardX.event_file_writer import EventsWriter

        self._folder = folder
        require_writable(folder)
        with writing(folder):
            self._writer = EventsWriter(str(folder / "events"))
            self._writer.flush()

    def add(self, numbers: dict[str, float], step: int) -> None:
        """The numbers of one step."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        with writing(self._folder, "TensorBoard's events"):
            for name, value in numbers.items():
                event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
                self._writer.write_event(event)
            self._writer.flush()

    def close(self) -> None:
        """All is written; what a full disk has refused is lost with it."""
        with contextlib.suppress(OSError):
            self._writer.close()


def _shown(show: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
    """Show something where there is still somebody to see it: a terminal may have been closed."""
    with contextlib.suppress(OSError):
        show(*arguments, **keywords)


def table(
    scores: dict[str, Any],
    references: dict[str, dict[str, float]],
    ours: str,
    intervals: dict[str, tuple[float, float]] | None = None,
) -> str:
    """Scores as lines, ours beside the references of the store (an upper bound, a baseline).

    One line that says so where there are none: a split without labels, or pictures alone.
    """
    names = [n for n, v in scores.items() if isinstance(v, float)]
    if not names:
        return "no score: the split has no label that one is computed from"
    cells = {ours: {n: decimals(scores[n]) for n in names}}
    if intervals:
        cells["95 % interval"] = {
            k: f"{decimals(a)} to {decimals(b)}" for k, (a, b) in intervals.items()
        }
    for who, values in references.items():
        cells[who] = {n: decimals(v) for n, v in values.items() if isinstance(v, float)}
    width = max([len(n) for n in names] + [5])
    columns = {who: max(map(len, (who, *column.values()))) for who, column in cells.items()}
    lines = [" " * width + "".join(f"  {who:>{w}}" for who, w in columns.items())]
    for name in names:
        row = "".join(f"  {cells[who].get(name, '-'):>{w}}" for who, w in columns.items())
        lines.append(f"{name:<{width}}{row}")
    return "\n".join(lines)
