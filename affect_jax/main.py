r"""The command: train, evaluate, predict or explain a run, cross-validate a config, or search.

    python -m affect_jax.main --config=configs/mtl.py --workdir=runs/mtl
    python -m affect_jax.main --mode=evaluate --workdir=runs/mtl
    python -m affect_jax.main --mode=predict --workdir=runs/mtl --config.data.split=test
    python -m affect_jax.main --mode=predict --workdir=runs/mtl --output=elsewhere
    python -m affect_jax.main --mode=explain --workdir=runs/mtl --config.explain.targets=5
    python -m affect_jax.main --mode=folds --config=configs/mtl.py --workdir=runs/mtl6
    python -m affect_jax.main --mode=sweep --config=configs/mtl.py --workdir=runs/search \
        --config.sweep.space="(('optim.lr', (1e-4, 3e-4)), ('optim.weight_decay', (0, .1)))"

Any value of the config is changed by --config.KEY=VALUE. Without --config an existing run's own
config is taken. The same training command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from affect_jax.compilation import compilation_cache
from affect_jax.shown import as_argument
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, nearest

MODES = ("train", "evaluate", "predict", "explain", "folds", "sweep")
OF_SEVERAL = ("folds", "sweep")  # they train several runs in the folder


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.main",
        description="Train, evaluate, apply or explain one run, or train one for each fold or "
        "setting.",
        epilog="Change any value of the config with --config.KEY=VALUE (for example "
        "--config.model.encoder.hidden=64). Keys are documented in the config file.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", metavar="FILE[:VARIANT,...]", help="config file; default: the run's own")
    add("--workdir", metavar="RUN", help="run folder, made if it is not there")
    add("--mode", default="train", metavar="|".join(MODES), help="what to do (default: train)")
    add("--output", default="", metavar="FOLDER", help="evaluate, predict: write here, not in RUN")
    add("--verbose", action="store_true", help="say when evaluation and saving begin")
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """(flags, [(config key, text)]); UserError for what is not known."""
    own, changes, rest = [], [], list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("--config."):
            key, equals, value = word.removeprefix("--config.").partition("=")
            if not equals:
                if not rest:
                    raise UserError(f"{word}: expected a value: {word}=VALUE.")
                value = rest.pop(0)
            changes.append((key, value))
        else:
            own.append(word)
    flags = _parser().parse_all(own)
    if flags.mode not in MODES:
        raise UserError(f"--mode={flags.mode}: {nearest(flags.mode, MODES)}")
    if flags.output and flags.mode not in ("evaluate", "predict"):
        raise UserError("--output: only --mode=evaluate and --mode=predict write elsewhere.")
    if not flags.workdir:
        raise UserError("--workdir is missing: the folder of the run, for example runs/mtl.")
    return flags, changes


def resolve(flags: argparse.Namespace, overrides: Sequence[tuple[str, str]], run: Any) -> Any:
    """The config to run with: from the file, or the run's own, with the overrides."""
    from affect_jax import changes
    from affect_jax import config as configs
    from affect_jax.members import SWEEP_FILE, fold_runs
    from affect_jax.padding import settled

    if flags.config is None:
        if not run.exists:
            if runs := fold_runs(run.folder):
                raise UserError(
                    f"{run.folder}: holds folds. Take one of them, "
                    f"--workdir={as_argument(runs[0])}, or --mode=folds for all."
                )
            if (run.folder / SWEEP_FILE).is_file():
                raise UserError(
                    f"{run.folder}: holds a sweep. Take one of its trials, or --mode=sweep."
                )
            raise UserError(
                f"{run.folder}: no run here yet. Name its config: --config=configs/mtl.py."
            )
        config = configs.read(run.config_file)
        configs.override(config, overrides)
        configs.check(config)
        config = settled(configs.absolute_paths(config), run)
        if flags.mode in ("train", "folds"):
            changes.require_same_past(run, config)
        return config
    config = configs.load(flags.config)
    configs.override(config, overrides)
    configs.check(config)
    config = configs.absolute_paths(config)
    if flags.mode != "sweep":  # whose trials each begin with what they name
        config = settled(config, run)
    if flags.mode == "folds":
        from affect_jax.folds import uncut

        config = uncut(config)
    if run.exists and flags.mode != "sweep" and (run.started or flags.mode == "folds"):
        changes.require_same_file(run, config)
        changes.require_same_past(run, config)
    return config


def _train(config: Any, run: Any, flags: argparse.Namespace) -> None:
    """Train one run, or the runs of all folds or trials, to the end."""
    if flags.mode == "sweep":
        from affect_jax.sweep import sweep as work
    elif flags.mode == "folds":
        from affect_jax.folds import cross_validate as work
    else:
        from affect_jax.train_run import train_run as work
    from affect_jax.train import Stopped

    try:
        print(work(config, run))
    except Stopped as stopped:
        mode = "" if flags.mode == "train" else f" --mode={flags.mode}"
        again = f"python -m affect_jax.main{mode} --workdir={shlex.quote(flags.workdir)}"
        print(f"stopped at step {stopped}; saved. Go on with: {again}")


def _apply(config: Any, run: Any, flags: argparse.Namespace) -> None:
    """Evaluate, predict or explain one split with the chosen checkpoint of the run."""
    if flags.mode == "explain":
        from affect_jax.explain import explain

        explain(config, run)
        return
    from affect_jax.apply import apply

    apply(config, run, evaluate=flags.mode == "evaluate", output=flags.output)


def main(argv: Sequence[str]) -> None:
    """Run one command; raises UserError for the user's mistakes."""
    flags, overrides = parse(argv)
    logging.getLogger("affect_jax").setLevel(logging.DEBUG if flags.verbose else logging.INFO)
    from affect_jax import memory

    if flags.mode == "sweep":
        from affect_jax.sweep import Sweep as Folder
    elif flags.mode == "folds":
        from affect_jax.folds import Folds as Folder
    else:
        from affect_jax.run import Run as Folder

    run = Folder(flags.workdir)
    config = resolve(flags, overrides, run)
    compilation_cache()
    action: Callable[..., None] = _train if flags.mode in ("train", *OF_SEVERAL) else _apply
    with memory.said(config):
        action(config, run, flags)


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv)


if __name__ == "__main__":
    sys.exit(cli())
