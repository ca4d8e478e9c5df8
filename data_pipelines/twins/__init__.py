"""Synthetic twins of the licensed data sets, written in their official layout.

    mtl      s-Aff-Wild2: valence, arousal, expression and action units of a sample of frames
    va       Aff-Wild2: valence and arousal of every frame
    bursts   HUME-VB: vocal bursts with kind, valence, arousal, and emotions by culture
    rafdb    RAF-DB: pictures of faces with one of seven expressions
    ras      Aff-Wild2 with faces, sound and descriptions of behaviour, as team RAS prepares it

In a config `data.root = "twin:mtl"`, or with arguments "twin:mtl?seed=1&size=small", stands for
the store of a twin. It is made at first use, through the reader of the licensed data, and kept in
the user's cache folder. To look at the files: `python -m data_pipelines.twins --help`.
"twin:rafdb?noise=crops" or "twin:rafdb?noise=uniform&share=0.2" is the same with noise in its
training split, by data_pipelines/noise.py and the twin's seed; its references are made on that. Of
mtl the labels of expressions can have noise, of bursts "label=type" or "label=country".
"twin:ras?shuffle=1" is the control whose sound and behaviour tell of strangers.

The module of a twin has SOURCE, the name of the source that reads it, FLAGS, {twin: the source's
flags}, SIZES, {name: what `write` takes as a size}, "default" and "small" among them, and

    write(name, folder, size, seed) -> truth      the files, and what is noise-free of each track
    references(store, truth) -> references.json   scores that stand beside all others

With SHUFFLES = True its `write` takes shuffle=True.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from types import ModuleType
from typing import Any

from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.noise import CLEAN, KIND, SHARES, require_share
from data_pipelines.noise import add as add_noise
from data_pipelines.paths import user_path

MODULES = {"mtl": "affwild2", "va": "affwild2", "bursts": "bursts", "rafdb": "faces", "ras": "ras"}
NAMES = tuple(MODULES)
PREFIX = "twin:"
_DEFAULTS = {
    "seed": 0,
    "size": "default",
    "noise": "none",
    "share": "",
    "label": "",
    "shuffle": "0",
}
# What a store depends on beside its arguments: the modules that write and read the files.
_SOURCES = (
    "twins",
    "labels",
    "array_pickles.py",
    "audio.py",
    "av_windows.py",
    "bursts.py",
    "editions.py",
    "expressions.py",
    "faces.py",
    "images.py",
    "noise.py",
    "pickled.py",
    "ras_files.py",
    "side_by_side.py",
    "sources/affwild2.py",
    "sources/humevb.py",
    "sources/rafdb.py",
    "sources/ras.py",
    "feature_files.py",
    "plan.py",
    "chunks.py",
    "given_arrays.py",
    "growing_array.py",
    "store.py",
    "store_files.py",
    "store_specs.py",
    "store_writer.py",
    "track_arrays.py",
)
_STALE_S = 3600.0


def resolve(root: str, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """The store that "twin:NAME" or "twin:NAME?key=value&..." stands for; see `store`.

    >>> resolve("twin:mtl?seed=1&size=small")  # doctest: +SKIP
    PosixPath('/home/me/.cache/affect_jax/twins/mtl-1d0d2a2b8c3e')
    """
    name, _, query = root.strip().removeprefix(PREFIX).partition("?")
    arguments: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        if key not in _DEFAULTS:
            raise UserError(f"{root!r}: unknown {key!r}. {nearest(key, _DEFAULTS)}")
        arguments[key] = value
    if "seed" in arguments:
        arguments["seed"] = seed_of(arguments["seed"], f"{root!r}: seed is ")
    return store(name, folder, **arguments)


def seed_of(text: str, what: str) -> int:
    """The seed that a user wrote. UserError, with `what` before it, for anything else."""
    if not text.isdecimal() or len(text) > 18:
        raise UserError(
            f"{what}{text!r:.50}, expected a whole number from 0, of 18 digits at most."
        )
    return int(text)


def module(name: str) -> ModuleType:
    """The module that writes a twin; UserError with the nearest name where there is none."""
    if name not in MODULES:
        raise UserError(f"twin {name!r}. {nearest(name, NAMES)}")
    return importlib.import_module(f"{__name__}.{MODULES[name]}")


def store(
    name: str,
    folder: str | os.PathLike | None = None,
    *,
    seed: int = _DEFAULTS["seed"],
    size: str = _DEFAULTS["size"],
    noise: str = _DEFAULTS["noise"],
    share: str | float = _DEFAULTS["share"],
    label: str = _DEFAULTS["label"],
    shuffle: str = _DEFAULTS["shuffle"],
) -> pathlib.Path:
    """Path of a twin's store, made at first use (seconds) and kept.

    Several processes may ask at once. With the store comes references.json: the scores of an
    oracle and of a linear baseline (data_pipelines/twins/references.py).

    Args:
        name: of NAMES.
        folder: where stores are kept; by default the user's cache folder or, where that cannot be
            written, one for temporary files.
        seed: of everything random.
        size: "default" (of mtl and va 60 + 20 tracks, 16 000 rows, and a test split of 10 tracks,
            2 000 rows; of bursts 1 200 + 400 + 400 clips; of rafdb 1 500 + 400 + 400 pictures; of
            ras 30 + 12 + 6 videos of 60 to 100 s) or "small" (12 + 6 + 3 tracks, 2 100 rows;
            120 + 40 + 20 clips; 150 + 40 + 40 pictures; 6 + 3 + 2 videos of 20 to 30 s), or
            of ras "medium" (16 + 8 + 3 videos of 30 to 45 s).
        noise: "none", or "crops", "uniform" or "flip" of data_pipelines/noise.py.
        share: of the training rows that noise changes; "": its default.
        label: of classes, that noise is in; "": the only one that there is.
        shuffle: "1" where modalities are to tell of strangers, of twins that can; else "0".
    """
    sizes = module(name).SIZES
    if size not in sizes:
        raise UserError(f"twin {name!r}: size {size!r}. {nearest(size, sizes)}")
    added = {}
    if noise != "none":
        added = {"noise": noise, "share": str(require_share(noise, share))}
        added |= {"label": label} if label else {}
    for key, value in (("share", share), ("label", label)):
        if value != _DEFAULTS[key] and not added:
            raise UserError(f"twin {name!r}: {key}={value}, but no noise=, of {listed(SHARES)}.")
    if shuffle not in ("0", "1"):
        raise UserError(f"twin {name!r}: shuffle={shuffle}, expected 0 or 1.")
    if shuffle == "1" and not getattr(module(name), "SHUFFLES", False):
        raise UserError(f"twin {name!r}: shuffle=1, but it has no modalities to shuffle.")
    if shuffle == "1":
        added["shuffle"] = shuffle
    key = f"{name}-{_digest(name=name, seed=seed, size=size, **added)}"
    folders = _folders() if folder is None else [user_path(folder)]
    for place in folders:
        if os.path.isfile(place / key / "manifest.json"):  # False also where it may not be read
            return place / key
    for i, place in enumerate(folders):
        try:
            return _make(name, place / key, seed, size, added)
        except OSError as error:  # not writable, full
            why = f"{error.filename or place}: {error.strerror or error}"
            if i + 1 == len(folders):
                raise UserError(f"the twin {name!r} cannot be kept: {why}.") from None
            print(f"{why}; the twin is kept in {folders[i + 1]}", file=sys.stderr)
    raise AssertionError("no folder")


def _folders() -> list[pathlib.Path]:
    cache = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    # One a user: what another has made there could not be written.
    temporary = pathlib.Path(tempfile.gettempdir()) / f"affect_jax-{os.getuid()}"
    return [cache / "affect_jax" / "twins", temporary / "twins"]


def _digest(**arguments: Any) -> str:
    """Digest of the arguments and the code that makes the files: no stale store is ever taken."""
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode())
    package = pathlib.Path(__file__).resolve().parent.parent
    for source in _SOURCES:
        path = package / source
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _make(
    name: str, path: pathlib.Path, seed: int, size: str, added: dict[str, str]
) -> pathlib.Path:
    from data_pipelines import sources
    from data_pipelines.store import Store

    twin = module(name)
    source = sources.load(twin.SOURCE)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=path.parent) as folder:
        print(f"making the synthetic twin {name!r}, once; it is kept in {path}", file=sys.stderr)
        files, made = pathlib.Path(folder) / f"twin_{name}", pathlib.Path(folder) / "store"
        options = {"shuffle": True} if "shuffle" in added else {}
        truth = twin.write(name, files, twin.SIZES[size], seed, **options)
        source.fill(files, made, **twin.FLAGS[name])
        if "noise" in added:
            clean, made = made, pathlib.Path(folder) / "noisy"
            options = dict(share=added["share"], label=added.get("label", ""), seed=seed)
            try:
                add_noise(clean, made, kind=added["noise"], **options)
            except UserError as error:  # the folder is gone when it is read
                raise UserError(str(error).replace(str(clean), f"twin {name!r}")) from None
        labelled = Store(made)
        for label in (CLEAN, KIND) if "noise" in added else ():
            del labelled.labels[label]  # no reference is about them
        scores = twin.references(labelled, truth)
        (made / "references.json").write_text(json.dumps(scores, indent=1) + "\n")
        try:
            made.rename(path)
        except OSError:
            # Another process was faster; its store is the same.
            if not (path / "manifest.json").is_file():
                raise
    return path


def _remove_stale(folder: pathlib.Path) -> None:
    """Removes what killed processes have left."""
    for left in folder.glob(".making-*"):
        try:
            old = time.time() - left.stat().st_mtime > _STALE_S
        except OSError:
            continue
        if old:
            shutil.rmtree(left, ignore_errors=True)
