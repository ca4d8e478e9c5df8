"""The A-VB family: what it reads, where its parameters lie, what padding means, what it refuses.

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

TASKS = (
    Task("type", "classes", 3),
    Task("two", "values", 2),
    Task("high", "values", 4),
    Task("culture", "values", 6),
)
NAMES = tuple(task.name for task in TASKS)
SMALL = dict(
    model_type="wav2vec2",
    conv_dim=(4, 6),
    conv_kernel=(6, 3),
    conv_stride=(4, 2),
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=6,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    mask_time_length=2,
)
HEADS = {
    "vanilla": dict(name="vanilla", embedding=8, pooling="mean", sigmoid=("high",)),
    "chain": dict(name="chain", embedding=8, pooling="attention"),
    "branch": dict(name="branch", embedding=8, pooling="last", heads=8, dropout=0.0),
    "branch_v2": dict(name="branch_v2", embedding=8, pooling="mean", heads=8, dropout=0.0),
}
B, S = 3, 60
LENGTHS = np.array([60, 35, 0])
SOUND = np.random.default_rng(0).normal(size=(B, S)).astype(np.float32)
VALID = np.arange(S) < LENGTHS[:, None]


def config(head="vanilla", **changes) -> ConfigDict:
    c = ConfigDict(
        dict(
            name="vocal_bursts",
            features=("audio",),
            dtype="float32",
            padding="masked",
            backbone=SMALL,
            head=HEADS[head],
        )
    )
    with c.unlocked():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def clips(sound=SOUND, valid=VALID):
    return {
        "inputs": {"audio": jnp.asarray(sound)},
        "inputs_mask": {"audio": jnp.asarray(valid)},
        "mask": jnp.asarray(valid.any(1)),
    }


@functools.cache
def drawn(head="vanilla"):
    """Variables with statistics that are not those of the start."""
    model = models.build(config(head), TASKS)
    tree = jax.eval_shape(model.init, jax.random.key(0), clips())
    rng = np.random.default_rng(1)

    def draw(leaf):
        return rng.uniform(-0.6, 0.6, leaf.shape).astype(np.float32)

    stats = jax.tree.map(lambda leaf: np.abs(draw(leaf)) + 0.1, tree["batch_stats"])
    return {"params": jax.tree.map(draw, tree["params"]), "batch_stats": stats}


@functools.partial(jax.jit, static_argnames=("padding", "head"))
def run(batch, padding="masked", head="vanilla"):
    return models.build(config(head, padding=padding), TASKS).apply(drawn(head), batch)


def test_every_task_has_float32_predictions_and_the_clip_arrays():
    out = run(clips())
    assert {n: (p.shape, p.dtype.name) for n, p in out.predictions.items()} == {
        t.name: ((B, t.size), "float32") for t in TASKS
    }
    assert {n: x.shape for n, x in out.aux["arrays"].items()} == {
        "embedding": (B, 4, 8),
        "hidden": (B, 3, 8),
        **{f"hidden_{i}": (B, 8) for i in range(3)},
    }
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(out))
    assert set(drawn()["params"]) == {"backbone", "head"}


def test_masked_padding_changes_nothing_and_heard_padding_is_heard():
    longer = np.pad(SOUND, ((0, 0), (0, 21)), constant_values=7), np.pad(VALID, ((0, 0), (0, 21)))
    for padding, changes in (("masked", False), ("heard", True)):
        want, got = (run(batch, padding).predictions for batch in (clips(), clips(*longer)))
        gap = max(np.abs(got[task] - want[task])[:2].max() for task in NAMES)
        assert gap > 1e-4 if changes else gap < 1e-6, padding


def test_a_clip_has_the_same_answer_in_any_batch():
    alone = run(clips(SOUND[1:2, :35], VALID[1:2, :35])).predictions
    want = run(clips()).predictions
    for task in NAMES:
        np.testing.assert_allclose(alone[task][0], want[task][1], atol=1e-5)


ONE, SINGLE = ("hidden",), ("hidden_0", "hidden_1", "hidden_2")


def stored(head="vanilla", features=SINGLE) -> ConfigDict:
    c = config(head, features=features)
    with c.unlocked():
        c.backbone = ConfigDict(dict(model_type="stored"))
    return c


@pytest.mark.parametrize("features", [ONE, SINGLE])
def test_stored_hidden_states_give_what_the_sound_gives_where_pooling_is_the_mean(features):
    out = run(clips())
    batch = {"inputs": {n: out.aux["arrays"][n] for n in features}, "mask": clips()["mask"]}
    variables = {kind: {"head": tree["head"]} for kind, tree in drawn().items()}
    got = models.build(stored(features=features), TASKS).apply(variables, batch)
    assert set(got.aux["arrays"]) == {"embedding"}
    for task in NAMES:
        np.testing.assert_allclose(got.predictions[task][:2], out.predictions[task][:2], atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_reads_stored_hidden_states(head):
    single = {name: np.ones((B, 5)) for name in SINGLE}
    for inputs in ({"hidden": np.ones((B, 3, 5))}, single):
        batch, model = {"inputs": inputs, "mask": np.ones(B, bool)}, stored(head, tuple(inputs))
        shapes = jax.eval_shape(models.build(model, TASKS).init, jax.random.key(0), batch)
        assert set(shapes["params"]) == {"head"}


def test_hubert_which_has_no_normalised_convolutions_serves_every_head():
    model = models.build(config("branch", backbone__model_type="hubert"), TASKS)
    variables = jax.eval_shape(model.init, jax.random.key(0), clips())
    assert variables["params"]["head"]["convolutions"]["kernel"].shape == (8, 8)


def test_a_chain_is_taught_by_the_labels_of_the_batch_in_training_alone():
    model, batch = models.build(config("chain"), TASKS), clips(valid=np.ones((B, S), bool))
    labels = {"type": np.array([0, 2, 1], np.int32)}
    labels |= {t.name: np.full((B, t.size), 0.5, np.float32) for t in TASKS[1:]}
    masks = {n: np.ones(x.shape, bool) for n, x in labels.items()}

    @functools.partial(jax.jit, static_argnames="train")
    def culture(labels, train):
        given = batch | {"labels": labels, "label_mask": masks}
        rngs, mutable = {"dropout": jax.random.key(0)}, ["batch_stats"]
        run = model.apply(drawn("chain"), given, train=train, rngs=rngs, mutable=mutable)
        return run[0].predictions["culture"]

    other = labels | {"two": labels["two"] + np.array([[1.0], [0.0], [0.0]], np.float32)}
    assert np.abs(culture(other, True) - culture(labels, True)).max() > 1e-3
    np.testing.assert_array_equal(culture(other, False), culture(labels, False))


@pytest.mark.parametrize("head", HEADS)
def test_weights_go_out_under_the_original_s_names_and_come_back(head):
    family, variables = family_of("vocal_bursts"), drawn(head)
    written = family.to_original(config(head), NAMES, variables)
    parts = {name.partition(".")[0] for name in written}
    assert parts == {"feature_extractor", "classifier"}
    table = family.table(config(head), NAMES, written)
    again, report = interop.to_variables(table, written, variables)
    report.require_complete("written")
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_a_backbone_alone_is_read_by_its_bare_names_and_leaves_the_head():
    family, variables = family_of("vocal_bursts"), drawn()
    written = family.to_original(config(), NAMES, variables)
    own = {n.removeprefix("feature_extractor."): x for n, x in written.items() if n[0] == "f"}
    for prefix in ("", "wav2vec2."):
        bare = {f"{prefix}{name}": x for name, x in own.items()}
        taken, report = interop.to_variables(family.table(config(), NAMES, bare), bare, variables)
        assert not report.unknown and not report.mismatched
        assert {path.split("/")[0] for path in report.missing} == {"head"}
        assert set(taken["params"]) == {"backbone"}


def test_a_backbone_of_another_size_is_refused_before_its_weights_are_read(tmp_path):
    family = family_of("vocal_bursts")
    written = family.to_original(config(), NAMES, drawn())
    interop.save_safetensors(tmp_path / "model.safetensors", written)
    assert family.load(tmp_path, config()).keys() == written.keys()
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="num_hidden_layers = 3, here 2"):
        family.load(tmp_path, config())


def test_models_that_the_original_has_not_are_not_written():
    family = family_of("vocal_bursts")
    for model, message in (
        (config(head__pooling="last"), "original's vanilla has attention and mean."),
        (config("branch", head__pooling="attention"), "original's branch has last and mean."),
        (stored(), "a model of stored hidden states has no backbone"),
    ):
        with pytest.raises(UserError, match=message):
            family.to_original(model, NAMES, drawn())


@pytest.mark.parametrize("head", HEADS)
def test_the_original_s_weights_are_of_its_order_where_a_task_reads_those_before_it(head):
    family, order = family_of("vocal_bursts"), NAMES[::-1]
    written = family.to_original(config(head), NAMES, drawn(head))
    if head in ("vanilla", "branch_v2"):
        other = family.to_original(config(head), order, drawn(head))
        jax.tree.map(np.testing.assert_array_equal, other, written)
        return
    for call in (
        lambda: family.table(config(head), order, written),
        lambda: family.to_original(config(head), order, drawn(head)),
    ):
        with pytest.raises(
            UserError, match=f"config.tasks = .*: the original's {head} goes type, "
        ):
            call()


def test_heads_of_attention_that_the_original_has_not_are_refused():
    with pytest.raises(UserError, match="config.model.head.heads = 2: the original has 8 of them."):
        family_of("vocal_bursts").table(
            config("branch", head__heads=2), NAMES, {"feature_extractor.encoder.x": np.zeros(1)}
        )


def test_a_chain_goes_in_the_order_of_the_tasks():
    model = models.build(config("chain"), TASKS[::-1])
    shapes = jax.eval_shape(model.init, jax.random.key(0), clips())["params"]["head"]
    widths = {n: shapes[f"task_{n}"]["hidden"]["kernel"].shape[0] - 8 for n in NAMES}
    assert widths == {"culture": 0, "high": 6, "two": 10, "type": 12}
    assert model.taught == ("high", "two", "type")
    assert models.build(config("branch"), TASKS).taught == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(padding="auto"), "config.model.padding = 'auto' needs config.system = 'audio'"),
        (dict(padding="no"), "config.model.padding = 'no': no such choice. Known: masked, heard,"),
        (dict(features=()), "config.model.features = (): expected the stream of sound."),
        (dict(features=("a", "b")), "config.model.features = ('a', 'b'): expected the stream"),
        (dict(backbone__hiden_size=8), "config.model.backbone.hiden_size: no such key. Did you"),
        (dict(backbone__num_attention_heads=3), "config.model.backbone: num_attention_heads = 3"),
        (dict(backbone__remat=1), "config.model.backbone.remat = 1: expected true or false"),
        (dict(head__name="chian"), "config.model.head.name = 'chian': no such choice. Did you"),
        (dict(head__sigmoid=("type",)), "config.model.head.sigmoid: 'type' is no task of values."),
        (dict(head__embedding=0), "config.model.head: embedding = 0: expected 1 or more."),
        (dict(head__pooling="avg"), "config.model.head: pooling = 'avg': no such pooling."),
        (dict(head__layers="even"), "config.model.head.layers: no such key."),
    ],
)
def test_wrong_keys_and_values_are_named(changes, message):
    with pytest.raises(UserError) as error:
        models.build(config(**changes), TASKS)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_bfloat16_is_of_activations_alone():
    model = models.build(config("branch_v2", dtype="bfloat16"), TASKS)
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), clips())
    assert {x.dtype.name for x in jax.tree.leaves((out.predictions, variables))} == {"float32"}
    assert out.aux["arrays"]["embedding"].dtype == jnp.bfloat16


def test_bins_no_tasks_and_rows_of_frames_are_refused():
    bins = Task("va", "bins", 1, centres=((0.0, 1.0),), edges=((0.5,),))
    with pytest.raises(UserError, match="config.task.va.kind = 'bins': vocal_bursts predicts none"):
        models.build(config(head__sigmoid=()), (bins,))
    with pytest.raises(UserError, match="config.tasks is empty"):
        models.build(config(head__sigmoid=()), ())
    batch = clips() | {"mask": jnp.ones((B, 2), bool)}
    model = models.build(config(), TASKS)
    with pytest.raises(UserError, match="config.data.clips is false"):
        jax.eval_shape(model.init, jax.random.key(0), batch)
    with pytest.raises(UserError, match="the data has no 'audio'. Did you mean 'audios'"):
        jax.eval_shape(
            model.init,
            jax.random.key(0),
            batch | {"mask": jnp.ones(B, bool), "inputs": {"audios": SOUND}},
        )
