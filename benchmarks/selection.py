r"""Which training rows to keep under noise? Selectors, other methods and controls, by one protocol.

    python -m benchmarks.selection --workdir=runs/selection [--seeds=3] [--noises=crops,uniform:0.4]
        [--methods=none,rlps,f1,linear,sigmoid,small_loss,confident,oracle,random]
        [--removed=rlps] [--config=configs/rlps.py] [--root=STORE] [--split=test]

For each noise and seed (of noise, initial values and draws alike):

1. A store with noise is made of the data (data_pipelines.noise); "clean" adds none.
2. One classifier is pre-trained on all rows: the epochs of the config before its alternations.
3. Every method ends in a keep file. Selectors (rlps, class, f1, linear, sigmoid, retain, literal:
   variants of the config) start from that classifier; small_loss goes by its losses; confident by
   held-out predictions of five folds of such classifiers (cleanlab). small_loss, oracle and random
   keep as many rows as rlps does, the others as many as they find.
4. On each keep file a fresh classifier is trained by the same recipe and scored on --split. All
   take as many steps as `none`, which sees all rows in all epochs of the config: fewer rows are
   seen more often, so that no method gains or loses by the length of its training.
5. Its control is such a classifier on as many rows drawn at random. For --removed=METHODS there is
   one on the rows that were removed, too: if that is as good as its control, the selection has
   dropped what a classifier could use.

Every run is scored at its last step alone, so that nothing is chosen on the scored split. "rlps,
jointly" is the classifier that was trained with its selector. Runs go one after the other; the same
command goes on where it stopped. Prints a table a noise (benchmarks/selection_table.py).

On FER2013, STORE by `python -m data_pipelines.prepare --source=fer2013`; VGG-19 is for a GPU:

    python -m benchmarks.selection --workdir=runs/vgg --config=configs/rlps.py:fer2013 \
        --root=STORE --noises=clean,crops --methods=none,rlps,random --split=public_test
    python -m benchmarks.selection --workdir=runs/six --config=configs/rlps.py:quarter \
        --root=STORE --noises=uniform:0.2,uniform:0.4 --split=public_test

--split=public_test+public_test_seen, with another --workdir, also scores the pictures that the
training has, too. How long a run of VGG-19 takes, with 10 epochs before the 20 alternations:

    time python -m affect_jax.main --config=configs/rlps.py:fer2013 --config.data.root=STORE \
        --config.model.dtype=bfloat16 --config.epochs=30 --config.eval_every_epochs=30 \
        --workdir=runs/timed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from affect_jax.compilation import compilation_cache
from affect_jax.train import Stopped
from benchmarks.selection_case import CLEAN, KNOWN, Case
from benchmarks.selection_table import Row, table
from data_pipelines import noise
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path


def compare(flags: argparse.Namespace, name: str) -> str:
    """Train what is not trained yet for one noise; its table."""
    rows: dict[str, list[Row]] = {}
    for seed in range(flags.seeds):
        for method, row in Case(flags, name, seed).rows():
            rows.setdefault(method, []).append(row)
    return f"Noise {name}, seeds: {flags.seeds}, scored on {flags.split}\n\n{table(rows)}\n"


def main(arguments: Sequence[str]) -> None:
    """Run the comparison; a signal ends it where the same command goes on."""
    flags = _flags(arguments)
    compilation_cache()
    try:
        for name in flags.noises:
            print(compare(flags, name), flush=True)
    except Stopped as stopped:
        print(f"stopped at step {stopped}; the same command goes on.", file=sys.stderr)


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.selection",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add, methods = parser.add_argument, "none,rlps,f1,linear,sigmoid,small_loss,confident"
    add("--workdir", type=user_path, required=True, help="folder of the runs")
    add("--seeds", type=whole(1, 1000), default=3)
    add("--noises", type=_noises, default="crops,uniform:0.4", help="KIND or KIND:SHARE, or clean")
    add("--methods", type=_methods("--methods"), default=f"{methods},oracle,random")
    add(
        "--removed", type=_methods("--removed"), default="rlps", help="whose removed rows are tried"
    )
    add("--config", default="configs/rlps.py", help="of a selector; variants go to every run")
    add("--root", default="", help="store without noise; default: the config's")
    add("--split", default="test", help="what is scored")
    return parser.parse_all(arguments)


def _noises(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        kind, _, share = name.partition(":")
        if kind not in (CLEAN, *noise.SHARES):
            raise UserError(f"--noises: {name!r}: {nearest(kind, (CLEAN, *noise.SHARES))}")
        if name != CLEAN:
            noise.require_share(kind, share)
    return names


def _methods(flag: str) -> Callable[[str], tuple[str, ...]]:
    def methods(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(filter(None, text.split(","))))
        for name in names:
            if name not in KNOWN:
                raise UserError(f"{flag}: {name!r}: {nearest(name, KNOWN)}")
        return names

    return methods


if __name__ == "__main__":
    sys.exit(exit_code(main))
