"""The four tasks of the ABAW multi-task challenge and its score, as plain values for configs.

Names and order are those of data_pipelines/labels/editions.py, repeated: configs import no readers.
"""

import copy
from typing import Any

EXPRESSIONS = (
    "Neutral",
    "Anger",
    "Disgust",
    "Fear",
    "Happiness",
    "Sadness",
    "Surprise",
    "Other",
)
ACTION_UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))

_VALUE = dict(
    kind="values",
    size=1,
    names=(),
    loss="mse",
    metrics=("ccc", "pearson", "rmse"),
    decode="identity",
    weight=1.0,
)

ABAW_TASKS: dict[str, dict[str, Any]] = {
    "valence": dict(_VALUE),
    "arousal": dict(_VALUE),
    "expression": dict(
        kind="classes",
        size=8,
        names=EXPRESSIONS,
        loss="ce",
        metrics=("f1", "f1_fixed", "uar", "precision", "accuracy", "f1_per_class", "confusion"),
        decode="argmax",
        weight=1.0,
    ),
    "au": dict(
        kind="labels",
        size=12,
        names=ACTION_UNITS,
        loss="bce",
        metrics=("f1_binary", "accuracy", "f1_per_label"),
        decode="threshold",
        weight=1.0,
    ),
}

# The challenge's score of each task.
SCORES = {
    "valence": "valence/ccc",
    "arousal": "arousal/ccc",
    "expression": "expression/f1",
    "au": "au/f1_binary",
}

# P_MTL = (CCC_valence + CCC_arousal) / 2 + F1_expression + F1_au: (score, weight) terms.
P_MTL = (
    ("valence/ccc", 0.5),
    ("arousal/ccc", 0.5),
    ("expression/f1", 1.0),
    ("au/f1_binary", 1.0),
)


def abaw_task(name: str, **changes: Any) -> dict[str, Any]:
    """A definition of its own, with fields changed: abaw_task("valence", loss="ccc")."""
    return copy.deepcopy(ABAW_TASKS[name]) | changes
