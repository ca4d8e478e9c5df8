r"""Score a run on every subset of its modalities: what is lost without sound, or without the face.

    python -m affect_jax.subsets RUN [--split=test] [--config.data.root=STORE]

Nothing is trained: the modalities that are not in a subset are hidden from the model, as if the
data had them nowhere. All labelled frames are scored, also those where nothing of the subset
exists. RUN/subsets/ has SPLIT.csv, SPLIT.md and SPLIT.png.

A model of the family "fusion" has the modalities of config.model.streams, and is made for this by
config.model.modality_dropout; of another that reads features of frames, each feature is one. Of
more than six, subsets are each alone, all but each, and all.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from affect_jax import config as configs
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.paths import require_name, user_path
from data_pipelines.replace_file import replace_text

if TYPE_CHECKING:
    from affect_jax.run import Run
    from affect_jax.systems.supervised import Supervised
    from data_pipelines.store import AnyStore

MOST = 6  # modalities of which every subset is scored
_SHOWN = "shown"
Subset = tuple[str, ...]


def subsets_of(modalities: Sequence[str]) -> list[Subset]:
    """Subsets that are scored, small ones first, all modalities last."""
    count = len(modalities)
    sizes = range(1, count + 1) if count <= MOST else (1, count - 1, count)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def modalities_of(system: Supervised) -> dict[str, tuple[str, ...]]:
    """{modality: its streams}; UserError for a model that reads no features of frames."""
    from affect_jax.models.fusion import streams_of

    model = system.config.model
    if "streams" in model:
        return streams_of(model)
    if not getattr(system.model, "of_frames", False):
        raise UserError(
            f"config.model.name = {model.name!r}: reads no features of frames, of which some could "
            "be left out."
        )
    return {name: (name,) for name in system.data.features}


def lacking(store: AnyStore, modalities: Mapping[str, tuple[str, ...]], split: str) -> list[str]:
    """Modalities of which no track of the split has anything."""

    def has(name: str) -> bool:
        mask = store.feature_mask(name)
        rows = (store.rows(name, track) for track in store.split(split))
        return any(r.stop > r.start and (mask is None or mask[r].any()) for r in rows)

    return [modality for modality, names in modalities.items() if not all(map(has, names))]


class Hiding:
    """A model from which modalities are hidden: {modality: bool} beside its variables, "shown"."""

    def __init__(self, model: Any, modalities: Mapping[str, tuple[str, ...]]):
        self._model, self._modalities = model, modalities

    def apply(self, variables: Mapping[str, Any], batch: Mapping[str, Any], **options: Any) -> Any:
        """The model's output for what is shown of the batch."""
        own = dict(variables)
        shown, masks = own.pop(_SHOWN), dict(batch["inputs_mask"])
        for modality, names in self._modalities.items():
            for name in names:
                masks[name] = masks.get(name, batch["mask"]) & shown[modality]
        return self._model.apply(own, {**batch, "inputs_mask": masks}, **options)


def scores(
    system: Supervised, variables: Mapping[str, Any], split: str
) -> Iterator[tuple[Subset, dict[str, float]]]:
    """(subset, its scores that are one number); one program serves all of them."""
    import jax.numpy as jnp

    from affect_jax.predict import Predictor
    from affect_jax.scoring import Total, score
    from affect_jax.tasks import scored

    modalities, model = modalities_of(system), system.model
    system.model = Hiding(model, modalities)
    try:
        predictor = Predictor(system, split)
        for subset in subsets_of(tuple(modalities)):
            shown = {name: jnp.asarray(name in subset) for name in modalities}
            tracks = predictor.tracks({**variables, _SHOWN: shown})
            values = score(scored(system.tasks), system.data.store, tracks)
            values = Total.of(system.config).added_to(values)
            yield subset, {n: float(x) for n, x in values.items() if not isinstance(x, list)}
    finally:
        system.model = model


def write(
    folder: pathlib.Path,
    split: str,
    found: Mapping[Subset, Mapping[str, float]],
    system: Supervised,
) -> str:
    """The table, the picture, and the numbers as csv; returns the table."""
    from affect_jax.report import markdown, style
    from affect_jax.report.figure_subsets import draw_subsets

    folder.mkdir(exist_ok=True)
    every, text = max(found, key=len), io.StringIO()
    names = list(found[every])
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*every, *names])
    for subset, values in found.items():
        cells = [int(name in subset) for name in every]
        writer.writerow([*cells, *(values[name] for name in names)])
    replace_text(folder / f"{split}.csv", text.getvalue())
    total = system.config.total.name
    firsts = [f"{task.name}/{task.metrics[0]}" for task in system.tasks if task.metrics]
    shown = [name for name in (total, *firsts) if name in names]
    labelled = {" + ".join(subset): values for subset, values in found.items()}
    rows = [
        (
            label,
            *(markdown.score(values[name]) for name in shown),
            markdown.score(values[shown[0]] - found[every][shown[0]]),
        )
        for label, values in labelled.items()
    ]
    table = markdown.table(("modalities", *shown, f"{shown[0]} beside all"), rows)
    replace_text(folder / f"{split}.md", f"{table}\n")
    title = f"{folder.parent.name} on {split}: subsets of its modalities"
    style.save(draw_subsets(labelled, shown, title), folder / f"{split}.png")
    return table


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.subsets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a trained run")
    add("--split", default="", help="what is scored (default: as the config has it)")
    add("--checkpoint", default="", metavar="WHICH", help="best, last, epoch:17 or a score "
        "(default: as the config has it)")  # fmt: skip
    add("--config.data.root", dest="root", default="", metavar="STORE", help="other data")
    return parser


def _config(run: Run, flags: argparse.Namespace) -> Any:
    """The run's config, with what the command line changes."""
    config = configs.read(run.config_file)
    given = {"data.root": flags.root, "data.split": flags.split, "checkpoint": flags.checkpoint}
    configs.override(config, [(key, text) for key, text in given.items() if text])
    config = configs.absolute_paths(config)
    if not config.data.split:
        raise UserError("--split: the config names none. Name the split that is scored.")
    if config.data.feeder == "auto":
        config.data.feeder = "resident"  # it is read once for every subset
    return config


def main(argv: Sequence[str]) -> None:
    """Run one command; raises UserError for the user's mistakes."""
    flags = _parser().parse_all(argv)
    from affect_jax.compilation import compilation_cache
    from affect_jax.disk import writing
    from affect_jax.restore import system_of, weights
    from affect_jax.run import Run
    from affect_jax.scoring import require_labels
    from affect_jax.tasks import scored

    compilation_cache()
    run = Run(user_path(flags.run))
    run.require()
    config = _config(run, flags)
    system = system_of(run, config)
    split, store = config.data.split, system.data.store
    store.split(split)
    require_name(split, f"{store.path}: split")
    require_labels(scored(system.tasks), store, split)
    for modality in lacking(store, modalities_of(system), split):
        print(
            f"{modality}: split {split!r} has none of it; by itself it is scored as nothing",
            file=sys.stderr,
        )
    if not os.access(run.folder, os.W_OK | os.X_OK):
        raise UserError(f"{run.folder}: cannot be written.")
    step, variables = weights(system, run, config.checkpoint)
    print(f"step {step} of {run.folder} on split {split!r} of {store.path}", file=sys.stderr)
    found = {}
    for subset, values in scores(system, variables, split):
        found[subset] = values
        print(f"{' + '.join(subset)}", file=sys.stderr, flush=True)
    folder = run.folder / "subsets"
    with writing(folder):
        print(write(folder, split, found, system))
    print(f"table, numbers and picture: {folder / split}.md, .csv and .png", file=sys.stderr)


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv)


if __name__ == "__main__":
    sys.exit(cli())
