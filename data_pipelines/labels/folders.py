"""The annotations folder as the organisers give it: which file holds what, and tracks merged.

Two forms are known, each directly in the folder or anywhere below it, names in any case:

    training_set_annotations.txt, validation_set_annotations.txt             s-Aff-Wild2: kind "mtl"
    MTL_Challenge/{train,validation,test}_set.txt                            its third edition
    VA_Estimation_Challenge/{Train_Set,Validation_Set}/<track>.txt           kind "va"
    EXPR_Recognition_Challenge/..., EXPR_Classification_Challenge/...        kind "expr"
    AU_Detection_Challenge/...                                               kind "au"

(the first editions: VA_Set, EXPR_Set or Expression_Set, AU_Set), and for the test split the lists
of the organisers (`*_test_set_release.txt`) or their sample submissions (`*_test_set_example.txt`,
`*_test_set_sample.txt`), which alone give the length of a track.

Texts of one track are merged by its name: line k of each is image k. Where the kinds differ in
length the track is as long as the longest; beyond the end of a shorter one its labels are missing.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence, Set

import numpy as np

from data_pipelines.editions import DEFAULT_EDITION, check_edition, definitions
from data_pipelines.errors import UserError, nearest
from data_pipelines.folder import by_name, files, folders, gone, nothing, warn_decomposed
from data_pipelines.labels.kept import Keep
from data_pipelines.labels.lists import read_mtl, read_test_tracks
from data_pipelines.labels.texts import TrackLabels, read_text
from data_pipelines.report import Report

SPLITS = ("train", "validation", "test")
KINDS = {"mtl": ("valence", "arousal", "expression", "au"), "va": ("valence", "arousal"),
         "expr": ("expression",), "au": ("au",)}  # fmt: skip
_MTL_LIST = re.compile(r"(train|training|validation|val)_set_annotations\.txt", re.IGNORECASE)
# The names of the third edition, which say nothing outside their folder.
_MTL_LIST_3 = re.compile(r"(train|training|validation|val|test)_set\.txt", re.IGNORECASE)
_MTL_FOLDER = re.compile(
    r"(mtl|multi[ _-]?task([ _-]?learning)?)[ _-]?(challenge|set)", re.IGNORECASE
)
_FOLDERS = {
    "va": re.compile(r"va_.*(challenge|set)", re.IGNORECASE),
    "expr": re.compile(r"expr(ession)?_.*(challenge|set)", re.IGNORECASE),
    "au": re.compile(r"au_.*(challenge|set)", re.IGNORECASE),
}
_SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation",
                "val": "validation", "test": "test"}  # fmt: skip
_SPLIT_FOLDERS = {f"{name}_set": split for name, split in _SPLIT_NAMES.items() if name != "test"}
_TEST_LIST = re.compile(r".*_test_set_(release|example|sample)\.txt", re.IGNORECASE)
_TEST_KINDS = {
    "mtl": re.compile(r"(^|_)mtl_", re.IGNORECASE),
    "va": re.compile(r"(^|_)(valence_arousal|va)_", re.IGNORECASE),
    "expr": re.compile(r"(^|_)(?<!compound_)(expression|expr)_", re.IGNORECASE),
    "au": re.compile(r"(^|_)(action_unit|au)_", re.IGNORECASE),
}
_EDITION = re.compile(r"(\d+)(?:st|nd|rd|th)[ _]ABAW", re.IGNORECASE)


def read_folder(
    folder: str | pathlib.Path,
    *,
    kinds: Sequence[str] = (),
    edition: int = DEFAULT_EDITION,
    report: Report | None = None,
) -> tuple[dict[str, dict[str, TrackLabels]], dict[str, TrackLabels | None]]:
    """Reads what an annotations folder holds.

    Args:
        kinds: which of "mtl", "va", "expr", "au" to take; none given: all that are there.
        edition: of the challenge; see `edition_of`.

    Returns:
        ({split: {track: its labels}}, {test track: its images, or None where only it is named}).
    """
    folder, report = pathlib.Path(folder), report or Report()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. The organisers' annotation files belong there.")
    check_edition(edition)
    places = _find(folder, report)
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"annotation kind {kind!r}. {nearest(kind, KINDS)}")
        if kind not in places:
            raise UserError(f"{folder}: no annotations of kind {kind!r}. {nearest(kind, places)}")
    kinds = tuple(kinds) or tuple(places)
    if not kinds:
        expected = "training_set_annotations.txt or VA_Estimation_Challenge/Train_Set or the like"
        raise UserError(f"{nothing(folder, expected)}.")
    if "mtl" in kinds and len(kinds) > 1:
        raise UserError(
            f"{folder}: holds the multi-task list and texts per video, whose rows are other "
            f"images. Give --labels=mtl or --labels={','.join(k for k in kinds if k != 'mtl')}."
        )
    if "mtl" in kinds:
        if edition < 3:
            raise UserError(f"{folder}: a multi-task list, which edition {edition} did not have.")
        report.use(*places["mtl"].values())
        splits = {
            split: read_mtl(path, warn=report.note)
            for split, path in report.progress(list(places["mtl"].items()), "lists", "list")
        }
    else:
        texts = {kind: _read_texts(places[kind], kind, edition, report) for kind in kinds}
        splits = _merge(texts, edition, report)
    if not splits:
        raise UserError(f"{nothing(folder, 'annotation texts (<track>.txt)')}.")
    for kind in set(places) - set(kinds):
        report.use(*places[kind].values())
    test = _read_tests(folder, kinds, set(places), report)
    _one_split_each({**splits, "test": test})
    return splits, test


def edition_of(folder: str | pathlib.Path, given: int | None) -> int:
    """The edition given, else the default: refused where a folder's name says another."""
    if given is not None:
        return check_edition(given)
    folder = pathlib.Path(folder)
    for path in folders(folder) if folder.is_dir() else ():
        match = _EDITION.match(path.name)
        if match and int(match[1]) != DEFAULT_EDITION:
            raise UserError(
                f"{path}: edition {match[1]} by its name, but without --edition it is taken for "
                f"{DEFAULT_EDITION}. Give --edition={match[1]}."
            )
    return DEFAULT_EDITION


def kind_of_test_list(name: str) -> str | None:
    """Kind of the annotations a test list stands for, by its file name; None for other names."""
    if not _TEST_LIST.fullmatch(name):
        return None
    return next((kind for kind, pattern in _TEST_KINDS.items() if pattern.search(name)), None)


def _mtl_split(path: pathlib.Path) -> str | None:
    """The split of a multi-task list by its name and folder; None for other files."""
    match = _MTL_LIST.fullmatch(path.name)
    if match is None and _MTL_FOLDER.fullmatch(path.parent.name):
        match = _MTL_LIST_3.fullmatch(path.name)
    return _SPLIT_NAMES[match[1].lower()] if match else None


def _find(folder: pathlib.Path, report: Report) -> dict[str, dict[str, pathlib.Path]]:
    """{kind: {split: list or folder of texts}}, refusing two places for one thing."""
    places: dict[str, dict[str, pathlib.Path]] = {}

    def put(kind: str, split: str, path: pathlib.Path) -> None:
        before = places.setdefault(kind, {}).setdefault(split, path)
        if before != path:
            raise UserError(
                f"{folder}: two sources of {kind} labels for {split}, {before.relative_to(folder)} "
                f"and {path.relative_to(folder)}. Leave one."
            )

    for path in folders(folder):
        for text in files(path, ".txt"):
            split = _mtl_split(text)
            if split in ("train", "validation"):
                put("mtl", split, text)
        for kind, pattern in _FOLDERS.items():
            if path != folder and pattern.fullmatch(path.parent.name):
                split = _SPLIT_FOLDERS.get(path.name.lower())
                if split:
                    put(kind, split, path)
                else:
                    known = ", ".join(_SPLIT_FOLDERS)
                    report.note(f"{path}: not read, the folders of splits are called {known}.")
                    report.use(path)
    order = {split: i for i, split in enumerate(SPLITS)}
    return {
        kind: dict(sorted(places[kind].items(), key=lambda item: order[item[0]]))
        for kind in KINDS
        if kind in places
    }


def text_files(folder: pathlib.Path, report: Report) -> dict[str, pathlib.Path]:
    """{track: its text} of a folder, sorted; a UserError where it holds nothing.

    Empty where all of it are links that point nowhere, which `note_rest` names.
    """
    texts, lost = files(folder, ".txt"), gone(folder)
    if not texts and not lost:
        raise UserError(f"{nothing(folder, 'annotation texts (<track>.txt)')}.")
    report.use(*texts, *lost)
    warn_decomposed((path.stem for path in texts), folder, report.note)
    return dict(sorted(by_name(texts).items()))


def _read_texts(
    places: Mapping[str, pathlib.Path], kind: str, edition: int, report: Report
) -> dict[str, dict[str, TrackLabels]]:
    texts: dict[str, dict[str, TrackLabels]] = {}
    keep = Keep()
    for split, place in places.items():
        tracks = text_files(place, report)
        if not tracks:
            continue
        warnings: list[str] = []
        texts[split] = {
            track: keep(read_text(file, kind, edition=edition, warn=warnings.append))
            for track, file in report.progress(list(tracks.items()), f"{kind} {split}")
        }
        if warnings:
            report.note(f"{len(warnings)} of {len(tracks)} texts", warnings)
    return texts


def _merge(
    texts: Mapping[str, Mapping[str, Mapping[str, TrackLabels]]], edition: int, report: Report
) -> dict[str, dict[str, TrackLabels]]:
    """{kind: {split: {track}}} -> {split: {track}} with the labels of all kinds, by track name."""
    where: dict[str, dict[str, str]] = {}
    for kind, splits in texts.items():
        for split, tracks in splits.items():
            for track in tracks:
                where.setdefault(track, {})[kind] = split
    for track, by_kind in where.items():
        if len(set(by_kind.values())) > 1:
            several = ", ".join(f"{split} of {kind}" for kind, split in by_kind.items())
            raise UserError(
                f"track {track!r} is in {several}. A track has one split in a store: prepare the "
                f"kinds into stores of their own, --labels={next(iter(by_kind))}."
            )
    merged: dict[str, dict[str, TrackLabels]] = {}
    uneven, keep = [], Keep()
    for split in SPLITS:
        names = sorted({t for splits in texts.values() for t in splits.get(split, {})})
        for track in names:
            kinds = {k: s[split][track] for k, s in texts.items() if track in s.get(split, {})}
            total = max(len(t.frames) for t in kinds.values())
            if len({len(t.frames) for t in kinds.values()}) > 1:
                rows = ", ".join(f"{k} {len(t.frames)}" for k, t in kinds.items())
                uneven.append(f"{track} ({rows})")
            arrays = {
                name: (_longer(values, total), _longer(mask, total))
                for t in kinds.values()
                for name, (values, mask) in t.labels.items()
            }
            longest = max(kinds.values(), key=lambda t: len(t.frames))
            merged.setdefault(split, {})[track] = keep(
                TrackLabels(longest.frames, arrays, longest.source)
            )
    if uneven:
        report.note("kinds of labels differ in rows, the longest counts", uneven)
    return merged


def _longer(array: np.ndarray, total: int) -> np.ndarray:
    """Padded with zeros (False) along the first axis."""
    return np.pad(array, [(0, total - len(array))] + [(0, 0)] * (array.ndim - 1))


def _read_tests(
    folder: pathlib.Path, kinds: Sequence[str], there: Set[str], report: Report
) -> dict[str, TrackLabels | None]:
    """{track: its images or None} of the test lists that belong to the kinds taken."""
    tests: dict[str, TrackLabels | None] = {}
    for path in folders(folder):
        for file in files(path, ".txt"):
            kind = "mtl" if _mtl_split(file) == "test" else kind_of_test_list(file.name)
            if kind in there:  # also of those that nobody asked for
                report.use(file)
            if kind not in kinds:
                continue
            for track, listed in read_test_tracks(file, warn=report.note).items():
                before = tests.get(track)
                if listed and before and not np.array_equal(before.frames, listed.frames):
                    raise UserError(
                        f"{file}: {len(listed.frames)} images of {track!r}, and "
                        f"{len(before.frames)} others in {before.source}. Prepare the kinds into "
                        "stores of their own (--labels)."
                    )
                tests[track] = before or listed
    return tests


def _one_split_each(splits: Mapping[str, Mapping[str, object]]) -> None:
    seen: dict[str, str] = {}
    for split, tracks in splits.items():
        for track in tracks:
            if track in seen:
                raise UserError(
                    f"track {track!r} is in {seen[track]} and in {split}. A track has one split in "
                    "a store: take fewer kinds of labels (--labels), or mend the lists."
                )
            seen[track] = split


def label_definitions(
    splits: Mapping[str, Mapping[str, TrackLabels]], edition: int
) -> dict[str, dict]:
    """Definitions of the labels that any track has."""
    present = {name for tracks in splits.values() for t in tracks.values() for name in t.labels}
    return {name: spec for name, spec in definitions(edition).items() if name in present}
