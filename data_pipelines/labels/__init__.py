"""Aff-Wild2's annotation files as numpy arrays with masks: no marker value leaves this package.

    from data_pipelines import labels

    track = labels.read_text("VA_Estimation_Challenge/Train_Set/video10_1_left.txt", "va")
    values, mask = track.labels["valence"]          # float32 [T, 1], bool [T, 1]
    tracks = labels.read_mtl("training_set_annotations.txt")

Whatever does not follow the organisers' syntax is a UserError with file and line. A `warn`
callable gets what is worth a look and no error; by default it is `warnings.warn`. The tables of
HUME-VB are read by `labels.bursts`.
"""

from data_pipelines.editions import (
    ACTION_UNITS,
    DEFAULT_EDITION,
    EXPRESSIONS,
    RANGES,
    check_edition,
    definitions,
)
from data_pipelines.labels.folders import edition_of, label_definitions, read_folder
from data_pipelines.labels.lists import read_mtl, read_test_list
from data_pipelines.labels.names import group_of
from data_pipelines.labels.texts import TrackLabels, read_text

__all__ = [
    "ACTION_UNITS",
    "DEFAULT_EDITION",
    "EXPRESSIONS",
    "RANGES",
    "TrackLabels",
    "check_edition",
    "definitions",
    "edition_of",
    "group_of",
    "label_definitions",
    "read_folder",
    "read_mtl",
    "read_test_list",
    "read_text",
]
