"""Checks a store: lists by name what is missing, odd or does not match.

python -m data_pipelines.verify --store=STORE

Exit code 0: nothing that matters. 1: problems (damaged files, values outside their range,
non-finite features, spans that cannot be, a video in two splits, a feature that no track has).
Notes (tracks and frames without a feature, streams without rows in a track, tracks without labels,
what the preparation had to say) do not change it.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence

import numpy as np

from data_pipelines.chunks import chunks, flat
from data_pipelines.command import Parser, exit_code
from data_pipelines.editions import RANGES
from data_pipelines.errors import UserError, listed
from data_pipelines.identity import sha256_of
from data_pipelines.store import Store
from data_pipelines.store_specs import SPANS, Feature, Track, wrong_spans
from data_pipelines.tally import Tally

SHOWN = 20  # names in a line


@dataclasses.dataclass
class Findings:
    """Findings of a check, one line each; and the tally of each label that can be read."""

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    tallies: dict[str, Tally] = dataclasses.field(default_factory=dict, compare=False)


def check(store: Store) -> Findings:
    """Every check of this module on a store."""
    found = Findings()
    notes = store.manifest.get("notes", [])
    notes = notes if isinstance(notes, list) else [notes]
    found.notes += [f"from the preparation: {_short(str(note))}" for note in notes]
    if not store.tracks:
        found.problems.append("no track in the store")
    for part in (_frames, _groups, _features, _labels):
        part(store, found)
    return found


def _short(note: str, most: int = 500) -> str:
    return note if len(note) <= most else f"{note[:most]}... (the whole note: manifest.json)"


def _frames(store: Store, found: Findings) -> None:
    try:
        frames = store.frames
    except UserError as error:
        found.problems.append(str(error))
        return
    _hash("frames.npy", frames, store.manifest.get("sha256", {}).get("frames.npy", ""), found)
    tracks = [track for track in store.tracks if track.frames]
    starts = np.array([track.offset for track in tracks], np.int64)
    last, complained = 0, -1
    for start, numbers in chunks(frames):
        before = np.concatenate([[last], numbers[:-1]])
        first, end = np.searchsorted(starts, [start, start + len(numbers)])
        before[starts[first:end] - start] = 0
        last = numbers[-1]
        wrong = start + np.flatnonzero(numbers <= before)
        of, at = np.unique(np.searchsorted(starts, wrong, side="right") - 1, return_index=True)
        for i, row in zip(of, wrong[at]):
            if i != complained:  # else in the piece before
                found.problems.append(
                    f"track {tracks[i].name!r}, row {row - tracks[i].offset}: image number "
                    f"{numbers[row - start]}, expected numbers from 1 that ascend"
                )
            complained = i


def _groups(store: Store, found: Findings) -> None:
    groups: dict[str, dict[str, list[str]]] = {}
    for track in store.tracks:
        groups.setdefault(track.group, {}).setdefault(track.split, []).append(track.name)
    several = {group: splits for group, splits in groups.items() if len(splits) > 1}
    if several and (why := store.manifest.get("groups_in_several_splits")):
        found.notes.append(f"groups in several splits: {len(several):,} ({why})")
        return
    for group, splits in several.items():
        where = "; ".join(f"{split}: {listed(names, SHOWN)}" for split, names in splits.items())
        found.problems.append(f"group {group!r} is in several splits ({where})")


def _features(store: Store, found: Findings) -> None:
    for feature in store.features.values():
        try:
            array, mask = store.feature(feature.name), store.feature_mask(feature.name)
        except UserError as error:
            found.problems.append(str(error))
            continue
        _hash(f"features/{feature.name}.npy", array, feature.sha256, found)
        bad = _first_not_finite(array)
        if bad is not None:
            found.problems.append(
                f"feature {feature.name!r}: not finite at {_place(store, feature.name, bad)}"
            )
        if feature.spans:
            _spans(store, feature.name, found)
        rows = [store.rows(feature.name, i) for i in range(len(store.tracks))]
        empty = [t.name for t, own in zip(store.tracks, rows) if own.start == own.stop]
        if empty and feature.axis != "frame":
            found.notes.append(f"feature {feature.name!r} has no rows in {listed(empty, SHOWN)}")
        if mask is None:
            continue
        file = f"features/{feature.name}.mask.npy"
        _hash(file, mask, store.manifest.get("sha256", {}).get(file, ""), found)
        none, some = [], []
        for track, own in zip(store.tracks, rows):
            here = mask[own]
            missing = len(here) - int(here.sum())
            if missing and missing == len(here):
                none.append(track.name)
            elif missing:
                some.append(f"{track.name} ({missing} of {len(here)})")
        if none:
            missing = f"feature {feature.name!r} is missing in"
            if len(none) == len(store.tracks):
                found.problems.append(f"{missing} every track")
            else:
                found.notes.append(f"{missing} {listed(none, SHOWN)}")
        if some:
            found.notes.append(f"feature {feature.name!r} has gaps in {listed(some, SHOWN)}")


def _labels(store: Store, found: Findings) -> None:
    labelled = np.zeros(len(store.tracks), bool)
    for label in store.labels.values():
        try:
            values, mask = store.label(label.name)
        except UserError as error:
            found.problems.append(str(error))
            continue
        file = f"labels/{label.name}.mask.npy"
        _hash(f"labels/{label.name}.npy", values, label.sha256, found)
        _hash(file, mask, store.manifest.get("sha256", {}).get(file, ""), found)
        if label.name in RANGES:
            _range(store, label.name, found)
        tally = found.tallies[label.name] = Tally(store, label.name)
        labelled |= tally.labelled
        found.notes += tally.questions()
    if len(found.tallies) < len(store.labels):
        return
    bare: dict[str, list[str]] = {split: [] for split in store.splits}
    total = dict.fromkeys(bare, 0)
    for track, has in zip(store.tracks, labelled):
        total[track.split] += 1
        if not has:
            bare[track.split].append(track.name)
    for split, names in bare.items():
        if len(names) == total[split]:
            found.notes.append(f"split {split!r} has no labels")
        elif names:
            found.notes.append(f"split {split!r}: tracks without a label: {listed(names, SHOWN)}")


def _range(store: Store, name: str, found: Findings) -> None:
    low, high = RANGES[name]
    for start, values, mask in chunks(*store.label(name)):
        wrong = mask & ~((values >= low) & (values <= high))
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            found.problems.append(
                f"label {name!r}: {values[row]} at {store.place(start + row)}, "
                f"expected {low:g} to {high:g}"
            )
            return


def _hash(file: str, array: np.ndarray, expected: str, found: Findings) -> None:
    """Compares with the manifest; a store written by other hands may have no hash."""
    if expected and sha256_of(array) != expected:
        found.problems.append(f"{file}: its SHA-256 is not the manifest's; prepare the store again")


def _first_not_finite(array: np.ndarray) -> int | None:
    """The first row that holds NaN or infinity."""
    if array.dtype.kind == "f":
        for start, part in chunks(flat(array)):
            finite = np.isfinite(part)
            if not finite.all():
                return (start + int(np.argmin(finite))) // math.prod(array.shape[1:])
    return None


def _spans(store: Store, name: str, found: Findings) -> None:
    try:
        spans = store.spans(name)
    except UserError as error:
        found.problems.append(str(error))
        return
    file = f"features/{name}.spans.npy"
    _hash(file, spans, store.manifest.get("sha256", {}).get(file, ""), found)
    for i, track in enumerate(store.tracks):
        here = spans[store.rows(name, i)]
        wrong = wrong_spans(here)
        if wrong.any():
            row = int(np.argmax(wrong))
            found.problems.append(
                f"{file}: {here[row].tolist()} at track {track.name!r}, row {row}, expected {SPANS}"
            )


def _place(store: Store, feature: str, row: int) -> str:
    for i, track in enumerate(store.tracks):
        rows = store.rows(feature, i)
        if rows.start <= row < rows.stop:
            return f"track {track.name!r}, row {row - rows.start}"
    raise AssertionError(f"row {row} belongs to no track")


def table(store: Store, found: Findings) -> list[str]:
    """Lines of a table: tracks, frames and labels of each split; and the features."""
    tracks: dict[str, list[Track]] = {}
    for track in store.tracks:
        tracks.setdefault(track.split, []).append(track)
    lines = []
    for i, (split, of_split) in enumerate(tracks.items()):
        groups = len({track.group for track in of_split})
        frames = sum(track.frames for track in of_split)
        lines.append(f"{split}: {len(of_split):,} tracks, {groups:,} groups, {frames:,} frames")
        for name, tally in found.tallies.items():
            text = tally.texts(i) if tally.rows[i] else ""
            lines.append(f"  {name:12} {tally.rows[i]:>11,} labelled  {text}".rstrip())
    return [*lines, "features:", *(_feature_line(f) for f in store.features.values())]


def _feature_line(feature: Feature) -> str:
    """A feature's item, dtype and axis."""
    axes = {"frame": "a row a frame", "rate": f"{feature.rate} rows a second"}
    axis = axes.get(feature.axis, "rows with spans" if feature.spans else "rows without spans")
    return f"  {feature.name:12} {feature.dtype} {list(feature.shape)}, {axis}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments)


def _run(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m data_pipelines.verify",
        description="Checks a store and lists by name what is missing, odd or does not match.",
        epilog="Exit code 0: nothing that matters, 1: problems, 2: it cannot be checked.",
        allow_abbrev=False,
    )
    parser.add_argument("--store", required=True, metavar="STORE", help="folder of the store")
    store = Store(parser.parse_all(arguments).store)
    found = check(store)
    for line in table(store, found):
        print(line)
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems:
        print(f"problem: {problem}")
    print(f"{store.path}: {len(found.problems)} problems, {len(found.notes)} notes")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
