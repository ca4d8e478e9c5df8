"""PyTorch's files (.pth) without PyTorch, and without running what they hold.

Since 1.6 such a file is a zip: `<root>/data.pkl`, a pickle of the structure, and
`<root>/data/<key>`, the raw storages. Before, it was five pickles (a magic number, the version of
the form, the writing system, the structure, the keys of the storages), then for each key the
number of its entries, int64, and the entries.

A pickle can name any function to be called; this reader knows a few names and refuses the rest,
so a file from a stranger can hold wrong numbers at worst. The tensors are views of the mapped file,
read from the disk when they are used; the time that it takes is bounded by the size of the file.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from data_pipelines import pickled
from data_pipelines.errors import UserError
from data_pipelines.files import readable

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".t7")
_FIVE_PICKLES = b"\x80\x02\x8a\x0a"  # how the magic number, the first of them, begins
_MAGIC, _FORM = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_DEEPEST, _MOST_NODES, _LONGEST_NAME = 100, 1_000_000, 1000


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a file, dotted names for nested dicts. UserError as `files.load`."""
    with readable(path, "a file of torch.save that is whole"):
        whole = np.memmap(path, np.uint8, "r").view(np.ndarray)
        if whole[:4].tobytes() == _FIVE_PICKLES:
            return _of_pickles(whole, path)
        with zipfile.ZipFile(path) as archive:
            return _of_zip(archive, whole, path)


def _of_zip(archive: zipfile.ZipFile, whole: np.ndarray, path: pathlib.Path) -> Any:
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise UserError(f"{path}: a zip archive, but not of torch.save (no data.pkl in it).")
    root = pickles[0].removesuffix("data.pkl")
    # torch.save does not compress; a small file that unpacks to a huge one is not its work.
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise UserError(f"{path}: a compressed archive, which torch.save does not write.")
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > len(whole):
        raise ValueError(f"its parts claim {claimed:,} bytes of {len(whole):,}")
    if f"{root}byteorder" in archive.namelist():
        _require_little(archive.read(f"{root}byteorder") == b"little", path)
    names = _Names(path)
    tree = pickled.read(io.BytesIO(archive.read(pickles[0])), names.find, names.storage)
    entries = {
        key: _member(archive, whole, f"{root}data/{key}").view(dtype)
        for key, (dtype, _) in names.storages.items()
    }
    return _tensors(tree, entries)


def _member(archive: zipfile.ZipFile, whole: np.ndarray, name: str) -> np.ndarray:
    """The bytes of a member, where they lie in the file; their sum is checked."""
    member = archive.getinfo(name)
    with archive.open(member) as file:
        while file.read(1 << 20):
            pass  # the sum is compared at the end
    lengths = whole[member.header_offset + 26 :][:4].view("<u2")  # of its name and what follows it
    start = member.header_offset + 30 + int(lengths.sum())
    return whole[start : start + member.file_size]


def _of_pickles(whole: np.ndarray, path: pathlib.Path) -> dict[str, np.ndarray]:
    names, stream = _Names(path), io.BytesIO(whole[: pickled.MOST_BYTES].tobytes())
    magic, form, system, tree, keys = (
        pickled.read(stream, names.find, names.storage) for _ in range(5)
    )
    if (magic, form) != (_MAGIC, _FORM):
        raise ValueError("another magic number or version than those of torch.save")
    _require_little(system["little_endian"] is True, path)
    entries, place = {}, stream.tell()
    for key in keys:
        dtype, count = names.storages[key]
        start, end = place + 8, place + 8 + count * dtype.itemsize
        said = int.from_bytes(whole[place:start].tobytes(), "little")
        if said != count or end > len(whole):
            raise ValueError(
                f"a storage of {count:,} entries: {said:,} are announced, and "
                f"{max(0, len(whole) - start):,} bytes are left"
            )
        entries[key], place = whole[start:end].view(dtype), end
    return _tensors(tree, entries)


def _require_little(little: bool, path: pathlib.Path) -> None:
    if not little:
        raise UserError(f"{path}: written on a big-endian machine; save it anew on another.")


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A stretch of a stored storage: `size` entries (None: all) from `start` on."""

    key: str
    start: int
    size: int | None


@dataclasses.dataclass(frozen=True)
class _View:
    """A tensor as torch describes it: where its entries lie in a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, entries: np.ndarray) -> np.ndarray:
        """The tensor, none of it copied, if it lies inside the entries of its storage."""
        numbers = (self.offset, self.storage.start, *self.size, *self.stride)
        if len(self.size) != len(self.stride) or len(self.size) > 32:
            raise ValueError("a tensor of other axes than strides, or too many")
        if not all(isinstance(n, int) and 0 <= n <= 2**48 for n in numbers):
            raise ValueError("a tensor of another size, stride or offset than tensors have")
        entries = entries[self.storage.start :][: self.storage.size]
        if not math.prod(self.size):
            return np.zeros(self.size, entries.dtype)
        steps = zip(self.size, self.stride, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in steps)
        if last >= len(entries) or math.prod(self.size) > len(entries):
            raise ValueError(f"a tensor of size {self.size} in a storage of {len(entries)}")
        strides = [step * entries.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(
            entries[self.offset :], self.size, strides, writeable=False
        )


class _Names:
    """Names of storages, tensors, parameters and plain values; every other is refused.

    Attributes:
        storages: {key: (type, number of entries)} of those that were named.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.storages: dict[str, tuple[np.dtype, int]] = {}
        self._known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): lambda: {},  # its items follow
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, hooks: data,
            ("torch", "Size"): lambda size: size,
            ("torch", "device"): lambda *name: name,
            ("argparse", "Namespace"): pickled.Namespace,
        }

    def find(self, module: str, name: str) -> Any:
        """The type of a storage, or the function that is meant."""
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        if (module, name) in self._known:
            return self._known[module, name]
        raise UserError(
            f"{self._path}: holds {' '.join(f'{module}.{name}'.split())[:100]}, and only tensors "
            "are read. "
            "Save the state dict: torch.save(model.state_dict(), path)."
        )

    def storage(self, identity: Any) -> _Storage:
        """The storage that ("storage", type, key, device, number of entries) names.

        Before PyTorch 1.6 (key of its own, start, size) or None follows: a part of the storage.
        """
        _, dtype, key, _, count, *part = identity
        if not (isinstance(dtype, np.dtype) and isinstance(key, str) and isinstance(count, int)):
            raise TypeError("a storage without type, key or size")
        if self.storages.setdefault(key, (dtype, count)) != (dtype, count) or count < 0:
            raise ValueError("a storage of two types or sizes")
        _, start, size = (part and part[0]) or (None, 0, None)
        return _Storage(key, start, size)


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> _View:
    del rest  # requires_grad, hooks
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor without a storage")
    return _View(storage, offset, tuple(size), tuple(stride))


def _tensors(tree: Any, entries: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of nested dicts, lists and tuples, by dotted name.

    Args:
        entries: {key: all entries of that storage}.
    """
    tensors: dict[str, np.ndarray] = {}
    seen = 0

    def visit(node: Any, name: str, depth: int) -> None:
        nonlocal seen
        seen += 1
        if depth > _DEEPEST or seen > _MOST_NODES or len(name) > _LONGEST_NAME:
            raise ValueError(
                f"nested too deeply, or too large: expected {_DEEPEST} levels, {_MOST_NODES:,} "
                f"entries and names of {_LONGEST_NAME:,} characters at most"
            )
        if isinstance(node, _View):
            tensors[name.removeprefix(".")] = node.of(entries[node.storage.key])
        elif isinstance(node, dict | pickled.Namespace):
            items = node.attributes if isinstance(node, pickled.Namespace) else node
            for key, child in items.items():
                visit(child, f"{name}.{key}", depth + 1)
        elif isinstance(node, list | tuple):
            for i, child in enumerate(node):
                visit(child, f"{name}.{i}", depth + 1)

    visit(tree, "", 0)
    return tensors
