"""The audio branch of RAS: what it gives on steps and on frames, padding, weights, wrong keys.

Its numbers are compared with the original's by the golden fixtures.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.interop.families import family_of
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

NAMES = ("valence", "arousal")
TASKS = tuple(Task(name, "values", 1) for name in NAMES)
BACKBONE = dict(
    model_type="wavlm",
    conv_dim=(4, 6),
    conv_kernel=(6, 3),
    conv_stride=(4, 2),
    feat_extract_norm="layer",
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=6,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    mask_time_length=2,
)
B, S, STEPS = 3, 160, 4
SOUND = np.random.default_rng(0).normal(size=(B, S)).astype(np.float32)
VALID = np.arange(S) < np.array([160, 100, 0])[:, None]


def config(**changes) -> ConfigDict:
    c = ConfigDict(
        dict(
            name="speech_steps",
            features=("sound",),
            dtype="float32",
            padding="masked",
            backbone=BACKBONE,
            steps=STEPS,
            pool=dict(kind="attention_statistics", hidden=3, dropout=0.1),
            head=dict(hidden=5, dropout=0.1, input_dropout=0.1),
        )
    )
    with c.unlocked():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def windows(sound=SOUND, valid=VALID, times=None):
    batch = {
        "inputs": {"sound": jnp.asarray(sound)},
        "inputs_mask": {"sound": jnp.asarray(valid)},
        "mask": np.ones((B, STEPS if times is None else len(times)), bool),
    }
    return batch if times is None else batch | {"times": jnp.tile(jnp.float32(times), (B, 1))}


@functools.cache
def drawn():
    tree = jax.eval_shape(models.build(config(), TASKS).init, jax.random.key(0), windows())
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.uniform(-0.6, 0.6, x.shape).astype(np.float32), tree)


@functools.partial(jax.jit, static_argnames=("padding",))
def run(batch, padding="masked"):
    return models.build(config(padding=padding), TASKS).apply(drawn(), batch)


def test_every_task_has_a_value_a_step_and_a_frame_lies_on_a_line_between_two():
    steps = run(windows())
    assert {n: x.shape for n, x in steps.predictions.items()} == dict.fromkeys(NAMES, (B, STEPS, 1))
    assert set(drawn()["params"]) == {"backbone", "pool", "head"}
    seconds = S / 16_000
    times = np.array([0.0, 1.5, 2.5, 3.0, 4.0]) / 4 * seconds
    frames = run(windows(times=times))
    for name, width in (("valence", 1), ("arousal", 1), ("embedding", 5)):
        of_steps, of_frames = (
            {**out.predictions, **out.aux["arrays"]}[name] for out in (steps, frames)
        )
        assert of_frames.shape == (B, 5, width) and of_frames.dtype == np.float32
        a, b, c, d = (np.asarray(of_steps[0, i]) for i in range(STEPS))
        expected = [a, b, c, (c + d) / 2, d]
        np.testing.assert_allclose(of_frames[0], expected, atol=1e-5)
    assert np.isfinite(jax.tree.leaves(jax.tree.map(jnp.sum, (steps, frames)))).all()


def test_frames_behind_the_sound_have_the_last_step_that_has_some():
    # Of 100 of 160 samples the third step has a part, and the fourth nothing.
    frames = run(windows(times=np.array([2.5, 3.0, 3.9]) / 4 * S / 16_000)).predictions["valence"]
    third = run(windows()).predictions["valence"][1, 2]
    np.testing.assert_allclose(frames[1], np.tile(third, (3, 1)), atol=1e-6)


def test_masked_padding_changes_nothing_and_heard_padding_is_heard():
    other = np.where(VALID, SOUND, 7).astype(np.float32)
    for padding in ("masked", "heard"):
        want, got = (run(windows(x), padding).predictions["valence"] for x in (SOUND, other))
        np.testing.assert_array_equal(got, want)  # it is silence to both
    masked, heard = (
        run(windows(), padding).predictions["valence"] for padding in ("masked", "heard")
    )
    np.testing.assert_allclose(masked[0], heard[0], atol=1e-5)
    assert np.abs(masked[1] - heard[1]).max() > 1e-4


@pytest.mark.slow
def test_one_step_of_training_moves_every_parameter_and_a_row_without_sound_has_no_nan():
    model, rngs = models.build(config(), TASKS), {"dropout": jax.random.key(3)}

    @jax.jit
    @jax.grad
    def grads(params):
        out = model.apply({"params": params}, windows(), train=True, rngs=rngs)
        return sum((out.predictions[name] ** 2).sum() for name in NAMES)

    for path, grad in jax.tree_util.tree_leaves_with_path(grads(drawn()["params"])):
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0 or "key" in str(path), path


def test_weights_go_out_under_the_original_s_names_and_come_back():
    family = family_of("speech_steps")
    written = family.to_original(config(), NAMES, drawn())
    assert {name.partition(".")[0] for name in written} == {"backbone", "pool", "head"}
    assert {"pool.proj.3.weight", "head.0.weight", "head.5.bias"} <= set(written)
    table = family.table(config(), NAMES, written)
    again, report = interop.to_variables(table, written, drawn())
    report.require_complete("written")
    jax.tree.map(np.testing.assert_array_equal, again, drawn())
    with pytest.raises(UserError, match="the original predicts valence and arousal, in this order"):
        family.table(config(), NAMES[::-1], written)
    with pytest.raises(UserError, match="config.model.steps = 8: the original has 4 of them."):
        family.to_original(config(steps=8), NAMES, drawn())


@pytest.mark.parametrize("prefix", ["", "wavlm.", "ssl_model."])
def test_a_backbone_is_read_alone_and_out_of_an_emotion_model(tmp_path, prefix):
    family = family_of("speech_steps")
    whole = family.to_original(config(), NAMES, drawn())
    own = {f"{prefix}{n[9:]}": x for n, x in whole.items() if n.startswith("backbone.")}
    kind = "wavlm"
    if prefix == "ssl_model.":
        own |= {"ser_model.fc.0.weight": np.zeros(2), "pool_model.sap.weight": np.zeros(2)}
        kind = "ser"  # with the sizes of its head: nothing to compare with
    interop.save_safetensors(tmp_path / "model.safetensors", own)
    (tmp_path / "config.json").write_text(json.dumps(BACKBONE | {"model_type": kind}))
    tensors = family.load(tmp_path, config())
    table = family.table(config(), NAMES, tensors)
    taken, report = interop.to_variables(table, tensors, drawn())
    assert not report.unknown and not report.mismatched
    assert {path.split("/")[0] for path in report.missing} == {"pool", "head"}
    jax.tree.map(
        np.testing.assert_array_equal, taken["params"]["backbone"], drawn()["params"]["backbone"]
    )


def test_a_backbone_of_another_size_is_refused(tmp_path):
    interop.save_safetensors(tmp_path / "model.safetensors", {"x": np.zeros(2)})
    (tmp_path / "config.json").write_text(json.dumps(BACKBONE | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="num_hidden_layers = 3, here 1"):
        family_of("speech_steps").load(tmp_path, config())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(features=("a", "b")), "config.model.features = ('a', 'b'): expected the stream of"),
        (dict(steps=0), "config.model.steps = 0: expected 1 or more."),
        (dict(padding="auto"), "config.model.padding = 'auto' needs config.system = 'audio'"),
        (dict(pool__kind="max"), "config.model.pool: kind = 'max': no such pooling."),
        (dict(pool__width=3), "config.model.pool.width: no such key."),
        (dict(head__norm="none"), "config.model.head.norm: no such key."),
        (dict(backbone__hiden_size=8), "config.model.backbone.hiden_size: no such key. Did you"),
        (dict(more=1), "config.model.more: no such key."),
    ],
)
def test_wrong_keys_and_values_are_named(changes, message):
    with pytest.raises(UserError) as error:
        models.build(config(**changes), TASKS)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_clips_no_tasks_and_rows_with_too_little_sound_are_refused():
    with pytest.raises(UserError, match="config.tasks is empty"):
        models.build(config(), ())
    model = models.build(config(), TASKS)
    for batch, message in (
        (windows() | {"mask": np.ones(B, bool)}, "config.data.clips: the model speech_steps"),
        (windows(SOUND[:, :20], VALID[:, :20]), "config.model.steps = 4: a row has 1 frames"),
    ):
        with pytest.raises(UserError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), batch)
