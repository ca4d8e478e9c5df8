"""Which images show an open mouth: a csv file a track, with the columns frame and mouth_open.

    ,frame,surface_area_mouth,mouth_open
    0,00001,0.0101,1
    1,00002,0.0004,0

Frames are 1-based image numbers; those without a face have no row.
"""

from __future__ import annotations

import pathlib

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.labels.csv_rows import read_rows, whole
from data_pipelines.labels.lines import Warn
from data_pipelines.labels.rates import LONGEST


def read_mouth(path: pathlib.Path, *, warn: Warn) -> tuple[np.ndarray, np.ndarray]:
    """(face, is_open) of a track, bool [T] each up to its last row; index i is image i + 1."""
    flags: dict[int, bool] = {}
    for where, row in read_rows(path, ("frame", "mouth_open"), warn=warn):
        image = whole(where, "frame", row["frame"], least=1, most=LONGEST)
        if row["mouth_open"] not in ("0", "1", "0.0", "1.0", "False", "True"):
            raise UserError(f"{where}: mouth_open is {row['mouth_open'][:60]!r}, expected 0 or 1.")
        if image in flags:
            raise UserError(f"{where}: frame {image} comes twice.")
        flags[image] = row["mouth_open"] in ("1", "1.0", "True")
    images = np.array(list(flags), np.int64)
    face, is_open = np.zeros((2, images.max(initial=0)), bool)
    face[images - 1] = True
    is_open[images - 1] = list(flags.values())
    return face, is_open
