"""A store of one feature and a label of each kind, for tests of stores and of writing them."""

import numpy as np

from data_pipelines.store_writer import StoreWriter

# Names that would be paths, or no file's.
PATHS = ("../x", "a/b", "..", "", " ", "a\\b", "x\ny", "x" * 300)
LABELS = {
    "valence": dict(kind="values", size=1),
    "expression": dict(kind="classes", size=3, names=("a", "b", "c")),
    "au": dict(kind="labels", size=2, names=("x", "y")),
}


def writer(path, features=None, labels=LABELS, **provenance):
    features = {"face": dict(size=4)} if features is None else features
    return StoreWriter(path, name="toy", features=features, labels=labels, **provenance)


def add(into, track="a", rows=5, split="train", **more):
    """A track of ones with every label; returns what it added."""
    given = dict(
        features={"face": np.arange(rows * 4).reshape(rows, 4) + 0.5},
        labels={
            "valence": np.linspace(-1, 1, rows),
            "expression": np.arange(rows) % 3,
            "au": np.ones((rows, 2), int),
        },
    )
    given.update(more)
    into.add(track=track, split=split, **given)
    return given
