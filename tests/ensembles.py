"""Members of ensembles as folders of made-up predictions, and the command that combines them."""

import numpy as np

from affect_jax.ensemble.__main__ import cli
from affect_jax.prediction_files import Predictions
from affect_jax.tasks import Task, to_json

EXPRESSIONS = ("Neutral", "Happiness", "Other")
TASKS = (
    Task("valence", "values", 1, loss="mse", metrics=("ccc", "rmse")),
    Task("expression", "classes", 3, EXPRESSIONS, "ce", ("f1", "confusion")),
    Task("au", "labels", 2, ("AU1", "AU2"), "bce", ("f1_binary", "f1_per_label")),
)
MEANS = ("--values=mean", "--classes=mean", "--labels=vote", "--smooth=none", "--match=no")
FIT, TEST = ("a", "b", "c", "d"), ("e", "f", "g")


def labels_of(track, frames):
    rng = np.random.default_rng(ord(track))
    valence = (0.6 * np.sin(np.arange(frames) / 9 + ord(track)))[:, None]
    return {
        "valence": valence.astype(np.float32),
        "arousal": -valence.astype(np.float32),
        "expression": rng.integers(0, 3, frames).astype(np.int32),
        "au": (rng.random((frames, 2)) < 0.3).astype(np.int8),
    }


def write_member(folder, seed, noise, tracks, labelled=True, tasks=TASKS):
    """A folder of predictions for tracks of 40 frames, with its task table inside."""
    rng, frames = np.random.default_rng(seed), 40
    truth = [labels_of(track, frames) for track in tracks]
    for task in tasks:
        label = np.concatenate([one[task.name] for one in truth])
        clean = (
            np.eye(3)[label] if task.kind == "classes" else label - 0.5 * (task.kind != "values")
        )
        raw = (0.5 if task.kind == "values" else 3) * clean
        raw = raw + noise * rng.normal(size=raw.shape)
        Predictions(
            tracks=np.array(tracks),
            track=np.repeat(np.arange(len(tracks), dtype=np.int32), frames),
            frame=np.tile(np.arange(1, 2 * frames, 2, dtype=np.int32), len(tracks)),
            raw=raw.astype(np.float32),
            groups=np.array(tracks),
            **({"label": label, "label_mask": np.ones(label.shape, bool)} if labelled else {}),
        ).write(folder / f"{task.name}.npz")
    (folder / "tasks.json").write_text(to_json(tasks))
    return str(folder)


def write_members(folder):
    """Three members, predictions/fit and predictions/test each; the folders of their fits."""
    found = []
    for i, noise in enumerate((0.4, 0.8, 2.0)):
        for split, tracks in (("fit", FIT), ("test", TEST)):
            path = folder / f"m{i}" / "predictions" / split
            write_member(path, 10 * i + len(tracks), noise, tracks)
        found.append(str(folder / f"m{i}" / "predictions" / "fit"))
    return found


def run(capsys, *words):
    """(exit code, lines printed, error line)."""
    code = cli([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.strip()
