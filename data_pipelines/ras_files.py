"""Files of team RAS, by track: features of faces, sound, descriptions, open mouths.

Source: https://github.com/SMIL-SPCRAS/CVPRW-26, commit 8385d2a.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from data_pipelines import array_pickles, audio
from data_pipelines import folder as folders
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.files import Npz, float32, require_array
from data_pipelines.labels.rates import LONGEST
from data_pipelines.labels.segments import Segment, read_segments
from data_pipelines.nearest_frames import nearest_frames
from data_pipelines.report import Report

WINDOW = re.compile(r"(.+)___(\d{1,9})_(\d{1,9})_\d+", re.ASCII)  # track, start, stop, index
BRANCH, POOL = "multimodal", "last"  # what the original takes


def below(folder: pathlib.Path, report: Report, *suffixes: str) -> dict[str, pathlib.Path]:
    """{name without suffix: file} of a folder and those below it; empty where it is not there."""
    paths = [path for inner in folders.folders(folder) for path in folders.files(inner, *suffixes)]
    report.use(*paths)
    return dict(sorted(folders.by_name(paths).items()))


def face(
    path: pathlib.Path, frames: np.ndarray, size: int | None, reach: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """(features float32 [T, D], mask bool [T], number of its frames that are none of these).

    Args:
        path: an .npz of `frames` [N], 1-based image numbers that ascend, and `features` [N, D].
        frames: [T], image numbers that are asked for.
        size: D that is expected; None for any.
        reach: a frame that is not there takes the nearest one, of two the earlier, up to so many
            frames away; else it is masked.
    """
    there, features = frames_of(path, size)
    if not len(there):
        return (
            np.zeros((len(frames), features.shape[1]), np.float32),
            np.zeros(len(frames), bool),
            0,
        )
    if not (finite := np.isfinite(features).all(1)).all():
        raise UserError(f"{path}: features of frame {there[np.argmin(finite)]} are not finite.")
    chosen = nearest_frames(frames, there)
    mask = np.abs(there[chosen] - frames) <= reach
    spare = int((~np.isin(there, frames)).sum())
    return np.where(mask[:, None], features[chosen], np.float32(0)), mask, spare


def frames_of(path: pathlib.Path, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(image numbers int64 [N], features float32 [N, D]) of a file of `face`."""
    with Npz(path, "a readable npz file of features") as arrays:
        missing = [key for key in ("frames", "features") if key not in arrays]
        if missing:
            raise UserError(f"{path}: has no {missing[0]!r}, only {listed(arrays) or 'nothing'}.")
        shape, dtype = arrays.header("features")
        rows = shape[:1] or ("rows",)
        require_array(f"{path}: features", shape, dtype, "iuf", (*rows, size or "size"))
        require_array(f"{path}: frames", *arrays.header("frames"), "iu", rows)
        frames, features = arrays["frames"].astype(np.int64), float32(arrays["features"])
    if len(frames) and (frames[0] < 1 or (np.diff(frames) <= 0).any() or frames[-1] > LONGEST):
        raise UserError(
            f"{path}: frames do not ascend from 1 (to {LONGEST} at most), as image numbers do."
        )
    return frames, features


@dataclasses.dataclass(frozen=True)
class Sound:
    """Sound of a track: files and the seconds at which they begin."""

    files: tuple[pathlib.Path, ...]
    starts: tuple[float, ...] = (0.0,)

    def __str__(self) -> str:
        more = f" (and {len(self.files) - 1} more)" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"

    def read(self) -> np.ndarray:
        """int16 [S] at audio.RATE; of files that overlap the later, zeros in between."""
        if self.starts == (0.0,):
            return audio.decode(self.files[0])
        parts = []
        for path, start in zip(self.files, self.starts):
            samples = np.concatenate(list(audio.blocks(path)))
            parts.append((round(start * audio.RATE), samples))
        joined = np.zeros(max(at + len(samples) for at, samples in parts), np.int16)
        for at, samples in parts:
            joined[at : at + len(samples)] = samples
        return joined


def windows(files: Mapping[str, pathlib.Path]) -> dict[str, list[tuple[int, pathlib.Path]]]:
    """{track: [(first frame, file)] by time} of sound that is cut into windows."""
    found: dict[str, list[tuple[int, pathlib.Path]]] = {}
    for name, path in files.items():
        if match := WINDOW.fullmatch(name):
            found.setdefault(match[1], []).append((int(match[2]), path))
    return {track: sorted(parts) for track, parts in found.items()}


def joined(track: str, parts: Sequence[tuple[int, pathlib.Path]], fps: Fraction | None) -> Sound:
    """The sound of windows; UserError where the rate of the video is not known.

    Windows begin at whole seconds, which the numbers of their frames are rounded from.
    """
    if fps is None:
        raise UserError(
            f"{parts[0][1]}: windows are put together by the frames a second of {track!r}, which "
            "are not known. Write them into videos_fps.csv."
        )
    starts = []
    for frame, path in parts:
        if frame > LONGEST:
            raise UserError(f"{path}: begins with frame {frame}, expected {LONGEST} at most.")
        seconds = frame / fps
        near = round(seconds)
        starts.append(float(near if abs(near - seconds) * fps <= Fraction(1, 2) else seconds))
    return Sound(tuple(path for _, path in parts), tuple(starts))


class Descriptions:
    """Embeddings of segments of behaviour: tables of segments, and packs of pickles.

    A pack is {segment: {"embeddings": {branch: {statistic: [D]}}, ...}}, or one such entry with its
    "video_name".

    Attributes:
        tables: {track: its segments in time order}.
        size: D.
        branch, pool: what is taken of the packs.
    """

    def __init__(self, folder: pathlib.Path, report: Report, branch: str | None, pool: str | None):
        self.tables: dict[str, list[Segment]] = {}
        tables = below(folder, report, ".csv")
        packs = below(folder, report, ".pkl", ".pickle")
        if not tables or not packs:
            missing = "table of segments (*.csv)" if not tables else "pickle of embeddings (*.pkl)"
            raise UserError(f"{folders.nothing(folder, missing)}. Both belong there.")
        named = _segments(tables.values(), report)
        for segment in named.values():
            self.tables.setdefault(segment.track, []).append(segment)
        for segments in self.tables.values():
            segments.sort(key=lambda one: (one.window.start, one.window.stop))
            for one, other in itertools.pairwise(segments):
                if other.window.stop < one.window.stop:
                    raise UserError(
                        f"{folder}: {other.name!a} lies inside of {one.name!a}, expected segments "
                        "of which none ends before one that begins earlier."
                    )
        self.branch, self.pool, self.size = "", "", 0
        self._vectors: dict[str, np.ndarray] = {}
        of_file: dict[str, pathlib.Path] = {}
        for path in packs.values():
            for name, entry in _entries(path).items():
                if name not in named:
                    continue
                if of_file.setdefault(name, path) != path:
                    raise UserError(f"{path}: {name!a} is in {of_file[name]} too. Leave one.")
                embeddings = _embeddings(path, name, entry)
                if not self.branch:
                    self.branch = _chosen(embeddings, branch, BRANCH, f"{path}: --behaviour-branch")
                    of_branch = embeddings[self.branch]
                    self.pool = _chosen(of_branch, pool, POOL, f"{path}: --behaviour-pool")
                self._vectors[name] = self._vector(name, embeddings, path)
        without = [name for name in named if name not in of_file]
        if without:
            raise UserError(
                f"{folder}: {len(without):,} of {len(named):,} segments of the tables have no "
                f"embeddings: {listed(sorted(without), 3)}."
            )

    def rows(self, track: str) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings float32 [rows, D], spans [rows, 2] in frames) of a track, in time order."""
        segments = self.tables[track]
        spans = [(one.window.start, one.window.stop) for one in segments]
        return np.stack([self._vectors[one.name] for one in segments]), np.array(spans, float)

    def _vector(self, name: str, branches: Mapping, path: pathlib.Path) -> np.ndarray:
        of_branch = branches.get(self.branch)
        vector = of_branch.get(self.pool) if isinstance(of_branch, dict) else None
        if not isinstance(vector, np.ndarray) or vector.ndim != 1 or vector.dtype.kind not in "iuf":
            what = "nothing" if vector is None else shown(vector)
            raise UserError(
                f"{path}: {name!a}: {self.branch}/{self.pool} is {what}, expected a vector."
            )
        vector = float32(vector)
        if not np.isfinite(vector).all():
            raise UserError(f"{path}: {name!a}: {self.branch}/{self.pool} is not finite.")
        self.size = self.size or len(vector)
        if len(vector) != self.size:
            raise UserError(f"{path}: {name!a} has {len(vector)} numbers, others {self.size}.")
        return vector


def _segments(tables: Iterable[pathlib.Path], report: Report) -> dict[str, Segment]:
    """{name: segment} of tables, which may repeat one another."""
    found: dict[str, Segment] = {}
    again = []
    for path in tables:
        for segment in read_segments(path, warn=report.note):
            name = folders.plain_name(segment.name, f"{path}: video_name")
            own, other = (x and (x.window.start, x.window.stop) for x in (segment, found.get(name)))
            if other is None:
                found[name] = dataclasses.replace(segment, name=name)
            elif own == other:
                again.append(name)
            else:
                raise UserError(
                    f"{path}: {name!a} is frames {own[0]} to {own[1]}, {other[0]} to {other[1]} in "
                    "another row. Leave one."
                )
    if again:
        report.note("behaviour/: segments that come twice, taken once", again)
    return found


def _entries(path: pathlib.Path) -> dict[str, Any]:
    pack = array_pickles.load(path)
    if not isinstance(pack, dict):
        raise UserError(f"{path}: a {type(pack).__name__}, expected {{segment: embeddings}}.")
    if "embeddings" in pack and "video_name" in pack:
        pack = {pack["video_name"]: pack}
    return {unicodedata.normalize("NFC", str(name).strip()): x for name, x in pack.items()}


def _embeddings(path: pathlib.Path, name: str, entry: Any) -> dict[str, Any]:
    found = entry.get("embeddings") if isinstance(entry, dict) else None
    if not isinstance(found, dict) or not found:
        raise UserError(
            f"{path}: {name!a}: expected a dict with embeddings: {{branch: {{statistic: vector}}}}."
        )
    return found


def _chosen(known: Any, given: str | None, usual: str, where: str) -> str:
    """The key that is given, else the usual one, else the only one."""
    names = [str(name) for name in known] if isinstance(known, dict) else []
    choice = given or (usual if usual in names or len(names) != 1 else names[0])
    if choice not in names:
        raise UserError(f"{where}={choice}: {nearest(choice, names)}")
    return choice
