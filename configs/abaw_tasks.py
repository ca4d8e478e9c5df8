"""The four tasks of the ABAW multi-task challenge and its score, as plain values for configs."""

import copy
from typing import Any

from data_pipelines.editions import definitions

_VALUE = dict(loss="mse", metrics=("ccc", "pearson", "rmse"), decode="identity")
_SCORED = {
    "valence": _VALUE,
    "arousal": _VALUE,
    "expression": dict(
        loss="ce",
        metrics=("f1", "f1_fixed", "uar", "precision", "accuracy", "f1_per_class", "confusion"),
        decode="argmax",
    ),
    "au": dict(
        loss="bce",
        metrics=("f1_binary", "accuracy", "f1_per_label"),
        decode="threshold",
    ),
}
ABAW_TASKS: dict[str, dict[str, Any]] = {
    name: {"names": (), "weight": 1.0} | label | _SCORED[name]
    for name, label in definitions().items()
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
