"""Selections of rows, as a run with a selector writes them: tables for its card, and pictures.

selection/selection.csv           of the training rows; selection_rows.png, selection_faces.png
selection/history.npz             of the turns; selection_turns.png
predictions/<split>/selection.csv of a split that was predicted; selection_<split>.png
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from affect_jax import config as configs
from affect_jax.report import markdown
from affect_jax.report.figure_selection import Face, draw_faces, draw_rows, draw_turns
from affect_jax.run import Run
from affect_jax.selection.quality import quality, right_rows
from affect_jax.selection_files import FOLDER, HISTORY, KEEP, SELECTION
from affect_jax.shown import as_argument
from affect_jax.tasks import scored
from data_pipelines.errors import UserError
from data_pipelines.files import Npz, readable
from data_pipelines.join import open_store
from data_pipelines.noise import CLEAN, CROP_KINDS, KIND, LABEL_KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 3  # pictures of each label that are retained, and that are removed


@dataclasses.dataclass(frozen=True)
class Selection:
    """Rows that a policy has retained or removed.

    Attributes:
        track, frame: [N], names, and image numbers (None: a row is a track).
        label, prediction: [N], names of the given and of the likeliest class.
        p_retain: float [N].
        retained: bool [N].
        kind: [N], names of the kind of noise; None where the store does not say.
        right: bool [N], rows without noise; None where the store does not say.
    """

    track: np.ndarray
    frame: np.ndarray | None
    label: np.ndarray
    prediction: np.ndarray
    p_retain: np.ndarray
    retained: np.ndarray
    kind: np.ndarray | None
    right: np.ndarray | None

    @classmethod
    def read(cls, file: pathlib.Path) -> Selection:
        """The selection of a file; UserError where it is none."""
        with readable(file, "a selection as a run writes it", "Predict the split again."):
            with file.open(encoding="utf-8", newline="") as opened:
                rows = list(csv.DictReader(opened))
            if not rows:
                raise ValueError("no row in it")
            columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
            label, (clean, kind) = columns["label"], (_whole(columns, n) for n in (CLEAN, KIND))
            return cls(
                columns["track"],
                columns["frame"].astype(int) if "frame" in columns else None,
                label,
                columns["prediction"],
                columns["p_retain"].astype(float),
                columns["retained"].astype(int).astype(bool),
                kind,
                None if (label == "").any() else right_rows(label, clean, kind),
            )

    def groups(self) -> dict[str, np.ndarray]:
        """{kind of noise: bool [N]}; right and wrong rows where there is no kind; all rows last."""
        named: dict[str, np.ndarray] = {}
        if self.kind is not None:
            known = (*CROP_KINDS, *LABEL_KINDS)
            order = sorted(set(self.kind.tolist()), key=lambda k: ((*known, k).index(k), k))
            named |= {kind: self.kind == kind for kind in order}
        elif self.right is not None:
            named |= {"right": self.right, "wrong": ~self.right}
        named = {name: rows for name, rows in named.items() if rows.any()}
        return named | {"all": np.ones(len(self.label), bool)}


def _whole(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """A column in which all rows have something, else None."""
    column = columns.get(name)
    return None if column is None or (column == "").any() else column


def of_training(run: Run) -> Selection | None:
    """The selection of a run's training rows, where it has one."""
    file = run.folder / FOLDER / SELECTION
    return Selection.read(file) if file.is_file() else None


def pictures(run: Run) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    """(file, how it is drawn) of what is known of the training rows."""
    history, title = run.folder / FOLDER / HISTORY, run.folder.name
    if history.is_file():
        yield "selection_turns.png", lambda: draw_turns(_history(history), f"{title}: turns")
    selected = of_training(run)
    if selected is not None:
        yield "selection_rows.png", lambda: _rows(run, selected, f"{title}: training rows")
        about = f"{title}: given label above, proposed label and P(retain) below"
        yield "selection_faces.png", lambda: _faces(run, selected, about)


def pictures_of_split(
    run: Run, split: str, folder: pathlib.Path
) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    """(file, how it is drawn) of the selection beside predictions, where there is one."""
    if (folder / SELECTION).is_file():
        selected = Selection.read(folder / SELECTION)
        yield f"selection_{split}.png", lambda: _rows(run, selected, f"rows of {split}")


def _history(file: pathlib.Path) -> dict[str, np.ndarray]:
    with Npz(file, "the history of a selector", "Train the run again.") as arrays:
        return dict(arrays)


def _classes(run: Run, selected: Selection) -> tuple[str, ...]:
    """Names of the labels, in the order of the task where it has names."""
    (task,) = (task for task in scored(run.read_tasks()) if task.kind == "classes")
    return task.names or tuple(sorted({*selected.label.tolist()}, key=lambda n: (len(n), n)))


def _rows(run: Run, selected: Selection, title: str) -> Figure:
    return draw_rows(
        {name: selected.p_retain[rows] for name, rows in selected.groups().items()},
        _keep_rates(selected, _classes(run, selected)),
        _classes(run, selected),
        title=f"{title}: {selected.retained.sum():,} of {len(selected.label):,} retained",
    )


def _keep_rates(
    selected: Selection, classes: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{rows: (share retained [C], number [C])} by label; the share is NaN where there is no row.

    Of all rows and, where that is known, of the right and of the wrong ones.
    """
    parts = {"all": np.ones(len(selected.label), bool)}
    if selected.right is not None:
        parts |= {"right": selected.right, "wrong": ~selected.right}
    rates = {}
    for name, rows in parts.items():
        of_class = np.array([rows & (selected.label == one) for one in classes])
        counts, kept = of_class.sum(1), (of_class & selected.retained).sum(1)
        rates[name] = np.where(counts > 0, kept / np.maximum(counts, 1), np.nan), counts
    return rates


def _faces(run: Run, selected: Selection, title: str) -> Figure | None:
    """By given label, the pictures of the highest P(retain) retained and the lowest removed."""
    config = configs.read(run.config_file)
    store = open_store(config.data.root)
    given = (store.features[n] for n in config.model.features if n in store.features)
    names = [feature.name for feature in given if feature.is_picture and feature.dtype == "uint8"]
    if not names:
        return None
    pixels, index = store.feature(names[0]), {track.name: track for track in store.tracks}

    def face(row: int) -> Face:
        track = index[str(selected.track[row])]
        place = track.offset
        if selected.frame is not None:
            place += int(np.searchsorted(store.frames[track.span], selected.frame[row]))
        right = None if selected.right is None else bool(selected.right[row])
        proposed = str(selected.prediction[row])
        return Face(np.asarray(pixels[place]), proposed, float(selected.p_retain[row]), right)

    order = np.argsort(selected.p_retain, kind="stable")
    columns: dict[str, tuple[list[Face], list[Face]]] = {}
    for name in _classes(run, selected):
        own = order[selected.label[order] == name]
        kept, removed = own[selected.retained[own]][::-1], own[~selected.retained[own]]
        columns[name] = [face(i) for i in kept[:SHOWN]], [face(i) for i in removed[:SHOWN]]
    return draw_faces(columns, SHOWN, title=title)


# --- the card ------------------------------------------------------------------------------------


def section(run: Run) -> str:
    """Section "Selection" of the run's card; empty where it has selected nothing."""
    try:
        selected = of_training(run)
    except UserError as error:
        return f"## Selection\n\nCannot be shown. {error}"
    if selected is None:
        return ""
    parts = ["## Selection", _retained(selected), _by_group(selected)]
    parts.append("Share retained by given label:")
    parts.append(_by_class(selected, _classes(run, selected)))
    if selected.retained.any() and not selected.retained.all():
        parts.append(_removed_test(as_argument(run.folder)))
    return "\n\n".join(parts)


def _removed_test(run: str) -> str:
    return (
        "Does the selection drop what a classifier could use? Train on what was removed, and on as "
        "many rows drawn at random; if the first is as good, it does:\n\n```\n"
        f"python -m affect_jax.selection removed --run={run} --of={run}/{FOLDER}/{KEEP} "
        f"--out=removed.txt\npython -m affect_jax.selection random --run={run} "
        "--like=removed.txt --out=random.txt\n```"
    )


def _retained(selected: Selection) -> str:
    kept, total = int(selected.retained.sum()), len(selected.label)
    if not kept:
        return (
            f"None of {total:,} training rows is retained: in a walk in the order of the store "
            f"P(retain) is below 1/2 for all. {FOLDER}/{KEEP} is empty, and there is nothing to "
            "train on."
        )
    text = (
        f"{kept:,} of {total:,} training rows are retained ({kept / total:.3f}): those with "
        "P(retain) of at least 1/2 in a walk in the order of the store."
    )
    if selected.right is None:
        return text
    found = quality(selected.retained, selected.right)
    return (
        f"{text} A row is right where its label is the one before noise and its picture whole. "
        f"Of the retained rows {markdown.score(found.precision)} are right (precision); of "
        f"all rows {selected.right.mean():.3f} are, which is the precision of a set drawn at "
        f"random. Of the right rows {markdown.score(found.recall)} are retained (recall)."
    )


def _by_group(selected: Selection) -> str:
    rows = []
    for name, of in selected.groups().items():
        p, kept = selected.p_retain[of], selected.retained[of]
        rows.append((name, f"{of.sum():,}", markdown.score(p.mean()), markdown.score(kept.mean())))
    return markdown.table(("rows", "number", "mean P(retain)", "share retained"), rows)


def _by_class(selected: Selection, classes: tuple[str, ...]) -> str:
    rows = []
    for name, (share, counts) in _keep_rates(selected, classes).items():
        cells = [f"{markdown.score(x)} of {n:,}" if n else "" for x, n in zip(share, counts)]
        rows.append((name, *cells))
    return markdown.table(("rows", *classes), rows)
