"""Scores of a store and of files, in pieces and as a whole, and the total over the tasks."""

from __future__ import annotations

import time

import numpy as np
import pytest

from affect_jax import prediction_files, scoring
from affect_jax.metrics import METRICS, Moments
from affect_jax.prediction_files import read_split, write_split
from affect_jax.scoring import NO_TOTAL, Tally, Total, score, tally_of
from affect_jax.tasks import Task, decode, tasks_from_config
from configs.abaw_tasks import ABAW_TASKS, P_MTL
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.stores import small_store

TASKS = tasks_from_config({"tasks": tuple(ABAW_TASKS), "task": ABAW_TASKS})


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A store, the indices of its training split, and predictions of it."""
    store, rng = small_store(tmp_path_factory.mktemp("store")), np.random.default_rng(0)
    tracks = [
        (i, {t.name: rng.normal(size=(store.tracks[i].frames, t.size)).astype("f4") for t in TASKS})
        for i in store.split("train").tolist()
    ]
    return store, tracks


def whole(store, tracks):
    """Scores of all frames looked at once."""
    spans = [store.tracks[i].span for i, _ in tracks]
    scores = {}
    for task in TASKS:
        decoded = decode(task, np.concatenate([raw[task.name] for _, raw in tracks]))
        label, mask = (np.concatenate([a[s] for s in spans]) for a in store.label(task.name))
        for name in task.metrics:
            metric = METRICS[name]
            scores[f"{task.name}/{name}"] = metric.compute(
                metric.update(metric.init(task), decoded, label, mask)
            )
    return scores


@pytest.mark.parametrize("together", [1, 20, 10**6])
def test_scores_are_those_of_all_frames_whatever_is_looked_at_together(
    split, together, monkeypatch
):
    monkeypatch.setattr(scoring, "TOGETHER", together)
    scores, expected = score(TASKS, *split), whole(*split)
    assert scores.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(scores[name], value, rtol=1e-12)
        assert isinstance(scores[name], float | list)


def test_scores_of_files_are_those_of_the_store(split, tmp_path, monkeypatch):
    store, tracks = split
    monkeypatch.setattr(prediction_files, "PIECE", 7)
    indices = [i for i, _ in tracks]
    for _ in write_split(tmp_path, TASKS, store, indices, reversed(tracks)):
        pass
    expected = whole(*split)
    for task, predictions in read_split(tmp_path, TASKS).items():
        for name, value in tally_of(task, predictions).scores().items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-12)


def test_metrics_that_need_the_same_moments_share_them():
    tally = Tally(Task("v", "values", 2), ("ccc", "pearson"))
    tally.add(np.ones((3, 2)), np.zeros((3, 2)), np.ones((3, 2), bool))
    assert list(tally.states) == [Moments] and tally.states[Moments].n.tolist() == [3, 3]
    assert tally.scores() == {"v/ccc": 0.0, "v/pearson": 0.0}


def test_a_task_without_labels_has_no_scores(tmp_path):
    labels = {"v": dict(kind="values", size=1), "w": dict(kind="values", size=1)}
    with StoreWriter(tmp_path / "s", name="s", features={}, labels=labels) as writer:
        writer.add(track="a", split="val", features={}, labels={"v": np.arange(3.0)[:, None]})
    store = Store(tmp_path / "s")
    tasks = [Task(name, "values", 1, metrics=("rmse",)) for name in ("v", "w", "x")]
    raw = {task.name: np.zeros((3, 1), np.float32) for task in tasks}
    assert score(tasks, store, [(0, raw)]) == {"v/rmse": pytest.approx(np.sqrt(5 / 3))}


def test_many_clips_are_scored_in_seconds(tmp_path):
    tasks, clips = [Task("v", "values", 10, metrics=("ccc", "rmse"))], 5000
    with StoreWriter(
        tmp_path / "s", name="s", features={}, labels={"v": dict(kind="values", size=10)}
    ) as writer:
        for i in range(clips):
            writer.add(track=f"t{i}", split="v", features={}, labels={"v": np.full((1, 10), i)})
    store, raw = Store(tmp_path / "s"), {"v": np.zeros((1, 10), np.float32)}
    started = time.process_time()
    score(tasks, store, ((i, raw) for i in range(clips)))
    written = write_split(
        tmp_path / "p", tasks, store, range(clips), ((i, raw) for i in range(clips))
    )
    assert sum(1 for _ in written) == clips
    # An update of each metric for every track took some two seconds.
    assert time.process_time() - started < 1


def test_p_mtl_is_half_the_two_ccc_plus_both_f1():
    # Validation scores of the ABAW4 winner, whose abstract gives the sum.
    scores = {"valence/ccc": 0.7101, "arousal/ccc": 0.6604, "expression/f1": 0.5090}
    scores |= {"au/f1_binary": 0.5664, "au/accuracy": 0.9}
    total = Total("P_MTL", P_MTL)
    assert total.value(scores) == pytest.approx(1.76065)
    assert total.added_to(scores) == {**scores, "P_MTL": total.value(scores)}


def test_a_total_is_left_out_where_it_has_no_terms_or_one_is_missing():
    scores = {"valence/ccc": 0.5}
    assert NO_TOTAL.added_to(scores) == scores
    assert Total("P_MTL", P_MTL).added_to(scores) == scores


def test_a_total_of_a_score_that_is_not_there_names_the_nearest():
    with pytest.raises(UserError, match=r"'valence/cc' .* Did you mean 'valence/ccc'"):
        Total("t", (("valence/cc", 1.0),)).value({"valence/ccc": 0.5})
    with pytest.raises(UserError, match="'au/f1_per_label' is an array"):
        Total("t", (("au/f1_per_label", 1.0),)).value({"au/f1_per_label": np.zeros(3)})
