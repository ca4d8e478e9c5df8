"""Explain: on what predictions of a run rest. Files go to RUN/explain/<split>/.

A few tracks of `config.data.split`, and of each a few target frames (keys: `config.explain`). For
each target and output, gradients of that one number by what the model reads of the same row:

importance.csv          a line a frame of a target's row: prediction, label, importance (1: the
                        most important frame), and the same stream by stream
features.csv            a line a feature: mean size of the gradient over all targets, 1 the largest
summary.png             importance by distance from the target, and the features that count most;
                        neither of clips of sound, which are one feature
<track>_<frame>.png     prediction, label and importance along the row of a target
maps/*.png              where the model reads pictures and has convolutions: Grad-CAM over each
maps.csv                a line a map
pictures.png            pictures and their maps side by side, of tracks that are single pictures
<track>_<frame>_<output>.png      the same of pictures in time
"""

from __future__ import annotations

import collections
import csv
import io
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from affect_jax import gradcam
from affect_jax.disk import writing
from affect_jax.explainer import Explained, Explainer
from affect_jax.places import require_writable_run
from affect_jax.report import figure_explain, style
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.systems.supervised import Supervised
from affect_jax.trained_data import say_other_data
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.nearest_frames import nearest_frames
from data_pipelines.paths import require_name
from data_pipelines.replace_file import replace_text
from data_pipelines.replace_folder import replace_folder

TRACKS, CLIPS = 3, 12  # that are explained where none is named


def explain(config: ConfigDict, run: Run) -> pathlib.Path:
    """Explain predictions of the chosen checkpoint and write the files; returns their folder.

    Args:
        config: the run's own, or one that differs in what does not change the model.
    """
    run.require()
    require_writable_run(run)
    if "views" in config.get("image", {}):
        config.image.views = 1  # places of several crops cannot be shown in one picture
    system = system_of(run, config)
    say_other_data(system, run)
    split, store = config.data.split, system.data.store
    if not split:
        known = listed(store.splits)
        raise UserError(f"config.data.split is empty: name the split to explain ({known}).")
    tracks = _tracks(system, split)
    require_name(split, f"{store.path}: split")
    step, variables = weights(system, run, config.checkpoint)
    print(f"step {step} of {run.folder} on split {split!r} of {store.path}", file=sys.stderr)
    explainer = Explainer(system, variables, split)
    found = [
        one
        for track in tracks
        for target in _targets(system, int(track))
        for one in explainer.explained(int(track), target)
    ]
    place = run.folder / "explain" / split
    with writing(place), replace_folder(place) as new:
        write(new, found, config.explain.shown)
    print(f"explained: {place}")
    return place


def _tracks(system: Supervised, split: str) -> np.ndarray:
    """Indices of the tracks to explain: those that are named, or some that are spread over all."""
    store, names = system.data.store, system.config.explain.tracks
    tracks = store.split(split)
    if not names:
        count = CLIPS if system.config.data.clips else TRACKS
        return tracks[gradcam.uniform(len(tracks), count)]
    index = {store.tracks[i].name: i for i in tracks}
    names = [name for text in names for name in text.split(",")]  # "a,b" on the command line
    for name in names:
        if name not in index:
            hint = nearest(name, index)
            raise UserError(f"config.explain.tracks: split {split!r} has no track {name!r}. {hint}")
    return np.array([index[name] for name in names])


def _targets(system: Supervised, track: int) -> list[int]:
    """Frames of a track to explain, from 0: one that is named, or some that are spread over it."""
    store, settings = system.data.store, system.config.explain
    frames = store.frames[store.tracks[track].span]
    if settings.frame:
        return [int(nearest_frames(settings.frame, frames))]
    return gradcam.uniform(len(frames), settings.targets).tolist()


def write(folder: pathlib.Path, found: Sequence[Explained], most: int) -> None:
    """Write all files of what was explained.

    Args:
        most: pictures of a row that are drawn: the target's and the most important ones.
    """
    timed = [one for one in found if len(one.importance) > 1]
    if timed:
        _write_importance(folder / "importance.csv", timed)
    if any(map(_is_compared, found)):
        _write_features(folder / "features.csv", found)
        style.save(figure_explain.draw_summary(found), folder / "summary.png")
    for (track, frame), of_target in grouped(timed).items():
        file = folder / f"{track}_{frame}.png"
        style.save(figure_explain.draw_target(of_target), file)
    pictured = [one for one in found if one.maps]
    if pictured:
        _write_maps(folder, pictured, most)


def _is_compared(one: Explained) -> bool:
    """There is more than one feature, or more than the target's frame is predicted: of the sound of
    a clip, one number a sample, a summary would say nothing."""
    features = sum(map(len, one.of_feature.values()))
    return features > 1 or (features == 1 and len(one.prediction) > 1)


def grouped(found: Iterable[Explained]) -> dict[tuple[str, int], list[Explained]]:
    """{(track, image number of the target): what was explained of its outputs}."""
    groups: dict[tuple[str, int], list[Explained]] = collections.defaultdict(list)
    for one in found:
        groups[one.track, one.frame].append(one)
    return groups


def _write_importance(file: pathlib.Path, found: Sequence[Explained]) -> None:
    streams = list(dict.fromkeys(name for one in found for name in one.of_stream))
    head = ["track", "target", "output", "frame", "prediction", "label", "importance", *streams]
    lines = []
    for one in found:
        whole = len(one.prediction) == len(one.frames)
        for t, frame in enumerate(one.frames):
            told = [one.prediction[t], one.label[t]] if whole else [np.nan, np.nan]
            shares = [one.importance[t], *(one.of_stream[name][t] for name in streams)]
            lines.append([one.track, one.frame, one.output, frame, *map(_text, told + shares)])
    _write_csv(file, [head, *lines])


def _write_features(file: pathlib.Path, found: Sequence[Explained]) -> None:
    head = ["output", "stream", "feature", "gradient"]
    lines = [
        [output, stream, column, _text(value)]
        for output, streams in figure_explain.features_of(found).items()
        for stream, values in streams.items()
        for column, value in enumerate(values, 1)
    ]
    _write_csv(file, [head, *lines])


def _write_maps(folder: pathlib.Path, found: Sequence[Explained], most: int) -> None:
    head = ["track", "target", "output", "frame", "map", "mean", "importance", "file"]
    lines = []
    for one in found:
        single = len(one.pictures) == 1
        for t in gradcam.shown(one.importance, one.at, most) if not single else [0]:
            for name, places in one.maps.items():
                number = f"_{one.frames[t]}" if not single else ""
                target = f"_{one.frame}" if not single else ""
                short = one.output.replace("/", "_").replace(" ", "_")
                file = f"maps/{one.track}{target}_{short}{number}_{name}.png"
                figure_explain.save_overlay(folder / file, one.pictures[t], places[t])
                values = [_text(places[t].mean()), _text(one.importance[t])]
                start = [one.track, one.frame, one.output, one.frames[t], name]
                lines.append([*start, *values, file])
        if not single:
            figure = figure_explain.draw_maps(one, gradcam.shown(one.importance, one.at, most))
            style.save(figure, folder / f"{one.track}_{one.frame}_{short}.png")
    _write_csv(folder / "maps.csv", [head, *lines])
    singles = [one for one in found if len(one.pictures) == 1]
    if singles:
        style.save(figure_explain.draw_pictures(grouped(singles)), folder / "pictures.png")


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _write_csv(file: pathlib.Path, lines: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    replace_text(file, text.getvalue())
