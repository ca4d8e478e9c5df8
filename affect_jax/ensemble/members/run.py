"""A run as a member, at the checkpoint that its config chooses or at the end of an epoch."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax.ensemble.member import FolderMember, Opened
from affect_jax.prediction_files import find_tasks
from affect_jax.run import Run
from affect_jax.scoring import Total
from data_pipelines import folds
from data_pipelines.errors import UserError
from data_pipelines.join import open_store
from data_pipelines.store import AnyStore


@dataclasses.dataclass(frozen=True)
class RunMember(FolderMember, kind="run", marker="config.json"):
    """A run: predicts the data that are named, or gives its stored predictions.

    Attributes:
        checkpoint: as `config.checkpoint`; "": the one its config chooses.
    """

    checkpoint: str = ""

    @property
    def name(self) -> str:
        return f"{super().name} {self.checkpoint}".strip()

    @property
    def key(self) -> tuple[object, ...]:
        return *super().key, self.checkpoint

    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        self.require_there()
        made = self.folder / "predictions" / split
        if root is not None or self.checkpoint or not any(made.glob("*.npz")):
            predict_run(Run(self.folder), root, split, self.checkpoint, scratch)
            made = scratch
        return Opened.stored(self.name, made, find_tasks(self.folder))

    @property
    def default_split(self) -> str:
        """The split that it was scored on; "" for one fold of several."""
        return "" if self._config.get("folds", {}).get("cut") else self._config.data.split

    @property
    def unfinished(self) -> bool:
        return not self.checkpoint and not Run(self.folder).finished_file.is_file()

    @property
    def total(self) -> Total:
        return Total.of(self._config)

    def knows(
        self, split: str, tracks: frozenset[str], store: AnyStore | None
    ) -> tuple[bool, bool]:
        config = self._config
        checkpoint = self.checkpoint or config.checkpoint
        by_score = checkpoint != "last" and not checkpoint.startswith("epoch:")
        return (
            _holds_any(config, config.data.train_split, split, tracks),
            by_score and _holds_any(config, config.data.split, split, tracks),
        )

    @property
    def _config(self) -> ConfigDict:
        return configs.read(Run(self.folder).config_file)


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


def _holds_any(config: ConfigDict, own: str, split: str, tracks: frozenset[str]) -> bool:
    """Is any of the tracks in the split `own` ("" for none) of the data of a run?"""
    if not own:
        return False
    cut = config.folds
    try:
        store = _store(config.data.root, cut.cut, cut.count, cut.seed)
        return any(store.tracks[i].name in tracks for i in store.split(own))
    except UserError:
        return bool({*own.split("+"), cut.cut} & {*split.split("+")})


@functools.cache
def _store(root: str, split: str, count: int, seed: int) -> AnyStore:
    return folds.cut(open_store(root), split, count, seed)
