"""ABAW4: one evaluation pass over whole videos, scored by the code that scores every run."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

import jax
import numpy as np

from affect_jax import interop, metrics
from affect_jax.scoring import Total, score
from affect_jax.tasks import Task, decode
from configs.abaw_tasks import P_MTL
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.golden.adapters import abaw4_models as models
from tests.golden.adapters.abaw4_models import TASKS
from tests.golden.adapters.abaw4_traces import INPUTS, MISSING
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

# What the original calls its tasks here.
NAMES = {"v": "valence", "a": "arousal", "expr": "expression", "au": "AU"}
KINDS = {"v": "values", "a": "values", "expr": "classes", "au": "labels"}
METRICS = {
    "v": ("ccc",),
    "a": ("ccc",),
    "expr": ("f1", "f1_per_class", "confusion"),
    "au": ("f1_binary", "f1_per_label"),
}


@adapter("abaw4__eval_pass")
def eval_pass(fixture: Fixture) -> Answer:
    """The original's arrays per class leave absent classes out."""
    raw = {
        (i, row): {name: x[row, :length] for name, x in batch.items()}
        for i, (batch, lengths) in enumerate(zip(_predict(fixture), fixture.meta["lengths"]))
        for row, length in enumerate(lengths)
    }
    threshold = fixture.meta["config"]["au_threshold"]
    for one in raw.values():  # ours decides at a probability of 1/2, which is a logit of 0
        one["au"] = one["au"] - np.log(threshold / (1 - threshold))
    first = next(iter(raw.values()))
    tasks = [Task(TASKS[n], KINDS[n], first[TASKS[n]].shape[-1], metrics=METRICS[n]) for n in TASKS]
    arrays: dict[str, Any] = {}
    for (i, row), one in raw.items():
        for name, task in zip(TASKS, tasks):
            decoded = decode(task, one[task.name])
            decoded = decoded[..., 0] if name in "va" else decoded
            arrays[f"out_pred_{NAMES[name]}_{i}_{row}"] = decoded
    scores = _of_nothing(tasks) | _scores(fixture, tasks, raw)
    for name, task in zip(TASKS, tasks):
        arrays[f"out_performance_{NAMES[name]}"] = scores[f"{task.name}/{METRICS[name][0]}"]
    confusion = np.array(scores["expression/confusion"])
    present = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    arrays["out_confusion_expression"] = confusion[np.ix_(present, present)]
    arrays["out_f1_expression"] = np.array(scores["expression/f1_per_class"])[present]
    arrays["out_f1_AU"] = np.array(scores["au/f1_per_label"])
    arrays["out_p_mtl"] = Total("P_MTL", P_MTL).value(scores)
    return Answer(arrays)


def _predict(fixture: Fixture) -> list[dict[str, np.ndarray]]:
    """Raw predictions [B, N, ...] of each batch, state handed from segment to segment."""
    config, arrays = fixture.meta["config"], fixture.arrays
    model, length = models.build(fixture), config["max_seq_len"]
    batches = []
    for i in range(len(fixture.meta["lengths"])):
        whole = {kind: arrays[f"in_{kind}_{i}"] for kind in ("feature", "mask")}
        starts = range(0, whole["mask"].shape[1], length)
        segments = [{k: x[:, s : s + length] for k, x in whole.items()} for s in starts]
        batches.append([models.inputs(config, segment) for segment in segments])
    table = interop.abaw4.table(tuple(TASKS.values()), **interop.abaw4.spelling(fixture.weights))
    params = params_of(fixture, table, model, batches[0][0])
    apply = jax.jit(lambda batch, carry: model.apply({"params": params}, batch, carry=carry))
    joined = []
    for segments in batches:
        carry, parts = None, []
        for segment in segments:
            output = apply(segment, carry)
            carry = output.carry
            parts.append(output.predictions)
        joined.append({n: np.concatenate([part[n] for part in parts], 1) for n in parts[0]})
    return joined


def _of_nothing(tasks: list[Task]) -> dict[str, Any]:
    """Scores without any label, which a run leaves out and the original does not."""
    known = {(task, name): metrics.METRICS[name] for task in tasks for name in task.metrics}
    return {f"{t.name}/{n}": metric.compute(metric.init(t)) for (t, n), metric in known.items()}


def _scores(fixture: Fixture, tasks: list[Task], raw: dict[tuple[int, int], Any]) -> dict[str, Any]:
    """Over all labelled frames of all videos, which a store holds with their labels."""
    labels = {task.name: dict(kind=task.kind, size=task.size) for task in tasks}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "store"
        with StoreWriter(path, name="fixture", features={}, labels=labels) as writer:
            for (i, row), one in raw.items():
                own = {}
                for short, name in INPUTS.items():
                    values = fixture.arrays[f"in_{name}_{i}"][row, : len(one[name])]
                    own[name] = values, values != MISSING[short]
                writer.add(
                    track=f"{i}_{row}",
                    split="all",
                    features={},
                    labels=own,
                )
        return score(tasks, Store(path), enumerate(raw.values()))
