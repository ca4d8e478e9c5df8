"""Features, labels and tracks of a store: what is said of each, and which of it can be right."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from data_pipelines.errors import nearest
from data_pipelines.paths import require_name

LABEL_DTYPES = {"values": np.float32, "classes": np.int32, "labels": np.int8}
AXES = ("frame", "table")
# Labels of values are a few units in size, or a hundred. One beyond this is damage or a mark.
LARGEST_VALUE = 1_000_000
LARGEST_FRAME = 2**31 - 1  # image numbers are int32


@dataclasses.dataclass(frozen=True)
class Feature:
    """One named input stream. `size`: width D; `rate_hz`: rows a second where axis is "table"."""

    name: str
    size: int
    axis: str = "frame"
    rate_hz: float | None = None
    extractor: str = ""
    trained_on: tuple[str, ...] = ()  # splits or data sets whose labels the extractor has seen
    columns: tuple[str, ...] = ()  # names of the columns: the task, where they are predictions
    gaps: bool = False
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Label:
    """One label kind. `kind`: values [N, K], classes [N] (size = C) or labels [N, K] of 0/1."""

    name: str
    kind: str
    size: int
    names: tuple[str, ...] = ()
    sha256: str = ""

    def rows(self, total: int) -> tuple[int, ...]:
        """Shape of the label's array for `total` frames."""
        return (total,) if self.kind == "classes" else (total, self.size)

    def wrong(self, values: np.ndarray) -> np.ndarray:
        """Mask of the labels that cannot be, if they exist; bool of the values' shape."""
        if self.kind == "values":
            return ~(np.abs(values) <= LARGEST_VALUE)  # of NaN too
        limit = self.size if self.kind == "classes" else 2
        return (values < 0) | (values >= limit) | (values % 1 != 0)

    @property
    def expected(self) -> str:
        """The labels that can be, in words."""
        if self.kind == "values":
            return f"a finite number, of {LARGEST_VALUE:,} at most"
        return f"0 to {self.size - 1 if self.kind == 'classes' else 1}"


@dataclasses.dataclass(frozen=True)
class Track:
    """One person in a video: rows [offset, offset + frames) of every frame-wise array."""

    name: str
    split: str
    group: str  # what must not be split: the video, the speaker
    frames: int
    offset: int
    fps: float | None = None
    rows: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # table features


Spec = TypeVar("Spec", Feature, Label)


def read_specs(kind: type[Spec], table: Any, where: str, *, given: bool) -> dict[str, Spec]:
    """Features or labels of {name: {size, ...}}.

    Args:
        where: whose they are, for messages.
        given: by a user, whose misspelt keys are refused. In a manifest unknown keys are left.

    Raises:
        UserError: a name that cannot be a file's.
        ValueError: anything else that is wrong, in one line.
    """
    what = kind.__name__.lower()
    if not isinstance(table, Mapping):
        raise ValueError(f"{what}s are {table!r:.50}, expected {{name: {{'size': ...}}}}")
    return {
        name: _read_spec(kind, require_name(name, f"{where}: {what}"), entry, given)
        for name, entry in table.items()
    }


def _read_spec(kind: type[Spec], name: str, entry: Any, given: bool) -> Spec:
    what = f"{kind.__name__.lower()} {name!r}"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{what} is {entry!r:.50}, expected {{'size': ...}}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name != "name"}
    if given:
        fields = {key: field for key, field in fields.items() if key not in ("gaps", "sha256")}
        for key in entry:
            if key not in fields:
                raise ValueError(f"{what}: unknown key {key!r}. {nearest(key, fields)}")
    values = {key: entry[key] for key in fields if key in entry}
    for key, field in fields.items():
        if field.default is dataclasses.MISSING and key not in values:
            raise ValueError(f"{what}: no {key}, of {', '.join(fields)}")
        if key in values and field.default == ():
            values[key] = _texts(values[key], f"{what}: {key}")
        if key in values and field.default == "" and not isinstance(values[key], str):
            raise ValueError(f"{what}: {key} is {values[key]!r:.50}, expected a text")
    values["size"] = whole(values["size"], f"{what}: size", least=1)
    _check_choice(values.get("kind", "values"), LABEL_DTYPES, f"{what}: kind")
    _check_choice(values.get("axis", "frame"), AXES, f"{what}: axis")
    for key in ("names", "columns"):
        if values.get(key) and len(values[key]) != values["size"]:
            raise ValueError(f"{what}: {len(values[key])} {key}, but size is {values['size']}")
    for i, text in enumerate(values.get("names", ())):
        if text in values["names"][:i]:
            raise ValueError(f"{what}: names: {text!r} comes twice")
    if values.get("rate_hz") is not None:
        values["rate_hz"] = rate(values["rate_hz"], f"{what}: rate_hz")
    return kind(name=name, **values)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """The texts of a list, or of a text alone."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{what} is {value!r:.50}, expected a list of texts")
    return tuple(texts)


def _check_choice(value: Any, known: Any, what: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{what} {value!r:.50}. {nearest(value, known)}")


def whole(value: Any, what: str, *, least: int, most: int = 2**48) -> int:
    """The whole number, or a ValueError where it is none or out of its range."""
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        upper = f" to {most}" if number is not None and number > most else ""
        raise ValueError(f"{what} is {value!r:.50}, expected a whole number from {least}{upper}")
    return number


def rate(value: Any, what: str) -> float:
    """The rate in Hz, or a ValueError where it is no number above 0."""
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{what} is {value!r:.50}, expected a number above 0")
    return number
