"""Features, labels and tracks of a store: what is said of each, and which of it can be right."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from data_pipelines.errors import nearest
from data_pipelines.paths import require_name

LABEL_DTYPES = {"values": np.float32, "classes": np.int32, "labels": np.int8}
# Dtypes of features, and what a stored number is multiplied by where a store does not say it.
SCALES = {"float32": 1.0, "float16": 1.0, "int16": 1 / 32768, "uint8": 1 / 255}
AXES = ("frame", "rate", "table")
SPLITS = ("train", "validation", "test")
# Rates of television, which are mostly written with their first decimals.
BROADCAST = tuple(Fraction(1000 * frames, 1001) for frames in (24, 30, 60))
# Labels of values are a few units in size, or a hundred. One beyond this is damage or a mark.
LARGEST_VALUE = 1_000_000
LARGEST_FRAME = 2**31 - 1  # image numbers are int32
SPANS = "finite numbers, start <= stop, and starts that ascend"  # what `wrong_spans` is about


def split_key(split: str) -> tuple[int, str]:
    """By which splits are sorted: train, validation and test first, then the others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


@dataclasses.dataclass(frozen=True)
class Feature:
    """One named input stream.

    Attributes:
        shape: of an item: (512,) of a vector, (112, 112, 3) of a picture, () of an audio sample.
            Written as `size`, its number of columns, where an item is a vector.
        dtype: of the stored numbers: float32, float16, int16 or uint8.
        scale: the float that a stored number stands for, divided by the number; by default 1, of
            int16 1/32768 and of uint8 1/255.
        axis: "frame", a row a labelled frame; "rate", `rate` rows a second from the start of the
            track; "table", rows of which each has a span of frames.
        rate: rows a second, exact, on the axis "rate"; written as `rate_hz`.
        extractor: what made it.
        run: the run whose output it is, if it is one's: the feature is called <run>/<output>.
        trained_on: splits or data sets whose labels the extractor has seen.
        columns: names of the columns of a vector: the task, where they are predictions.
        gaps: there is a mask, since some rows do not exist.
        spans: there are the spans of a table. Tables of older stores have none.
        sha256: of the bytes of the array.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = math.nan
    axis: str = "frame"
    rate: Fraction | None = None
    extractor: str = ""
    run: str = ""
    trained_on: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    gaps: bool = False
    spans: bool = False
    sha256: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.scale):
            object.__setattr__(self, "scale", SCALES[self.dtype])

    @property
    def size(self) -> int:
        """Numbers in an item: the width D of a vector."""
        return math.prod(self.shape)

    @property
    def is_picture(self) -> bool:
        """There is one picture a frame: [H, W], or [H, W, C] with C 1 or 3."""
        picture = len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[2] in (1, 3))
        return picture and self.axis == "frame"


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
    """One person in a video, or a clip.

    Attributes:
        group: what must not be split: the video, the speaker.
        frames: number of labelled frames.
        offset: its first row in every frame-wise array.
        fps: frames a second, exact.
        rows: (first row, number of rows) in the arrays of features that are not frame-wise.
    """

    name: str
    split: str
    group: str
    frames: int
    offset: int
    fps: Fraction | None = None
    rows: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @property
    def span(self) -> slice:
        """Its rows in every frame-wise array."""
        return slice(self.offset, self.offset + self.frames)


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
    for name, entry in table.items():
        run = entry.get("run") if kind is Feature and isinstance(entry, Mapping) else None
        own = name.removeprefix(f"{run}/") if run and isinstance(name, str) else name
        for part in (own, run) if own != name else (own,):
            require_name(part, f"{where}: {what}")
    return {name: _read_spec(kind, name, entry, given) for name, entry in table.items()}


def _read_spec(kind: type[Spec], name: str, entry: Any, given: bool) -> Spec:
    what = f"{kind.__name__.lower()} {name!r}"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{what} is {entry!r:.50}, expected {{'size': ...}}")
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    del fields["name"]
    if kind is Feature:  # in the words of a manifest
        del fields["rate"]
        fields |= {"size": None, "rate_hz": None}
    if given:
        fields = {k: v for k, v in fields.items() if k not in ("gaps", "spans", "sha256")}
        for key in entry:
            if key not in fields:
                raise ValueError(f"{what}: unknown key {key!r}. {nearest(key, fields)}")
    values = {key: entry[key] for key in fields if key in entry}
    for key, value in values.items():
        if fields[key] == ():
            values[key] = _texts(value, f"{what}: {key}")
        if fields[key] == "" and not isinstance(value, str):
            raise ValueError(f"{what}: {key} is {value!r:.50}, expected a text")
    read = _feature_values if kind is Feature else _label_values
    rated = values.get("rate_hz") is not None
    if given and rated and values.get("axis", "frame") == "frame":
        raise ValueError(f"{what}: rate_hz belongs to axis 'rate', not 'frame'")
    return kind(name=name, **read(values, what))


def _feature_values(values: dict[str, Any], what: str) -> dict[str, Any]:
    if ("size" in values) == ("shape" in values):
        both = "both size and shape" if "size" in values else "neither size nor shape"
        raise ValueError(f"{what}: {both}, expected size=512 or shape=(112, 112, 3)")
    key = "size" if "size" in values else "shape"
    shape = [values.pop("size")] if key == "size" else values["shape"]
    if not isinstance(shape, (list, tuple)):
        raise ValueError(f"{what}: shape is {shape!r:.50}, expected a list of whole numbers")
    values["shape"] = tuple(whole(length, f"{what}: {key}", least=1) for length in shape)
    _check_choice(values.get("dtype", "float32"), SCALES, f"{what}: dtype")
    if "scale" in values:
        values["scale"] = _positive(values["scale"], f"{what}: scale")
    columns = values.get("columns", ())
    if columns and (len(columns),) != values["shape"]:
        size = ", ".join(map(str, values["shape"]))
        raise ValueError(f"{what}: {len(columns)} columns, but size is {size}")
    hertz, axis = values.pop("rate_hz", None), values.get("axis", "frame")
    _check_choice(axis, AXES, f"{what}: axis")
    if hertz is not None:
        values["rate"] = rate(hertz, f"{what}: rate_hz")
    if axis == "table" and hertz is not None:
        values["axis"] = "rate"  # what it was called before tables had spans
    elif axis == "rate" and hertz is None:
        raise ValueError(f"{what}: no rate_hz, which axis 'rate' needs")
    return values


def _label_values(values: dict[str, Any], what: str) -> dict[str, Any]:
    for key in ("kind", "size"):
        if key not in values:
            raise ValueError(f"{what}: no {key}, of kind, size, names")
    values["size"] = whole(values["size"], f"{what}: size", least=1)
    _check_choice(values["kind"], LABEL_DTYPES, f"{what}: kind")
    names = values.get("names", ())
    if names and len(names) != values["size"]:
        raise ValueError(f"{what}: {len(names)} names, but size is {values['size']}")
    for i, text in enumerate(names):
        if text in names[:i]:
            raise ValueError(f"{what}: names: {text!r} comes twice")
    return values


def entry_of(spec: Feature | Label) -> dict[str, Any]:
    """The manifest's entry of a feature or label; `read_specs` reads it."""
    entry = dataclasses.asdict(spec)
    del entry["name"]
    if isinstance(spec, Feature):
        shape, hertz = entry.pop("shape"), entry.pop("rate")
        size = {"size": spec.size} if len(shape) == 1 else {"shape": list(shape)}
        entry = size | entry | {"rate_hz": hertz and rate_entry(hertz)}
        entry["dtype"] = "" if spec.dtype == "float32" else spec.dtype
        entry["scale"] = None if spec.scale == SCALES[spec.dtype] else spec.scale
        entry["spans"] = spec.spans or None
    return {k: v for k, v in entry.items() if v not in (None, "", ())}


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


def _positive(value: Any, what: str, also: str = "") -> float:
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{what} is {value!r:.50}, expected a number above 0{also}")
    return number


def rate(value: Any, what: str = "the rate") -> Fraction:
    """The exact rate in Hz of a number, a fraction, or a text such as "30000/1001".

    A number is taken as its decimals, but 23.976 (and 23.98), 29.97 and 59.94 are BROADCAST.

    Raises:
        ValueError: it is none of these, or not above 0.
    """
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}/0*[1-9][0-9]{0,17}", value):
        value = Fraction(value)
    number = _positive(value, what, ', or a fraction such as "30000/1001"')
    if isinstance(value, Fraction):
        return value
    if number.is_integer():  # of most tracks, and of all rates the quickest
        return Fraction(int(number))
    for exact in BROADCAST:
        if number == 23.98 or abs(number / float(exact) - 1) < 2e-6:
            return exact
    return Fraction(repr(number))


def rate_entry(value: Any) -> float | str:
    """A rate as a manifest has it: a number as it was given, a fraction as a text if need be."""
    if isinstance(value, str):
        value = rate(value)
    if isinstance(value, Fraction) and rate(float(value)) != value:
        return f"{value.numerator}/{value.denominator}"
    return float(value)


def wrong_spans(spans: np.ndarray) -> np.ndarray:
    """Mask of the rows of a track's spans [rows, 2] that cannot be; bool [rows]."""
    start, stop = spans.T
    with np.errstate(invalid="ignore"):
        ascending = np.diff(start, prepend=-np.inf) >= 0
        return ~(np.isfinite(spans).all(1) & (start <= stop) & ascending)
