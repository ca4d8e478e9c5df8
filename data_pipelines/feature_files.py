"""Precomputed features as users have them: one HDF5 file, or one array file a track.

FOLDER/<name>.h5               <track>/feature or <track>/fts, each [T, D]
FOLDER/<name>/<track>.npy      [T, D]
FOLDER/<name>/<track>.npz      one array [T, D], or several with one called feature or fts
FOLDER/<name>.json             optional: {"extractor": "...", "trained_on": ["train", ...]}, see
                               data_pipelines/trained_on.py
"""

from __future__ import annotations

import json
import pathlib
import zipfile

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.report import Report

KEYS = ("feature", "fts")


class FeatureFiles:
    """One named feature of many tracks. Arrays are read when they are asked for.

    Attributes:
        tracks: the names there are.
        extractor, trained_on: from the JSON file beside it.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.name = path.stem if path.is_file() else path.name
        self.extractor, self.trained_on = _about(path.parent / f"{self.name}.json")
        if path.is_file():
            import h5py  # not needed by most users of this package, and slow to import

            try:
                self._h5 = h5py.File(path, "r")
            except OSError as error:
                raise UserError(f"{path}: not a readable HDF5 file ({error}).") from None
            self.tracks = {name: f"{path}:{name}" for name in self._h5}
        else:
            self.tracks = {}
            for file in _arrays_in(path):
                if file.stem in self.tracks:
                    raise UserError(f"{file}: beside it {self.tracks[file.stem]}. Leave one.")
                self.tracks[file.stem] = str(file)
        if not self.tracks:
            raise UserError(f"{path}: no track in it.")

    def where(self, track: str) -> str:
        """File and key, for messages."""
        return self.tracks[track]

    def shape(self, track: str) -> tuple[int, int]:
        """(T, D), without reading the array where the format allows it."""
        array = self._open(track)
        if len(array.shape) != 2 or array.shape[1] == 0:
            raise UserError(f"{self.where(track)}: shape {array.shape}, expected [rows, width].")
        if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
            raise UserError(f"{self.where(track)}: values of type {array.dtype}, expected numbers.")
        return array.shape

    def read(self, track: str) -> np.ndarray:
        """float32 [T, D]."""
        self.shape(track)
        try:
            return np.asarray(self._open(track)[...], np.float32)
        except OSError as error:
            raise UserError(f"{self.where(track)}: cannot be read ({error}).") from None

    def _open(self, track: str):
        """Something with shape, dtype and slices: h5py.Dataset or numpy array."""
        where = self.where(track)
        if self.path.is_file():
            group = self._h5[track]
            if not hasattr(group, "keys"):
                raise UserError(f"{where}: an array, expected a group holding {' or '.join(KEYS)}.")
            return _pick(group, where)
        try:
            if not where.endswith(".npz"):
                return np.load(where, mmap_mode="r", allow_pickle=False)
            with np.load(where, allow_pickle=False) as arrays:
                return _pick(arrays, where)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{where}: not a readable array file ({error}).") from None


def _pick(arrays, where: str):
    names = list(arrays.keys())
    known = [key for key in KEYS if key in names]
    if not known and len(names) == 1 and where.endswith(".npz"):
        known = names
    if len(known) == 1:
        array = arrays[known[0]]
        if hasattr(array, "keys"):
            raise UserError(f"{where}/{known[0]}: a group, expected an array [rows, width].")
        return array
    holds = ", ".join(names) or "nothing"
    raise UserError(f"{where}: holds {holds}; expected one array called {' or '.join(KEYS)}.")


def _about(file: pathlib.Path) -> tuple[str, tuple[str, ...]]:
    if not file.is_file():
        return "", ()
    try:
        about = json.loads(file.read_text())
        for key in about:
            if key not in ("extractor", "trained_on"):
                raise UserError(f"{file}: key {key!r}. {nearest(key, ('extractor', 'trained_on'))}")
        extractor, trained_on = about.get("extractor", ""), about.get("trained_on", [])
    except (AttributeError, ValueError) as error:
        raise UserError(f"{file}: not a JSON object ({error}).") from None
    if not isinstance(extractor, str) or not (
        isinstance(trained_on, list) and all(isinstance(name, str) for name in trained_on)
    ):
        raise UserError(f"{file}: expected a text as extractor and a list of texts as trained_on.")
    return extractor, tuple(trained_on)


def _arrays_in(folder: pathlib.Path) -> list[pathlib.Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix in (".npy", ".npz"))
    return [p for p in files if not p.name.startswith(".")]


def find_features(folder: pathlib.Path, report: Report) -> list[FeatureFiles]:
    """Every feature of a folder, by name; sub-folders without arrays are noted and left out."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder. Features belong there: <name>.h5, or <name>/<track>.npy."
        )
    found: dict[str, FeatureFiles] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (path.is_dir() or path.suffix in (".h5", ".hdf5")):
            continue
        if path.is_dir() and not _arrays_in(path):
            report.note(f"{path}: no arrays (<track>.npy or .npz) in it, left out.")
            continue
        feature = FeatureFiles(path)
        if feature.name in found:
            raise UserError(f"{path}: beside it {found[feature.name].path}. Leave one.")
        found[feature.name] = feature
    if not found:
        raise UserError(f"{folder}: no feature in it. Expected <name>.h5, or <name>/<track>.npy.")
    for file in sorted(folder.glob("*.json")):
        if file.stem not in found:
            raise UserError(f"{file}: describes no feature. {nearest(file.stem, found)}")
    return list(found.values())
