"""What the builders of faces share: examples are the rows of the store, read by its source."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from data_pipelines import faces, images
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.faces import Face
from data_pipelines.report import Report


class Faces(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of a data set of faces; its config "skip_bad" leaves bad pictures out.

    An example: picture, its name; face uint8 [S, S, 3], of grey pictures [S, S]; expression, the
    number in EXPRESSIONS (data_pipelines/expressions.py), -1 where it is missing; group, which
    identical pictures, or faces of one picture, share. Flags of the source are at their defaults.

    Attributes:
        SOURCE: the module of data_pipelines/sources, whose `read` lists the pictures.
        GREY: pictures are grey.
        notes: what was missing or odd when it was prepared, numbers of pictures that differ from
            those of the published set among it.
    """

    SOURCE: ModuleType
    GREY = False
    # Else it is looked for through importlib_resources, which tensorflow-datasets does not bring.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="default", description="Every picture must be usable."),
        tfds.core.BuilderConfig(name="skip_bad", description="Bad pictures are left out."),
    ]

    def __init__(self, *, file_format: str = "array_record", **keywords: Any):
        super().__init__(file_format=file_format, **keywords)
        self.notes: list[str] = []

    def _info(self) -> tfds.core.DatasetInfo:
        (face,) = images.features(self._size, self.GREY).values()
        features = {
            "picture": tfds.features.Text(),
            "face": tfds.features.Tensor(shape=face["shape"], dtype=np.uint8),
            "expression": tfds.features.ClassLabel(names=EXPRESSIONS),
            "group": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.SOURCE.__doc__ or "").splitlines()[0],
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # the order of the store
        )

    @property
    def _size(self) -> int:
        return self.SOURCE.FLAGS["size"]["default"]

    def _split_generators(self, downloads: tfds.download.DownloadManager) -> dict[str, Any]:
        report = Report(sys.stderr)
        self.notes = report.notes
        folder, skip_bad = (
            pathlib.Path(downloads.manual_dir),
            self.builder_config.name == "skip_bad",
        )
        found = self.SOURCE.read(folder, report, skip_bad=skip_bad)
        return {
            split: self._generate_examples([face for face in found if face.split == split], report)
            for split in faces.splits(found)
        }

    def _generate_examples(
        self, found: list[Face], report: Report
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        skip_bad = self.builder_config.name == "skip_bad"
        split = found[0].split
        how = dict(grey=self.GREY, skip_bad=skip_bad)
        for face, picture in faces.pixels(found, report, split, self._size, **how):
            yield (
                face.name,
                {
                    "picture": face.name,
                    "face": picture,
                    "expression": -1 if face.label is None else face.label,
                    "group": face.group,
                },
            )
