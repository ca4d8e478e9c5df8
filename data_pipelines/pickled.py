"""Pickles as data: an interpreter of the few instructions that arrays and containers need.

Python's own reader calls what a pickle names, hashes keys that double at every reference, and
allocates what an index claims. This one knows plain values, containers, and the functions that it
is given; every other instruction is refused, and the work is bounded by the length of the text.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

# torch.save writes about thirty instructions, 150 bytes, a tensor.
MOST_BYTES, MOST_INSTRUCTIONS = 2**24, 2_000_000
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("SHORT_BINSTRING", "BINSTRING"),  # the texts of Python 2
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Unbuilt:
    """A thing that a pickle makes first and fills afterwards; `build` gives the whole one."""

    def __init__(self) -> None:
        self.places: list[int] = []  # in the memo, which later references are read from

    def build(self, state: Any) -> Any:
        """The value that this state completes."""
        raise NotImplementedError


class Namespace(Unbuilt):
    """An argparse.Namespace, as a plain mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: Mapping[str, Any] = {}

    def build(self, state: Any) -> Namespace:
        """Itself, with these attributes."""
        self.attributes = _dict(state)
        return self


def _no_storage(identity: Any) -> Any:
    raise ValueError("it refers to what lies outside of it")


def read(
    stream: BinaryIO,
    find: Callable[[str, str], Any],
    persistent: Callable[[Any], Any] = _no_storage,
    *,
    bounded: bool = True,
) -> Any:
    """The value in the pickle that begins here; the stream stands behind it afterwards.

    Args:
        find: (module, name) -> what is meant: the only functions that are called.
        persistent: what a persistent id stands for.
        bounded: at most MOST_BYTES of a BytesIO and MOST_INSTRUCTIONS, as where what is large
            lies elsewhere.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is damaged, too long, or of
            another kind.
    """
    if bounded and isinstance(stream, io.BytesIO):
        size = stream.getbuffer().nbytes
        if size > MOST_BYTES:
            raise ValueError(f"its structure has {size:,} bytes, expected at most {MOST_BYTES:,}")

    def remember(place: int) -> None:
        memo[place] = stack[-1]
        if isinstance(stack[-1], Unbuilt):
            stack[-1].places.append(place)

    stack: list[Any] = []
    below: list[list[Any]] = []  # what lies under each mark
    memo: dict[int, Any] = {}
    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        if bounded and count > MOST_INSTRUCTIONS:
            raise ValueError(f"its structure takes more than {MOST_INSTRUCTIONS:,} steps")
        name = instruction.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            if argument > count:
                raise ValueError(f"it remembers thing {argument:,} of {count}")
            remember(argument)
        elif name == "MEMOIZE":
            remember(len(memo))
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name in _TUPLES:
            size = _TUPLES[name]
            stack[-size:] = [tuple(stack[-size:])]
        elif name == "TUPLE":
            items, stack = stack, below.pop()
            stack.append(tuple(items))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "APPEND":
            item = stack.pop()
            _list(stack[-1]).append(item)
        elif name == "APPENDS":
            items, stack = stack, below.pop()
            _list(stack[-1]).extend(items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set(stack[-1], [key, value])
        elif name == "SETITEMS":
            items, stack = stack, below.pop()
            _set(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(find(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            if not (isinstance(module, str) and isinstance(last, str)):
                raise TypeError("the name of a function that is no text")
            stack.append(find(module, last))
        elif name in ("REDUCE", "NEWOBJ"):
            given, function = stack.pop(), stack.pop()
            if not isinstance(given, tuple):
                raise TypeError("a call without its arguments")
            stack.append(function(*given))
        elif name == "BINPERSID":
            stack.append(persistent(stack.pop()))
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Unbuilt):  # an ordered dict's are PyTorch's version numbers
                unbuilt, stack[-1] = stack[-1], stack[-1].build(state)
                memo.update(dict.fromkeys(unbuilt.places, stack[-1]))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"a pickle with the instruction {name}")
    raise ValueError("a pickle without an end")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"items are added to a {type(value).__name__}")
    return value


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} with keys")
    return value


def _set(table: Any, items: Sequence[Any]) -> None:
    if len(items) % 2:
        raise TypeError("a key without its value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Other keys can take for ever to be hashed.
        if not isinstance(key, str | int | float):
            raise TypeError(f"a dict with a key of type {type(key).__name__}")
        _dict(table)[key] = value
