"""The encoders that end in an LSTM: their parts, what they carry, starting from a transformer."""

import jax
import numpy as np
import pytest

from affect_jax.checkpoint import Checkpoints
from affect_jax.config import save
from affect_jax.models.blocks.fc_recurrent import FCLSTM, TransformerLSTM
from affect_jax.models.blocks.recurrent import LSTM
from affect_jax.models.blocks.transformer import Transformer
from affect_jax.optim import paths
from affect_jax.run import Run
from affect_jax.train import train
from tests.stores import small_store
from tests.tiny import tiny_system

B, T, D, H = 2, 6, 3, 4
LAYERS = dict(layers=1, heads=2, ffn=6, positions="abaw4")
MODELS = {
    "fclstm": FCLSTM(hidden=H, dropout=0.0),
    "residual": TransformerLSTM(hidden=H, dropout=0.0, **LAYERS),
    "plain": TransformerLSTM(hidden=H, dropout=0.0, residual=False, **LAYERS),
}


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, D)).astype(np.float32), np.arange(T) < np.array([[6], [2]])


@pytest.fixture(scope="module")
def params(inputs):
    tree = jax.jit(MODELS["residual"].init)(jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), tree)


def own(name, params):
    return {k: v for k, v in params.items() if name != "fclstm" or k != "layer_0"}


@pytest.mark.parametrize("name", MODELS)
def test_an_encoder_is_its_parts_one_after_another(name, params, inputs):
    x, mask = inputs
    projection = params["projection"]

    @jax.jit
    def parts(params):
        fed = jax.nn.relu(x @ projection["kernel"] + projection["bias"])
        seen = fed
        if name != "fclstm":
            layers = Transformer(hidden=H, dropout=0.0, project=False, **LAYERS)
            seen, _ = layers.apply({"params": {"layer_0": params["layer_0"]}}, fed, mask)
            seen = fed + seen if name == "residual" else seen
        return LSTM(H).apply({"params": params["lstm"]}, seen, mask)

    got = jax.jit(MODELS[name].apply)({"params": own(name, params)}, x, mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, parts(params))


def test_the_state_goes_on_where_the_segment_before_ended(params, inputs):
    x, mask = inputs
    run = jax.jit(
        lambda x, v, c: MODELS["fclstm"].apply({"params": own("fclstm", params)}, x, v, c)
    )
    whole, end = run(x, mask, None)
    first, carry = run(x[:, :3], mask[:, :3], None)
    second, last = run(x[:, 3:], mask[:, 3:], carry)
    np.testing.assert_allclose(np.concatenate([first, second], 1)[mask], whole[mask], atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), last, end)


def test_dropout_acts_on_what_the_lstm_reads(params, inputs):
    half = FCLSTM(hidden=H, dropout=0.5)
    run = jax.jit(
        lambda key: half.apply(
            {"params": own("fclstm", params)}, *inputs, None, True, rngs={"dropout": key}
        )[0]
    )
    assert np.abs(run(jax.random.key(0)) - run(jax.random.key(1))).max() > 1e-3
    with pytest.raises(ValueError, match="dropout = 1"):
        FCLSTM(hidden=H, dropout=1.0)


def test_what_a_transformer_has_lies_under_the_same_names(params, inputs):
    transformer = Transformer(hidden=H, dropout=0.0, **LAYERS)
    shapes = jax.eval_shape(transformer.init, jax.random.key(0), *inputs)["params"]
    theirs = {name: leaf.shape for name, leaf in paths(shapes).items()}
    ours = {name: leaf.shape for name, leaf in paths(params).items()}
    assert theirs.items() < ours.items()
    assert all(name.startswith("lstm/") for name in ours.keys() - theirs.keys())


PART = r"encoder/(projection|layer_\d+)/.*"


@pytest.mark.slow
def test_a_transformer_is_taken_over_and_stays_bit_for_bit(tmp_path):
    store = small_store(tmp_path / "store").path
    common = {"tasks": "valence", "epochs": 1, "data__split": ""}
    first, system = Run(tmp_path / "transformer"), tiny_system(store, seed=1, **common)
    first.create()
    save(system.config, first.config_file)
    transformer = system.init()
    with Checkpoints(first.checkpoints) as checkpoints:
        checkpoints.save(1, transformer, {})
    changes = {"init__run": first.folder, "init__match": PART, "freeze": PART}
    system = tiny_system(store, model__encoder__name="transformer_lstm", **changes, **common)
    fresh = system.init().params
    state = train(system, Run(tmp_path / "lstm"))
    taken, before, after = (
        paths(params["encoder"]) for params in (transformer.params, fresh, state.params)
    )
    for name, x in after.items():
        if name.startswith("lstm/"):
            assert (np.asarray(x) != np.asarray(before[name])).any(), name
        else:
            np.testing.assert_array_equal(x, taken[name], err_msg=name)
