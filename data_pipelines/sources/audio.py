"""Any folder of audio files, with or without a csv table of labels.

    FOLDER/.../<file>   of the formats of data_pipelines/audio.py, in folders as deep as they are
    FOLDER/labels.csv   optional, or --labels=FILE: data_pipelines/labels/clip_table.py says what
                        its columns are

A track is a file, called by its path without suffix, "_" between folders; with it where two files
of a folder have one name, x.wav and x.flac. The stream is "audio" (int16, mono, 16 kHz). Without a
table there are no labels and all is the split test, for predictions. A config takes a column of
numbers x as task.x = dict(kind="values", size=1, ...), the columns x:a and x:b as
dict(kind="values", size=2, names=("a", "b"), ...), a column of words as dict(kind="classes",
size=C, names=(...), ...) with the words in alphabetical order; `verify` shows them.
"""

from __future__ import annotations

import pathlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from data_pipelines import audio
from data_pipelines import folder as folders
from data_pipelines.errors import UserError, listed
from data_pipelines.labels.clip_table import Clip, ClipTable, read_table
from data_pipelines.paths import user_path
from data_pipelines.report import Report
from data_pipelines.store_specs import SPLITS, split_key
from data_pipelines.store_writer import StoreWriter

FLAGS = {
    "labels": dict(
        metavar="FILE",
        help="csv with the columns file, perhaps split and group, and one a label (numbers are "
        "values, words classes); default FOLDER/labels.csv, if it is there",
    ),
    "columns": dict(metavar="NAME,NAME", help="labels of the csv that are taken; default all"),
    **audio.FLAGS,
}


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    labels: str | None = None,
    columns: str | None = None,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    folder, report = pathlib.Path(folder), report or Report()
    files = _files(folder, report)
    table = _table(folder, labels, columns, report)
    folders.note_rest(folder, report)
    clips = {name: Clip(0, 0, "test", "") for name in files}
    if table:
        clips = _matched(table, folder, files, report)
    names = sorted(clips, key=lambda name: (split_key(clips[name].split), name))
    tracks = _tracks(folder, names)
    with StoreWriter(
        store,
        name=folder.resolve().name,
        features=audio.FEATURES,
        labels=table.definitions if table else {},
        source="audio",
        notes=report.notes,
    ) as writer:
        chosen = {name: files[name] for name in names}
        for name, samples in audio.clips(chosen, report, "audio", skip_bad=skip_bad):
            clip = clips[name]
            writer.add(
                track=tracks[name],
                split=clip.split,
                group=clip.group or None,
                features={"audio": samples},
                labels=table.labels(clip) if table else {},
                frames=[1],
            )


def _files(folder: pathlib.Path, report: Report) -> dict[str, pathlib.Path]:
    """{name, as `_names` gives it: file}, by name."""
    found: dict[str, pathlib.Path] = {}
    for inner in folders.folders(folder):
        for path in folders.files(inner, *audio.SUFFIXES):
            for part in path.relative_to(folder).with_suffix("").parts:
                folders.plain_name(part, f"{inner}: file")
            if (place := _place(folder, path)) in found:
                one, other = (ascii(str(p))[1:-1] for p in (path, found[place]))
                raise UserError(f"{one}: beside it {other}. Leave one.")
            found[place] = path
    if not found:
        suffixes = ", ".join(f"*{suffix}" for suffix in audio.SUFFIXES)
        raise UserError(f"{folders.nothing(folder, f'audio file ({suffixes})')}.")
    report.use(*found.values())
    names = _names(found)
    if alike := sorted(place for place, name in names.items() if place == name):
        report.note("files that differ in their ending alone, each a clip of its own", alike)
    return dict(sorted((names[place], path) for place, path in found.items()))


def _place(folder: pathlib.Path, path: pathlib.Path) -> str:
    """The path of a file from the folder, "/" between folders."""
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix())


def _plain(place: str) -> str:
    """The path without the suffix of an audio file, if it has one."""
    suffix = pathlib.PurePosixPath(place).suffix
    return place[: -len(suffix)] if suffix.lower() in audio.SUFFIXES else place


def _names(places: Iterable[str]) -> dict[str, str]:
    """{place: the same without suffix, or as it is where two would be called the same}."""
    names = {place: _plain(place) for place in places}
    while again := [name for name, count in Counter(names.values()).items() if count > 1]:
        names |= {place: place for place, name in names.items() if name in again}
    return names


def _table(
    folder: pathlib.Path, labels: str | None, columns: str | None, report: Report
) -> ClipTable | None:
    path = user_path(labels) if labels else folders.named(folder, "labels.csv")
    if not labels and not path.exists():
        if columns:
            raise UserError(f"--columns={columns}: there is no {path}. Name a table with --labels.")
        if others := [p.name for p in folders.files(folder, ".csv")]:
            report.note(f"no {path.name}; a table of labels is named with --labels", others)
        return None
    report.use(path)
    names = [name.strip() for name in columns.split(",")] if columns else ()
    return read_table(path, names, warn=report.note)


def _matched(
    table: ClipTable, folder: pathlib.Path, files: Mapping[str, pathlib.Path], report: Report
) -> dict[str, Clip]:
    """{name of a file: its row}; rows and files that have no counterpart are noted."""
    called = _called({name: _place(folder, path) for name, path in files.items()})
    clips: dict[str, Clip] = {}
    without = []
    for text, clip in table.clips.items():
        where = f"{table.path}:{clip.line}"
        spellings = (text, text, _plain(text), _plain(text))
        names = next((way[x] for way, x in zip(called, spellings) if x in way), [])
        if not names:
            without.append(text)
        elif len(names) > 1:
            raise UserError(
                f"{where}: several files are called {text!r}: {listed(names, 3)}. Write which."
            )
        elif names[0] in clips:
            raise UserError(f"{where}: {text!r} is the file of line {clips[names[0]].line} too.")
        else:
            clips[names[0]] = clip
    if not clips:
        raise UserError(
            f"{table.path}: no row has a file: {listed(without, 3)}. Files are called "
            f"{listed(files, 3)}."
        )
    if without:
        report.note(f"{table.path}: rows without a file, left out", without)
    if spare := [name for name in files if name not in clips]:
        report.note(f"files without a row of {table.path}, left out", spare)
    if odd := sorted({clip.split for clip in clips.values()}.difference(SPLITS)):
        report.note(f"{table.path}: splits that are none of {listed(SPLITS)}", odd)
    return clips


def _called(places: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Spellings of {name: path} that a table may have, the surest way first: {spelling: names}.

    As paths, as names of files, and as either without suffix: a table may be older than the format.
    """
    ways: list[dict[str, list[str]]] = [{}, {}, {}, {}]
    for name, place in places.items():
        plain = _plain(place)
        spellings = (place, place.rpartition("/")[2], plain, plain.rpartition("/")[2])
        for way, spelling in zip(ways, spellings):
            way.setdefault(spelling, []).append(name)
    return ways


def _tracks(folder: pathlib.Path, names: list[str]) -> dict[str, str]:
    """{name of a file: name of its track}."""
    found: dict[str, str] = {}
    for name in names:
        track = name.replace("/", "_")
        if track in found:
            raise UserError(f"{folder}: {found[track]} and {name} would both be {track}. Rename.")
        found[track] = name
    return {name: track for track, name in found.items()}
