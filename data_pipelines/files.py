"""Files of others, a reader a format: whatever is wrong in one is a UserError of one line.

Damaged files make the libraries raise nearly anything; `readable` has the one list of it. Arrays
are checked before they are unpacked: a small file may say that it holds a huge one.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import math
import mmap
import os
import pathlib
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data_pipelines.errors import UserError

# What reading a damaged or foreign file may raise, in numpy, zipfile, zlib, json and h5py.
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,  # UnicodeDecodeError and JSONDecodeError among them
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SyntaxError,  # a header is Python text
    MemoryError,  # of a header nested too deeply, too
    RuntimeError,  # an encrypted archive; RecursionError and NotImplementedError are of its kind
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


_POINTERS = (b"version https://git-lfs.github.com/", b"/annex/objects/")


@contextlib.contextmanager
def readable(path: str | os.PathLike, what: str, hint: str = "") -> Iterator[None]:
    """A block that reads a file; what fails in it is "PATH: not WHAT (why). HINT"."""
    try:
        yield
    except UserError:
        raise
    except _READ_ERRORS as error:
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
            refuse_pointer(path, file.read(64))
        message = f"{os.fspath(path)}: not {what} ({reason(error)}). {hint}"
        raise UserError(message.rstrip()) from None


def reason(error: BaseException) -> str:
    """Why, in one short line; the kind of the error where it says nothing itself."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "nested too deeply"
    # A TokenError's text is that of a tuple.
    text = error.args[0] if isinstance(error, tokenize.TokenError) else str(error)
    text = " ".join(text.split())[:200].rstrip(".")
    if isinstance(error, KeyError):
        return f"no {text}" if " " not in text else text.strip("\"'")  # h5py's are sentences
    return text or type(error).__name__


def read_json(path: str | os.PathLike, what: str = "a JSON file", hint: str = "") -> Any:
    """The content of a JSON file. UserError where it cannot be read or is none."""
    with readable(path, what, hint):  # editors put a byte order mark in front
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8-sig"))


def open_npy(
    path: str | os.PathLike, what: str = "a readable array file", hint: str = ""
) -> np.ndarray:
    """The array of a .npy file as a memory map. UserError where it cannot be read or is none."""
    with readable(path, what, hint), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of headers written by Python 2, and of overflows in bad ones
        return np.lib.format.open_memmap(path, mode="r")


class Npz(Mapping[str, np.ndarray]):
    """The arrays of a .npz file by name, each read, whole and checked, when it is asked for.

    Use it as a context. Every complaint is a UserError: "PATH: not WHAT (why). HINT".
    """

    def __init__(
        self,
        path: str | os.PathLike,
        what: str = "a readable npz file",
        hint: str = "",
    ):
        self._about = path, what, hint
        with readable(*self._about), contextlib.ExitStack() as opened:
            self._file = opened.enter_context(open(path, "rb"))
            self._archive = zipfile.ZipFile(self._file)
            self._members = {
                member.filename.removesuffix(".npy"): member
                for member in self._archive.infolist()
                if member.filename.endswith(".npy")
            }
            self._opened = opened.pop_all()

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._opened.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members  # Mapping's own would read the array

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """(shape, dtype) of an array that is there; nothing of it is unpacked."""
        with readable(*self._about), self._archive.open(self._members[name]) as file:
            shape, _, dtype = self._header(name, file)
        return shape, dtype

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._members:
            raise KeyError(name)
        with readable(*self._about):
            with self._archive.open(self._members[name]) as file:
                shape, _, dtype = self._header(name, file)
                require_memory(math.prod(shape) * dtype.itemsize, name)
            with self._archive.open(self._members[name]) as file:
                return np.lib.format.read_array(file, allow_pickle=False)

    def mapped(self, name: str) -> np.ndarray:
        """The array, checked whole and read only, from disk as it is used where nothing packs it.

        It stays good when the archive is closed, and when another takes the file's place.
        """
        if name not in self._members or self._members[name].compress_type != zipfile.ZIP_STORED:
            return self[name]
        member = self._members[name]
        with readable(*self._about):
            with self._archive.open(member) as file:
                shape, fortran, dtype = self._header(name, file)
                start = file.tell()
                while file.read(1 << 18):
                    pass  # the archive's sum of the bytes is compared at their end
            self._file.seek(member.header_offset + 26)
            start += member.header_offset + 30 + sum(struct.unpack("<HH", self._file.read(4)))
            if not math.prod(shape) * dtype.itemsize:
                return np.zeros(shape, dtype)  # nothing cannot be mapped
            order = "F" if fortran else "C"
            array = np.memmap(self._file, dtype, "r", offset=start, shape=shape, order=order)
            return array.view(np.ndarray)

    def _header(self, name: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
        version = np.lib.format.read_magic(file)
        kinds = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in kinds:
            raise ValueError(f"{name}: array format {version}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = kinds[version](file)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are not read")
        there = self._members[name].file_size - file.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != there:
            raise ValueError(f"{name}: {dtype} {shape} in {there} bytes")
        return shape, fortran, dtype


def refuse_pointer(path: str | os.PathLike, data: bytes) -> None:
    """UserError where a file is what git-lfs or git-annex leave in place of one."""
    if data.startswith(_POINTERS):
        raise UserError(
            f"{os.fspath(path)}: a pointer to a file that is not here; fetch it (git lfs pull, "
            "git annex get)."
        )


_KINDS = {
    "i": "integers",
    "u": "integers",
    "f": "numbers",
    "b": "0 or 1",
    "U": "names",
    "S": "names",
}


def require_array(
    where: str, shape: tuple[int, ...], dtype: np.dtype, kinds: str, expected: tuple[int | str, ...]
) -> None:
    """UserError unless an array is of one of the kinds and of the expected shape.

    Args:
        where: file and array, for the message.
        kinds: letters of `numpy.dtype.kind` that are welcome, the plainest last.
        expected: its shape; a text stands for any length from 1.
    """
    if dtype.kind not in kinds:
        raise UserError(f"{where} is of type {str(dtype)[:60]}, expected {_KINDS[kinds[-1]]}.")
    fits = len(shape) == len(expected) and all(
        a > 0 if isinstance(b, str) else a == b for a, b in zip(shape, expected)
    )
    if not fits:
        wanted = ", ".join(map(str, expected))
        raise UserError(f"{where} has shape {shape}, expected [{wanted}].")


def float32(array: Any) -> np.ndarray:
    """The array as float32; what is too large for it becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32)


def forget(*arrays: np.ndarray | None) -> None:
    """Give back the memory that reading mapped arrays has filled; used again, they are read again.

    Without it what a process has read of its maps counts as its memory until others need it.
    """
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


def machine_memory() -> int:
    """Bytes of memory that this machine has, or this container of it may take."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no limit is the word "max"
        there = min(there, int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    return there


def require_memory(size: int, what: str) -> None:
    """MemoryError that says so where `size` bytes are more than this machine has."""
    there = machine_memory()
    if size > there:
        raise MemoryError(
            f"{what} needs {size / 2**30:,.1f} GiB, this machine has {there / 2**30:,.1f}"
        )
