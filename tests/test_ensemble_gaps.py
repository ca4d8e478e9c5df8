"""Members that lack frames: the others take their place, and nothing is fitted or scored there."""

import dataclasses
import json

import numpy as np
import pytest

from affect_jax.ensemble.agree import on_frames_of, together
from affect_jax.ensemble.choose import METHODS, Options, fit
from affect_jax.ensemble.recipe import Recipe, combine
from affect_jax.gaps import smooth_around
from affect_jax.prediction_files import Predictions
from affect_jax.tasks import decode
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter
from tests.ensembles import MEANS, run
from tests.test_ensemble_recipe import AU, EXPRESSION, VALENCE, logits

NAN = np.nan
GAP = [[NAN] * 3]


def test_weights_of_values_are_made_up_to_1_where_a_member_has_no_number():
    raws = [
        np.array([[1.0], [NAN], [1.0], [NAN]]),
        np.array([[0.0], [0.0], [NAN], [NAN]]),
        np.ones((4, 1)),
    ]
    recipe = Recipe("convex", (0.5, 0.25, 0.25), scale=2, shift=1)
    made = combine(VALENCE, [recipe], raws, [0, 4])
    np.testing.assert_allclose(made[:, 0], [2.5, 2, 3, 3])
    alone = combine(VALENCE, [Recipe("convex", (0.5, 0.5, 0))], raws, [0, 4])
    np.testing.assert_allclose(alone[:, 0], [0.5, 0, 1, NAN])  # a weight of 0 predicts nothing


def test_smoothing_of_a_member_goes_over_its_gaps():
    x = np.array([0.0, 0, NAN, NAN, 4, 4])
    recipe = Recipe("mean", (0.5, 0.5), window=1)
    made = combine(VALENCE, [recipe], [x[:, None], np.zeros((6, 1))], [0, 6])
    expected = np.where(np.isnan(x), 0, smooth_around(x, [0, 6], 1) / 2)
    np.testing.assert_allclose(made[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["mean", "vote"])
def test_classes_and_labels_are_those_of_the_members_that_are_there(method):
    raws = [
        np.concatenate([logits(0), GAP, GAP]),
        logits(0, 1, 0),
        np.concatenate([logits(1, 1), GAP]),
    ]
    raw = combine(EXPRESSION, [Recipe(method, (1 / 3,) * 3)], [*raws], [0, 3])
    assert decode(EXPRESSION, raw).tolist() == [0, 1, 0]
    if method == "mean":
        np.testing.assert_allclose(np.exp(raw).sum(1), 1, rtol=1e-6)
    nobody = combine(
        EXPRESSION, [Recipe(method, (1.0,))], [np.concatenate([logits(0), GAP])], [0, 2]
    )
    assert np.isnan(nobody).all(1).tolist() == [False, True]
    au = [np.array([[NAN, NAN], [3.0, -3]]), np.array([[2.0, -2], [1, -1]])]
    assert (
        decode(AU, combine(AU, [Recipe(method, (0.5, 0.5))], au, [0, 2])).tolist() == [[1, 0]] * 2
    )


def labelled(frames, seed=0):
    """(labels of two tracks, three raw predictions of them)."""
    rng = np.random.default_rng(seed)
    label = np.sin(np.arange(frames) / 9)[:, None].astype(np.float32)
    reference = Predictions(
        tracks=np.array(["a", "b"]),
        track=np.repeat(np.arange(2, dtype=np.int32), frames // 2),
        frame=np.tile(np.arange(1, frames // 2 + 1, dtype=np.int32), 2),
        raw=np.zeros((frames, 0)),
        label=label,
        label_mask=np.ones(label.shape, bool),
    )
    raws = [(label + s * rng.normal(size=label.shape)).astype(np.float32) for s in (0.3, 0.6, 1)]
    return reference, raws


def test_a_fit_reads_the_frames_that_all_members_predict_and_no_others():
    reference, raws = labelled(200)
    gap = np.zeros(200, bool)
    gap[20:30] = gap[150:190] = True
    with_gaps = [raws[0], np.where(gap[:, None], np.float32(NAN), raws[1]), raws[2]]
    kept = dataclasses.replace(reference, label_mask=~gap[:, None])
    options = Options(METHODS, match=(False, True))
    found, wanted = fit(VALENCE, with_gaps, reference, options), fit(VALENCE, raws, kept, options)
    assert found == wanted
    never = [raws[0], np.where(gap[:, None], raws[1], NAN), np.where(gap[:, None], NAN, raws[2])]
    with pytest.raises(UserError, match="no frame with a label is predicted by all 3 members"):
        fit(VALENCE, never, reference, options)


@pytest.fixture
def store(tmp_path):
    """Two features that predict valence; `face` has gaps, and none of track e."""
    features = {name: dict(size=1, columns=("valence",)) for name in ("face", "voice")}
    labels = {"valence": dict(kind="values", size=1)}
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", name="toy", features=features, labels=labels) as writer:
        for track in "abcde":
            y = 0.5 * np.sin(np.arange(60) / 7 + ord(track))[:, None].astype(np.float32)
            x = {
                "face": y + 0.1 * rng.normal(size=y.shape),
                "voice": y + 0.4 * rng.normal(size=y.shape),
            }
            there = np.full(60, track != "e")
            there[10:20] = False
            writer.add(track=track, split="fit" if track in "abc" else "test", features=x,
                       labels={"valence": y}, feature_masks={"face": there})  # fmt: skip
    return tmp_path / "store"


def test_features_with_gaps_are_members_and_the_gaps_are_said(store, tmp_path, capsys):
    out, data = tmp_path / "out", [f"--config.data.root={store}", "--config.data.split=fit"]
    code, lines, _ = run(capsys, "feature:*", f"--out={out}", *data)
    assert code == 0
    assert "face: has no number for 30 of 180 frames: the others stand in there" in "\n".join(lines)
    code, lines, _ = run(capsys, f"--apply={out}", data[0], "--config.data.split=test")
    assert code == 0 and json.loads(lines[-1])["valence/ccc"] > 0.6
    assert np.isfinite(Predictions.read(out / "predictions/test/valence.npz").raw).all()
    alone = tmp_path / "alone"
    code, lines, _ = run(
        capsys, "feature:face", f"--out={alone}", *MEANS, *data[:1], "--config.data.split=test"
    )
    assert code == 0 and "valence: 70 of 120 frames have no prediction (NaN)" in lines
    row = next(line for line in lines if line.startswith("valence/ccc")).split()
    assert float(row[1]) > 0.9  # of the frames that it predicts
    outer = tmp_path / "outer"
    code, lines, _ = run(
        capsys, alone, out, f"--out={outer}", *MEANS, *data[:1], "--config.data.split=test"
    )
    assert code == 0  # an ensemble with gaps is a member with gaps
    assert np.isfinite(Predictions.read(outer / "predictions/test/valence.npz").raw).all()
    code, _, error = run(capsys, "feature:*", f"--out={out}2", *MEANS, *data, f"--abaw3={out}3")
    assert code == 2 and "task valence: some member has gaps" in error


def test_the_outputs_of_an_exported_run_are_one_member_with_the_gaps_of_them_all(tmp_path, capsys):
    features = {
        f"{run}/{task}": dict(size=1, columns=(task,), run=run)
        for run in ("face", "audio")
        for task in ("valence", "arousal")
    }
    labels = {task: dict(kind="values", size=1) for task in ("valence", "arousal")}
    with StoreWriter(tmp_path / "store", name="toy", features=features, labels=labels) as writer:
        x = {f"{run}/{task}": np.full((4, 1), v) for run, v in (("face", 0.5), ("audio", 0.1))
             for task in labels}  # fmt: skip
        there = np.array([True, True, False, True])
        masks = {"face/valence": there, "face/arousal": there}
        y = {task: np.arange(4.0)[:, None] / 4 for task in labels}
        writer.add(track="t", split="fit", features=x, labels=y, feature_masks=masks)
    data = [f"--config.data.root={tmp_path / 'store'}", "--config.data.split=fit", *MEANS]
    for members in (["feature:*"], ["feature:face", "feature:audio"]):
        out = tmp_path / f"out{len(members)}"
        assert run(capsys, *members, f"--out={out}", *data)[0] == 0
        kept = json.loads((out / "ensemble.json").read_text())["members"]
        assert [member["where"] for member in kept] == ["face", "audio"]
        for task in labels:
            made = Predictions.read(out / f"predictions/fit/{task}.npz").raw[:, 0]
            np.testing.assert_allclose(made, [0.3, 0.3, 0.1, 0.3], rtol=1e-6)
    code, _, error = run(capsys, "feature:fac", f"--out={tmp_path / 'o'}", *data)
    assert code == 2 and "Did you mean 'face'" in error


def some(tracks, frames, label=None):
    counts = [len(f) for f in frames]
    total = sum(counts)
    return Predictions(
        tracks=np.array(tracks),
        track=np.repeat(np.arange(len(tracks), dtype=np.int32), counts),
        frame=np.concatenate(frames).astype(np.int32),
        raw=np.arange(total, dtype=np.float32)[:, None],
        label=None if label is None else np.nan_to_num(np.array(label, np.float32))[:, None],
        label_mask=None if label is None else np.isfinite(np.array(label, float))[:, None],
    )


def test_members_without_a_store_are_on_all_frames_that_any_of_them_has():
    one = some(["a", "c"], [[1, 3], [2]], [0.1, NAN, 0.2])
    two = some(["b", "a"], [[7], [2, 3]], [NAN, 0.3, 0.4])
    every = together(VALENCE, ["one", "two"], [one, two])
    assert every.tracks.tolist() == ["a", "c", "b"]
    assert every.track.tolist() == [0, 0, 0, 1, 2] and every.frame.tolist() == [1, 2, 3, 2, 7]
    np.testing.assert_allclose(every.label[:4, 0], [0.1, 0.3, 0.4, 0.2])
    assert every.label_mask[:, 0].tolist() == [True] * 4 + [False]
    placed = on_frames_of("two", two, every, "the others")
    np.testing.assert_array_equal(placed[:, 0], [NAN, 1, 2, NAN, 0])
    with pytest.raises(
        UserError, match="member two predicts image 7 of track 'b', which the store"
    ):
        on_frames_of("two", two, one, "the store")


def test_members_with_other_labels_are_of_other_data():
    one, two = (some(["a"], [[1, 2]], [0.1, last]) for last in (0.2, 0.3))
    with pytest.raises(
        UserError, match=r"member two has the label 0.3 at track 'a', image 2, .* 0.2"
    ):
        together(VALENCE, ["one", "two"], [one, two])
