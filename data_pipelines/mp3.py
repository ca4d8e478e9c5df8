"""MP3 files that do not tell how long they are, read to their end all the same.

A file may begin with a frame that has no sound and tells the number of frames and bytes. Without
it libsndfile reckons the length from the size of the file and the first bit rate, and reads no
further: a third of a file of variable rate, say.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator

import numpy as np

FRAME = 1152  # samples of a channel in a frame, at most
_RATIO = 32  # more than the highest bit rate by the lowest
# The first frame, if it tells the length from it on: flags, frames, bytes.
_LENGTH = re.compile(
    rb"\xff[\xe0-\xff].{2}(?:.{9}|.{17}|.{32})(?:Xing|Info)(.{4}).{4}(.{4})", re.DOTALL
)


def tells_length(path: str | os.PathLike) -> bool:
    """True if an mp3 tells how long it is. ValueError where more than a hundredth is missing."""
    with open(path, "rb") as opened:
        first = _LENGTH.search(opened.read(1 << 20))  # tags and pictures come before
        size = os.fstat(opened.fileno()).st_size
    flags = int.from_bytes(first[1], "big") if first else 0
    if flags & 3 == 3:  # it has both numbers
        there, told = size - first.start(), int.from_bytes(first[2], "big")
        if there < 0.99 * told:
            raise ValueError(f"cut off: {there:,} of {told:,} bytes are there")
    return bool(flags & 1)


class SeemsLonger(io.FileIO):
    """A file whose end is said to be far away, though nothing comes from behind the real one.

    Attributes:
        reckoned: the length of which libsndfile knows, in samples of a channel.
        bytes: of the file.
    """

    def __init__(self, name: bytes, reckoned: int):
        super().__init__(name)
        self.reckoned, self.bytes = reckoned, os.fstat(self.fileno()).st_size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and not offset:
            offset = _RATIO * self.bytes
        return super().seek(offset, whence)


def to_the_end(
    frames: Iterable[np.ndarray], raw: SeemsLonger, error: type[Exception]
) -> Iterator[np.ndarray]:
    """All sound of a file that tells no length.

    Args:
        frames: [n, channels] what is read of `raw`, by so little that little is lost by an error.
        error: of the reader. It is the end where the file ends, as in half a frame, and behind the
            reckoned length, as in a tag.
    """
    at = 0
    try:
        for read in frames:
            at += len(read)
            yield read
    except error:
        if at < raw.reckoned and raw.tell() < raw.bytes:
            raise
