"""PyTorch's zip files (.pth) without PyTorch, and without running what they hold.

The file is a zip: `<root>/data.pkl`, a pickle of the structure, and `<root>/data/<key>`, the raw
storages. A pickle can name any function to be called; this reader knows five names and refuses
the rest, so a file from a stranger can hold wrong numbers at worst. What it takes of memory and
time is bounded by the size of the file.
"""

from __future__ import annotations

import math
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from affect_jax.interop import pickled
from data_pipelines.errors import UserError
from data_pipelines.files import readable, require_memory

SUFFIXES = (".pth", ".pt", ".bin")
_LEGACY = b"\x80\x02\x8a\x0a"
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
# Tied weights share a storage. Together tensors are no larger than so many times the file.
_SHARED = 8


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a file, dotted names for nested dicts. UserError as `files.load`."""
    with readable(path, "a file of torch.save that is whole"):
        with path.open("rb") as file:
            if file.read(4) == _LEGACY:
                raise UserError(
                    f"{path}: written by PyTorch before 1.6. Save it anew: "
                    f"torch.save(torch.load(path), path)."
                )
        size = path.stat().st_size
        require_memory(size, path.name)
        with zipfile.ZipFile(path) as archive:
            return _collect(_read(archive, path, size))


def _read(archive: zipfile.ZipFile, path: pathlib.Path, size: int) -> Any:
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise UserError(f"{path}: a zip archive, but not of torch.save (no data.pkl in it).")
    root = pickles[0].removesuffix("data.pkl")
    names = set(archive.namelist())
    # torch.save does not compress; a small file that unpacks to a huge one is not its work.
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise UserError(f"{path}: a compressed archive, which torch.save does not write.")
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > size:
        raise ValueError(f"its parts claim {claimed:,} bytes of {size:,}")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise UserError(f"{path}: written on a big-endian machine; save it anew on another.")
    tensors = _Tensors(lambda key: archive.read(f"{root}data/{key}"), path, _SHARED * size)
    return pickled.read(archive.read(pickles[0]), tensors.find, tensors.storage)


class _Tensors:
    """Knows storages, tensors, parameters and ordered dicts; refuses every other name."""

    def __init__(self, read: Callable[[str], bytes], path: pathlib.Path, most: int):
        self._read, self._path, self._left = read, path, most
        self._storages: dict[str, np.ndarray] = {}

    def find(self, module: str, name: str) -> Any:
        """The type of a storage, or the function that is meant."""
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        known = {
            ("collections", "OrderedDict"): lambda: {},  # its items follow
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        raise UserError(
            f"{self._path}: holds {' '.join(f'{module}.{name}'.split())[:100]}, and only tensors "
            "are read. "
            "Save the state dict: torch.save(model.state_dict(), path)."
        )

    def storage(self, identity: Any) -> np.ndarray:
        """The flat storage that ("storage", dtype, key, device, number of entries) names."""
        _, dtype, key, _, _ = identity
        if not (isinstance(dtype, np.dtype) and isinstance(key, str)):
            raise TypeError("a storage without type or key")
        if key not in self._storages:
            self._storages[key] = np.frombuffer(self._read(key), dtype)
        return self._storages[key]

    def _tensor(
        self, storage: np.ndarray, offset: int, size: tuple, stride: tuple, *rest: Any
    ) -> np.ndarray:
        """A copy of the view that torch describes, if it lies inside the storage."""
        del rest  # requires_grad, hooks
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or len(size) > 32 or min(numbers) < 0 or max(numbers) > 2**48:
            raise ValueError("a tensor of another size, stride or offset than tensors have")
        if not math.prod(size):
            return np.zeros(size, storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= len(storage) or math.prod(size) > len(storage):
            raise ValueError(f"a tensor of size {size} in a storage of {len(storage)}")
        self._left -= math.prod(size) * storage.itemsize
        if self._left < 0:
            raise ValueError(f"its tensors are more than {_SHARED} times as large as the file")
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


def _parameter(data: np.ndarray, requires_grad: bool, hooks: Any) -> np.ndarray:
    del requires_grad, hooks
    return data


def _collect(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of nested dicts, lists and tuples, by dotted name."""
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
        if isinstance(node, np.ndarray):
            tensors[name.removeprefix(".")] = node
        elif isinstance(node, dict):
            for key, child in node.items():
                visit(child, f"{name}.{key}", depth + 1)
        elif isinstance(node, list | tuple):
            for i, child in enumerate(node):
                visit(child, f"{name}.{i}", depth + 1)

    visit(tree, "", 0)
    return tensors
