"""Twin of Aff-Wild2 as team RAS prepares it: frames of faces, sound of videos, descriptions.

    FOLDER/annotations/{Train_Set,Validation_Set}/<track>.txt    valence,arousal of every frame
    FOLDER/annotations/CVPR_10th_ABAW_VA_test_set_example.txt    the images of the test split
    FOLDER/face/<split>/<track>.npz        frames [N], features [N, 32]: where there is a face
    FOLDER/wav/<split>/<video>.wav         16 kHz; two persons of a video share it
    FOLDER/behaviour/<split>.{csv,pkl}     4 s every 2 s: description and embeddings [48]
    FOLDER/openmouth/<track>.csv           is the mouth open? where there is a face
    FOLDER/videos_fps.csv                  30 or 29.97

Stretches have no face, some videos no sound, no description, or hardly a face; a part of the speech
is that of somebody who is not seen. In references.json the oracle knows the noise-free affect; the
ceilings know what each modality, or all of them, have seen of it (ras_latent.py), with mean and
deviation matched to the labels of the training split.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
import wave
from collections.abc import Sequence

import numpy as np

from data_pipelines.audio import RATE
from data_pipelines.av_windows import name as window_name
from data_pipelines.av_windows import windows
from data_pipelines.labels.rates import write_rates
from data_pipelines.labels.segments import Segment, write_segments
from data_pipelines.plan import generator
from data_pipelines.store import Store
from data_pipelines.store_specs import rate
from data_pipelines.twins.latent import smooth
from data_pipelines.twins.ras_latent import (
    AFFECT,
    ERRORS,
    MODALITIES,
    Person,
    Seen,
    affect,
    estimate,
    make_person,
    observe,
)
from data_pipelines.twins.ras_speech import Speech, Video

SOURCE = "ras"
FLAGS: dict[str, dict] = {"ras": {}}
SHUFFLES = True  # sound and behaviour may be those of strangers


@dataclasses.dataclass(frozen=True)
class Size:
    """Videos of each split, and the least and most seconds of one."""

    train: int
    validation: int
    test: int
    seconds: tuple[float, float]


SIZES = {
    "default": Size(30, 12, 6, (60.0, 100.0)),
    "medium": Size(16, 8, 3, (30.0, 45.0)),
    "small": Size(6, 3, 2, (20.0, 30.0)),
}
# Our splits, and what folders and files of the originals are called.
SPLITS = {"train": "train", "validation": "val", "test": "test"}
TEXTS = {"train": "Train_Set", "validation": "Validation_Set"}
TEST_LIST = "CVPR_10th_ABAW_VA_test_set_example.txt"
RATES = ("30", "29.97")
# Of every ten videos: which has no sound, no description, a face in the first seconds alone.
SILENT, UNDESCRIBED, FACELESS, FACE_SECONDS = 3, 6, 8, 5.0
WIDTHS = {"face": 32, "behaviour": 48}
DISTRACTORS = 4  # what streams show beside affect
ABSENT, ABSENT_TIME = -1.2, 2.0  # a face is absent where a smooth process is below; seconds
DOUBT, DOUBT_TIME = 0.09, 1.0  # of annotators: deviation, and seconds for which it stays
GAPS = (0.3, 0.1)  # share of the tracks with a gap in the labels, share of its rows
WORDS = {
    "valence": ("miserable", "unhappy", "neither happy nor unhappy", "content", "delighted"),
    "arousal": ("half asleep", "calm", "attentive", "lively", "very excited"),
}

Truth = dict[str, dict[str, np.ndarray]]
Described = tuple[Segment, dict[str, np.ndarray]]  # embeddings by statistic


def write(
    name: str, folder: pathlib.Path, size: Size, seed: int, *, shuffle: bool = False
) -> Truth:
    """Writes the twin into an empty or new folder.

    Args:
        name: "ras".
        shuffle: sound and behaviour tell of strangers, as if they were of other videos.

    Returns:
        {track: {"valence", "arousal": [T], and for each modality and "fusion": the best estimate
        from it [T, 2]}}. It is in no file.
    """
    videos = make_videos(size, seed)
    for inner in (*(f"annotations/{text}" for text in TEXTS.values()), "behaviour", "openmouth"):
        (folder / inner).mkdir(parents=True)
    for kind in ("face", "wav"):
        for split in SPLITS.values():
            (folder / kind / split).mkdir(parents=True)
    about = {"extractor": "twin of a language model", "trained_on": ["other videos"]}
    (folder / "behaviour.json").write_text(json.dumps(about))
    write_rates(folder / "videos_fps.csv", {f"{video.name}.mp4": video.rate for video in videos})
    truth: Truth = {}
    for split in SPLITS:
        described = []
        for video in (video for video in videos if video.split == split):
            truth |= _write_video(folder, video, seed, shuffle, described)
        _write_descriptions(folder / "behaviour" / SPLITS[split], described)
    images = ["image_location,valence,arousal"]
    for video in (video for video in videos if video.split == "test"):
        images += [f"{t}/{i:05d}.jpg,0,0" for t in video.tracks for i in range(1, video.frames + 1)]
    (folder / "annotations" / TEST_LIST).write_text("\n".join(images) + "\n")
    return truth


def make_videos(size: Size, seed: int) -> list[Video]:
    """The videos of all splits; those of test are the same whatever the others are."""
    videos = []
    for part, splits, between in (
        ("videos", ("train", "validation"), (1, 601)),
        ("test videos", ("test",), (601, 901)),
    ):
        rng = generator(seed, part)
        names = iter(rng.permutation(np.arange(*between)))
        for split in splits:
            for i in range(getattr(size, split)):
                fps = RATES[i % len(RATES)]
                frames = int(rng.uniform(*size.seconds) * rate(float(fps)))
                videos.append(
                    Video(f"{'video' * (split != 'train')}{next(names)}", split, i, fps, frames)
                )
    return videos


def _write_video(
    folder: pathlib.Path, video: Video, seed: int, shuffle: bool, described: list[Described]
) -> Truth:
    """The files of a video; adds its descriptions to `described`."""
    fps, short = float(video.rate), SPLITS[video.split]
    people = {
        track: make_person(generator(seed, "affect", track), video.frames, fps)
        for track in video.tracks
    }
    shown = people
    if shuffle:
        shown = {
            track: make_person(generator(seed, "stranger", track), video.frames, fps)
            for track in video.tracks
        }
    speech = Speech(video, generator(seed, "speech", video.name))
    heard = {}
    for track in video.tracks:
        rng = generator(seed, "sound", track)
        heard[track] = observe(rng, "sound", shown[track], speech.places(track), fps)
    lengths = np.zeros(len(speech.starts))
    if video.number % 10 != SILENT:
        samples, lengths = speech.sound(heard, generator(seed, "voice", video.name))
        _write_wave(folder / "wav" / short / f"{video.name}.wav", samples)
    truth: Truth = {}
    for track, person in people.items():
        seen = {"face": _write_face(folder, video, track, person, seed)}
        if video.number % 10 != SILENT:
            seen["sound"] = heard[track]
        if video.number % 10 != UNDESCRIBED:
            seen["behaviour"] = _describe(video, track, shown[track], seed, described)
        if video.split in TEXTS:
            _write_labels(folder / "annotations" / TEXTS[video.split], track, person, fps, seed)
        rng = generator(seed, "mouth", track)
        opened = speech.mouth(track, lengths, rng)
        _write_mouth(folder / "openmouth" / f"{track}.csv", opened, seen["face"].frames, rng)
        truth[track] = affect(person.state)
        known = {m: s for m, s in seen.items() if m == "face" or not shuffle}
        places = np.arange(video.frames)
        for one in MODALITIES:
            only = {one: known[one]} if one in known else {}
            truth[track][one] = estimate(only, places, fps)
        truth[track]["fusion"] = estimate(known, places, fps)
    return truth


def _write_face(folder: pathlib.Path, video: Video, track: str, person: Person, seed: int) -> Seen:
    rng, fps = generator(seed, "face", track), float(video.rate)
    there = smooth(rng, video.frames, ABSENT_TIME * fps, 1)[:, 0] > ABSENT
    if video.number % 10 == FACELESS:
        there[int(FACE_SECONDS * fps) :] = False
    there[: round(fps)] = True
    frames = np.flatnonzero(there)
    seen = observe(rng, "face", person, frames, fps)
    beside = smooth(rng, video.frames, fps, DISTRACTORS)[frames]
    features = _columns("face", seen, beside, seed, rng).astype(np.float32)
    path = folder / "face" / SPLITS[video.split] / f"{track}.npz"
    np.savez(path, frames=(frames + 1).astype(np.int32), features=features)
    return seen


def _columns(
    modality: str, seen: Seen, beside: np.ndarray, seed: int, rng: np.random.Generator
) -> np.ndarray:
    """float64 [N, D]: a bent projection of what is seen of affect, and of the rest."""
    errors = (dataclasses.astuple(ERRORS[modality][name]) for name in AFFECT)
    deviation = [np.sqrt(1 + np.square(error).sum()) for error in errors]
    latent = np.concatenate([seen.values / deviation, beside], axis=1)
    shape = latent.shape[1], WIDTHS[modality]
    projection = generator(seed, "projection", modality).standard_normal(shape) / np.sqrt(shape[0])
    columns = np.tanh(latent @ projection)
    return columns + 0.05 * rng.standard_normal(columns.shape)


def _describe(
    video: Video, track: str, person: Person, seed: int, described: list[Described]
) -> Seen:
    """Adds the descriptions of a person: row, and embeddings by branch and statistic."""
    rng, fps = generator(seed, "behaviour", track), video.rate
    found = windows(video.frames / fps, fps)
    middles = np.array([(window.start + window.stop - 1) / 2 for window in found])
    seen = observe(rng, "behaviour", person, middles, float(fps))
    beside = rng.standard_normal((len(found), DISTRACTORS))
    last = _columns("behaviour", seen, beside, seed, rng)
    mean = last + 0.5 * rng.standard_normal(last.shape)
    for i, window in enumerate(found):
        name, none = window_name(track, window, i, ".mp4"), np.full((4, 2), np.nan)
        text = _text(seen.values[i])
        segment = Segment(f"{video.name}.mp4", name, window, none[0], none, text)
        embeddings = {"mean": mean[i], "std": np.abs(mean[i] - last[i]), "last": last[i]}
        described.append((segment, embeddings))
    return seen


def _text(values: np.ndarray) -> str:
    level = np.clip(np.rint(values + 2), 0, 4).astype(int)
    looks, seems = (WORDS[name][i] for name, i in zip(AFFECT, level))
    return f"The person looks {looks} and seems {seems}."


def _write_descriptions(path: pathlib.Path, described: Sequence[Described]) -> None:
    write_segments(path.with_suffix(".csv"), [one for one, _ in described], marked=False)
    pack = {}
    for one, embeddings in described:
        halves = {key: value.astype(np.float16) for key, value in embeddings.items()}
        entry = {"video_name": one.name, "embeddings": {"multimodal": halves}, "text": one.text}
        pack[one.name] = entry
    path.with_suffix(".pkl").write_bytes(pickle.dumps(pack, protocol=4))


def _write_labels(folder: pathlib.Path, track: str, person: Person, fps: float, seed: int) -> None:
    rng = generator(seed, "labels", track)
    truth = np.stack(list(affect(person.state).values()), axis=1)
    doubt = DOUBT * smooth(rng, len(truth), DOUBT_TIME * fps, 2)
    fields = [f"{v:.3f},{a:.3f}" for v, a in np.clip(truth + doubt, -1, 1)]
    if rng.random() < GAPS[0]:
        length = int(GAPS[1] * len(fields))
        start = rng.integers(len(fields) - length)
        fields[start : start + length] = ["-5,-5"] * length
    (folder / f"{track}.txt").write_text("\n".join(["valence,arousal", *fields]) + "\n")


def _write_mouth(
    path: pathlib.Path, opened: np.ndarray, frames: np.ndarray, rng: np.random.Generator
) -> None:
    lines = [",frame,surface_area_mouth,mouth_open"]
    for i, at in enumerate(frames.astype(int)):
        area = (0.012 if opened[at] else 0.004) * np.exp(0.3 * rng.standard_normal())
        lines.append(f"{i},{at + 1:05d},{area:.6f},{int(opened[at])}")
    path.write_text("\n".join(lines) + "\n")


def _write_wave(path: pathlib.Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def references(store: Store, truth: Truth) -> dict:
    """{labelled split: {"oracle", "fusion ceiling", "face ceiling", ...: {score: value}}}."""
    from data_pipelines.twins.references import scores  # scikit-learn takes seconds

    joined = {
        name: np.concatenate([truth[track.name][name] for track in store.tracks])
        for name in (*AFFECT, "fusion", *MODALITIES)
    }
    train = np.repeat([t.split == "train" for t in store.tracks], [t.frames for t in store.tracks])
    who = {"oracle": {name: joined[name] for name in AFFECT}}
    for source in ("fusion", *MODALITIES):
        predicted = affect(joined[source])
        who[f"{source} ceiling"] = {
            name: _matched(predicted[name], *store.label(name), train) for name in AFFECT
        }
    return {
        split: {name: scores(store, split, predicted) for name, predicted in who.items()}
        for split in store.splits
        if split != "test"
    }


def _matched(x: np.ndarray, labels: np.ndarray, mask: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Estimates with the mean and deviation that labels of the training split have."""
    seen = train & mask[:, 0]
    known, own = np.asarray(labels)[seen, 0], x[seen]
    return (x - own.mean()) / max(own.std(), 1e-6) * known.std() + known.mean()
