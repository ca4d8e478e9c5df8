"""Folders of others: whatever lies in one is read, or named.

Readers ask for entries here and tell `Report.use` what they read or named; `note_rest` then says
what is left: links that point nowhere (git-annex, DVC), files of a system (`__MACOSX`, `._*`), and
what is of no known kind.
"""

from __future__ import annotations

import os
import pathlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from data_pipelines.errors import UserError, listed
from data_pipelines.paths import require_name
from data_pipelines.report import Report

_SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", "@eadir"}
_FOR_PEOPLE = {"readme", "license", "licence", "copying", "citation", "changelog"}
SHOWN = 20  # names in a note about files that no reader knows


def entries(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files and folders of a folder, by name; none of a system's, no links that point nowhere."""
    return [p for p in _all(folder) if p.exists()]


def files(folder: pathlib.Path, *suffixes: str) -> list[pathlib.Path]:
    """Those with one of the suffixes, such as ".txt", in any case."""
    return [p for p in entries(folder) if p.suffix.lower() in suffixes and p.is_file()]


def named(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file of that name in any case; the name as it is where there is none."""
    same = [p for p in entries(folder) if p.name.lower() == name]
    return same[0] if same else folder / name


def folders(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder and every one below it, each once, wherever links lead."""
    seen, waiting = set(), [folder]
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path
            waiting += [p for p in reversed(entries(path)) if p.is_dir()]


def gone(folder: pathlib.Path) -> list[pathlib.Path]:
    """Links that point nowhere, in a folder or below it."""
    return [p for path in folders(folder) for p in _all(path) if _is_gone(p)]


def note_gone(folder: pathlib.Path, report: Report) -> None:
    """Notes of links that point nowhere, in a folder or below it."""
    lost = sorted(str(p.relative_to(folder)) for p in gone(folder))
    if lost:
        report.note(f"{folder}: links that point nowhere, without what they stand for", lost)


def nothing(folder: pathlib.Path, expected: str) -> str:
    """Says that a folder has no such files, and which links point nowhere."""
    lost = [str(p.relative_to(folder)) for p in gone(folder)]
    links = f"; links that point nowhere: {listed(lost)}" if lost else ""
    return f"{folder}: no {expected} in it{links}"


def by_name(paths: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    """{name: file}, the names those of the files without suffix, as `plain_name` has them.

    Two files of one name are a UserError.
    """
    file_of: dict[str, pathlib.Path] = {}
    for path in paths:
        name = plain_name(path.stem, f"{path.parent}: file")
        if name in file_of:
            one, other = (ascii(str(p))[1:-1] for p in (path, file_of[name]))
            raise UserError(f"{one}: beside it {other}. Leave one.")
        file_of[name] = path
    return file_of


def plain_name(name: str, what: str) -> str:
    """The name in Unicode's composed form, checked as `require_name` does.

    A Mac writes "ü" as "u" and two dots apart (NFD): the same name on the screen, another to the
    computer.
    """
    return unicodedata.normalize("NFC", require_name(name, what))


def warn_decomposed(names: Iterable[str], where: object, warn: Callable[[str], object]) -> None:
    """Warns of those names that `plain_name` changed."""
    other = [name for name in names if not unicodedata.is_normalized("NFC", name)]
    if other:
        warn(
            f"{where}: names with accents apart (NFD), taken as the same names with composed ones "
            f"(NFC): {listed(other)}"
        )


def note_rest(folder: pathlib.Path, report: Report) -> None:
    """Notes of what lies in a folder and was given to `Report.use` neither itself nor in parts."""
    inner = {parent for path in report.used for parent in path.parents}
    rest, system = [], 0
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            name = str(path.relative_to(folder))
            if _of_system(path):
                system += _count(path)
            elif path in inner:
                waiting.append(path)
            elif not (path in report.used or _is_gone(path) or _for_people(path)):
                rest.append(f"{name}/" if path.is_dir() else name)
    note_gone(folder, report)
    if system:
        report.note(f"{folder}: files of a system (__MACOSX, ._* and the like) skipped: {system:,}")
    if rest:
        report.note(f"{folder}: not read, of no known kind or place: {listed(sorted(rest), SHOWN)}")


def _all(folder: pathlib.Path) -> list[pathlib.Path]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [p for p in paths if not _of_system(p)]


def _of_system(path: pathlib.Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _SYSTEM


def _is_gone(path: pathlib.Path) -> bool:
    return path.is_symlink() and not path.exists()


def _for_people(path: pathlib.Path) -> bool:
    return path.name.partition(".")[0].lower() in _FOR_PEOPLE and path.is_file()


def _count(path: pathlib.Path) -> int:
    """Files below a folder of a system; 1 for a file, and for a hidden folder."""
    if path.name.lower() != "__macosx" or not path.is_dir():
        return 1
    return sum(len(names) for _, _, names in os.walk(path))
