"""Labels of each ABAW edition: the one table of names, kinds, sizes and orders.

Class order is fixed here: it is that of the organisers' headers. No numpy: configs import it.
"""

from __future__ import annotations

from typing import Any

from data_pipelines.errors import UserError

EDITIONS = range(1, 12)
DEFAULT_EDITION = 4

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
ACTION_UNITS = (
    "AU1",
    "AU2",
    "AU4",
    "AU6",
    "AU7",
    "AU10",
    "AU12",
    "AU15",
    "AU23",
    "AU24",
    "AU25",
    "AU26",
)
_ACTION_UNITS_1 = ("AU1", "AU2", "AU4", "AU6", "AU12", "AU15", "AU20", "AU25")

# Labels whose values have known bounds, wherever they come from.
RANGES = {"valence": (-1.0, 1.0), "arousal": (-1.0, 1.0)}


def check_edition(edition: int) -> int:
    """The edition, or a UserError where there was none of that number."""
    if edition not in EDITIONS:
        raise UserError(
            f"edition {edition}: the ABAW challenges known here are "
            f"{EDITIONS.start} to {EDITIONS.stop - 1}."
        )
    return edition


def expressions(edition: int) -> tuple[str, ...]:
    """Expression classes in order: "Other" joined in the third edition."""
    return EXPRESSIONS if edition >= 3 else EXPRESSIONS[:7]


def action_units(edition: int) -> tuple[str, ...]:
    """Action units in order: twelve from the second edition on, eight in the first."""
    return ACTION_UNITS if edition >= 2 else _ACTION_UNITS_1


def definitions(edition: int = DEFAULT_EDITION) -> dict[str, dict[str, Any]]:
    """{label: its kind, size and names}, as `StoreWriter` takes them."""
    check_edition(edition)
    classes, units = expressions(edition), action_units(edition)
    return {
        "valence": dict(kind="values", size=1),
        "arousal": dict(kind="values", size=1),
        "expression": dict(kind="classes", size=len(classes), names=classes),
        "au": dict(kind="labels", size=len(units), names=units),
    }
