"""Twin of RAF-DB: cartoon faces with one of seven expressions, in the layout of the data set.

    FOLDER/EmoLabel/list_patition_label.txt         train_00001.jpg 5, of training and test
    FOLDER/Image/aligned/train_00001_aligned.jpg    100 x 100, RGB

The store has them at 48 x 48, and a part of the training list as its validation split. In
references.json the oracle knows which expression a face shows most, and misses what most raters saw
otherwise: on a training split with wrong labels its accuracy is the share of right ones. The linear
baseline sees pixels, in grey at a quarter of the size.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.plan import generator
from data_pipelines.sources.rafdb import CLASSES
from data_pipelines.store import Store
from data_pipelines.twins.faces_latent import make_faces
from data_pipelines.twins.faces_picture import picture

SOURCE = "rafdb"
# Of 1,900 pictures 400 are the validation split, of 190 it is 40.
FLAGS = {"rafdb": {"size": 48, "validation": 0.2105}}
SIZES = {"default": {"train": 1900, "test": 400}, "small": {"train": 190, "test": 40}}
QUALITY = (75, 95)  # of the JPEG files
CELL = 4  # pixels a side that the linear baseline averages

Truth = dict[str, int]  # {picture: number of the expression that it shows most}


def write(name: str, folder: pathlib.Path, size: Mapping[str, int], seed: int) -> Truth:
    """Writes the twin into an empty or new folder.

    Args:
        name: "rafdb".
        size: {list: pictures} of the lists "train" and "test".

    Returns:
        What perfect raters would have seen. It is in no file.
    """
    faces = make_faces(dict(size), seed)
    aligned, labels = folder / "Image" / "aligned", folder / "EmoLabel"
    aligned.mkdir(parents=True)
    labels.mkdir()
    lines = []
    for face in faces:
        rng = generator(seed, "picture", face.name)
        image = Image.fromarray(picture(face, rng))
        image.save(aligned / f"{face.name}_aligned.jpg", quality=int(rng.integers(*QUALITY)))
        lines.append(f"{face.name}.jpg {CLASSES.index(EXPRESSIONS[face.label]) + 1}\n")
    (labels / "list_patition_label.txt").write_text("".join(lines))
    return {face.name: face.truth for face in faces}


def references(store: Store, truth: Mapping[str, int]) -> dict:
    """{split: {"oracle": {score: value}, "linear baseline": {score: value}}}."""
    labels = np.asarray(store.label("expression")[0])
    guesses = {
        "oracle": np.array([truth[track.name] for track in store.tracks]),
        "linear baseline": _linear(store, labels),
    }
    return {
        split: {
            who: _scores(labels[store.split(split)], guess[store.split(split)])
            for who, guess in guesses.items()
        }
        for split in store.splits
    }


def _scores(labels: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    """Accuracy, mean recall of the classes, and mean F1 of the classes."""
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    mean = dict(average="macro", zero_division=0)
    return {
        "expression/accuracy": float(accuracy_score(labels, guess)),
        "expression/uar": float(recall_score(labels, guess, **mean)),
        "expression/f1": float(f1_score(labels, guess, **mean)),
    }


def _linear(store: Store, labels: np.ndarray) -> np.ndarray:
    """int [N]: the classes of all pictures, by a model fitted to the training split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    grey = store.feature("face").mean(-1)
    side = grey.shape[1] // CELL
    x = grey.reshape(len(grey), side, CELL, side, CELL).mean((2, 4)).reshape(len(grey), -1)
    train = store.split("train")
    with threadpool_limits(1):
        x = StandardScaler().fit(x[train]).transform(x)
        return LogisticRegression(max_iter=300, C=0.01).fit(x[train], labels[train]).predict(x)
