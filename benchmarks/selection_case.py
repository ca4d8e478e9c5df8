"""One noise and one seed of the noise bench: its store, its runs, and what each method keeps."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from affect_jax.config import load
from affect_jax.folds import Folds, cross_validate
from affect_jax.report.interval import DrawnScores
from affect_jax.report.selection import Selection
from affect_jax.selection.candidates import PREFIX, Candidates
from affect_jax.selection.methods import METHODS, chosen
from affect_jax.selection.quality import quality
from affect_jax.selection_files import FOLDER, KEEP, SELECTION
from benchmarks.selection_table import SCORES, Result, Row
from benchmarks.structures import predicted
from data_pipelines import noise
from data_pipelines.errors import UserError
from data_pipelines.join import open_store
from data_pipelines.keep import write_kept

# Variants of the config, whose runs select; rlps is the config as it is.
SELECTORS = ("rlps", "class", "f1", "linear", "sigmoid", "retain", "literal")
NONE, RANDOM, CLEAN = "none", "random", "clean"
KNOWN = (NONE, *SELECTORS, *METHODS)
AS_MANY = ("small_loss", "oracle", RANDOM)  # keep as many rows as rlps
FOLDS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One noise and one seed.

    Attributes:
        flags: of the command.
        noise: "crops", "uniform:0.4", ... or "clean".
        seed: of the noise, of training and of what is drawn.
    """

    flags: argparse.Namespace
    noise: str
    seed: int

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(what it is called, what came out) of all that is asked for, trained where it is not."""
        none = self._fresh(NONE, self._kept(NONE))
        for method in self.flags.methods:
            if method == NONE:
                yield method, Row(none)
                continue
            ours = self._fresh(method, self._kept(method))
            control = self._control(ours)
            yield method, Row(ours, none, control)
            if method in SELECTORS:
                jointly = Result(self._scores(method, self._selector(method)), ours.share)
                yield f"{method}, jointly", Row(jointly, none, control)
        for method in self.flags.removed:
            ours = self._fresh(f"{method}-removed", ~self._kept(method))
            control = self._control(ours)
            yield f"removed by {method}", Row(ours, none, control)
            if control:
                yield f"as many as removed by {method}", Row(control, none)

    # --- data and configs --------------------------------------------------------------------

    @functools.cached_property
    def _folder(self) -> pathlib.Path:
        return self.flags.workdir / self.noise.replace(":", "-") / f"seed{self.seed}"

    @functools.cached_property
    def _root(self) -> str:
        """The store with noise, made where it is not there."""
        root, (kind, _, share) = self._base().data.root, self.noise.partition(":")
        if self.noise == CLEAN:
            return root
        store = self._folder / "store"
        if not (store / "manifest.json").is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            noise.add(open_store(root).path, store, kind=kind, share=share, seed=self.seed)
        if open_store(str(store)).tracks != open_store(root).tracks:
            raise UserError(f"{store}: is of other data than {root}. Give another --workdir.")
        return str(store)

    def _base(self, variant: str = "") -> ConfigDict:
        """The config that is given, with a variant, on the data that are given."""
        path, _, more = self.flags.config.partition(":")
        variants = ",".join(filter(None, (variant, more)))
        config = load(":".join(filter(None, (path, variants))))
        if "rlps" not in config:
            raise UserError(f"--config={path}: has no keys of a selector, config.rlps.")
        config.data.root = self.flags.root or config.data.root
        if config.folds.cut:  # nothing is chosen, so nothing has to be left out
            config.data.train_split, config.folds.cut = config.folds.cut, ""
        return config

    def _ended(self, config: ConfigDict, epochs: int) -> ConfigDict:
        """The config with so many epochs, scored at the last on the split that is asked for."""
        config.epochs = config.eval_every_epochs = epochs
        config.checkpoint, config.seed = "last", self.seed
        config.data.root, config.data.split = self._root, self.flags.split
        (task,) = config.tasks
        own = tuple(config.task[task].metrics)
        config.task[task].metrics = tuple(dict.fromkeys((*own, *SCORES)))
        return config

    def _selector(self, name: str) -> ConfigDict:
        """Config of a run that selects, from the pre-trained classifier on."""
        config = self._base("" if name == "rlps" else name)
        config.init.run = str(self._pretrained)
        return self._ended(config, config.rlps.alternations)

    def _classifier(self, epochs: int, keep: str = "") -> ConfigDict:
        """Config of a classifier alone."""
        config = self._base()
        config.system, config.data.keep = config.rlps.system, keep
        del config.rlps
        return self._ended(config, epochs)

    # --- runs --------------------------------------------------------------------------------

    def _scores(self, name: str, config: ConfigDict) -> DrawnScores:
        """Scores of a run, trained where it is not."""
        self._say(name)
        loaded = predicted(config, self._folder / name)
        return DrawnScores(loaded, {t.name: t.group for t in open_store(self._root).tracks})

    def _say(self, name: str) -> None:
        print(f"{self.noise}, seed {self.seed}: {name}", file=sys.stderr, flush=True)

    @functools.cached_property
    def _before(self) -> int:
        """Epochs of the pre-trained classifier."""
        config = self._base()
        epochs = config.epochs - config.rlps.alternations
        if epochs < 1:
            raise UserError(
                f"--config={self.flags.config}: config.epochs = {config.epochs} leaves none before "
                f"config.rlps.alternations = {config.rlps.alternations}, to pre-train in."
            )
        return epochs

    @functools.cached_property
    def _pretrained(self) -> pathlib.Path:
        """The classifier on all rows that all methods begin with."""
        self._scores("pretrained", self._classifier(self._before))
        return self._folder / "pretrained"

    def _fresh(self, name: str, kept: np.ndarray) -> Result:
        """A classifier on the rows kept, trained in as many steps as on all, and what they are."""
        rows, scores = self._candidates, None
        if name == RANDOM:  # the same rows as its control
            name = f"{RANDOM}-{kept.sum()}"
        if kept.any():
            keep = self._folder / "keep" / f"{name}.txt"
            keep.parent.mkdir(exist_ok=True)
            write_kept(keep, rows.store, rows.rows, rows.labelled[kept])
            base = self._base()
            epochs = same_steps(base.epochs, len(kept), int(kept.sum()), base.data.batch_size)
            scores = self._scores(f"fresh/{name}", self._classifier(epochs, str(keep)))
        by_kind, p_retain = {}, {}
        if rows.kind is not None:
            kinds = rows.store.labels[noise.KIND].names
            by_kind = {k: float(kept[rows.kind == k].mean()) for k in kinds if k in rows.kind}
        if name in SELECTORS and by_kind:
            selected = self._selection(name)
            p_retain = {
                k: float(selected.p_retain[of].mean()) for k, of in selected.groups().items()
            }
        found = None if rows.right is None else quality(kept, rows.right)
        return Result(scores, float(kept.mean()), found, by_kind, p_retain)

    def _control(self, ours: Result) -> Result | None:
        """A classifier on as many rows drawn at random; None where there is none."""
        count = round(ours.share * len(self._candidates.labels))
        if not count:
            return None
        kept = chosen(METHODS[RANDOM](self._candidates), count, self.seed)
        return self._fresh(f"{RANDOM}-{count}", kept)

    # --- what is kept ------------------------------------------------------------------------

    @functools.cached_property
    def _candidates(self) -> Candidates:
        """The training rows, by the pre-trained classifier."""
        return Candidates(str(self._pretrained))

    @functools.lru_cache  # noqa: B019 - a case lives as long as its seed
    def _kept(self, method: str) -> np.ndarray:
        """bool [N]: the rows that a method keeps."""
        rows = self._candidates
        if method == NONE:
            return np.ones(len(rows.labels), bool)
        if method in SELECTORS:
            self._scores(method, self._selector(method))
            if not self._selection(method).retained.any():
                return np.zeros(len(rows.labels), bool)
            return rows.kept_by(str(self._folder / method / FOLDER / KEEP))
        count = int(self._kept("rlps").sum()) if method in AS_MANY else None
        if count == 0:
            return np.zeros(len(rows.labels), bool)
        if method == "confident":
            rows = self._held_out()
        return chosen(METHODS[method](rows), count, self.seed)

    def _selection(self, method: str) -> Selection:
        return Selection.read(self._folder / method / FOLDER / SELECTION)

    def _held_out(self) -> Candidates:
        """The training rows, by classifiers that have not seen them."""
        config = self._classifier(self._before)
        config.folds.count, config.folds.seed = FOLDS, self.seed
        config.folds.official, config.folds.checkpoint = False, "last"
        folds = Folds(self._folder / "folds")
        self._say("folds")
        cross_validate(config, folds)
        return Candidates(f"{PREFIX}{folds.folder}")


def same_steps(epochs: int, rows: int, kept: int, batch: int) -> int:
    """Epochs of `kept` rows that take about as many steps as `epochs` of all `rows`."""
    return max(round(epochs * -(-rows // batch) / -(-kept // batch)), 1)
