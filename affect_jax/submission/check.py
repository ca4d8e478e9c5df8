"""Every row of an entry against the official list: what is wrong, with file and line."""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence, Sized

from affect_jax.submission.formats import Format, described, format_with_header
from affect_jax.submission.official import Official
from data_pipelines.bursts import file_id
from data_pipelines.errors import UserError

SHOWN = 20  # problems that are printed
_OTHER_SEPARATORS = (";", "\t", "|", " ")

Problem = tuple[int, str]  # line of the file, 1-based, and the reason


class Refused(UserError):
    """An entry with problems.

    Attributes:
        problems: a line each: file, line of the file, reason.
    """

    def __init__(self, message: str, problems: Sequence[str]):
        super().__init__(message)
        self.problems = list(problems)


def check(path: pathlib.Path, official: Official, form: Format) -> str:
    """One line on what was checked; Refused with a line for each problem.

    Not found, because the files do not show it: rows in another order within a text of one video
    (they do not name their image), and rows missing at its end where the list has names only.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder.")
    if path.is_dir() != form.per_video:
        expected = "a folder with a text a video" if form.per_video else "one file for all videos"
        raise UserError(f"{path}: expected {expected} ({described(form)}).")
    problems, summary = (_check_folder if form.per_video else _check_file)(path, official, form)
    if problems:
        raise Refused(f"{path}: refused, {counted(problems, 'problem')}.", problems)
    return f"{path}: valid for {described(form)}: {summary}"


def counted(things: Sized, name: str) -> str:
    """ "1 file", "1,234 files"."""
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _check_file(path: pathlib.Path, official: Official, form: Format) -> tuple[list[str], str]:
    first, rows, problems = _read(path, form)
    problems += _wrong_fields(rows, first, form)
    problems += _wrong_order(rows, first, official, form)
    summary = f"{counted(rows, 'row')} of {counted(official.frames, form.unit)}"
    if form.clips:
        return _shown(path, problems), f"{summary}, those of {official.path}."
    return _shown(path, problems), f"{summary}, in the order of {official.path}."


def _check_folder(path: pathlib.Path, official: Official, form: Format) -> tuple[list[str], str]:
    there = sorted(p.name for p in path.iterdir())
    expected = {f"{video}.txt": frames for video, frames in official.frames.items()}
    extra = [name for name in there if name not in expected]
    if 2 * len(extra) > len(there):
        return [
            f"{path / extra[0]}: this and {len(extra):,} of {len(there):,} files in all are not in "
            f"{official.path}. Is it the list of another track or split?"
        ], ""
    messages = [f"{path / name}: {official.path} has no such video." for name in extra]
    present, total = set(there), 0
    for name, frames in expected.items():
        if name not in present:
            messages.append(f"{path / name}: is missing, {official.path} has this video.")
            continue
        first, rows, problems = _read(path / name, form)
        problems += _wrong_fields(rows, first, form)
        if rows and frames is not None:
            problems += _wrong_length(rows, first, len(frames), official)
        messages += _shown(path / name, problems)
        total += len(rows)
    files, rows = counted(expected, "file"), counted(range(total), "row")
    summary = f"{files}, {rows}, the videos of {official.path}"
    if any(frames is None for frames in official.frames.values()):
        summary += " (which has names only: the numbers of rows were not checked)"
    return messages, summary + "."


def _shown(path: pathlib.Path, problems: Sequence[Problem]) -> list[str]:
    return [f"{path}:{line}: {reason}" for line, reason in sorted(problems)]


def _read(path: pathlib.Path, form: Format) -> tuple[int, list[str], list[Problem]]:
    """(line number of the first row, the rows, problems): no rows where they cannot be told."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return 1, [], [(1, f"cannot be read ({error.strerror}).")]
    problems: list[Problem] = []
    if data.startswith(b"\xef\xbb\xbf"):
        problems.append((1, "begins with a byte order mark, expected UTF-8 without one."))
        data = data[3:]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return 1, [], [*problems, (line, f"byte {data[error.start]:#04x} is not UTF-8 text.")]
    if not text.strip():
        return 1, [], [*problems, (1, "the file is empty.")]
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        return 1, [], [*problems, (line, "holds zero bytes, expected UTF-8 text (is it UTF-16?).")]
    if "\r\n" in text:
        problems.append((1, "lines end in CR LF, expected LF alone."))
        text = text.replace("\r\n", "\n")
    # Not splitlines(): it also breaks at form feeds and Unicode separators.
    lines = text.removesuffix("\n").split("\n")
    if not text.endswith("\n"):
        # A row cut within a number still reads as a number.
        problems.append((len(lines), "the file ends within this line, it may be cut off."))
    if lines[0] in (form.header, *form.other_headers):
        if len(lines) == 1:
            problems.append((1, "a header and no rows."))
        return 2, lines[1:], problems
    other = format_with_header(lines[0])
    whose = f", that of {described(other)}" if other else ""
    problems.append((1, f"header {lines[0][:80]!r}{whose}; expected {form.header!r}."))
    if other:  # every row would be wrong
        return 2, [], problems
    if next(_wrong_fields(lines[:1], 1, form), None) is None:
        return 1, lines, problems  # a row where the header belongs
    return 2, lines[1:], problems


def _wrong_fields(rows: Sequence[str], first: int, form: Format) -> Iterator[Problem]:
    width = len(form.fields) + (not form.per_video)
    for line, row in enumerate(rows, first):
        if not row.strip():
            yield line, "an empty line."
            continue
        cells = row.split(",")
        if len(cells) != width:
            yield line, _wrong_width(row, width)
            continue
        if form.clips and cells[0] != f"[{file_id(cells[0])}]":
            yield (
                line,
                f"{cells[0][:60]!r}, expected its File_ID in brackets: [{file_id(cells[0])}].",
            )
            continue
        for field, cell in zip(form.fields, cells[-len(form.fields) :]):
            complaint = field.complaint(cell)
            if complaint:
                yield line, complaint
                break


def _wrong_width(row: str, width: int) -> str:
    other = next((s for s in _OTHER_SEPARATORS if len(row.split(s)) == width), None)
    if other:
        return f"fields are separated by {other!r}, expected commas."
    return f"{counted(row.split(','), 'field')} ({row[:60]!r}), expected {width}."


def _wrong_length(
    rows: Sequence[str], first: int, expected: int, official: Official
) -> Iterator[Problem]:
    last = first + len(rows) - 1
    if len(rows) < expected:
        missing = counted(range(len(rows), expected), "row")
        yield last, f"the file ends here, {missing} earlier than {official.path} says."
    if len(rows) > expected:
        yield first + expected, f"a row beyond the {expected:,} that {official.path} has."


def _wrong_order(
    rows: Sequence[str], first: int, official: Official, form: Format
) -> Iterator[Problem]:
    """Rows that the list does not have, that come twice, too early, too late or not at all.

    Clips may come in any order: their rows are found by name.
    """
    place = {image: i for i, image in enumerate(official.images)}
    images = {first + i: _image(row, form) for i, row in enumerate(rows) if row.strip()}
    strange = {line: image for line, image in images.items() if image not in place}
    if 2 * len(strange) > len(images):
        line, image = next(iter(strange.items()))
        most = f"{image!r} and {len(strange):,} of {len(images):,} rows in all are not in"
        yield line, f"{most} {official.path}. Is it the list of another track or split?"
        return
    seen: dict[str, int] = {}
    before = ""
    for line, image in images.items():
        if image not in place:
            yield line, f"{image!r} is not in {official.path}."
        elif image in seen:
            yield line, f"{image!r} again, it is in line {seen[image]}."
        else:
            if before and not form.clips and place[image] < place[before]:
                yield line, f"{image!r} stands after {before!r}, but {official.path} has it before."
            seen[image], before = line, image
    if rows:
        yield from _missing(seen, first, official)


def _missing(seen: dict[str, int], first: int, official: Official) -> Iterator[Problem]:
    """A problem for each run of images without a row, at the line where it belongs."""
    line = first
    for there, run in itertools.groupby(official.images, key=lambda image: image in seen):
        run = list(run)
        if there:
            line = seen[run[-1]] + 1
        elif len(run) == 1:
            yield line, f"the row of {run[0]!r} is missing."
        else:
            yield line, f"{len(run):,} rows are missing, {run[0]!r} to {run[-1]!r}."


def _image(row: str, form: Format) -> str:
    """The first field, whatever separates it from the next; of clips in brackets."""
    name = row.partition(",")[0] if "," in row else re.split(r"[;|\s]", row, maxsplit=1)[0]
    return f"[{file_id(name)}]" if form.clips else name
