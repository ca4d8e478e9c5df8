"""Rows of a list put together by video; of those that were read only the last lies in memory."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.labels.kept import Keep, Pair
from data_pipelines.labels.texts import TrackLabels


@dataclasses.dataclass
class _Rows:
    """The rows of a video so far: lines and image numbers of those taken, their labels in parts."""

    lines: list[int] = dataclasses.field(default_factory=list)
    images: list[int] = dataclasses.field(default_factory=list)
    parts: list[Mapping[str, Pair]] = dataclasses.field(default_factory=list)
    again: tuple[int, ...] = ()

    def labels(self) -> dict[str, Pair]:
        names = self.parts[0] if self.parts else ()
        return {
            name: tuple(np.concatenate(arrays) for arrays in zip(*(p[name] for p in self.parts)))
            for name in names
        }


class Videos:
    """Tracks of a list, which is given in pieces: rows of one video that stand together.

    A row that comes again with the same labels is taken once. Rows of a video must stand together,
    apart from such ones, and ascend by image number: a UserError names the line.

    Attributes:
        repeated: "line 4 is line 3", for each row that was left out.
    """

    def __init__(self, path: pathlib.Path):
        self._path, self._keep = path, Keep()
        self._tracks: dict[str, TrackLabels] = {}
        self._lines: dict[str, Sequence[int]] = {}
        self._name, self._rows = "", _Rows()
        self.repeated: list[str] = []

    def add(self, track: str, line: int, images: Sequence[int], labels: Mapping[str, Pair]) -> None:
        """Rows of a track that stand together, the first in `line`."""
        if track in self._tracks:
            done = self._tracks[track]
            rows = _Rows([*self._lines[track]], done.frames.tolist(), [done.labels], done.again)
            self._extend(track, rows, line, images, labels, goes_on=False)
            self._tracks[track] = dataclasses.replace(done, again=rows.again)
            return
        if track != self._name:
            self._close()
            self._name, self._rows = track, _Rows()
        self._extend(track, self._rows, line, images, labels, goes_on=True)

    def tracks(self) -> dict[str, TrackLabels]:
        """Every track, in the order of the list."""
        self._close()
        self._name, self._rows = "", _Rows()
        return self._tracks

    def _extend(
        self,
        track: str,
        rows: _Rows,
        line: int,
        images: Sequence[int],
        labels: Mapping[str, Pair],
        *,
        goes_on: bool,
    ) -> None:
        """Adds to the rows of a track those that are new; none may be where it does not go on."""
        old, lines = len(rows.images), [*rows.lines, *range(line, line + len(images))]
        rows.parts.append(labels)
        if goes_on and (np.diff([*rows.images[-1:], *images]) > 0).all():
            rows.lines, rows.images = lines, [*rows.images, *images]
            return
        joined, kept = rows.labels(), [*range(old)]
        at = {image: row for row, image in enumerate(rows.images)}
        last = rows.images[-1] if rows.images else 0
        place = old + len(rows.again)
        for row, image in enumerate(images, old):
            where = f"{self._path}:{lines[row]}: "
            if image in at:
                first = lines[at[image]]
                if any((x[row] != x[at[image]]).any() for pair in joined.values() for x in pair):
                    raise UserError(
                        f"{where}image {image} of {track!r} comes twice, in line {first} with "
                        "other labels."
                    )
                self.repeated.append(f"line {lines[row]} is line {first}")
                rows.again += (place + row - old,)
                continue
            if not goes_on:
                raise UserError(
                    f"{where}rows of {track!r} go on after another video's (they began in line "
                    f"{lines[0]}). Rows of a video must stand together."
                )
            if image < last:
                raise UserError(
                    f"{where}image {image} of {track!r} comes after image {last}. Image numbers "
                    "must ascend."
                )
            at[image], last = row, image
            kept.append(row)
        taken = [*rows.images, *images]
        rows.lines, rows.images = [lines[row] for row in kept], [taken[row] for row in kept]
        rows.parts = [{name: (v[kept], m[kept]) for name, (v, m) in joined.items()}]

    def _close(self) -> None:
        """Puts the video that was read last with the others."""
        rows, name = self._rows, self._name
        if not rows.images:
            return
        frames = np.array(rows.images, np.int32)
        source = f"{self._path} (track {name})"
        self._tracks[name] = self._keep(TrackLabels(frames, rows.labels(), source, rows.again))
        together = rows.lines[-1] - rows.lines[0] == len(rows.lines) - 1
        self._lines[name] = (
            range(rows.lines[0], rows.lines[-1] + 1) if together else np.array(rows.lines)
        )
