"""ExpW as a data set of tensorflow-datasets.

    import tensorflow_datasets as tfds
    from data_pipelines.datasets.expw import Expw

    builder = Expw(data_dir="tfds")
    folder = tfds.download.DownloadConfig(manual_dir="FOLDER")
    builder.download_and_prepare(download_config=folder)
    faces = builder.as_data_source("train")        # len(faces), faces[3]["face"]

FOLDER and the splits are those of data_pipelines/sources/expw.py; data_pipelines/datasets/faces.py
says what an example has.
"""

from __future__ import annotations

from data_pipelines.datasets.faces import Faces
from data_pipelines.sources import expw


class Expw(Faces):
    """Builder of ExpW."""

    SOURCE = expw
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "ExpW is handed out by its makers. Put into the folder: label.lst and the pictures, "
        "image/*."
    )
