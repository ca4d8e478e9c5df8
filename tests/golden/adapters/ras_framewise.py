"""RAS: predictions of windows and of audio steps put together frame by frame, filled, smoothed."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.gaps import filled
from affect_jax.metrics import ccc
from affect_jax.models.blocks.resample import resample_steps
from affect_jax.prediction_files import Predictions
from affect_jax.smoothing import smooth
from affect_jax.submission.formats import format_of
from affect_jax.submission.official import read_list
from affect_jax.submission.write import write
from affect_jax.tasks import Task, to_json
from data_pipelines.nearest_frames import nearest_frames
from data_pipelines.overlap import reconstruct
from data_pipelines.rows import Rows
from tests.golden.fixture import Answer, Fixture, adapter

GAUSSIAN = "a Gaussian of deviation k/6 in a kernel of k frames"
AFFECT = ("valence", "arousal")
LONG = 5000  # frames of a constant before a track, for an average that knows no beginning
EDITION = 10


class Case:
    """One case of a callback.

    Attributes:
        made: {video: predictions [frames, K], NaN where there is none}.
    """

    def __init__(self, fixture: Fixture):
        config, given = fixture.meta["config"], fixture.arrays
        self.labels = {video: given[f"in_gt_{video}"] for video in config["videos"]}
        self.valid = {v: (x != config["missing_value"]).all(1) for v, x in self.labels.items()}
        track, start, stop = given["in_windows"].astype(np.int32).T
        self.rows = Rows(track, start, stop, int((stop - start).max()))
        self.made: dict[str, np.ndarray] = {}

    def join(self, outputs: Sequence[np.ndarray], overlap: str, *, fill: bool) -> None:
        """Put outputs of the windows [frames, K] together and fill as the original does.

        The last labelled frame takes the nearest earlier one. With `fill` the labelled ones take
        the nearest, in the order of time, and what is filled counts for those that follow.
        """
        padded = np.zeros((len(outputs), self.rows.length, outputs[0].shape[1]), np.float32)
        for place, output in zip(padded, outputs, strict=True):
            place[: len(output)] = output
        for i, (video, valid) in enumerate(self.valid.items()):
            ids = np.flatnonzero(self.rows.track == i)
            total = max(len(valid), int(self.rows.stop[ids].max(initial=0)))
            made = reconstruct(self.rows, ids, padded[ids], total, overlap)
            wanted = np.flatnonzero(valid)
            for count, frame in enumerate([*wanted[-1:], *(wanted if fill else ())]):
                known = np.flatnonzero(~np.isnan(made[:, 0]))
                known = known if count else known[known <= frame]
                if len(known):
                    made[frame] = made[known[nearest_frames(frame, known)]]
            self.made[video] = made[: len(valid)]

    def smooth(self, options: Mapping[str, Any]) -> None:
        """Smooth each channel of all videos by its own parameter."""
        for made in self.made.values():
            for k, name in enumerate(AFFECT):
                param = options.get(f"smoothing_{name}_param", 0)
                if options.get("smoothing") and param > 0:
                    made[:, k] = _smoothed(made[:, k], options["smoothing"], param)

    def answers(self, name: str, offset: int) -> dict[str, Any]:
        """Keys, predictions, labels and CCC of the frames that have a label and a prediction."""
        keys, pred, label = [], [], []
        for video, made in self.made.items():
            here = self.valid[video] & ~np.isnan(made[:, 0])
            keys += [f"{video}/{frame + offset:05d}.jpg" for frame in np.flatnonzero(here)]
            pred.append(made[here])
            label.append(self.labels[video][here])
        pred, label = np.concatenate(pred), np.concatenate(label)
        scores = [float(ccc(pred[:, k], label[:, k])) for k in range(2)]
        return {
            f"out_keys_{name}": np.array(keys),
            f"out_pred_{name}": pred,
            f"out_label_{name}": label,
            f"out_ccc_{name}": np.array([*scores, np.mean(scores)]),
        }


def _smoothed(x: np.ndarray, kind: str, param: float) -> np.ndarray:
    """A column as the original smooths it: the ends of a track are replicated, here before it."""
    if kind == "ema":
        window, kind, pad = 1 / min(param, 1) - 1, "exponential", (LONG, 0)
    else:
        window = round(param) // 2  # an even kernel is made one longer
        kind, pad = "mean", (window, window)
    whole = np.pad(filled(x, [0, len(x)]), pad, mode="edge")
    return np.where(np.isnan(x), np.nan, smooth(whole, window, kind)[pad[0] :][: len(x)])


@adapter("ras__framewise")
def framewise(fixture: Fixture) -> Answer:
    config, given = fixture.meta["config"], fixture.arrays
    lengths = given["in_targets_sequence_mask"].sum(1)
    windows = [pred[:length] for pred, length in zip(given["in_preds"], lengths)]
    arrays, differs, offset = {}, {}, config["frame_index_offset_multimodal"]
    for kind in ("v2", "v1"):
        for i, options in enumerate(config[f"{kind}_cases"]):
            case, name = Case(fixture), f"{kind}_{i}"
            case.join(
                windows,
                options["overlap_strategy"],
                fill=options.get("fill_missing_gt_frames", False),
            )
            if options.get("smoothing") == "gaussian":
                differs |= {f"out_{what}_{name}": GAUSSIAN for what in ("pred", "ccc")}
            else:
                case.smooth(options)
            arrays |= case.answers(name, offset)
            if name == _submitted(fixture):
                arrays["out_submission"] = _submission(case, given["in_template_keys"], offset)
    for i, options in enumerate(config["audio_cases"]):
        arrays |= _audio(fixture, f"audio_{i}", options["resample_mode"])
    for keep in ("keep_all", "keep_first", "keep_last"):
        keys, use = _exported(Case(fixture), config["videos"], keep)
        arrays |= {f"out_export_keys_{keep}": keys, f"out_export_use_{keep}": use}
    return Answer(arrays, differs)


def _submitted(fixture: Fixture) -> str:
    """The case whose predictions are submitted: its arrays stand before the submission's."""
    names = [entry["name"] for entry in fixture.meta["arrays"]]
    before = names[: names.index("out_submission")]
    return [name for name in before if name.startswith("out_keys_")][-1].removeprefix("out_keys_")


def _submission(case: Case, template: np.ndarray, offset: int) -> np.ndarray:
    """Valence and arousal of the images of a template, as they stand in the entry we write."""
    given = {v: np.flatnonzero(~np.isnan(made[:, 0])) for v, made in case.made.items()}
    count = [len(frames) for frames in given.values()]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for k, task in enumerate(AFFECT):
            Predictions(
                tracks=np.array(list(given)),
                track=np.repeat(np.arange(len(given), dtype=np.int32), count),
                frame=np.concatenate([*given.values()]).astype(np.int32) + offset,
                raw=np.concatenate([case.made[v][f, k : k + 1] for v, f in given.items()]),
            ).write(folder / f"{task}.npz")
        (folder / "tasks.json").write_text(
            to_json([Task(t, "values", 1, loss="mse", metrics=("ccc",)) for t in AFFECT])
        )
        (folder / "list.txt").write_text("\n".join(["image_location", *template]) + "\n")
        form = format_of("va", EDITION)
        official = read_list(folder / "list.txt", form, warn=lambda _: None)
        write([folder], None, official, form, folder / "entry.txt", drop=True)
        lines = (folder / "entry.txt").read_text().splitlines()[1:]
    rows = dict(line.split(",", 1) for line in lines)
    return np.array([[float(x) for x in rows[key].split(",")] for key in template.tolist()])


def _audio(fixture: Fixture, name: str, mode: str) -> dict[str, Any]:
    """Steps of windows resampled to frames; their mean, whatever rule of overlap is named."""
    given, offset = fixture.arrays, fixture.meta["config"]["frame_index_offset_audio"]
    case, arrays = Case(fixture), {}
    for what in ("features", "preds"):
        steps = given[f"in_audio_{what}"]
        outputs = [_resampled(x, n, mode) for x, n in zip(steps, case.rows.sizes.tolist())]
        case.join(outputs, "mean", fill=True)
        if what == "features":
            here = [made[case.valid[video]] for video, made in case.made.items()]
            arrays[f"out_embedding_{name}"] = np.concatenate(here)
    return arrays | case.answers(name, offset + 1)


def _resampled(steps: np.ndarray, frames: int, mode: str) -> np.ndarray:
    if mode == "nearest":
        return steps[np.rint(np.linspace(0, len(steps) - 1, frames)).astype(int)]
    return np.asarray(resample_steps(steps[None], (np.arange(frames)[None] + 0.5) / frames)[0])


def _exported(case: Case, videos: Sequence[str], keep: str) -> tuple[np.ndarray, np.ndarray]:
    """(keys, [start, stop, first and last frame used, labels, valid labels]) of the windows."""
    rows, keys, table = case.rows, [], []
    for i, video in enumerate(videos):
        valid, reached = case.valid[video], 0
        ids = sorted(np.flatnonzero(rows.track == i), key=lambda r: (rows.start[r], rows.stop[r]))
        for place, row in enumerate(ids):
            start, stop = first, last = int(rows.start[row]), int(rows.stop[row])
            if keep == "keep_first":
                first = max(start, reached)
            elif keep == "keep_last" and place + 1 < len(ids):
                last = min(stop, int(rows.start[ids[place + 1]]))
            if first < min(last, len(valid)):
                keys.append(f"{video}___{start:06d}_{stop:06d}__{row:06d}")
                table.append(
                    [start, stop, first, last, len(valid[start:stop]), valid[start:stop].sum()]
                )
            reached = max(reached, stop)
    return np.array(keys), np.array(table)
