"""ABAW3: from the features of whole videos through several models to all published files."""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from affect_jax import interop
from affect_jax.interop import abaw3_files
from affect_jax.metrics import METRICS
from affect_jax.tasks import Task
from tests.golden.adapters.abaw3_original import Original
from tests.golden.compare import limit
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter

# The original's own, for options that a model does not name.
DEFAULTS = {
    "hidden_size": 256,
    "num_layers": 4,
    "nhead": 4,
    "ffn_dim": 1024,
    "max_seq_len": 100,
    "regress_layers": "256,128",
    "use_pe": False,
    "residual": "y",
    "target": "arousal",
    "former_attention": "None",
    "mem_avg_len": 50,
    "max_mem_len": -1,
    "cls_weighted": False,
}
METRIC_NAMES = {"mse": "mse", "rmse": "rmse", "pcc": "pearson", "ccc": "ccc"}
Series = dict[str, np.ndarray]


@adapter("abaw3__inference")
def inference(fixture: Fixture) -> Answer:
    with tempfile.TemporaryDirectory() as scratch:
        ours = _write(fixture, pathlib.Path(scratch))
        names = (path for path in ours.rglob("*") if path.is_file())
        return Answer(files={str(path.relative_to(ours)): path.read_text() for path in names})


def _write(fixture: Fixture, out: pathlib.Path) -> pathlib.Path:
    """Every file, below a folder as in expected/."""
    raws = [_predict(fixture, i, out) for i in range(len(fixture.meta["models"]))]
    ours = out / "ours"
    for target, window in fixture.meta["windows"].items():
        label = {v: fixture.arrays[f"in_{target}/val/{v}"] for v in _videos(fixture, "val")}
        having = [i for i, predicted in enumerate(raws) if target in predicted["val"]]
        for i in having:
            predicted = raws[i]
            folder = ours / f"m{i}"
            cccs = abaw3_files.write_validation(
                folder, target, predicted["val"][target], label, window
            )
            abaw3_files.write_test(folder, target, predicted["test"][target], window)
            _check(fixture.meta["ccc"][f"m{i}/{target}"], cccs, f"ccc of m{i}/{target}")
        for how in ("smooth", "nosmooth"):
            if having:
                _ensemble(fixture, ours, target, how, having)
    return ours


def _ensemble(
    fixture: Fixture, ours: pathlib.Path, target: str, how: str, models: list[int]
) -> None:
    """The plain mean over the models' files: scores of validation videos, texts of test videos."""

    def mean(part: str) -> tuple[Series, Series]:
        files = [
            abaw3_files.read(ours / f"m{i}" / f"{part}_pred_{target}_{how}.json") for i in models
        ]
        joined = {v: np.mean([file[v][0] for file in files], axis=0) for v in sorted(files[0])}
        return joined, {v: files[0][v][1] for v in joined}

    pred, label = mean("val")
    task = Task(target, "values", 1)
    p, t = (np.concatenate(list(x.values()))[:, None] for x in (pred, label))
    scores = {}
    for name, metric in METRIC_NAMES.items():
        one = METRICS[metric]
        scores[name] = one.compute(one.update(one.init(task), p, t, np.ones(t.shape, bool)))
    _check(fixture.meta["ensemble_val"][f"{target}/{how}"], scores, f"{target}/{how}")
    abaw3_files.write_texts(ours / f"submit_{how}", target, mean("tst")[0])


def _check(stored: dict[str, float], ours: dict[str, float], what: str) -> None:
    """Mismatch where a score is another than stored; NaN: the original has none."""
    for name, value in stored.items():
        off = abs(ours[name] - value)
        if not (np.isnan(value) or off <= limit(name, np.array(value), {})):
            raise Mismatch(f"{what}: {name} is {ours[name]}, stored {value}")


def _videos(fixture: Fixture, part: str) -> list[str]:
    """Names in the order of HDF5 keys."""
    first = fixture.meta["feature_set"][0]
    prefix = f"in_feature/{part}/{first}/"
    return sorted(n.removeprefix(prefix) for n in fixture.arrays if n.startswith(prefix))


def _predict(fixture: Fixture, i: int, out: pathlib.Path) -> dict[str, dict[str, Series]]:
    """{set: {target: {video: raw}}} of one model."""
    entry, found = fixture.meta["models"][i], {}
    options = DEFAULTS | entry["options"] | {"model": entry["model"]}
    targets = ["valence", "arousal"] if options["target"] == "both" else [options["target"]]
    prefix = f"m{i}/"
    weights = {
        n.removeprefix(prefix): x for n, x in fixture.weights.items() if n.startswith(prefix)
    }
    meta: dict[str, Any] = {"config": options}
    if "unused" in fixture.meta:
        names = fixture.meta["unused"]
        meta["unused"] = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
    for part in ("val", "test"):
        batches = list(_batches(fixture, part))
        folder = out / f"model{i}_{part}"
        original = _original(folder, meta, weights, batches)
        forward = jax.jit(original.forward)
        series: dict[str, Series] = {target: {} for target in targets}
        for b, (videos, _) in enumerate(batches):
            outputs, carry = [], None
            for segment in original.segments(b):
                output, carry = forward(original.params, segment, carry)
                outputs.append(np.asarray(output["output"]))
            joined = np.concatenate(outputs, axis=1)
            for row, (video, frames) in enumerate(videos):
                for k, target in enumerate(targets):
                    series[target][video] = joined[row, :frames, k]
        found[part] = series
    return found


def _original(
    folder: pathlib.Path,
    meta: dict[str, Any],
    weights: dict[str, np.ndarray],
    batches: list[tuple[Any, np.ndarray]],
) -> Original:
    """One model on its batches, as a fixture of its own."""
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps(meta))
    np.savez(folder / "cases.npz", **{f"in_feature_{b}": x for b, (_, x) in enumerate(batches)})
    interop.save_safetensors(folder / "weights.safetensors", weights)
    return Original(Fixture(folder))


def _batches(fixture: Fixture, part: str) -> Iterator[tuple[list[tuple[str, int]], np.ndarray]]:
    """([(video, frames)], features [B, T, D] filled with zeros), videos in order."""
    meta, arrays, videos = fixture.meta, fixture.arrays, _videos(fixture, part)
    normed = [name for name in meta["norm_features"] or [] if name != "None"]
    for start in range(0, len(videos), meta["batch_size"]):
        chosen, columns = videos[start : start + meta["batch_size"]], []
        for name in meta["feature_set"]:
            rows = [arrays[f"in_feature/{part}/{name}/{video}"] for video in chosen]
            if name in normed and meta["norm_method"] == "trn":
                mean, std = arrays[f"in_mean/{name}"], arrays[f"in_std/{name}"]
                rows = [(x - mean) / std for x in rows]
            longest = max(map(len, rows))
            x = np.stack([np.pad(row, ((0, longest - len(row)), (0, 0))) for row in rows])
            if name in normed and meta["norm_method"] == "batch":
                std = x.std(1, ddof=1, keepdims=True)  # over padding too, as the original
                x = (x - x.mean(1, keepdims=True)) / np.where(std == 0, 1, std)
            columns.append(x.astype(np.float32))
        lengths = [len(arrays[f"in_feature/{part}/{meta['feature_set'][0]}/{v}"]) for v in chosen]
        yield list(zip(chosen, lengths)), np.concatenate(columns, -1)
