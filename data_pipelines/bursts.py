"""Labels of HUME-VB, as the A-VB 2022 challenge has them: names, classes and orders.

    type       classes: the kind of burst
    two        values in [0, 1]: valence and arousal
    high       values in [0, 1]: the intensity of ten emotions
    culture    values in [0, 1]: the same ten, as rated in each of four countries
    country    classes: where the speaker is from; a label, and no task of the challenge

No numpy: configs import it.
"""

from __future__ import annotations

from typing import Any

TYPES = ("Laugh", "Grunt", "Cry", "Pant", "Gasp", "Groan", "Scream", "Other")
COUNTRIES = ("China", "United States", "South Africa", "Venezuela")
AFFECT = ("Valence", "Arousal")
EMOTIONS = (
    "Awe",
    "Excitement",
    "Amusement",
    "Awkwardness",
    "Fear",
    "Horror",
    "Distress",
    "Triumph",
    "Sadness",
    "Surprise",
)
CULTURE = tuple(f"{country}_{emotion}" for country in COUNTRIES for emotion in EMOTIONS)

DEFINITIONS: dict[str, dict[str, Any]] = {
    "type": dict(kind="classes", size=len(TYPES), names=TYPES),
    "two": dict(kind="values", size=len(AFFECT), names=AFFECT),
    "high": dict(kind="values", size=len(EMOTIONS), names=EMOTIONS),
    "culture": dict(kind="values", size=len(CULTURE), names=CULTURE),
    "country": dict(kind="classes", size=len(COUNTRIES), names=COUNTRIES),
}
RANGE = (0.0, 1.0)  # of every value

# Columns of the tables, in the order of train.csv.
FILE_ID, TYPE, COUNTRY, SPLIT = "File_ID", "Voc_Type", "Country", "Split"
COLUMNS = (TYPE, COUNTRY, *AFFECT, *EMOTIONS, *CULTURE)
LABEL_COLUMNS = {
    "type": (TYPE,),
    "two": AFFECT,
    "high": EMOTIONS,
    "culture": CULTURE,
    "country": (COUNTRY,),
}
CLASSES = {TYPE: TYPES, COUNTRY: COUNTRIES}


def column(name: str) -> str:
    """The name of a column as `COLUMNS` has it: the organisers also write "SouthAfrica_..."."""
    return name.strip().replace("SouthAfrica_", "South Africa_")


def file_id(text: str) -> str:
    """The name of a clip: "[00012]", as the organisers write it, is 00012; zeros are kept."""
    text = text.strip()
    return text[1:-1].strip() if text.startswith("[") and text.endswith("]") else text
