"""The family of fusion: what exists where, what is left out, and what each fuser makes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import models
from affect_jax.models.blocks.fusion_experts import pairs
from affect_jax.models.blocks.fusion_raav import log_priors
from affect_jax.models.fusion import drop_modalities
from affect_jax.tasks import Task
from configs.fusion_keys import fusion_model
from data_pipelines.errors import UserError

TASKS = (Task("valence", "values", 1), Task("arousal", "values", 1))
B, T, S = 3, 5, 4
WIDTHS = {"face": 3, "face/valence": 1, "text": 2, "sound": 4}
STREAMS = {"face": ("face", "face/valence"), "text": ("text",), "audio": ("sound",)}
NAMES = ("audio", "face", "text")


def config(fuser, streams=STREAMS, **changes):
    c = fusion_model(streams, fuser)
    c.hidden, c.heads, c.head.hidden = 8, 2, 8
    c = c.copy_and_resolve_references()
    with c.unlocked():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


OWN_ROWS = dict(fuser__tokens=("audio",))
CASES = {
    "experts": {},
    "cross_named": dict(fuser__query="face", fuser__key="text", fuser__value="audio"),
    "raav_chunks": dict(fuser__tokens=("audio",), fuser__token_frames=2),
    "raav_rows": OWN_ROWS,
}


@functools.cache
def model_of(case):
    return models.build(config(case.partition("_")[0], **CASES[case]), TASKS)


def batch_for(case):
    """Rows of 5, 3 and 0 frames; sound has rows of its own where the case says so."""
    rng = np.random.default_rng(0)
    length = {name: S if case == "raav_rows" and name == "sound" else T for name in WIDTHS}
    mask = np.arange(T) < np.array([[5], [3], [0]])
    own = {"face": rng.random((B, T)) < 0.6, "text": rng.random((B, T)) < 0.6}
    own["sound"] = np.arange(length["sound"]) < np.array([[4], [0], [2]])
    own["face"][0, 2] = own["text"][0, 2] = False  # a frame without any modality of frames
    inputs = {n: rng.normal(size=(B, length[n], d)).astype(np.float32) for n, d in WIDTHS.items()}
    return {"inputs": inputs, "mask": mask, "inputs_mask": own}


@functools.cache
def trained(case):
    """(parameters, a function to the output and the gradient of a sum over the frames)."""
    model, rng = model_of(case), np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch_for(case))["params"]
    params = jax.tree.map(lambda p: 0.5 * rng.normal(size=p.shape).astype(np.float32), shapes)

    def total(params, batch):
        out = model.apply({"params": params}, batch)
        both = sum(jnp.where(batch["mask"][..., None], y, 0) for y in out.predictions.values())
        return (both**2).sum(), out

    both = jax.jit(jax.value_and_grad(total, has_aux=True))
    return params, lambda params, batch: both(params, batch)[0][1], both


@pytest.mark.parametrize("case", CASES)
def test_what_stands_where_a_modality_is_missing_changes_nothing(case):
    params, run, _ = trained(case)
    batch = batch_for(case)
    streams = {name: batch["inputs_mask"].get(name, batch["mask"]) for name in WIDTHS}
    # A modality exists where all its streams do: the one without gaps is as its neighbour.
    streams["face/valence"] = streams["face"]
    holes = {n: np.where(streams[n][..., None], x, np.nan) for n, x in batch["inputs"].items()}
    got, want = run(params, batch | {"inputs": holes}), run(params, batch)
    assert all(np.isfinite(p).all() and p.shape == (B, T, 1) for p in got.predictions.values())
    jax.tree.map(np.testing.assert_array_equal, got.predictions, want.predictions)
    assert got.aux["arrays"]["embedding"].shape == (B, T, 8)


@pytest.mark.parametrize("case", CASES)
def test_a_row_does_not_depend_on_its_batch_and_every_parameter_learns(case):
    params, run, both = trained(case)
    batch = batch_for(case)
    alone = jax.tree.map(lambda x: np.concatenate([x[1:2], x[2:3], x[2:3]]), batch)
    got, want = (run(params, one).predictions["valence"] for one in (alone, batch))
    np.testing.assert_allclose(got[0, :3], want[1, :3], atol=1e-5)

    grads = both(params, batch)[1]
    still = {
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(grads)
        if not np.isfinite(g).all() or not np.abs(g).max() > 0
    }
    assert not still


def test_the_gate_is_a_distribution_over_the_pairs_that_exist():
    params, run, _ = trained("experts")
    batch = batch_for("experts")
    out = run(params, batch)
    gate, of = out.aux["arrays"]["gate"], pairs(NAMES)
    exists = {
        m: batch["mask"] & batch["inputs_mask"][n] for m, n in zip(NAMES, ("sound", "face", "text"))
    }
    there = np.stack([exists[q] & exists[k] for q, k in of], -1)
    assert of[:2] == (("audio", "audio"), ("audio", "face")) and gate.shape == (B, T, 9)
    assert ((np.asarray(gate) > 0) == there).all()
    np.testing.assert_allclose(gate.sum(-1), there.any(-1), atol=1e-6)
    frames = there.any(-1).sum()
    mean = np.asarray(gate).sum((0, 1)) / frames
    for (q, k), value in zip(of, mean):
        given = out.aux["means"][f"gate/{q}-{k}"]
        np.testing.assert_allclose(given["sum"] / given["count"], value, atol=1e-6)
    want = there.any((0, 1)).sum() * (mean**2).sum()
    np.testing.assert_allclose(out.aux["losses"]["balance"], want, rtol=1e-5)


def test_a_frame_without_any_modality_is_zero_and_no_one_attends_to_it():
    params, run, _ = trained("experts")
    batch = batch_for("experts")
    batch["inputs_mask"]["sound"][0, 2] = False
    x = run(params, batch).aux["arrays"]["embedding"]
    assert not np.asarray(x)[0, 2].any() and np.asarray(x)[0, 3].any()


def test_a_row_without_tokens_is_what_the_gate_makes_of_it():
    params, run, _ = trained("raav_rows")
    batch = batch_for("raav_rows")
    silent = jax.tree.map(np.copy, batch)
    silent["inputs_mask"]["sound"][:] = False
    got, want = (run(params, one).predictions["valence"] for one in (silent, batch))
    np.testing.assert_array_equal(got[1], want[1])  # it has none in either batch
    assert np.abs(got[0] - want[0]).max() > 1e-3


def test_queries_without_a_key_stay_as_they_are():
    params, run, _ = trained("cross_named")
    batch = batch_for("cross_named")
    batch["inputs_mask"]["text"][:] = False
    embedding = run(params, batch).aux["arrays"]["embedding"]
    own = {k: params["fuser"]["projection_face"][k] for k in ("linear", "norm")}
    x = np.concatenate([batch["inputs"]["face"], batch["inputs"]["face/valence"]], -1)
    x = np.where((batch["inputs_mask"]["face"] & batch["mask"])[..., None], x, 0)
    x = x @ own["linear"]["kernel"] + own["linear"]["bias"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    want = x * own["norm"]["scale"] + own["norm"]["bias"]
    np.testing.assert_allclose(embedding, want, atol=1e-4)


def test_modalities_are_left_out_by_rate_and_one_that_the_row_has_stays():
    rows = 400
    exists = {"a": np.ones((rows, 2), bool), "b": np.ones((rows, 2), bool)}
    exists["b"][:100] = False
    parts = {name: (np.ones((rows, 2, 1), np.float32), there) for name, there in exists.items()}
    left = drop_modalities(jax.random.key(0), parts, 0.5)
    a, b = (np.asarray(left[name][1]) for name in "ab")
    assert a[:100].all() and (a | b).all() and (a == a[:, :1]).all()
    # Left out: one of two where one draw of two is below .5 and it is the smaller, or both are.
    assert 0.3 < (~a[100:, 0]).mean() < 0.45
    np.testing.assert_array_equal(np.asarray(left["a"][0])[..., 0], a)


def test_priors_are_shares_and_one_that_is_not_named_has_one():
    np.testing.assert_allclose(np.exp(log_priors(("a", "b"), {"a": 3.0})), [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("fuser", "changes", "message"),
    [
        (
            "cross",
            dict(fuser__query="fase"),
            "fuser.query: 'fase' is no modality. Did you mean 'face'?",
        ),
        ("cross", dict(CASES["cross_named"], fuser__value="text"), "streams.audio: none of"),
        ("raav", dict(fuser__tokens=("sound",)), "fuser.tokens: 'sound' is no modality"),
        ("raav", dict(fuser__tokens=("audio", "audio")), "names a modality twice"),
        ("raav", dict(fuser__tokens=NAMES), "fuser.tokens: no modality is left for the frames"),
        ("raav", dict(fuser__priors={"face": 0.0}), "priors.face = 0.0: expected a number above 0"),
        ("raav", dict(fuser__priors={"x": 1.0}), "fuser.priors: 'x' is no modality"),
        ("experts", dict(fuser__name="expert"), "fuser.name = 'expert': no such choice"),
        ("experts", dict(hidden=7, heads=7), "hidden = 7: expected an even width"),
        (
            "experts",
            dict(modality_dropout=1.0),
            "modality_dropout = 1.0: expected a rate in [0, 1)",
        ),
        ("experts", dict(features=("face",)), "Set config.model.streams, which features follow"),
        ("experts", dict(streams={"face": ()}), "config.model.streams: no modality has a stream"),
    ],
)
def test_a_config_that_fits_no_model_ends_in_one_line(fuser, changes, message):
    with pytest.raises(UserError) as error:
        models.build(ConfigDict(config(fuser, **changes).to_dict()), TASKS)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_stream_of_another_length_is_named():
    batch = batch_for("raav_rows")
    with pytest.raises(UserError, match=r"config.model.streams.audio: 'sound' has 4 rows, the fra"):
        jax.eval_shape(model_of("experts").init, jax.random.key(0), batch)
    with pytest.raises(UserError, match=r"streams.face: the data has no 'face'"):
        del batch["inputs"]["face"]
        jax.eval_shape(model_of("raav_rows").init, jax.random.key(0), batch)


def test_half_precision_gives_float32_predictions_near_the_others():
    params, run, _ = trained("raav_chunks")
    batch = batch_for("raav_chunks")
    half = models.build(config("raav", **CASES["raav_chunks"], dtype="bfloat16"), TASKS)
    got = jax.jit(half.apply)({"params": params}, batch).predictions["valence"]
    want = run(params, batch).predictions["valence"]
    assert got.dtype == jnp.float32
    mask = batch["mask"]
    assert np.abs(got - want)[mask].max() < 0.1 * (1 + np.abs(want[mask]).max())
