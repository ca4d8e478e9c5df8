"""PyTorch's zip files (.pth) without PyTorch, and without running what they hold.

The file is a zip: `<root>/data.pkl`, a pickle of the structure, and `<root>/data/<key>`, the raw
storages. A pickle can name any function to be called; this reader knows five names and refuses
the rest, so a file from a stranger can hold wrong numbers at worst.
"""

from __future__ import annotations

import collections
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from data_pipelines.errors import UserError

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


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a file, dotted names for nested dicts. UserError as `files.load`."""
    with path.open("rb") as file:
        if file.read(4) == _LEGACY:
            raise UserError(
                f"{path}: written by PyTorch before 1.6. Save it anew: "
                f"torch.save(torch.load(path), path)."
            )
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _read(archive, path)
    except zipfile.BadZipFile:
        raise UserError(f"{path}: not a file of torch.save, or damaged (no zip archive).") from None
    tensors: dict[str, np.ndarray] = {}
    _collect(tree, "", tensors)
    return tensors


def _read(archive: zipfile.ZipFile, path: pathlib.Path) -> Any:
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise UserError(f"{path}: a zip archive, but not of torch.save (no data.pkl in it).")
    root = pickles[0].removesuffix("data.pkl")
    names = set(archive.namelist())
    # torch.save does not compress; a small file that unpacks to a huge one is not its work.
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise UserError(f"{path}: a compressed archive, which torch.save does not write.")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise UserError(f"{path}: written on a big-endian machine; save it anew on another.")

    def storage(key: str) -> bytes:
        return archive.read(f"{root}data/{key}")

    with archive.open(pickles[0]) as file:
        try:
            return _Unpickler(file, storage, path).load()
        except UserError:
            raise
        # A damaged pickle can raise nearly anything; none of it is our mistake.
        except Exception as error:
            raise UserError(f"{path}: damaged ({type(error).__name__}: {error}).") from None


class _Unpickler(pickle.Unpickler):
    """Knows tensors, parameters and ordered dicts; refuses every other name."""

    def __init__(self, file: Any, storage: Callable[[str], bytes], path: pathlib.Path):
        super().__init__(file)
        self._storage = storage
        self._path = path
        self._read: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        raise UserError(
            f"{self._path}: holds {module}.{name}, and only tensors are read. "
            "Save the state dict: torch.save(model.state_dict(), path)."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The flat storage that ("storage", dtype, key, device, number of entries) names."""
        _, dtype, key, _, _ = pid
        if key not in self._read:
            self._read[key] = np.frombuffer(self._storage(key), dtype)
        return self._read[key]

    def _tensor(
        self, storage: np.ndarray, offset: int, size: tuple, stride: tuple, *rest: Any
    ) -> np.ndarray:
        """A copy of the view that torch describes, if it lies inside the storage."""
        del rest  # requires_grad, hooks
        if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
            raise ValueError(f"a tensor of size {size}, stride {stride}, offset {offset}")
        if not math.prod(size):
            return np.zeros(size, storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if last >= len(storage) or math.prod(size) > len(storage):
            raise ValueError(f"a tensor of size {size} in a storage of {len(storage)}")
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


def _parameter(data: np.ndarray, requires_grad: bool, hooks: Any) -> np.ndarray:
    del requires_grad, hooks
    return data


def _collect(tree: Any, prefix: str, tensors: dict[str, np.ndarray]) -> None:
    """The arrays of nested dicts, lists and tuples, by dotted name."""
    if isinstance(tree, np.ndarray):
        tensors[prefix.removesuffix(".")] = tree
        return
    children: Any = ()
    if isinstance(tree, Mapping):
        children = tree.items()
    elif isinstance(tree, list | tuple):
        children = enumerate(tree)
    for name, child in children:
        _collect(child, f"{prefix}{name}.", tensors)
