"""Members of an ensemble: whatever predicts the same tasks for the same frames.

RUN                  a run at its config's checkpoint; predicts the data that are named, or gives
                     its stored predictions
RUN@17, RUN@10-19    a run at the end of these epochs
FOLDS                the folder of a cross-validation: all its runs
folds:FOLDS          a cross-validation as one member: on the split that was cut each track is
                     predicted by the run that has not seen it, elsewhere it is the runs' mean;
                     both at `folds.checkpoint` of its config
FITTED               an ensemble, applied to the data
FOLDER               a folder of predictions, <task>.npz; for another split its neighbour
feature:NAME         a feature of the store that is itself a prediction: its columns have the
                     names of labels; feature:* stands for all such features
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection, Sequence

import numpy as np

from affect_jax import config as configs
from affect_jax import members as named
from affect_jax.ensemble.recipe import as_values, require_strings
from affect_jax.prediction_files import Predictions, find_tasks, splits
from affect_jax.run import Run
from affect_jax.tasks import Task, decode
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.join import open_store
from data_pipelines.paths import user_path
from data_pipelines.store import Store

FITTED_FILE = "ensemble.json"
FEATURE, FOLDS = "feature:", "folds:"
KINDS = ("run", "folds", "ensemble", "predictions", "feature")


@dataclasses.dataclass(frozen=True)
class Member:
    """One member, before any data are named.

    Attributes:
        kind: one of KINDS.
        where: its folder, or the feature's name.
        checkpoint: of a run, as `config.checkpoint`; "": the one its config chooses.
    """

    kind: str
    where: str
    checkpoint: str = ""

    @property
    def place(self) -> pathlib.Path:
        """Its folder, however that was written."""
        return pathlib.Path(self.where).resolve()

    @property
    def name(self) -> str:
        """Short, for tables."""
        if self.kind == "feature":
            return self.where
        path = pathlib.Path(self.where)
        inside = self.kind == "predictions" and path.parent.name == "predictions"
        short = path.parent.parent.name if inside else path.name
        return f"{short} {self.checkpoint}".strip()


@dataclasses.dataclass(frozen=True)
class Opened:
    """A member on one split.

    Attributes:
        tasks: what it predicts, bins as values.
        read: task -> its raw predictions, values instead of bins.
    """

    name: str
    tasks: tuple[Task, ...]
    read: Callable[[Task], Predictions]


def parse(texts: Sequence[str], store: Store | None) -> list[Member]:
    """The members that a command line names, in order.

    Raises:
        UserError: one that is none of the kinds above, or comes twice.
    """
    found: list[Member] = []
    for text in texts:
        if text.startswith(FEATURE):
            found += [Member("feature", name) for name in _features(text, store)]
            continue
        if text.startswith(FOLDS):
            folder = user_path(text.removeprefix(FOLDS))
            if not (folder / named.FOLDS_FILE).is_file():
                raise UserError(f"{text}: no cross-validation here (no {named.FOLDS_FILE}).")
            named.all_folds(folder)
            found.append(Member("folds", str(folder)))
            continue
        for folder, checkpoint in named.expand(text):
            kind = _kind(folder)
            if checkpoint and kind != "run":
                raise UserError(f"{text}: only a run has epochs, {folder} holds {kind}.")
            found.append(Member(kind, str(folder), checkpoint))
    keys = [(m.kind, m.checkpoint, m.where if m.kind == "feature" else m.place) for m in found]
    known = set()
    for member, key in zip(found, keys):
        if key in known:
            raise UserError(f"member {member.name} is named twice.")
        known.add(key)
    return found


def _features(text: str, store: Store | None) -> list[str]:
    """Names of the features of the store that are predictions."""
    if store is None:
        raise UserError(f"{text} needs the store that holds it: --config.data.root=STORE.")
    name = text.removeprefix(FEATURE)
    known = [f.name for f in store.features.values() if f.columns]
    if name == "*" and known:
        return known
    if name not in known:
        hint = nearest(name, known) or "None here is."
        raise UserError(
            f"{text}: {store.path} has no such feature whose columns name labels. {hint}"
        )
    return [name]


def holds(folder: pathlib.Path) -> str:
    """What was made in a folder: "ensemble", "folds", "run", or "" for none of them."""
    if (folder / FITTED_FILE).is_file():
        return "ensemble"
    if (folder / named.FOLDS_FILE).is_file():
        return "folds"
    return "run" if Run(folder).exists else ""


def _kind(folder: pathlib.Path) -> str:
    if kind := holds(folder):
        return kind
    # A run that has lost its config still has its statistics.
    if any(file.stem != "statistics" for file in folder.glob("*.npz")):
        return "predictions"
    raise UserError(
        f"{folder}: no run (config.json), no ensemble ({FITTED_FILE}) and no folder of "
        "predictions (<task>.npz)."
    )


def tasks_of(member: Member, store: Store | None) -> tuple[Task, ...]:
    """What it predicts, bins as values."""
    if member.kind == "feature":
        return tuple(_feature_task(member, column, store) for column in _columns(member, store))
    return tuple(as_values(task) for task in find_tasks(member.where))


def default_split(member: Member) -> str:
    """The split that its own settings name to fit on, or ""; none for one fold of several."""
    if member.kind == "run":
        config = configs.read(Run(member.where).config_file)
        return "" if config.get("folds", {}).get("cut") else config.data.split
    if member.kind == "folds":
        return configs.read(pathlib.Path(member.where) / named.FOLDS_FILE).data.train_split
    if member.kind == "predictions":
        return pathlib.Path(member.where).name
    return ""


def fold_members(folder: pathlib.Path) -> tuple[Member, ...]:
    """The runs of a cross-validation, at the checkpoint that its held-out predictions are of."""
    checkpoint = configs.read(folder / named.FOLDS_FILE).folds.checkpoint
    return tuple(Member("run", str(run), checkpoint) for run in named.all_folds(folder))


def held_out(folder: pathlib.Path, split: str, tracks: Collection[str] | None) -> bool:
    """Has a cross-validation predicted this split by runs that have not seen it?

    Args:
        tracks: of the split of the data that are named, which may be others; None for its own.
    """
    file = next((folder / "predictions" / split).glob("*.npz"), None)
    if file is None or tracks is None:
        return file is not None
    return not set(Predictions.read(file).tracks.tolist()).isdisjoint(tracks)


def unfinished(member: Member) -> bool:
    """Whether it is a run that has not come to its end, and no epoch of it is named."""
    run = Run(member.where)
    return member.kind == "run" and not member.checkpoint and not run.finished_file.is_file()


def open_member(
    member: Member, root: str | None, split: str, store: Store | None, scratch: pathlib.Path
) -> Opened:
    """The member on one split of the store `root`; without one, on its stored predictions.

    Args:
        scratch: an empty place for predictions made here.
    """
    if member.kind == "feature":
        return Opened(
            member.name, tasks_of(member, store), lambda task: _feature(member, task, split, store)
        )
    folder = pathlib.Path(member.where)
    inside = member.kind == "predictions" and folder.parent.name == "predictions"
    if not (folder.parent if inside else folder).is_dir():
        raise UserError(f"{folder}: member {member.name} is gone. Put it back, or fit without it.")
    if member.kind == "predictions":
        neighbour = folder.parent / split
        if inside:
            if not neighbour.is_dir() and (root is None or not folder.is_dir()):
                known = listed(splits(folder.parent))
                raise UserError(
                    f"{folder.parent}: no predictions of split {split!r}. Known: {known}."
                )
            folder = neighbour if neighbour.is_dir() else folder
        return _folder(member.name, folder, find_tasks(folder))
    stored = folder / "predictions" / split
    if member.kind == "folds":
        named.all_folds(folder)
        # Whatever store is named, of their own data no other predictions are held out.
        tracks = store and {store.tracks[i].name for i in store.split(split)}
        usable = held_out(folder, split, tracks)
    else:
        usable = root is None and not member.checkpoint and any(stored.glob("*.npz"))
    if usable:
        return _folder(member.name, stored, find_tasks(folder))
    if member.kind == "run":
        predict_run(Run(folder), root, split, member.checkpoint, scratch)
        return _folder(member.name, scratch, find_tasks(folder))
    from affect_jax.ensemble.fitted import Fitted, mean_of  # ensembles in ensembles: they need us

    if member.kind == "ensemble":
        inner = Fitted.read(folder)
    else:
        inner = mean_of(scratch, fold_members(folder), tasks_of(member, store))
    inner.apply(root, split, scratch)
    return _folder(member.name, scratch, inner.tasks)


def _folder(name: str, folder: pathlib.Path, tasks: tuple[Task, ...]) -> Opened:
    """Predictions in a folder, described by these tasks."""

    def read(task: Task) -> Predictions:
        own = next(t for t in tasks if t.name == task.name)  # `Fitted.open` has looked
        predictions = Predictions.read(folder / f"{task.name}.npz")
        if own.kind != "bins":
            return predictions
        return dataclasses.replace(predictions, raw=decode(own, predictions.raw))

    return Opened(name, tuple(as_values(task) for task in tasks), read)


def predict_run(
    run: Run, root: str | None, split: str, checkpoint: str, folder: pathlib.Path
) -> None:
    """Predict a split with a run into a folder of its own; the run's predictions stay."""
    from affect_jax.predict import predict_split
    from affect_jax.restore import system_of, weights

    config = configs.read(run.config_file)
    configs.override(config, [("data.root", root)] if root else [])
    if {*split.split("+")} <= {*open_store(config.data.root).splits}:
        config.folds.cut = ""  # the split is whole: other data than the folds', or all of them
    system = system_of(run, config)
    _, variables = weights(system, run, checkpoint or config.checkpoint)
    predict_split(system, variables, split, folder)


def reference_of(task: Task, split: str, store: Store) -> Predictions:
    """Tracks, frames and labels of a split of a store, as predictions without any output."""
    tracks = [store.tracks[i] for i in store.split(split)]
    rows = np.concatenate([np.arange(t.offset, t.offset + t.frames) for t in tracks])
    labels = {}
    if task.name in store.labels:
        label = store.labels[task.name]
        if (label.kind, label.size) != (task.kind, task.size):
            raise UserError(
                f"{store.path}: label {task.name!r} is {label.kind} of size {label.size}, the "
                f"members predict {task.kind} of size {task.size}."
            )
        values, mask = store.label(task.name)
        if mask[rows].any():
            labels = {"label": values[rows], "label_mask": mask[rows]}
    return Predictions(
        tracks=np.array([t.name for t in tracks]),
        track=np.repeat(np.arange(len(tracks), dtype=np.int32), [t.frames for t in tracks]),
        frame=np.asarray(store.frames[rows]),
        raw=np.zeros((len(rows), 0), np.float32),
        groups=np.array([t.group for t in tracks]),
        **labels,
    )


def _columns(member: Member, store: Store | None) -> tuple[str, ...]:
    (name,) = _features(FEATURE + member.where, store)
    return store.features[name].columns


def _feature_task(member: Member, column: str, store: Store) -> Task:
    label = store.labels.get(column)
    if label is not None and (label.kind, label.size) != ("values", 1):
        raise UserError(
            f"feature {member.where!r}: its column {column!r} is one value, the label is "
            f"{label.kind} of size {label.size}. Only values can be predicted by a column."
        )
    metrics = ("ccc", "pearson", "rmse")
    return Task(column, "values", 1, loss="mse", metrics=metrics, decode="identity")


def _feature(member: Member, task: Task, split: str, store: Store) -> Predictions:
    """The column of a feature that predicts the task."""
    reference = reference_of(task, split, store)
    column = _columns(member, store).index(task.name)
    mask, array = store.feature_mask(member.where), store.feature(member.where)
    raw = []
    for i in store.split(split):
        track = store.tracks[i]
        rows = slice(track.offset, track.offset + track.frames)
        if mask is not None and not mask[rows].all():
            raise UserError(f"feature {member.where!r} has gaps in track {track.name!r}.")
        raw.append(array[rows][:, [column]])
    return dataclasses.replace(reference, raw=np.concatenate(raw))


def to_json(member: Member, folder: pathlib.Path) -> dict[str, str]:
    """Folders relative to the ensemble's, so that both can move together."""
    entry = {k: v for k, v in dataclasses.asdict(member).items() if v}
    if member.kind != "feature":
        where = user_path(member.where).resolve()
        entry["where"] = pathlib.PurePath(os.path.relpath(where, folder.resolve())).as_posix()
    return entry


def from_json(entry: dict[str, str], folder: pathlib.Path) -> Member:
    """The reverse of `to_json`; TypeError or ValueError for anything else."""
    member = Member(**entry)
    require_strings("member", dataclasses.astuple(member))
    if member.kind not in KINDS:
        raise ValueError(f"member of kind {member.kind!r}")
    if member.kind == "feature":
        return member
    return dataclasses.replace(member, where=str((folder / member.where).resolve()))
