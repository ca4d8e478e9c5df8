"""Track names of Aff-Wild2: which of them are one video."""

from __future__ import annotations

import re

_PERSON = re.compile(r"_(left|right)$")
_PART = re.compile(r"^(video\d+)_\d+$")


def group_of(track: str) -> str:
    """The video a track belongs to: what must not be split over training and validation.

    Two people in one video are told apart by `_left` or `_right` at the end of the name (only
    there: `video10_1_left` is a person in `video10_1`). A number after `video<number>_` counts the
    parts of one recording. It belongs to the video's name, and files are found by it, but the
    parts show the same people in the same place, so they are one group.

    >>> group_of("10-60-1280x720_right"), group_of("video10_1_left"), group_of("video86_3")
    ('10-60-1280x720', 'video10', 'video86')
    """
    return _PART.sub(r"\1", _PERSON.sub("", track))
