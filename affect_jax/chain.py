"""Chain of stages behind a run: its data, the runs whose outputs it reads, and theirs in turn.

A run reads stores (`config.data.root`). A store that `affect_jax.export` made leads to the run, or
the cross-validation, whose outputs it holds; any other is where a chain begins, with the extractors
of its features, of which only their `trained_on` is known. A run may also begin with the weights of
another, or be trained on rows that another has selected (`config.data.keep`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax.members import BEST_FILE, FOLDS_FILE, fold_runs
from affect_jax.run import Run
from affect_jax.tasks import scored
from data_pipelines import folds
from data_pipelines.errors import UserError
from data_pipelines.files import read_json, readable
from data_pipelines.identity import TRACKS, hashes
from data_pipelines.join import open_store
from data_pipelines.paths import is_repository, user_path
from data_pipelines.store import AnyStore, Store

Groups = Mapping[str, str]  # {track: its group}


@dataclasses.dataclass(frozen=True)
class Training:
    """Labels that one run has seen.

    Attributes:
        name: of the run.
        tracks: those that it was trained on.
        chosen: those whose scores its checkpoint, or its settings in a sweep, were chosen by.
        held_out: of a fold, the tracks that this run and no other of its folds predicts.
    """

    name: str
    tracks: Groups
    chosen: Groups
    held_out: Groups

    def saw(self, tracks: Groups) -> set[str]:
        """Those of the tracks that it was trained on, or whose group it was."""
        return _shared(tracks, self.tracks)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One box of the chain.

    Attributes:
        key: its place, or what else tells it from others.
        name: for people.
        kind: data, extractor, weights, export, run or folds.
        reads: keys of the stages whose outputs it reads.
        labels: data set and splits whose labels it was trained on, in words.
        trainings: of a run, or of all folds.
        doubts: why something about it cannot be known.
        store, features: of an extractor, whose features say by name what it was trained on.
    """

    key: str
    name: str
    kind: str
    reads: tuple[str, ...] = ()
    labels: str = ""
    trainings: tuple[Training, ...] = ()
    doubts: tuple[str, ...] = ()
    store: AnyStore | None = None
    features: tuple[str, ...] = ()

    def saw(self, tracks: Groups) -> set[str]:
        """Those of the tracks that any of its runs was trained on."""
        return set().union(*(training.saw(tracks) for training in self.trainings))

    def knew(self, tracks: Groups) -> set[str]:
        """Those of the tracks of which its outputs are by a run that was trained on them.

        A track that is held out of a fold is predicted by that fold's run, any other by all.
        """
        known = set()
        for track, group in tracks.items():
            holders = [one for one in self.trainings if track in one.held_out] or self.trainings
            if any(one.saw({track: group}) for one in holders):
                known.add(track)
        return known

    def chose(self, tracks: Groups) -> set[str]:
        """Those of the tracks whose scores chose a checkpoint, or settings, of its runs."""
        return set().union(*(_shared(tracks, one.chosen) for one in self.trainings))


def _shared(tracks: Groups, others: Groups) -> set[str]:
    """Those of the tracks that are among the others, or in a group of theirs."""
    groups = set(others.values())
    return {track for track, group in tracks.items() if track in others or group in groups}


def chain(folder: pathlib.Path) -> dict[str, Stage]:
    """{key: stage} of a run or a cross-validation, what is read before what reads it.

    Raises:
        UserError: there is neither, or its own data are gone.
    """
    stages: dict[str, Stage] = {}
    add_run(stages, folder.resolve(), last=True)
    return stages


def scored_tracks(folder: pathlib.Path, split: str) -> tuple[str, Groups]:
    """(split in words, tracks) that a run or a cross-validation is scored on.

    Args:
        split: of its data; "" for the evaluation split, or all folds.
    """
    own = _configs(folder)
    config = next(iter(own.values()))
    split = split or (config.data.split if len(own) == 1 else "")
    if split:
        whole = open_store(config.data.root)
        inside = {*split.split("+")} <= {*whole.splits}
        return split, _tracks(whole if inside else _store_of(config), split)
    if len(own) == 1:
        raise UserError(f"{folder}: config.data.split is empty. Name a split: --split=SPLIT.")
    parts = [_tracks(_store_of(one), one.data.split) for one in own.values()]
    return "all folds", {track: group for part in parts for track, group in part.items()}


def _configs(folder: pathlib.Path) -> dict[str, ConfigDict]:
    """{name: config} of a run, or of the runs of a cross-validation."""
    runs = fold_runs(folder) or [folder]
    for run in runs:
        Run(run).require()
    return {run.name: configs.read(run / "config.json") for run in runs}


def _store_of(config: ConfigDict) -> AnyStore:
    """The data of a run, with its folds cut."""
    cut = config.folds
    return folds.cut(open_store(config.data.root), cut.cut, cut.count, cut.seed)


def _tracks(store: AnyStore, split: str) -> dict[str, str]:
    return {store.tracks[i].name: store.tracks[i].group for i in store.split(split)}


def add_run(stages: dict[str, Stage], folder: pathlib.Path, *, last: bool = False) -> str:
    """Add a run or a cross-validation, and first what it reads; returns its key.

    Args:
        folder: resolved.
        last: it is what is asked about, so that its data must be there.
    """
    key = str(folder)
    if key in stages:
        return key
    is_folds = (folder / FOLDS_FILE).is_file()
    about = {"key": key, "name": folder.name, "kind": "folds" if is_folds else "run"}
    own = _configs(folder)
    config = next(iter(own.values()))
    cut, labels = config.folds.cut, config.data.train_split
    if cut:
        labels = f"{cut}, each fold by the others" if is_folds else f"{labels} of {cut}"
    try:
        store = open_store(config.data.root)
        trainings = tuple(_training(name, one, is_folds) for name, one in own.items())
    except UserError as error:
        if last:
            raise
        stages[key] = Stage(**about, labels=labels, doubts=(f"its data are gone: {error}",))
        return key
    reads = [
        add_store(stages, part, store, config.model.features)
        for part in store.parts
        if _is_read(part, config)
    ]
    reads += _add_before(stages, config)
    doubts = [doubt for name, one in own.items() for doubt in _changed(folder, name, one)]
    stages[key] = Stage(
        **about,
        reads=tuple(dict.fromkeys(reads)),
        labels=f"{store.parts[0].name} {labels}",
        trainings=trainings,
        doubts=tuple(doubts[:1]),
    )
    return key


def _training(name: str, config: ConfigDict, is_folds: bool) -> Training:
    """Labels that a run of this config has seen, by its store as it is now."""
    store, data = _store_of(config), config.data
    checkpoint = config.folds.checkpoint if is_folds else config.checkpoint
    by_score = checkpoint != "last" and not checkpoint.startswith("epoch:")
    # The settings that a sweep has chosen without folds are chosen on this split.
    by_score |= pathlib.PurePath(config.name).name == BEST_FILE and not config.sweep.folds
    held_out = _tracks(store, data.split) if data.split else {}
    return Training(
        name,
        _tracks(store, data.train_split),
        held_out if by_score else {},
        held_out if is_folds else {},
    )


def _is_read(part: Store, config: ConfigDict) -> bool:
    """Does the run read features or labels of this one of its stores?"""
    return any(name in part.features for name in config.model.features) or any(
        name in part.labels for name in config.tasks
    )


def _changed(folder: pathlib.Path, name: str, config: ConfigDict) -> Iterator[str]:
    """A doubt where the splits of the data are others than those of the training."""
    file = (folder if name == folder.name else folder / name) / "data.json"
    if not file.is_file():
        return
    about = file, "the hashes of what a run was trained on"
    with readable(*about):
        then = dict(read_json(*about)).get(TRACKS)
    now = hashes(_store_of(config), (), (), trust=True, limit=0)[TRACKS]
    if then not in (None, now):
        yield f"tracks or splits of {config.data.root} have changed since its training"


def _add_before(stages: dict[str, Stage], config: ConfigDict) -> Iterator[str]:
    """Keys of what a run begins with: weights of another, rows that another has selected."""
    if config.init.run:
        yield _add_named(stages, user_path(config.init.run))
    if config.init.weights:
        weights = config.init.weights
        name = weights if is_repository(weights) else pathlib.Path(weights).name
        doubt = "weights from elsewhere do not say what they were trained on"
        stages[weights] = Stage(weights, name, "weights", doubts=(doubt,))
        yield weights
    for folder in pathlib.Path(config.data.keep).parents if config.data.keep else ():
        if (folder / "config.json").is_file():
            yield _add_named(stages, folder)
            return


def _add_named(stages: dict[str, Stage], folder: pathlib.Path) -> str:
    """Add a run that may be gone by now."""
    if is_run(folder):
        return add_run(stages, folder.resolve())
    stages[str(folder)] = Stage(str(folder), folder.name, "run", doubts=(f"{folder} is gone",))
    return str(folder)


def add_store(
    stages: dict[str, Stage], part: Store, store: AnyStore, features: Sequence[str]
) -> str:
    """Add one store that a run reads, and first what made it; returns its key.

    Args:
        store: all that the run reads, `part` among them.
        features: that it reads, of any part.
    """
    key, origin = str(part.path.resolve()), part.manifest.get("origin")
    made = isinstance(origin, dict) and {"run", "config"} <= origin.keys()
    place = (origin.get("folder") or origin["run"]) if made else None
    made_by = user_path(place) if isinstance(place, str) else None
    if made_by and made_by.is_absolute() and is_run(made_by):
        before: Sequence[str] = [_add_named(stages, made_by)]
        doubts = _retrained(made_by, origin)
        stages[key] = Stage(key, part.name, "export", tuple(before), doubts=doubts)
        return key
    features = [name for name in features if name in part.features]
    known = stages[key].reads if key in stages else ()  # another run may have read other features
    reads = dict.fromkeys([*known, *_add_extractors(stages, part, store, features)])
    kind, doubts = ("export", (f"its run is gone ({made_by})",)) if made_by else ("data", ())
    stages[key] = Stage(key, part.name, kind, tuple(reads), doubts=doubts)
    return key


def is_run(folder: pathlib.Path) -> bool:
    """Is it the folder of a run, or of a cross-validation?"""
    return any((folder / name).is_file() for name in (FOLDS_FILE, "config.json"))


def _retrained(run: pathlib.Path, origin: Mapping[str, Any]) -> tuple[str, ...]:
    """A doubt where the run is another than the one that was exported."""
    files = (run / FOLDS_FILE, run / "config.json")
    file = next(file for file in files if file.is_file())
    if hashlib.sha256(file.read_bytes()).hexdigest() == origin.get("config"):
        return ()
    return (f"the config of {run} has changed since the export",)


def _add_extractors(
    stages: dict[str, Stage], part: Store, store: AnyStore, features: Sequence[str]
) -> list[str]:
    """Add what made these features of a store, as far as it says; returns the keys."""
    keys = []
    for feature in (part.features[name] for name in features):
        if not (feature.extractor or feature.trained_on):
            continue
        name, labels = feature.extractor or feature.name, ", ".join(feature.trained_on)
        key = f"{part.path}: {name}: {labels}"
        before = stages[key].features if key in stages else ()
        doubts = () if labels else (f"what {name} was trained on is not stated",)
        made = tuple(dict.fromkeys([*before, feature.name]))
        stages[key] = Stage(
            key, name, "extractor", labels=labels, doubts=doubts, store=store, features=made
        )
        keys.append(key)
    return keys


def tasks_of(folder: pathlib.Path) -> list[str]:
    """Names of the tasks that a run, or the runs of a cross-validation, are scored on."""
    run = next(iter(fold_runs(folder)), folder)
    return [task.name for task in scored(Run(run).read_tasks())]
