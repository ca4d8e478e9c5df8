"""HDF5 files of others: what is damaged or points to what is gone is a UserError of one line.

HDF5 says nothing of a virtual data set whose source is gone: its rows read as zeros. So sources
are looked for on the disk, through links and through other virtual data sets.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Any

from data_pipelines.errors import UserError
from data_pipelines.files import readable


class Hdf5:
    """An HDF5 file that is open for reading. Keys are paths in it, such as "video1/feature"."""

    def __init__(self, path: str | os.PathLike):
        import h5py  # not needed by most users of this package, and slow to import

        self.path = path
        with readable(path, "a readable HDF5 file"):
            self._file = h5py.File(path, "r")

    def __enter__(self) -> Hdf5:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.close()

    def names(self, key: str = "/") -> list[str] | None:
        """Names in a group; None where the key is no group."""
        with readable(f"{self.path}:{key}", "readable HDF5"):
            group = self._open(key)
            if not hasattr(group, "keys"):
                return None
            return [  # what is not UTF-8 comes as bytes
                n if isinstance(n, str) else n.decode(errors="backslashreplace") for n in group
            ]

    def array(self, key: str, *, passed: tuple[str, ...] = ()) -> Any:
        """The h5py.Dataset of a key, its shape, type and all sources of its rows looked at.

        Args:
            passed: virtual data sets on the way here.
        """
        where = f"{self.path}:{key}"
        if where in passed:
            raise UserError(f"{where}: its rows lie in itself.")
        with readable(where, "a readable HDF5 array"):
            array = self._open(key)
            if not hasattr(array, "shape"):
                raise UserError(f"{where}: no array.")
            if array.shape is None:
                raise UserError(f"{where}: an empty data set, without shape or values.")
            _ = array.dtype  # some kinds have none in numpy
            _require_raw_files(where, array)
            for source in array.virtual_sources() if array.is_virtual else ():
                _require_source((*passed, where), pathlib.Path(array.file.filename), source)
            return array

    def _open(self, key: str) -> Any:
        """The object of a key; a UserError names the link on its way that leads nowhere."""
        node, passed = self._file, ""
        for name in key.strip("/").split("/") if key.strip("/") else []:
            passed = f"{passed}/{name}" if passed else name
            link = node.get(name, getlink=True)
            try:
                node = node[name]
            except (KeyError, OSError, RuntimeError):
                to = ":".join(getattr(link, n) for n in ("filename", "path") if hasattr(link, n))
                if not to:
                    raise
                raise UserError(f"{self.path}:{passed}: a link to {to}, which is gone.") from None
        return node


def _place(own: pathlib.Path, name: str) -> pathlib.Path | str:
    """The place at which HDF5 finds a source, beside the file or as named; the name if nowhere."""
    if name == ".":
        return own
    prefix = pathlib.Path(os.environ.get("HDF5_VDS_PREFIX", ""))
    # Of an absolute path that is gone, HDF5 tries the last part.
    names = [name, os.path.basename(name)] if os.path.isabs(name) else [name]
    places = [folder / n for n in names for folder in (prefix, own.parent, own.resolve().parent)]
    return next((place for place in places if place.is_file()), name)


def _require_source(passed: tuple[str, ...], own: pathlib.Path, source: Any) -> None:
    """UserError unless a source of a virtual data set, the last passed, has all rows taken."""
    where = passed[-1]
    file, key = _place(own, source.file_name), source.dset_name
    if isinstance(file, str):
        raise UserError(f"{where}: its rows lie in {file}:{key}, which is gone.")
    with Hdf5(file) as other:
        there = other.array(key, passed=passed).shape
    # Without bounds it takes all there is, which HDF5 sees to.
    with contextlib.suppress(RuntimeError, ValueError):
        last = source.src_space.get_select_bounds()[1]
        if len(last) != len(there) or any(a >= b for a, b in zip(last, there)):
            raise UserError(
                f"{where}: takes rows up to {last} of {file}:{key}, whose shape is {there}."
            )


def _require_raw_files(where: str, array: Any) -> None:
    """UserError where values in a file beside end too early: HDF5 reads zeros from there on."""
    for name, offset, size in array.external or ():
        if os.path.exists(name) and os.path.getsize(name) < offset + min(size, array.nbytes):
            raise UserError(f"{where}: its values lie in {name}, which is too short.")
