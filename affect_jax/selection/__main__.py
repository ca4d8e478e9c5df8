r"""Write a keep file: which of a run's training rows another training is to see.

    python -m affect_jax.selection small_loss --run=RUN --rate=.6 --out=KEEP.txt
    python -m affect_jax.selection confident --run=folds:RUNS --out=KEEP.txt
    python -m affect_jax.selection oracle --run=RUN --out=KEEP.txt
    python -m affect_jax.selection random --run=RUN --like=OTHER.txt --seed=1 --out=KEEP.txt
    python -m affect_jax.selection removed --run=RUN --of=OTHER.txt --out=KEEP.txt

and train on it: python -m affect_jax.main ... --config.data.keep=KEEP.txt

METHOD: small_loss, the rows of the lowest loss by the run; confident, those that confident learning
(cleanlab) finds no fault with by predictions of runs that have not seen them, a folder of
--mode=folds; oracle, those that a store of data_pipelines.noise knows to be right; random; removed,
those that another keep file leaves out. How many: --rate, or as many as --like keeps; confident,
oracle and removed know it themselves. Rows are those that RUN is trained on and that have a label
of its one task of classes: clips, or frames fed one by one (config.data.length = 1).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError, nearest, shown
from data_pipelines.keep import write_kept
from data_pipelines.paths import user_path

if TYPE_CHECKING:
    import numpy as np

    from affect_jax.selection.candidates import Candidates

REMOVED = "removed"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.selection",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("method", metavar="METHOD", help="what selects, see above")
    add("--run", required=True, help="a run, or folds:RUNS for predictions held out")
    add("--out", required=True, type=user_path, metavar="KEEP", help="the file that is written")
    add("--rate", type=_share, help="share of the rows that is kept")
    add("--like", metavar="KEEP", help="a keep file: as many rows as it keeps")
    add("--of", metavar="KEEP", help="removed: the keep file whose left out rows are taken")
    add("--seed", type=whole(0, 2**32 - 1), default=0, help="of what is drawn at random")
    return parser


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{shown(text)}: expected a share above 0, up to 1")
    return share


def main(argv: Sequence[str]) -> None:
    """Write one file; raises UserError for the user's mistakes."""
    flags = _parser().parse_all(argv)
    from affect_jax.compilation import compilation_cache
    from affect_jax.selection.candidates import Candidates
    from affect_jax.selection.methods import METHODS
    from affect_jax.selection.quality import quality

    known = (*METHODS, REMOVED)
    if flags.method not in known:
        raise UserError(f"METHOD {flags.method!r}: {nearest(flags.method, known)}")
    if flags.rate and flags.like:
        raise UserError("--rate and --like both say how many rows are kept: give one.")
    if bool(flags.of) != (flags.method == REMOVED):
        raise UserError("--of=KEEP and the method removed go together.")
    if flags.of and (flags.rate or flags.like):
        raise UserError("removed: all that --of leaves out are taken; no --rate and no --like.")
    if not flags.out.parent.is_dir():
        raise UserError(f"--out={flags.out}: no folder {flags.out.parent}.")
    if flags.out.is_dir():
        raise UserError(f"--out={flags.out}: a folder, expected the name of a file.")
    compilation_cache()
    rows = Candidates(flags.run)
    kept = _kept(flags, rows)
    write_kept(flags.out, rows.store, rows.rows, rows.labelled[kept])
    line = f"{flags.out}: {kept.sum():,} of {len(kept):,} rows ({kept.mean():.3f})"
    if rows.right is not None:
        precision, recall = quality(kept, rows.right)
        line += f"; right rows: precision {precision:.3f}, recall {recall:.3f}"
    print(line)


def _kept(flags: argparse.Namespace, rows: Candidates) -> np.ndarray:
    """bool [N] of the rows."""
    from affect_jax.selection.methods import METHODS, chosen

    if flags.method == REMOVED:
        kept = ~rows.kept_by(flags.of)
        if not kept.any():
            raise UserError(f"--of={flags.of}: keeps all rows, so none is removed.")
        return kept
    count = None
    if flags.like:
        count = int(rows.kept_by(flags.like).sum())
    elif flags.rate:
        count = max(round(flags.rate * len(rows.labels)), 1)
    ranking = METHODS[flags.method](rows)
    if count is None and ranking.kept is None:
        raise UserError(f"{flags.method}: how many rows? Give --rate=SHARE or --like=KEEP.")
    kept = chosen(ranking, count, flags.seed)
    if not kept.any():
        raise UserError(f"{flags.method}: keeps no row. Give --rate=SHARE or --like=KEEP.")
    return kept


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv)


if __name__ == "__main__":
    sys.exit(cli())
