"""Videos of the multimodal twin, who speaks in them when, and how it sounds and looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from data_pipelines.audio import RATE
from data_pipelines.bursts import TYPES
from data_pipelines.store_specs import rate
from data_pipelines.twins.bursts_latent import Burst
from data_pipelines.twins.bursts_sound import SECONDS, sound
from data_pipelines.twins.ras_latent import Seen

PAIR_OF, PAIR_AT = 12, 5  # of every twelve videos the one of this number shows two persons
UTTERANCES = (3.0, 4.5)  # seconds from the beginning of one to that of the next
MIDDLE = 0.9  # seconds from the beginning to the middle of one, about
UNSEEN = 0.15  # share of the speech of somebody who is not seen
VOICE = "Laugh"  # the kind of burst whose bouts are those of syllables
BACKGROUND = 20  # deviation of the noise, in steps of int16
FLICKER = 0.02  # share of the frames at which a mouth opens or closes for a moment


@dataclasses.dataclass(frozen=True)
class Video:
    """A video: its name, split, number in the split, rate as it is written, and frames."""

    name: str
    split: str
    number: int
    fps: str
    frames: int

    @property
    def rate(self) -> Fraction:
        """Exact frames a second."""
        return rate(float(self.fps))

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of the persons."""
        pair = self.number % PAIR_OF == PAIR_AT
        return tuple(self.name + who for who in ("_left", "_right")) if pair else (self.name,)


class Speech:
    """Who speaks when in a video: utterances that begin at `starts`, in seconds, by `speakers`."""

    def __init__(self, video: Video, rng: np.random.Generator):
        self._video, self._fps = video, float(video.rate)
        seconds = video.frames / self._fps
        starts = np.cumsum(rng.uniform(*UTTERANCES, int(seconds / UTTERANCES[0]))) - UTTERANCES[0]
        self.starts = starts[starts < seconds - SECONDS[1]]
        unseen = rng.random(len(self.starts)) < UNSEEN
        who = rng.integers(len(video.tracks), size=len(self.starts))
        self.speakers = ["" if u else video.tracks[w] for u, w in zip(unseen, who)]

    def places(self, track: str) -> np.ndarray:
        """float64 [N]: frames in the midst of a person's utterances."""
        own = np.array([speaker == track for speaker in self.speakers], bool)
        return (self.starts[own] + MIDDLE) * self._fps

    def sound(self, heard: Mapping[str, Seen], rng: np.random.Generator) -> tuple:
        """(int16 [S] of the video, float64 [N] seconds of each utterance)."""
        samples = BACKGROUND * rng.standard_normal(int(self._video.frames / self._fps * RATE))
        values = {track: iter(of.values) for track, of in heard.items()}
        lengths = []
        for start, speaker in zip(self.starts, self.speakers):
            z = next(values[speaker]) if speaker else rng.standard_normal(2)
            state = np.concatenate([z, rng.standard_normal(2)])
            kind = TYPES.index(VOICE)
            voice = sound(Burst("", self._video.split, kind, 0, state), rng)
            at = int(start * RATE)
            samples[at : at + len(voice)] += voice[: len(samples) - at]
            lengths.append(len(voice) / RATE)
        return np.clip(np.rint(samples), -32768, 32767).astype(np.int16), np.array(lengths)

    def mouth(self, track: str, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """bool [T]: open while the person speaks, but for moments, and at moments in between."""
        opened = np.zeros(self._video.frames, bool)
        for start, speaker, length in zip(self.starts, self.speakers, lengths):
            if speaker == track:
                opened[int(start * self._fps) : int((start + length) * self._fps)] = True
        for at in np.flatnonzero(rng.random(len(opened)) < FLICKER):
            opened[at : at + rng.integers(1, 4)] ^= True
        return opened
