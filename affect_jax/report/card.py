"""README.md of a run folder: what was trained, on what, how well, how to use it, and its limits.

Everything comes from the run folder and the store, and nothing from the clock: the same run gives
the same text.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import quote

import numpy as np

from affect_jax import config as configs
from affect_jax.prediction_files import ORIGIN, splits
from affect_jax.report import card_scores, selection
from affect_jax.report.markdown import cell, table
from affect_jax.run import Run
from affect_jax.shown import as_argument
from affect_jax.tasks import Task
from affect_jax.version import __version__
from data_pipelines.files import read_json
from data_pipelines.replace_file import replace_text
from data_pipelines.store import AnyStore

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
NOT_STATED = "not stated"

LIMITS = """\
For research on affect recognition: training, comparing and combining models, and predicting the
labels that annotators would give to data like this.

- Labels of affect are what annotators perceived in a face or voice. They are not what a person
  felt, and annotators differ. The scores measure agreement with these labels and nothing else.
- Do not use the predictions to judge, select, monitor or diagnose people.
- Scores hold for data like the data above. Other people, cultures, languages, cameras and
  situations have not been tested here; test before use.
- A feature extractor that was trained on labels of this data has seen answers: where "trained on"
  above names this data, scores on those splits are too good. Where it says "not stated", check.
- Scores on synthetic data show that the software works. They say nothing about people.
- Choices (epoch, settings) that were made on a split make its scores too good."""
CHOSEN = " The checkpoint was\n  chosen on the evaluation split named above."

FILES = (
    ("config.json", "all settings, as resolved"),
    ("tasks.json", "the task table: class order, decoding"),
    ("origin.json", "which step of which run, and which data"),
    ("scores.json", "the scores of labelled data"),
    ("data.json", "hashes of the features and labels that it was trained on"),
    ("statistics.npz", "mean and deviation of the training features"),
    ("metrics.jsonl", "losses and scores, a line an evaluation"),
    ("checkpoints", "weights and training state"),
    ("predictions", "`<split>/<task>.npz`: track, frame, raw output, labels; `scores.json`"),
    ("selection", "`selection.csv`: P(retain) of each training row; `keep.txt`, `history.npz`"),
    ("plots", "pictures of all this"),
    ("events", "TensorBoard: times and rates too"),
)


def write(
    run_folder: str | os.PathLike,
    store: AnyStore,
    *,
    step: int,
    parameters: int,
    out: pathlib.Path | None = None,
) -> pathlib.Path:
    """Write the card of a run, or of predictions that were written elsewhere; returns its path.

    Args:
        run_folder: with config.json and tasks.json; what else it holds is described.
        store: what it was trained on; of `out`, what was predicted.
        step: of the checkpoint that the predictions in the folder were made with.
        parameters: how many numbers the model has learnt.
        out: a folder of predictions, which gets the card; default the run.
    """
    run, folder = Run(run_folder), out or Run(run_folder).folder
    config, tasks = configs.read(run.config_file), run.read_tasks()
    if out is None:
        places = {split: run.predictions / split for split in splits(run.predictions)}
        title, when, use = "model and data card", "when the training ended", _uses(config)
    else:
        split = read_json(out / ORIGIN)["split"]
        places, use = {split: out}, dict.fromkeys(split.split("+"), "predicted")
        title, when = f"predictions of {split}", "with the predictions"
    parts = [
        f"# {config.name or run.folder.name}: {title}",
        f"Written by affect_jax {when}. All numbers come from the files beside it.",
        _model(run, config, tasks, step, parameters),
        card_scores.scores(places, config, tasks, store, step),
        card_scores.best_epochs(run, config),
        selection.section(run) if out is None else "",
        _pictures(folder),
        _data(use, config, tasks, store),
        "## Intended use and limits\n\n" + LIMITS + CHOSEN * (config.checkpoint == "best"),
        _commands(run),
        _versions(),
        _files(folder),
    ]
    path = folder / "README.md"
    text = "\n\n".join(part for part in parts if part) + "\n"
    replace_text(path, text.encode(errors="replace").decode())  # a path may hold what is no text
    return path


def _fed(data: Any) -> str:
    """A row, in words."""
    if data.clips:
        return f"clips, {data.seconds:g} seconds of each" if data.seconds else "whole clips"
    size = f"{data.seconds:g} seconds" if data.seconds else f"up to {data.length} frames"
    return f"{size} at once"


def _model(run: Run, config: Any, tasks: Sequence[Task], step: int, parameters: int) -> str:
    records = run.records()
    epochs = f"{records[-1]['epoch']} of {config.epochs}" if records else f"0 of {config.epochs}"
    facts = {
        "config": f"`{config.name}`",
        "system": f"`{os.path.basename(config.system)}`",
        "model": f"`{config.model.name}`, all sizes in config.json",
        "parameters": f"{parameters:,}",
        "inputs": ", ".join(f"`{name}`" for name in config.model.features),
        "fed as": f"{_fed(config.data)}, normalisation `{config.data.normalise}`",
        "epochs": epochs,
        "checkpoint": f"step {step} (`{config.checkpoint}`)",
        "seed": str(config.seed),
    }
    heads = ("task", "kind", "classes, labels or size", "loss", "weight", "scores")
    rows = []
    for t in tasks:
        size = ", ".join(t.names) or str(t.size)
        rows.append((t.name, t.kind, size, t.loss, f"{t.weight:g}", ", ".join(t.metrics)))
    return f"## Model\n\n{table(('', ''), facts.items())}\n\n{table(heads, rows)}"


def _uses(config: Any) -> dict[str, str]:
    """{split: what the run used it for}."""
    use = {name: "training" for name in config.data.train_split.split("+")}
    for name in filter(None, config.data.split.split("+")):
        use[name] = f"{use[name]} and evaluation" if name in use else "evaluation"
    return use


def _data(use: Mapping[str, str], config: Any, tasks: Sequence[Task], store: AnyStore) -> str:
    tables = _splits(use, tasks, store), _features(config, store), _provenance(store)
    return "\n\n".join(["## Data", f"Store `{store.name}`.", *tables])


def _splits(use: Mapping[str, str], tasks: Sequence[Task], store: AnyStore) -> str:
    labelled = {t.name: _labelled(store, t.name) for t in tasks if t.name in store.labels}
    lines = []
    for split in dict.fromkeys((*use, *store.splits)):
        tracks = [track for track in store.tracks if track.split == split]
        groups, frames = {track.group for track in tracks}, sum(track.frames for track in tracks)
        line = [split, use.get(split, "not used"), len(tracks), len(groups), f"{frames:,}"]
        for mask in labelled.values():
            line.append(f"{sum(mask[t.span].sum() for t in tracks):,}")
        lines.append(line)
    heads = ("split", "used for", "tracks", "groups", "frames", *(f"with {n}" for n in labelled))
    return table(heads, lines)


def _features(config: Any, store: AnyStore) -> str:
    lines = []
    for feature in store.features.values():
        extractor = feature.extractor or NOT_STATED
        trained_on = ", ".join(feature.trained_on) or NOT_STATED
        used = "yes" if feature.name in config.model.features else "no"
        lines.append((feature.name, feature.size, extractor, trained_on, used))
    return table(("feature", "size", "extractor", "extractor trained on", "model input"), lines)


def _provenance(store: AnyStore) -> str:
    """The rest of the manifest; notes as a list, hashes as a table."""
    known = ("format", "name", "features", "labels", "tracks", "sha256", "notes")
    provenance = {k: v for k, v in store.manifest.items() if k not in known}
    if not {"license", "licence"} & provenance.keys():
        provenance["licence"] = NOT_STATED
    parts = [table(("provenance", ""), [(k, _plain(v)) for k, v in sorted(provenance.items())])]
    notes = store.manifest.get("notes") or []
    if notes:
        notes = [notes] if isinstance(notes, str) else notes
        parts.append("Notes of its preparation:\n\n" + "\n".join(f"- {cell(x)}" for x in notes))
    hashes = {f"features/{f.name}.npy": f.sha256 for f in store.features.values()}
    hashes |= {f"labels/{label.name}.npy": label.sha256 for label in store.labels.values()}
    hashes |= store.manifest.get("sha256", {})
    rows = [(f"`{file}`", f"`{str(x)[:12]}`") for file, x in sorted(hashes.items()) if x]
    if rows:
        parts.append(table(("file of the store", "sha256, first 12 digits"), rows))
    return "\n\n".join(parts)


def _labelled(store: AnyStore, name: str) -> np.ndarray:
    """bool [N]: frames with a label of this name, whole or in part."""
    mask = store.label(name)[1]
    return mask if mask.ndim == 1 else mask.any(-1)


def _commands(run: Run) -> str:
    program = f"python -m affect_jax.main --workdir={as_argument(run.folder)}"
    return "\n".join(
        [
            "## Use",
            "",
            "```",
            "# go on with an interrupted training",
            program,
            "# score a split that has labels",
            f"{program} --mode=evaluate --config.data.root=STORE --config.data.split=SPLIT",
            "# predict a split, labelled or not",
            f"{program} --mode=predict --config.data.root=STORE --config.data.split=SPLIT",
            "```",
            "",
            "Without the two data flags: the store and the evaluation split of the training. With "
            "`--output=FOLDER` nothing is written here.",
        ]
    )


def _versions() -> str:
    versions = {"affect_jax": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # part of an installation without training
    return "## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in versions.items())


def _pictures(folder: pathlib.Path) -> str:
    files = sorted((folder / "plots").glob("*.png"))
    lines = [
        f"![{cell(file.stem.replace('_', ' '))}](plots/{quote(os.fsencode(file.name))})"
        for file in files
    ]
    return "## Pictures\n\n" + "\n\n".join(lines) if lines else ""


def _files(folder: pathlib.Path) -> str:
    rows = [(f"`{name}`", what) for name, what in FILES if (folder / name).exists()]
    if (folder / ORIGIN).is_file():
        rows.insert(0, ("`<task>.npz`", "track, frame, raw output, labels"))
    return "## Files\n\n" + table(("file", "what it holds"), rows)


def _plain(value: Any) -> str:
    """A value of the manifest in words."""
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value)
