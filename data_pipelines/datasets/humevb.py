"""HUME-VB vocal bursts as a data set of tensorflow-datasets.

    import tensorflow_datasets as tfds
    from data_pipelines.datasets.humevb import HumeVb

    builder = HumeVb(data_dir="tfds")
    folder = tfds.download.DownloadConfig(manual_dir="FOLDER")
    builder.download_and_prepare(download_config=folder)
    clips = builder.as_data_source("train")        # len(clips), clips[3]["audio"]

An example: clip, its name; audio int16 [S] at 16 kHz, a float is the number / 32768; type and
country, numbers of classes, -1 where they are missing; two [2], high [10] and culture [40] float32,
NaN where they are missing (data_pipelines/bursts.py has names and orders).
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from data_pipelines.bursts import DEFINITIONS
from data_pipelines.labels.bursts import SPLITS, Clips
from data_pipelines.report import Report
from data_pipelines.sources import humevb


class HumeVb(tfds.core.GeneratorBasedBuilder):
    """Builder of HUME-VB; its config "skip_bad" leaves broken clips out instead of stopping.

    Attributes:
        notes: what was missing or odd when it was prepared.
    """

    # Else it is looked for through importlib_resources, which tensorflow-datasets does not bring.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="default", description="Every clip must be usable."),
        tfds.core.BuilderConfig(name="skip_bad", description="Bad clips are left out and named."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "HUME-VB is handed out by its makers. Put into the folder: labels/data_info.csv and "
        "labels/type_info.csv, or train.csv, val.csv and test.csv; and the clips, wav/*.wav."
    )

    def __init__(self, *, file_format: str = "array_record", **keywords: Any):
        super().__init__(file_format=file_format, **keywords)
        self.notes: list[str] = []

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {
            "clip": tfds.features.Text(),
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16),
        }
        for name, label in DEFINITIONS.items():
            features[name] = (
                tfds.features.ClassLabel(names=label["names"])
                if label["kind"] == "classes"
                else tfds.features.Tensor(shape=(label["size"],), dtype=np.float32)
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description="Vocal bursts with kind, valence, arousal, and emotions by culture.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # the order of the store
        )

    def _split_generators(self, downloads: tfds.download.DownloadManager) -> dict[str, Any]:
        report = Report(sys.stderr)
        self.notes = report.notes
        clips, files = humevb.read(pathlib.Path(downloads.manual_dir), report)
        there = {split for clip, split in zip(clips.ids, clips.splits) if clip in files}
        return {
            split: self._generate_examples(clips, files, split, report)
            for split in SPLITS.values()
            if split in there
        }

    def _generate_examples(
        self, clips: Clips, files: dict[str, pathlib.Path], split: str, report: Report
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        skip_bad = self.builder_config.name == "skip_bad"
        for i, samples in humevb.sounds(clips, files, split, report, skip_bad=skip_bad):
            example: dict[str, Any] = {"clip": clips.ids[i], "audio": samples}
            for name, (values, mask) in clips.labels(i).items():
                if DEFINITIONS[name]["kind"] == "classes":
                    example[name] = int(values[0]) if mask[0] else -1
                else:
                    example[name] = np.where(mask[0], values[0], np.nan).astype(np.float32)
            yield clips.ids[i], example
