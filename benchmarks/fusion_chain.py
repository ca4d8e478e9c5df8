"""Stages of the comparison of benchmarks/fusion.py: commands as one types them, and their folders.

    seed0/alone/<branch>      a run of a branch         seed0/<branch>    its cross-validation
    seed0/exports/<branch>    what the latter predicts  seed0/<model>     fused, or an ensemble
    seed0/control/<branch>    the same of the control   seed0/shuffled/<model>

A training that is finished says whether its config is another one; what is made of it is not made
again.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

BRANCHES = ("face", "behaviour", "audio")
FUSED = {"experts": "moe", "RAAV": "raav", "Q/K/V": "cross"}  # {line of the table: variant}
CONTROL = "experts"  # which of them is trained on the control, too
SPLIT = "validation"
LAST = f"--config.eval_every_epochs={10**6}"  # after the last epoch alone
# Of the labels of the training split: frames are 30 a second.
SMOOTHED = "--windows=0,30,90,180,360"


class StoppedEarly(Exception):
    """A signal ended a stage; the same command goes on."""


class Chain:
    """All stages of one seed."""

    def __init__(self, flags: argparse.Namespace, seed: int):
        self._flags, self._seed, self._folder = flags, seed, flags.workdir / f"seed{seed}"

    def predictions(self) -> Iterator[tuple[str, pathlib.Path]]:
        """(model, folder of what it predicts for the validation split), made where it is not."""
        yield from self._before()
        data = self._exported(self._flags.root, "exports")
        for name, variant in FUSED.items():
            yield name, self._fused(variant, data, self._folder)
        if self._flags.control:
            data = self._exported(self._flags.control, "control")
            variant = FUSED[CONTROL]
            yield f"{CONTROL}, shuffled", self._fused(variant, data, self._folder / "shuffled")

    def _before(self) -> Iterator[tuple[str, pathlib.Path]]:
        """The branches, and what is made of their predictions without a fused model."""
        for branch in BRANCHES:
            config, workdir = f"configs/ras_{branch}.py", self._folder / "alone" / branch
            yield branch, self._trained(config, workdir, self._flags.root)
        for branch in BRANCHES:
            self._folds(branch)
        data = self._exported(self._flags.root, "exports")
        members = [f"feature:{branch}" for branch in BRANCHES]
        plain = ("--values=mean", "--smooth=none", "--match=no")
        yield "mean of branches", self._ensemble("mean", members, data, plain)
        yield "ensemble", self._ensemble("ensemble", members, data, (SMOOTHED,))

    def _fused(self, variant: str, data: str, folder: pathlib.Path) -> pathlib.Path:
        config = f"configs/ras_fusion.py:{variant},branches"
        return self._trained(config, folder / variant, data)

    # --- stages ------------------------------------------------------------------------------

    def _config(self, config: str) -> str:
        """The flag of a config, in the sizes that are asked for."""
        path, _, variants = config.partition(":")
        chosen = ",".join(filter(None, (variants, self._flags.sizes)))
        return f"--config={path}:{chosen}" if chosen else f"--config={path}"

    def _trained(self, config: str, workdir: pathlib.Path, root: str) -> pathlib.Path:
        self._do(
            "affect_jax.main",
            [
                *(self._config(config), f"--workdir={workdir}", f"--config.data.root={root}"),
                *(f"--config.seed={self._seed}", "--config.checkpoint=last", LAST),
            ],
            workdir / "finished.json",
        )
        return workdir / "predictions" / SPLIT

    def _folds(self, branch: str) -> None:
        workdir = self._folder / branch
        self._do(
            "affect_jax.main",
            [
                *("--mode=folds", self._config(f"configs/ras_{branch}.py")),
                *(f"--workdir={workdir}", f"--config.data.root={self._flags.root}"),
                *(f"--config.seed={self._seed}", f"--config.folds.count={self._flags.folds}"),
                *("--config.folds.official=false", LAST),
            ],
            workdir / "scores.json",
        )

    def _exported(self, root: str, where: str) -> str:
        """Roots of the data and of the branches' predictions of them, joined by commas."""
        folder = self._folder / where
        folder.mkdir(parents=True, exist_ok=True)
        for branch in BRANCHES:
            self._do(
                "affect_jax.export",
                [
                    f"folds:{self._folder / branch}",
                    *(f"--out={folder / branch}", f"--config.data.root={root}"),
                ],
                folder / branch / "manifest.json",
            )
        return ",".join([root, *(str(folder / branch) for branch in BRANCHES)])

    def _ensemble(
        self, name: str, members: Sequence[str], data: str, options: Sequence[str]
    ) -> pathlib.Path:
        """Fitted on the training split, of which members know no label that they predict."""
        out = self._folder / name
        fit = [*members, f"--out={out}", f"--config.data.root={data}", *options]
        fit.append("--config.data.split=train")
        self._do("affect_jax.ensemble", fit, out / "ensemble.json")
        apply = [f"--apply={out}", f"--config.data.root={data}", f"--config.data.split={SPLIT}"]
        self._do("affect_jax.ensemble", apply, out / "predictions" / SPLIT / "scores.json")
        return out / "predictions" / SPLIT

    def _do(self, module: str, arguments: list[str], last: pathlib.Path) -> None:
        """One command, which ends with this file; the table alone goes to standard output."""
        if module != "affect_jax.main" and last.is_file():
            return
        print(f"python -m {module} {' '.join(arguments)}", file=sys.stderr, flush=True)
        program = f"{module}.__main__" if module == "affect_jax.ensemble" else module
        with contextlib.redirect_stdout(sys.stderr):
            import_module(program).main(arguments)
        if not last.is_file():
            raise StoppedEarly
