"""The organisers' list: which videos and images, or clips, an entry has, and in which order."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from affect_jax.submission.formats import ONE_FILE_FROM, Format, described, format_with_header
from data_pipelines import labels
from data_pipelines.errors import UserError
from data_pipelines.folder import by_name, files
from data_pipelines.labels.bursts import read_table
from data_pipelines.labels.folders import kind_of_test_list
from data_pipelines.labels.lines import Warn, read_lines


@dataclasses.dataclass(frozen=True)
class Official:
    """A list as read.

    Attributes:
        path: of the list, for messages.
        frames: {video: int32 image numbers ascending, or None where the list has names only}, in
            the order of the list. Two persons in one video are two of them, `_left` and `_right`.
            A clip is a video of one image.
        images: the images as the list writes them, in its order; [] where it has names only. Of
            clips their names in brackets.
    """

    path: pathlib.Path
    frames: Mapping[str, np.ndarray | None]
    images: list[str]


def read_list(path: pathlib.Path, form: Format, *, warn: Warn) -> Official:
    """Reads the list of a track, and refuses that of another.

    Three things count as a list: a list of images, as the sample files of the organisers are and
    the annotations of the multi-task track; names of videos, one a line; and, to try things out on
    labelled videos, a folder of annotation texts, whose rows are counted. Of clips it is a table
    with a column File_ID; where there is a column Split, the rows of Test.
    """
    if form.clips:
        return _of_clips(path, warn)
    if path.is_dir():
        return _of_texts(path, form, warn)
    kind = kind_of_test_list(path.name)
    if kind not in (None, form.track):
        raise UserError(f"{path}: is by its name the list of track {kind}, not of {form.track}.")
    lines = read_lines(path, lambda _: None)
    other = format_with_header(lines[0].strip())
    if other is not None and (other.track != form.track or other.per_video):
        raise UserError(
            f"{path}:1: has the header of {described(other)}; expected the list of track "
            f"{form.track}."
        )
    frames = labels.read_test_list(path, warn=warn)
    images = [line.partition(",")[0].strip() for line in lines]
    if any(numbers is None for numbers in frames.values()):
        images = []
        if not form.per_video:
            raise UserError(
                f"{path}: names videos, but which images count, and in which order, the "
                "organisers' sample file says (*_example.txt, *_sample.txt): give that one. The "
                f"editions before {ONE_FILE_FROM} took a text a video: --edition=3."
            )
    else:
        images = list(dict.fromkeys(images))  # what comes twice is taken once
        images = images[len(images) - sum(map(len, frames.values())) :]  # without a header
    return _checked(Official(path, frames, images), form)


def _of_clips(path: pathlib.Path, warn: Warn) -> Official:
    table = read_table(path, warn=warn)
    clips = [clip for clip, split in zip(table.ids, table.splits) if split in ("", "test")]
    clips = clips or table.ids  # val.csv is a list to rehearse with
    frames = dict.fromkeys(clips, np.ones(1, np.int32))
    return Official(path, frames, [f"[{clip}]" for clip in clips])


def _of_texts(path: pathlib.Path, form: Format, warn: Warn) -> Official:
    texts = by_name(files(path, ".txt"))
    if form.track == "mtl" or not texts:
        what = "the list of track mtl is one file" if texts else "no annotation texts in it"
        raise UserError(f"{path}: is a folder; {what}.")
    frames = {
        video: labels.read_text(text, form.track, edition=form.edition, warn=warn).frames
        for video, text in texts.items()
    }
    images = [f"{video}/{k:05d}.jpg" for video, numbers in frames.items() for k in numbers]
    return Official(path, frames, images)


def _checked(official: Official, form: Format) -> Official:
    if form.per_video:
        for video, numbers in official.frames.items():
            if numbers is not None and numbers[-1] != len(numbers):
                raise UserError(
                    f"{official.path}: lists {len(numbers)} images of {video!r}, the last is "
                    f"{numbers[-1]}. In a text a video row k is image k, so that none may be left "
                    f"out; lists with gaps belong to edition {ONE_FILE_FROM} and later."
                )
    return official
