"""FER2013 as a data set of tensorflow-datasets.

    import tensorflow_datasets as tfds
    from data_pipelines.datasets.fer2013 import Fer2013

    builder = Fer2013(data_dir="tfds")
    folder = tfds.download.DownloadConfig(manual_dir="FOLDER")
    builder.download_and_prepare(download_config=folder)
    faces = builder.as_data_source("train")        # len(faces), faces[3]["face"]

FOLDER and the splits are those of data_pipelines/sources/fer2013.py; what an example has is said in
data_pipelines/datasets/faces.py.
"""

from __future__ import annotations

from data_pipelines.datasets.faces import Faces
from data_pipelines.sources import fer2013


class Fer2013(Faces):
    """Builder of FER2013."""

    SOURCE = fer2013
    GREY = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "FER2013 is that of the contest of 2013. Put into the folder: fer2013.csv, or train.npz "
        "and public_test.npz, or pictures such as train/angry/1.jpg."
    )
