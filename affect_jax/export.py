r"""Write predictions as features of a store, to be joined to the one that they are made on.

    python -m affect_jax.export RUN --out=STORE [--splits=train,validation] [--arrays=embedding]
    python -m affect_jax.export folds:RUNS --out=STORE

STORE has the tracks, splits, groups and frames of the data, no labels, and as features <run>/<task>
the raw outputs and <run>/<array> what else the model gives and --arrays names. Joined to the data,
--config.data.root=DATA,STORE, they are features of another training, and those of values members
of an ensemble: feature:<run> all of these together, feature:<run>/<task> one. They say what they
were trained on, so that scores on these labels are marked. A frame for which the run is fed none of
its streams is a gap in them.

folds:RUNS, a cross-validation: each of its tracks is predicted by the run that has not seen it, so
that another model may be trained on the same split; any other track gets the mean of all its runs.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from affect_jax import config as configs
from affect_jax.members import FOLDS_FILE, all_folds
from data_pipelines import folds
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.join import open_store
from data_pipelines.paths import user_path
from data_pipelines.source import Source
from data_pipelines.store_writer import StoreWriter, refuse_others
from data_pipelines.trained_on import OUT_OF_FOLD

if TYPE_CHECKING:
    from affect_jax.predict import Predictor, Raw
    from affect_jax.run import Run
    from affect_jax.systems.supervised import Supervised

FOLDS = "folds:"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run at one step, with the system of its config on the data to predict.

    Attributes:
        config: the run's own.
    """

    run: Run
    config: ConfigDict
    system: Supervised
    step: int
    variables: Any


@dataclasses.dataclass(frozen=True)
class Exported:
    """Source of an export: a run, or the runs of a cross-validation.

    Attributes:
        name: of its folder.
        config_file: what made it.
        runs: one, or one a fold.
        fold_of: {track: index into `runs`} of the tracks that were held out of a fold's run.
    """

    name: str
    config_file: pathlib.Path
    runs: tuple[Trained, ...]
    fold_of: Mapping[str, int]


def open_exported(text: str, checkpoint: str, root: str) -> Exported:
    """The run or the cross-validation that a command line names.

    Args:
        checkpoint: as `config.checkpoint`; "" for that of the config.
        root: the data, as `config.data.root`; "" for those of the config.
    """
    from affect_jax.run import Run

    folder = user_path(text.removeprefix(FOLDS)).resolve()
    file = folder / FOLDS_FILE
    if not text.startswith(FOLDS):
        if file.is_file():
            raise UserError(f"{folder}: holds folds. Give {FOLDS}{text}, or one of its runs.")
        run = _open_run(Run(folder), checkpoint, root)
        return Exported(folder.name, run.run.config_file, (run,), {})
    if not file.is_file():
        raise UserError(f"{text}: no cross-validation here (no {FOLDS_FILE}).")
    checkpoint = checkpoint or configs.read(file).folds.checkpoint
    runs = tuple(_open_run(Run(one), checkpoint, root) for one in all_folds(folder))
    fold_of = {track: k for k, one in enumerate(runs) for track in _held_out(one)}
    return Exported(folder.name, file, runs, fold_of)


def _open_run(run: Run, checkpoint: str, root: str) -> Trained:
    from affect_jax.restore import system_of, weights

    run.require()
    own, config = configs.read(run.config_file), configs.read(run.config_file)
    configs.override(config, [("data.root", root)] if root else [])
    config.folds.cut = ""  # the splits of the data, not the folds'
    if config.data.feeder == "auto":
        config.data.feeder = "streamed"  # all is read once, so nothing has to stay in memory
    system = system_of(run, config)
    return Trained(run, own, system, *weights(system, run, checkpoint or config.checkpoint))


def _held_out(fold: Trained) -> list[str]:
    """Tracks of the fold, as its run has predicted them: the data may be others by now."""
    from affect_jax.prediction_files import Predictions
    from affect_jax.tasks import scored

    task = scored(fold.system.tasks)[0].name
    file = fold.run.predictions / fold.config.data.split / f"{task}.npz"
    return Predictions.read(file).tracks.tolist()


def predicted(
    exported: Exported, predictors: Sequence[Predictor], tracks: np.ndarray
) -> Iterator[tuple[int, Raw]]:
    """(index of the track, its arrays) of every track, those of a fold by its run alone.

    Args:
        predictors: one for each of `exported.runs`.
        tracks: indices into the store.
    """
    store = exported.runs[0].system.data.store
    fold = np.array([exported.fold_of.get(store.tracks[i].name, -1) for i in tracks])
    for k, (one, predictor) in enumerate(zip(exported.runs, predictors, strict=True)):
        yield from predictor.tracks(one.variables, tracks[fold == k])
    together = [
        predictor.tracks(one.variables, tracks[fold < 0])
        for one, predictor in zip(exported.runs, predictors, strict=True)
    ]
    for of_runs in zip(*together, strict=True):  # one plan, so one order
        index, raw = of_runs[0]
        yield index, {name: np.mean([one[name] for _, one in of_runs], 0) for name in raw}


def export(
    exported: Exported, out: pathlib.Path, splits: Sequence[str], arrays: Sequence[str]
) -> None:
    """Write the store, track by track as they are predicted.

    Args:
        splits: of the data; () for all.
        arrays: of `Output.aux["arrays"]`.

    Raises:
        UserError: no such split or array, or a place that cannot be written.
    """
    from affect_jax.predict import Predictor

    store = exported.runs[0].system.data.store
    if os.path.realpath(out) in [os.path.realpath(part.path) for part in store.parts]:
        raise UserError(f"--out={out}: is the data that is predicted. Give another.")
    splits = splits or store.splits
    for split in splits:
        store.split(split)
    split = "+".join(splits)
    tracks = store.split(split)
    predictors = [Predictor(one.system, split, arrays=arrays) for one in exported.runs]
    left = collections.Counter(store.tracks[i].split for i in tracks)
    counts = dict(left)
    with (
        _writer(exported, out, predictors[0]) as writer,
        tqdm(total=len(tracks), unit="track", leave=False, disable=None) as bar,
    ):
        for index, raw in predicted(exported, predictors, tracks):
            _add(writer, exported, predictors[0], index, raw)
            store.forget()
            bar.update()
            own = store.tracks[index].split
            left[own] -= 1
            if not left[own]:
                bar.clear()
                print(f"{own}: {counts[own]:,} tracks", file=sys.stderr, flush=True)


def _writer(exported: Exported, out: pathlib.Path, predictor: Predictor) -> StoreWriter:
    """The writer of the store: its features, and where they are from."""
    from affect_jax.places import fingerprint, real_path

    runs, name = exported.runs, exported.name
    store = runs[0].system.data.store
    steps = [one.step for one in runs]
    digest = hashlib.sha256(exported.config_file.read_bytes()).hexdigest()
    extractor = f"{name}, step {', '.join(map(str, steps))}, config {digest[:12]}"
    common = {"run": name, "extractor": extractor, "trained_on": trained_on(exported)}
    values = {task.name for task in runs[0].system.tasks if task.kind == "values"}
    features = {}
    for of, shape in predictor.shapes.items():
        features[f"{name}/{of}"] = entry = {"shape": shape, **common}
        if of in values:
            entry["columns"] = (of,) * shape[0]
        if of in predictor.of_rows:
            entry["axis"] = "table"
    origin = {
        "run": name,
        "folder": str(exported.config_file.parent),
        "step": steps if len(runs) > 1 else steps[0],
        "config": digest,
        "store": real_path(store),
        "sha256": fingerprint(store),
    }
    return StoreWriter(out, name=name, features=features, labels={}, origin=origin)


def _add(
    writer: StoreWriter, exported: Exported, predictor: Predictor, index: int, raw: Raw
) -> None:
    """Write one track."""
    name, data = exported.name, exported.runs[0].system.data
    store, track = data.store, data.store.tracks[index]
    fed = _fed(data.source(labels=False), index)
    gaps = {} if fed.all() else {of: fed for of in raw if of not in predictor.of_rows}
    writer.add(
        track=track.name,
        split=track.split,
        group=track.group,
        fps=track.fps,
        frames=store.frames[track.span],
        features={f"{name}/{of}": x for of, x in raw.items()},
        feature_masks={f"{name}/{of}": mask for of, mask in gaps.items()},
        spans={f"{name}/{of}": predictor.spans(index) for of in predictor.of_rows},
    )


def _fed(source: Source, track: int) -> np.ndarray:
    """bool [frames] of a track: is a model fed any of its streams there?"""
    span, mask_of = source.store.tracks[track].span, source.arrays["inputs_mask"]
    fed = np.zeros(span.stop - span.start, bool)
    for name in source.features:
        if name in source.own:  # it has rows of its own, which any frame may be told from
            rows = source.store.rows(name, track)
            mask = source.store.feature_mask(name)
            fed |= rows.stop > rows.start and (mask is None or bool(mask[rows].any()))
        else:
            fed |= mask_of[name][span] if name in mask_of else True
    return fed


def trained_on(exported: Exported) -> list[str]:
    """Entries of `Feature.trained_on`: whose labels the runs, and what they are fed, have seen."""
    own = {
        f"{entry} {OUT_OF_FOLD}" if exported.fold_of else entry
        for one in exported.runs
        for entry in _labels_of(one.config)
    }
    data = exported.runs[0].system.data
    before = {entry for one in exported.runs for entry in _labels_before(one.config)}
    before |= {entry for name in data.features for entry in data.store.features[name].trained_on}
    return sorted(own | before)


def _labels_of(config: ConfigDict) -> Iterator[str]:
    """The data set and split of all labels that a run of this config is trained on."""
    try:
        data_set = f"{open_store(config.data.root).name} "
    except UserError:  # it is gone; a split of that name in other data is taken for its own
        data_set = ""
    cut = config.folds.cut
    own = folds.names(config.folds.count) if cut else ()
    for split in config.data.train_split.split("+"):
        for whole in cut.split("+") if split in own else [split]:
            yield f"{data_set}{whole}"


def _labels_before(config: ConfigDict) -> Iterator[str]:
    """Those of the run, and of the ones before it, whose weights it began with."""
    from affect_jax.run import Run

    if config.init.run and (before := Run(config.init.run)).exists:
        earlier = configs.read(before.config_file)
        yield from _labels_of(earlier)
        yield from _labels_before(earlier)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run, or folds:RUNS")
    add("--out", required=True, metavar="STORE", help="folder of the new store")
    add("--splits", default="", metavar="A,B", help="of the data (default: all)")
    add("--arrays", default="", metavar="A,B", help="that the model gives beside its predictions")
    add("--checkpoint", default="", metavar="WHICH", help="best, last, epoch:17 or a score "
        "(default: as the config has it)")  # fmt: skip
    add("--config.data.root", dest="root", default="", metavar="STORE", help="other data")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run one command; raises UserError for the user's mistakes."""
    flags = _parser().parse_all(argv)
    from affect_jax.compilation import compilation_cache
    from affect_jax.disk import writing

    compilation_cache()
    out = refuse_others(flags.out)
    splits, arrays = (
        tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for text in (flags.splits, flags.arrays)
    )
    exported = open_exported(flags.run, flags.checkpoint, flags.root)
    with writing(out):
        export(exported, out, splits, arrays)
    root = exported.runs[0].system.data.store.path
    both = shlex.quote(f"{root},{out}")
    print(f"{out}: join it with --config.data.root={both}")


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv, stopped="stopped; the same command starts anew")


if __name__ == "__main__":
    sys.exit(cli())
