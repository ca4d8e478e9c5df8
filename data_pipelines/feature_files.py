"""Precomputed features as users have them: one HDF5 file, or one array file a track.

FOLDER/<name>.h5               <track>/feature or <track>/fts, each [T, D]
FOLDER/<name>/<track>.npy      [T, D]
FOLDER/<name>/<track>.npz      one array [T, D], or several with one called feature or fts
FOLDER/<name>.json             optional: {"extractor": "...", "trained_on": ["train", ...]}, see
                               data_pipelines/trained_on.py

Suffixes may be in any case, an HDF5 file may be called .hdf5.
"""

from __future__ import annotations

import pathlib
import unicodedata
from collections.abc import Sequence

import numpy as np

from data_pipelines import folder as folders
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.files import Npz, float32, open_npy, read_json, readable, require_memory
from data_pipelines.hdf5 import Hdf5
from data_pipelines.report import Report

KEYS = ("feature", "fts")
_ARRAYS, _HDF5 = (".npy", ".npz"), (".h5", ".hdf5")


class FeatureFiles:
    """One named feature of many tracks. Arrays are read when they are asked for.

    Attributes:
        name: of the feature.
        tracks: {name of a track: where its array is, for messages}.
        extractor, trained_on: from the JSON file beside it.
    """

    def __init__(self, path: pathlib.Path, about: pathlib.Path | None, report: Report):
        self.path, self.name = path, _name(path)
        self.extractor, self.trained_on = about_file(about)
        self._hdf5 = Hdf5(path) if path.is_file() else None
        # {track: its file, or its key in the HDF5 file}
        self._places: dict[str, pathlib.Path | str] = {}
        if self._hdf5:
            keys = self._hdf5.names()
            for key in keys:
                track = folders.plain_name(key, f"{path}: track")
                if track in self._places:
                    both = f"{self._places[track]!a} and {key!a}"
                    raise UserError(f"{path}: {both} are one name, {track!r}. Leave one.")
                self._places[track] = key
            self.tracks = {track: f"{path}:{key}" for track, key in self._places.items()}
        else:
            files = folders.files(path, *_ARRAYS)
            keys = [file.stem for file in files]
            self._places.update(folders.by_name(files))
            self.tracks = {track: str(file) for track, file in self._places.items()}
            report.use(*files)
        if not self.tracks:
            raise UserError(f"{path}: no track in it.")
        folders.warn_decomposed(keys, path, report.note)

    def where(self, track: str) -> str:
        """File and key, for messages."""
        return self.tracks[track]

    def shape(self, track: str) -> tuple[int, int]:
        """(T, D), without unpacking or reading the array."""
        where, place = self.where(track), self._places[track]
        if self._hdf5:
            array = self._array(track)
            shape, dtype = array.shape, array.dtype
        elif place.suffix.lower() == ".npz":
            with self._npz(place) as arrays:
                shape, dtype = arrays.header(_pick(list(arrays), where, any_name=True))
        else:
            array = open_npy(place)
            shape, dtype = array.shape, array.dtype
        if len(shape) != 2 or shape[1] == 0:
            raise UserError(f"{where}: shape {shape}, expected [rows, width].")
        if not (np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)):
            raise UserError(f"{where}: values of type {str(dtype)[:60]}, expected numbers.")
        with readable(where, "an array that fits"):
            require_memory(shape[0] * shape[1] * max(4, dtype.itemsize), "it")
        return shape

    def read(self, track: str) -> np.ndarray:
        """float32 [T, D]. What is too large for float32 becomes infinite."""
        self.shape(track)
        where, place = self.where(track), self._places[track]
        with readable(where, "a readable array"):
            if self._hdf5:
                return float32(self._array(track)[...])
            if place.suffix.lower() == ".npz":
                with self._npz(place) as arrays:
                    name = _pick(list(arrays), where, any_name=True)
                    return float32(arrays[name])
            return float32(open_npy(place))

    def _array(self, track: str):
        """h5py.Dataset of a track."""
        where, key = self.where(track), self._places[track]
        names = self._hdf5.names(key)
        if names is None:
            raise UserError(f"{where}: an array, expected a group holding {' or '.join(KEYS)}.")
        key = f"{key}/{_pick(names, where)}"
        if self._hdf5.names(key) is not None:
            raise UserError(f"{self.path}:{key}: a group, expected an array [rows, width].")
        return self._hdf5.array(key)

    def _npz(self, place: pathlib.Path) -> Npz:
        return Npz(place, "a readable array file")


def _name(path: pathlib.Path) -> str:
    name = path.stem if path.is_file() else path.name
    return folders.plain_name(name, f"{path.parent}: feature")


def _pick(names: Sequence[str], where: str, *, any_name: bool = False) -> str:
    """The name among several that is the feature's; `any_name`: also the only one there is."""
    known = [key for key in KEYS if key in names]
    if not known and any_name and len(names) == 1:
        known = list(names)
    if len(known) == 1:
        return known[0]
    holds = listed(names) or "nothing"
    raise UserError(f"{where}: holds {holds}; expected one array called {' or '.join(KEYS)}.")


def about_file(file: pathlib.Path | None) -> tuple[str, tuple[str, ...]]:
    """(extractor, what it was trained on) of the JSON file beside a feature."""
    about = read_json(file, "a JSON object") if file else {}
    if not isinstance(about, dict):
        raise UserError(f"{file}: not a JSON object.")
    for key in about:
        if key not in ("extractor", "trained_on"):
            raise UserError(f"{file}: key {key!r}. {nearest(key, ('extractor', 'trained_on'))}")
    extractor, trained_on = about.get("extractor", ""), about.get("trained_on", [])
    if not isinstance(extractor, str) or not (
        isinstance(trained_on, list) and all(isinstance(name, str) for name in trained_on)
    ):
        raise UserError(f"{file}: expected a text as extractor and a list of texts as trained_on.")
    return extractor, tuple(trained_on)


def find_features(folder: pathlib.Path, report: Report) -> list[FeatureFiles]:
    """Every feature of a folder, by name; sub-folders without arrays are noted and left out."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder. Features belong there: <name>.h5, or <name>/<track>.npy."
        )
    about = folders.by_name(folders.files(folder, ".json"))
    # Features that are left out may have their JSON file all the same.
    absent = {
        unicodedata.normalize("NFC", p.stem) for p in folders.gone(folder) if p.parent == folder
    }
    features: dict[str, FeatureFiles] = {}
    for path in folders.entries(folder):
        if not (path.is_dir() or path.suffix.lower() in _HDF5):
            continue
        report.use(path)
        if path.is_dir() and not folders.files(path, *_ARRAYS):
            without = folders.nothing(path, "arrays (<track>.npy or .npz)")
            report.note(f"{without}, left out.")
            absent.add(_name(path))
            continue
        feature = FeatureFiles(path, about.get(_name(path)), report)
        if feature.name in features:
            raise UserError(f"{path}: beside it {features[feature.name].path}. Leave one.")
        features[feature.name] = feature
    if not features:
        without = folders.nothing(folder, "feature")
        raise UserError(f"{without}. Expected <name>.h5, or <name>/<track>.npy.")
    for name, file in about.items():
        if name not in features and name not in absent:
            raise UserError(f"{file}: describes no feature. {nearest(name, features)}")
        report.use(file)
    return list(features.values())
