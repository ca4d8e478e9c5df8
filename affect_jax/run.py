"""The run folder: one training, its config, log, checkpoints, predictions and plots.

RUN/config.json      as resolved           RUN/metrics.jsonl   one line an evaluation
RUN/tasks.json       the task table        RUN/statistics.npz  of the training features
RUN/data.json        hashes of the data    RUN/finished.json   when all of this is written
RUN/checkpoints/     Orbax steps           RUN/predictions/    <split>/<task>.npz, scores.json
RUN/events/          TensorBoard           RUN/plots/, RUN/README.md
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from affect_jax.workdir import Workdir
from data_pipelines.errors import UserError
from data_pipelines.files import Npz, read_json, readable
from data_pipelines.replace_file import replace_text, to_json
from data_pipelines.statistics import Statistics

_log = logging.getLogger(__name__)


class Run(Workdir):
    """Paths and small files of a run folder."""

    def __init__(self, folder: str | os.PathLike, *, label: str = ""):
        """`label`: what its progress lines begin with, where several runs train in turn."""
        super().__init__(folder, "config.json")
        self.label = label
        self.metrics_file = self.folder / "metrics.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.finished_file = self.folder / "finished.json"

    @property
    def started(self) -> bool:
        """True once there is a checkpoint; before the first, another config costs nothing."""
        return any(path.name.isdecimal() for path in self.checkpoints.glob("*"))

    def require(self) -> None:
        """UserError where there is no run to evaluate."""
        if not self.exists:
            raise UserError(
                f"{self.folder}: no run here (no config.json). Train one with --mode=train, "
                "or give the --workdir of a run."
            )

    def write_statistics(self, statistics: Statistics | None) -> None:
        """statistics.npz: mean and deviation of the training features."""
        if statistics is None:
            return
        arrays = {f"mean/{k}": v for k, v in statistics.mean.items()}
        arrays |= {f"std/{k}": v for k, v in statistics.std.items()}
        np.savez(self.folder / "statistics.npz", **arrays)

    def read_statistics(self, config: ConfigDict) -> Statistics | None:
        """Statistics that `write_statistics` wrote; None where `config` does not normalise by them.

        Raises:
            UserError: they are not whole. Those of the data at hand would change the numbers.
        """
        if config.data.normalise != "train":
            return None
        file = self.folder / "statistics.npz"
        about = (
            file,
            "the means and deviations of the run's training features",
            "Without them its model predicts something else.",
        )
        parts: dict[str, dict[str, np.ndarray]] = {"mean": {}, "std": {}}
        with readable(*about), Npz(*about) as arrays:
            for key in arrays:
                kind, _, name = key.partition("/")
                parts[kind][name] = x = arrays[key]
                if x.dtype.kind != "f" or not np.isfinite(x).all():
                    raise ValueError(f"{key}: {x.dtype} {x.shape}, expected finite numbers")
            shapes = [{name: x.shape for name, x in part.items()} for part in parts.values()]
            if shapes[0] != shapes[1]:
                raise ValueError("expected a deviation for each mean")
        return Statistics(**parts)

    @property
    def finished(self) -> dict[str, Any] | None:
        """{"step", "scores"} of a training that has ended; None before, and where it is damaged."""
        if not self.finished_file.is_file():
            return None
        try:
            about = self.finished_file, "what a finished run writes", "It is written again."
            with readable(*about):
                content = read_json(*about)
                dict(content["scores"]), int(content["step"])
        except UserError as error:
            _log.warning("%s", error)
            return None
        return content

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one that is no record is named and left out."""
        records = []
        for number, line in enumerate(self._log_text().splitlines(), 1):
            record = record_of(line)
            if record is None:
                _log.warning("%s: line %d is no record and left out", self.metrics_file, number)
            else:
                records.append(record)
        return records

    def _log_text(self) -> str:
        if not self.metrics_file.is_file():
            return ""
        return self.metrics_file.read_text(encoding="utf-8", errors="replace")

    def append(self, record: dict[str, Any]) -> str:
        """Add a line to metrics.jsonl; returns it."""
        line = to_json(record) + "\n"
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(line)
        return line

    def set_log(self, lines: Sequence[str] | None, step: int) -> list[str]:
        """Bring metrics.jsonl to where a checkpoint is: what came after it happens again.

        A file that holds anything else is kept aside, and that is said.

        Args:
            lines: of the log when the checkpoint was written; None where it does not say (those
                of before), which takes the records of the file up to `step`.
            step: records of later ones happen again.

        Returns:
            The lines that are in the file now.
        """
        there = self._log_text().splitlines(keepends=True)
        records = [record_of(line) for line in there]
        if lines is None:
            lines = [x for x, r in zip(there, records, strict=True) if r and r["step"] <= step]
        # A kill leaves whole later records, and one more that it may have cut.
        later = [
            i
            for i, (line, record) in enumerate(zip(there, records, strict=True))
            if (record and record["step"] > step) or (not line.endswith("\n") and not record)
        ]
        known = [line for i, line in enumerate(there) if i not in later]
        if known != list(lines):
            where = ""
            if known != list(lines[: len(known)]):  # more than lines that are missing at the end
                number = 1
                while (
                    aside := self.folder / f"{self.metrics_file.name}.damaged-{number}"
                ).exists():
                    number += 1
                aside.write_bytes(self.metrics_file.read_bytes())
                where = f"; as it was: {aside}"
            _log.warning(
                "%s: damaged; %d lines are as the checkpoint has them%s",
                self.metrics_file,
                len(lines),
                where,
            )
        if there != list(lines):
            replace_text(self.metrics_file, "".join(lines))
        return list(lines)


def record_of(line: str) -> dict[str, Any] | None:
    """The record in a line of metrics.jsonl, None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    numbers = all(type(record.get(key)) is int for key in ("step", "epoch"))
    tables = [record.get("loss", {}), scores := record.get("scores", {})]
    tables += scores.values() if isinstance(scores, dict) else ()
    return record if numbers and all(isinstance(table, dict) for table in tables) else None
