"""RAF-DB as a data set of tensorflow-datasets.

    import tensorflow_datasets as tfds
    from data_pipelines.datasets.rafdb import RafDb

    builder = RafDb(data_dir="tfds")
    folder = tfds.download.DownloadConfig(manual_dir="FOLDER")
    builder.download_and_prepare(download_config=folder)
    faces = builder.as_data_source("train")        # len(faces), faces[3]["face"]

FOLDER and the splits are those of data_pipelines/sources/rafdb.py; data_pipelines/datasets/faces.py
says what an example has.
"""

from __future__ import annotations

from data_pipelines.datasets.faces import Faces
from data_pipelines.sources import rafdb


class RafDb(Faces):
    """Builder of RAF-DB."""

    SOURCE = rafdb
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "RAF-DB is handed out by its makers. Put into the folder: list_patition_label.txt and the "
        "pictures, Image/aligned/*_aligned.jpg."
    )
