"""Checks a store: lists by name what is missing, odd or does not match.

python -m data_pipelines.verify --store=STORE

Exit code 0: nothing that matters. 1: problems (damaged files, values outside their range,
non-finite features, a video in two splits, a feature that a track lacks altogether). Notes (frames
without a feature, tracks without labels, what the preparation had to say) do not change it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.command import Parser
from data_pipelines.errors import UserError
from data_pipelines.labels.editions import RANGES
from data_pipelines.store import Label, Store, Track

CHUNK = 1 << 16  # rows looked at together, so that a store may be larger than memory


@dataclasses.dataclass
class Findings:
    """What a check found, one line each."""

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def check(store: Store) -> Findings:
    """Every check of this module on a store."""
    found = Findings()
    notes = store.manifest.get("notes", [])
    notes = notes if isinstance(notes, list) else [notes]
    found.notes += [f"from the preparation: {note}" for note in notes]
    if not store.tracks:
        found.problems.append("no track in the store")
    for part in (_frames, _groups, _features, _labels):
        part(store, found)
    return found


def _frames(store: Store, found: Findings) -> None:
    try:
        frames = store.frames
    except UserError as error:
        found.problems.append(str(error))
        return
    _hash("frames.npy", frames, store.manifest.get("sha256", {}).get("frames.npy", ""), found)
    for track in store.tracks:
        numbers = frames[track.offset : track.offset + track.frames]
        wrong = np.diff(numbers, prepend=0) <= 0
        if wrong.any():
            row = int(np.argmax(wrong))
            found.problems.append(
                f"track {track.name!r}, row {row}: image number {numbers[row]}, expected numbers "
                "from 1 that ascend"
            )


def _groups(store: Store, found: Findings) -> None:
    groups: dict[str, dict[str, list[str]]] = {}
    for track in store.tracks:
        groups.setdefault(track.group, {}).setdefault(track.split, []).append(track.name)
    for group, splits in groups.items():
        if len(splits) > 1:
            where = "; ".join(f"{split}: {', '.join(names)}" for split, names in splits.items())
            found.problems.append(f"group {group!r} is in several splits ({where})")


def _features(store: Store, found: Findings) -> None:
    for feature in store.features.values():
        try:
            array, mask = store.feature(feature.name), store.feature_mask(feature.name)
        except UserError as error:
            found.problems.append(str(error))
            continue
        _hash(f"features/{feature.name}.npy", array, feature.sha256, found)
        bad = _first_bad_row(array)
        if bad is not None:
            found.problems.append(
                f"feature {feature.name!r}: not finite at {_place(store, feature.name, bad)}"
            )
        if mask is None:
            continue
        file = f"features/{feature.name}.mask.npy"
        _hash(file, mask, store.manifest.get("sha256", {}).get(file, ""), found)
        none, some = [], []
        for track, start, stop in _spans(store, feature.name):
            present = int(mask[start:stop].sum())
            if stop == start or present == 0:
                none.append(track.name)
            elif present < stop - start:
                some.append(f"{track.name} ({stop - start - present} of {stop - start})")
        if none:
            found.problems.append(f"feature {feature.name!r} is missing in {', '.join(none)}")
        if some:
            found.notes.append(f"feature {feature.name!r} has gaps in {', '.join(some)}")


def _labels(store: Store, found: Findings) -> None:
    labelled = np.zeros(store.frames_total, bool)
    readable = True
    for label in store.labels.values():
        try:
            values, mask = store.label(label.name)
        except UserError as error:
            found.problems.append(str(error))
            readable = False
            continue
        file = f"labels/{label.name}.mask.npy"
        _hash(f"labels/{label.name}.npy", values, label.sha256, found)
        _hash(file, mask, store.manifest.get("sha256", {}).get(file, ""), found)
        low, high = RANGES.get(label.name, (-np.inf, np.inf))
        wrong = mask & ~(np.isfinite(values) & (values >= low) & (values <= high))
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            found.problems.append(
                f"label {label.name!r}: {values[row]} at {store.place(row)}, "
                f"expected {low:g} to {high:g}"
            )
        labelled |= mask if mask.ndim == 1 else mask.any(axis=1)
    if not readable:
        return
    for split in store.splits:
        tracks = [track for track in store.tracks if track.split == split]
        bare = [t.name for t in tracks if not labelled[t.offset : t.offset + t.frames].any()]
        if len(bare) == len(tracks):
            found.notes.append(f"split {split!r} has no labels")
        elif bare:
            found.notes.append(f"split {split!r}: tracks without a label: {', '.join(bare)}")


def _hash(file: str, array: np.ndarray, expected: str, found: Findings) -> None:
    """Compares with the manifest; a store written by other hands may have no hash."""
    digest = hashlib.sha256()
    for start in range(0, len(array), CHUNK):
        digest.update(np.ascontiguousarray(array[start : start + CHUNK]))
    if expected and digest.hexdigest() != expected:
        found.problems.append(f"{file}: its SHA-256 is not the manifest's; prepare the store again")


def _first_bad_row(array: np.ndarray) -> int | None:
    for start in range(0, len(array), CHUNK):
        finite = np.isfinite(array[start : start + CHUNK]).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def _spans(store: Store, feature: str) -> Iterator[tuple[Track, int, int]]:
    """(track, first row, one after the last) in the array of a feature."""
    table = store.features[feature].axis != "frame"
    for track in store.tracks:
        start, count = track.rows.get(feature, (0, 0)) if table else (track.offset, track.frames)
        yield track, start, start + count


def _place(store: Store, feature: str, row: int) -> str:
    for track, start, stop in _spans(store, feature):
        if start <= row < stop:
            return f"track {track.name!r}, row {row - start}"
    raise AssertionError(f"row {row} belongs to no track")


def table(store: Store) -> list[str]:
    """Lines of a table: tracks, frames, and what each label looks like in each split."""
    lines = []
    for split in store.splits:
        tracks = [track for track in store.tracks if track.split == split]
        rows = np.concatenate([np.arange(t.offset, t.offset + t.frames) for t in tracks])
        groups = len({track.group for track in tracks})
        lines.append(f"{split}: {len(tracks):,} tracks, {groups:,} groups, {len(rows):,} frames")
        for label in store.labels.values():
            values, mask = (np.asarray(a[rows]) for a in store.label(label.name))
            known = int((mask if mask.ndim == 1 else mask.any(axis=1)).sum())
            text = _distribution(label, values, mask) if known else ""
            lines.append(f"  {label.name:12} {known:>11,} labelled  {text}".rstrip())
    return lines


def _distribution(label: Label, values: np.ndarray, mask: np.ndarray) -> str:
    names = label.names or tuple(str(i) for i in range(label.size))
    if label.kind == "classes":
        counts = np.bincount(values[mask], minlength=label.size)
        return ", ".join(f"{name} {count:,}" for name, count in zip(names, counts))
    parts = []
    for k, name in enumerate(names):
        x = values[:, k][mask[:, k]].astype(np.float64)
        if label.kind == "labels":
            parts.append(f"{name} {100 * x.mean():.1f} %" if len(x) else f"{name} -")
        elif len(x):
            named = f"{name}: " if label.size > 1 else ""
            parts.append(f"{named}mean {x.mean():.3f}, std {x.std():.3f}")
    return ", ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = Parser(
        prog="python -m data_pipelines.verify",
        description="Checks a store and lists by name what is missing, odd or does not match.",
        epilog="Exit code 0: nothing that matters, 1: problems, 2: it cannot be checked.",
        allow_abbrev=False,
    )
    parser.add_argument("--store", required=True, metavar="STORE", help="folder of the store")
    try:
        store = Store(parser.parse_all(sys.argv[1:] if arguments is None else arguments).store)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = check(store)
    # Without the labels there is no table; check has said why.
    with contextlib.suppress(UserError):
        print("\n".join(table(store)))
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems:
        print(f"problem: {problem}")
    print(f"{store.path}: {len(found.problems)} problems, {len(found.notes)} notes")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
