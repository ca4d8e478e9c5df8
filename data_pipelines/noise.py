"""Adds noise to a copy of a store: wrong labels, or pictures of half a face and of none.

python -m data_pipelines.noise --store=STORE --out=NOISY --kind=KIND

    crops    .5 of the pictures are cut: half of these to a left, right, upper or lower half, half
             to a corner of a quarter side, which shows no face; both are enlarged to full size
    uniform  .4 of the labels become another class, each with the same probability
    flip     .4 of the labels become the next class, c + 1; the last becomes the first

--share=.2 changes another share. The numbers of changed rows are exact: share * rows, rounded; of
crops half of that for each kind. Only rows of --split are changed, those that have the label (of
crops, the picture). NOISY has all that STORE has, and

    label clean      the label as it was, in all splits
    label kind       classes right, wrong; of crops full, half, none
    assignment.csv   track, frame, kind, label before, label after, part: a line for every row of
                     the split that could be changed

references.json loses the changed split, which its scores were not made on. The same seed gives the
same bytes, and of two shares the smaller changes a part of what the larger does.

Source: the noisy sets of Li and Xu, Deep reinforcement learning for robust emotional classification
in facial expression recognition, 2020 (crops; the geometry is ours).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.chunks import chunks
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.growing_array import GrowingArray
from data_pipelines.identity import arrays_of
from data_pipelines.plan import generator
from data_pipelines.replace_folder import replace_folder
from data_pipelines.report import Report
from data_pipelines.store import Store
from data_pipelines.store_specs import LABEL_DTYPES, Label, entry_of
from data_pipelines.store_writer import refuse_others

SHARES = {"crops": "0.5", "uniform": "0.4", "flip": "0.4"}  # by kind of noise, where none is given
CLEAN, KIND = "clean", "kind"  # labels that are added
LABEL_KINDS, CROP_KINDS = ("right", "wrong"), ("full", "half", "none")
HALVES = ("left", "right", "top", "bottom")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
ASSIGNMENT = "assignment.csv"
COLUMNS = ("track", "frame", "kind", "before", "after", "part")


@dataclasses.dataclass(frozen=True)
class Noise:
    """What is done to the rows of a store.

    Attributes:
        names: of the kinds.
        kind: int32 [N], which kind a row is.
        known: bool [N], rows that have a kind.
        after: int32 [N], the labels with noise.
        part: {row: what of its picture is left, of HALVES or CORNERS}.
    """

    names: tuple[str, ...]
    kind: np.ndarray
    known: np.ndarray
    after: np.ndarray
    part: dict[int, str]


def add(
    store: str | os.PathLike,
    out: str | os.PathLike,
    *,
    kind: str,
    share: float | str = "",
    seed: int = 0,
    split: str = "train",
    label: str = "",
    feature: str = "",
    report: Report | None = None,
) -> None:
    """Writes a copy of a store with noise in one split; see the module's docstring.

    Args:
        store: a folder. Of a twin see data_pipelines/twins: "twin:rafdb?noise=crops".
        out: the folder to be written; a store that is there is replaced when the new one is whole.
        kind: "crops", "uniform" or "flip".
        share: of the rows that are changed, 0 to 1; "": that of SHARES.
        split: one, or several joined by "+".
        label: of classes; by default the only one that there is.
        feature: of crops, pictures uint8, one a frame; by default "face".

    Raises:
        UserError: the store has no such split, label or pictures, or has noise already.
    """
    exact, report = require_share(kind, share), report or Report()
    if feature and kind != "crops":
        raise UserError(f"feature {feature!r}: kind {kind!r} leaves pictures as they are.")
    if str(store).startswith("twin:"):
        raise UserError(f"{store}: a twin has noise by its name, such as twin:rafdb?noise={kind}.")
    given, path = Store(store), refuse_others(out)
    for name in sorted({CLEAN, KIND} & given.labels.keys()):
        raise UserError(
            f"{given.path}: has a label {name!r}, as a store with noise has. Give the store that "
            "it was made of; or, where the label is your own, prepare it under another name."
        )
    if path.resolve().is_relative_to(given.path.resolve()):
        raise UserError(f"{path} is the store itself, or in it. Give another folder to be written.")
    label = _label(given, label)
    feature = (feature or "face") if kind == "crops" else ""
    chosen = np.zeros(given.frames_total, bool)
    for i in given.split(split):
        chosen[given.tracks[i].span] = True
    rng = generator(seed, "noise", kind)
    if feature:
        noise = _crops(given, label, feature, chosen, exact, rng)
    else:
        noise = _wrong_labels(given, label, chosen, exact, kind, rng)
    about = dict(kind=kind, share=float(exact), seed=seed, split=split, label=label)
    about |= {"feature": feature} if feature else {}
    rows = np.flatnonzero(chosen & noise.known)
    if not len(rows):
        raise UserError(f"{given.path}: split {split!r} has no {feature or label!r} to change.")
    counts = dict(zip(noise.names, np.bincount(noise.kind[rows], minlength=3).tolist()))
    counted = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    note = f"noise {kind!r} in {feature or label!r} of split {split!r}: {counted}"
    report.say(note)
    with replace_folder(path) as folder:
        _write(given, folder, noise, about | {"counts": counts}, note)
        _write_assignment(folder / ASSIGNMENT, given, label, noise, rows)


def require_share(kind: str, share: float | str = "") -> Fraction:
    """The exact share of the rows that a kind of noise changes; "": its default.

    Raises:
        UserError: no such kind, or no number from 0 to 1.
    """
    if kind not in SHARES:
        raise UserError(f"kind of noise {shown(kind)}. {nearest(kind, SHARES)}")
    try:
        exact = Fraction(str(share) or SHARES[kind])
    except (ValueError, ZeroDivisionError):
        exact = Fraction(-1)
    if not 0 <= exact <= 1:
        raise UserError(f"share {shown(share)}: expected a number from 0 to 1.")
    return exact


def _label(store: Store, name: str) -> str:
    """The name of a label of classes; the only one where none is given."""
    known = [label.name for label in store.labels.values() if label.kind == "classes"]
    if not name and len(known) == 1:
        return known[0]
    if not name:
        which = f"labels of classes: {listed(known)}. Name one" if known else "no label of classes"
        raise UserError(f"{store.path}: {which}{f': label={known[0]}' if known else ''}.")
    store.label(name)  # its error, where there is none
    if name not in known:
        raise UserError(f"label {name!r} is of {store.labels[name].kind}. {nearest(name, known)}")
    return name


def _wrong_labels(
    store: Store, label: str, chosen: np.ndarray, share: Fraction, kind: str, rng: Any
) -> Noise:
    values, mask = (np.asarray(array) for array in store.label(label))
    classes = store.labels[label].size
    if classes < 2:
        raise UserError(f"{store.path}: label {label!r} has one class, expected two or more.")
    rows = np.flatnonzero(chosen & mask)
    wrong = rows[rng.permutation(len(rows))][: _rounded(share * len(rows))]
    # Drawn for all rows: the wrong label of one does not depend on how many there are.
    steps = rng.integers(1, classes, store.frames_total) if kind == "uniform" else 1
    shifted, after = (values + steps) % classes, values.copy()
    after[wrong] = shifted[wrong]
    return Noise(LABEL_KINDS, (after != values).astype(np.int32), mask, after, {})


def _crops(
    store: Store, label: str, feature: str, chosen: np.ndarray, share: Fraction, rng: Any
) -> Noise:
    store.require_features([feature])
    about = store.features[feature]
    if not about.is_picture or about.dtype != "uint8":
        raise UserError(
            f"{store.path}: feature {feature!r} is {about.dtype} {list(about.shape)} on the axis "
            f"{about.axis!r}, expected pictures uint8 [H, W] or [H, W, C], C 1 or 3, one a frame."
        )
    mask = store.feature_mask(feature)
    known = np.ones(store.frames_total, bool) if mask is None else np.asarray(mask)
    rows = np.flatnonzero(chosen & known)
    order = rows[rng.permutation(len(rows))]
    each = min(_rounded(share * len(rows) / 2), len(rows) // 2)
    kind, part = np.zeros(store.frames_total, np.int32), {}
    draws = rng.integers(4, size=store.frames_total)
    for number, (names, these) in enumerate(
        ((HALVES, order[:each]), (CORNERS, order[len(rows) - each :])), 1
    ):
        kind[these] = number
        part |= {row: names[draws[row]] for row in these.tolist()}
    return Noise(CROP_KINDS, kind, known, np.asarray(store.label(label)[0]), part)


def _rounded(number: Fraction) -> int:
    """The nearest whole number, of two the larger."""
    return int(number + Fraction(1, 2))


def crop(picture: np.ndarray, part: str) -> np.ndarray:
    """A part (HALVES, CORNERS) of a picture uint8 [H, W] or [H, W, C], enlarged to its size."""
    shape = height, width, *_ = picture.shape
    divisor = 4 if part in CORNERS else 2
    rows, columns = -(-height // divisor), -(-width // divisor)
    if "top" in part:
        picture = picture[:rows]
    elif "bottom" in part:
        picture = picture[-rows:]
    if "left" in part:
        picture = picture[:, :columns]
    elif "right" in part:
        picture = picture[:, -columns:]
    grey = picture[..., 0] if shape[2:] == (1,) else picture
    image = Image.fromarray(np.ascontiguousarray(grey))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(shape)


def _write(
    store: Store, folder: pathlib.Path, noise: Noise, about: dict[str, Any], note: str
) -> None:
    """Writes all of a noisy store but its assignment."""
    label, feature = about["label"], about.get("feature")
    changed = store.path / (f"features/{feature}.npy" if feature else f"labels/{label}.npy")
    for _, file, _, _ in arrays_of(store, list(store.features), list(store.labels)):
        target = folder / file.relative_to(store.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file != changed:
            shutil.copyfile(file, target)
    manifest = json.loads(json.dumps(store.manifest))  # a copy
    hashes = manifest.setdefault("sha256", {})
    if feature:
        pieces = _cut(store.feature(feature), noise.part)
        shape, dtype = store.features[feature].shape, np.uint8
        digest = _array(folder / f"features/{feature}.npy", dtype, shape, pieces)
        manifest["features"][feature]["sha256"] = digest
    else:
        digest = _array(folder / f"labels/{label}.npy", np.int32, (), [noise.after])
        manifest["labels"][label]["sha256"] = digest
    values, mask = store.label(label)
    clean = dataclasses.replace(store.labels[label], name=CLEAN)
    kinds = Label(KIND, "classes", len(noise.names), noise.names)
    for spec, rows, known in ((clean, values, mask), (kinds, noise.kind, noise.known)):
        path = folder / f"labels/{spec.name}"
        digest = _array(path.with_suffix(".npy"), LABEL_DTYPES["classes"], (), [rows])
        manifest["labels"][spec.name] = entry_of(dataclasses.replace(spec, sha256=digest))
        file = f"labels/{spec.name}.mask.npy"
        hashes[file] = _array(folder / file, np.bool_, (), [known])
    notes = manifest.get("notes", [])
    manifest["notes"] = [*(notes if isinstance(notes, list) else [notes]), note]
    manifest["noise"] = about
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    parts = about["split"].split("+")
    kept = {split: store.references(split) for split in store.splits if split not in parts}
    if any(kept.values()):
        text = json.dumps({split: named for split, named in kept.items() if named}, indent=1)
        (folder / "references.json").write_text(text + "\n")


def _cut(pictures: np.ndarray, part: dict[int, str]) -> Iterable[np.ndarray]:
    """The pictures [N, ...] in pieces, those of `part` cut."""
    rows = np.array(sorted(part), np.int64)
    for start, piece in chunks(pictures):
        piece = np.array(piece)
        for row in rows[slice(*np.searchsorted(rows, [start, start + len(piece)]))].tolist():
            piece[row - start] = crop(piece[row - start], part[row])
        yield piece


def _array(
    path: pathlib.Path, dtype: Any, tail: tuple[int, ...], pieces: Iterable[np.ndarray]
) -> str:
    """Writes an array [rows, *tail]; the SHA-256 of its bytes."""
    file = GrowingArray(path, dtype, tail)
    try:
        for piece in pieces:
            file.append(piece)
        return file.close()
    finally:
        file.abandon()


def _write_assignment(
    path: pathlib.Path, store: Store, label: str, noise: Noise, rows: np.ndarray
) -> None:
    before, mask = store.label(label)
    spec = store.labels[label]
    names = spec.names or tuple(map(str, range(spec.size)))
    tracks = np.searchsorted([track.offset for track in store.tracks], rows, side="right") - 1
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row, track in zip(rows.tolist(), tracks.tolist()):
            told = [names[v[row]] if mask[row] else "" for v in (before, noise.after)]
            kind, part = noise.names[noise.kind[row]], noise.part.get(row, "")
            table.writerow([store.tracks[track].name, store.frames[row], kind, *told, part])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments, stopped="stopped; the same command starts anew")


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m data_pipelines.noise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flag = parser.add_argument
    add_flag("--store", required=True, metavar="STORE", help="folder to be copied")
    add_flag("--out", required=True, metavar="NOISY", help="folder to be written")
    add_flag("--kind", required=True, metavar="KIND", help=", ".join(SHARES))
    add_flag("--share", default="", metavar="S", help="of the rows that are changed, 0 to 1")
    add_flag("--seed", default=0, type=whole(), metavar="N", help="a whole number")
    add_flag("--split", default="train", metavar="SPLIT", help="by default train")
    add_flag("--label", default="", metavar="NAME", help="of classes, if of several")
    add_flag("--feature", default="", metavar="NAME", help="pictures, by default face")
    given = parser.parse_all(arguments)
    report = Report(sys.stdout)
    add(**vars(given), report=report)
    report.say(f"{given.out} is ready. Next, train on it: --config.data.root={given.out}")


if __name__ == "__main__":
    sys.exit(main())
