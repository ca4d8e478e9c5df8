"""Weights of the originals: the readers, the rules in both directions, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.models.blocks.transformer import position_table
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

TASKS = (Task("valence", "values", 1), Task("au", "labels", 12))


@pytest.mark.parametrize(
    "text",
    ['{"a":' * 3000, '{"x":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}', "[]"],
)
def test_a_safetensors_header_that_claims_what_is_not_there_is_one_line(text, tmp_path):
    header = text.encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(UserError, match="not a safetensors file that is whole") as error:
        interop.load(path)
    assert "\n" not in str(error.value)


def test_safetensors_come_back_as_they_were_written(tmp_path):
    tensors = {
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "strided": np.arange(10)[::3],
        "scalar": np.float16(0.5),
        "half": np.array([[1.5], [-2]], jnp.bfloat16),
    }
    interop.save_safetensors(tmp_path / "a.safetensors", tensors)
    got = interop.load(tmp_path / "a.safetensors")
    assert set(got) == set(tensors)
    for name, value in tensors.items():
        assert got[name].dtype == value.dtype and got[name].shape == value.shape
        np.testing.assert_array_equal(got[name], value)


def config(**changes) -> ConfigDict:
    encoder = dict(name="transformer", hidden=8, layers=2, heads=2, ffn=6, dropout=0.0)
    c = ConfigDict(
        dict(
            name="multitask",
            features=("a",),
            feature_norm=True,
            encoder=encoder | dict(positions="abaw4"),
            structure=dict(name="se"),
            head=dict(layers=(7, 5), dropout=0.0),
            dtype="float32",
        )
    )
    with c.unlocked():
        for group in ("structure", "encoder"):
            c[group] = changes.pop(group, c[group])
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def template(tasks=TASKS, **changes):
    batch = {"inputs": {"a": np.zeros((1, 2, 9), np.float32)}, "mask": np.ones((1, 2), bool)}
    model = models.build(config(**changes), tasks)
    return jax.eval_shape(model.init, jax.random.key(0), batch)


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), template())


def table(**changes):
    return interop.abaw4.table(
        **(dict(tasks=("valence", "au"), prefix="", indices=(1, 4)) | changes)
    )


@pytest.mark.parametrize("model", ["transformer", "mtl_transformer"])
@pytest.mark.parametrize("dropout", [True, False])
def test_exported_weights_come_back_bit_for_bit(variables, model, dropout):
    state_dict = interop.abaw4.to_original(variables, model=model, dropout=dropout)
    head = "net_au_cls.0." if model == "mtl_transformer" else "net_au_cls."
    assert state_dict[f"{head}module.{4 if dropout else 3}.weight"].shape == (5, 7)
    rules = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    got, report = interop.to_variables(rules, state_dict, template())
    report.require_complete("weights")
    assert set(report.unused) == {"net_seq.linear.weight", "net_seq.linear.bias"}
    jax.tree.map(np.testing.assert_array_equal, got, variables)


FED = dict(sources=("valence",), targets=("au",))
SBE = dict(name="sbe", layers=2, head_dim=8, ffn=6, dropout=0.0, positions="abaw4")
RELATIVE = dict(name="relative", hidden=8, layers=2, heads=2, dropout=0.0, window=3, kernel=3)
# (structure, encoder), what the original calls the model, its nets that hold a transformer.
STRUCTURES = [
    (SBE | FED, None, "mtl_transformer", ("_seq", "_v_reg.0", "_au_cls.0")),
    (SBE, RELATIVE, "mtl_transformer", ("_v_reg.0", "_au_cls.0")),
    (dict(name="se") | FED, RELATIVE, "transformer", ()),
]


@pytest.mark.parametrize(("structure", "encoder", "model", "transformers"), STRUCTURES)
def test_structures_come_back_bit_for_bit(structure, encoder, model, transformers):
    shapes = template(structure=structure, **({"encoder": encoder} if encoder else {}))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    state_dict = interop.abaw4.to_original(variables, model=model, dropout=True)
    rules = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    got, report = interop.to_variables(rules, state_dict, shapes)
    report.require_complete("weights")
    jax.tree.map(np.testing.assert_array_equal, got, variables)
    # The branch that nothing reads, and the fixed table, of each transformer and nothing else.
    pooled = {f"net{net}.linear.{part}" for net in transformers for part in ("weight", "bias")}
    assert set(report.unused) == pooled
    fixed = {name for name, path in report.mapped.items() if not path}
    assert fixed == {f"net{net}.position_embeddings.weight" for net in transformers}


def test_a_fed_target_and_an_fft_layer_have_the_original_names_and_shapes():
    shapes = template(structure=SBE | FED, encoder=RELATIVE)
    variables = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
    state_dict = interop.abaw4.to_original(variables, model="mtl_transformer", dropout=True)
    got = {name: x.shape for name, x in state_dict.items()}
    assert got["net_seq.model.attn_layers.1.conv_q.weight"] == (8, 8, 1)
    assert got["net_seq.model.attn_layers.1.emb_rel_v"] == (1, 7, 4)
    assert got["net_seq.model.ffn_layers.0.conv.weight"] == (8, 8, 3)
    assert got["net_seq.model.norm_layers_2.1.gamma"] == (8,)
    # 8 of the shared encoder and 5 of the source's last hidden layer.
    assert got["net_au_cls.0.encoder.layers.1.self_attn.in_proj_weight"] == (39, 13)
    assert got["net_au_cls.1.module.1.weight"] == (7, 13)
    with pytest.raises(ValueError, match="'mtl_transformer' has"):
        interop.abaw4.to_original(variables, model="transformer", dropout=True)


def test_exported_tensors_have_the_original_layout(variables):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    layer = variables["params"]["encoder"]["layer_1"]
    attention = layer["attention"]
    there = "net_seq.encoder.layers.1."
    np.testing.assert_array_equal(
        state_dict[f"{there}linear1.weight"], layer["linear_1"]["kernel"].T
    )
    np.testing.assert_array_equal(
        state_dict[f"{there}self_attn.in_proj_weight"], attention["in_projection"]["kernel"].T
    )
    np.testing.assert_array_equal(state_dict[f"{there}norm2.weight"], layer["norm_2"]["scale"])
    np.testing.assert_array_equal(
        state_dict["net_seq.position_embeddings.weight"], position_table(512, 8, "abaw4")
    )


RECURRENT = {
    "lstm": dict(name="lstm", hidden=8, bidirectional=True),
    "gru": dict(name="gru", hidden=8, layers=2),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_weights_come_back_bit_for_bit(name):
    rng = np.random.default_rng(0)
    shapes = template(encoder=RECURRENT[name])
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    state_dict = interop.abaw4.to_original(variables, model=name, dropout=True)
    there = {"lstm": "net_seq.rnn.weight_hh_l0_reverse", "gru": "net_seq.rnns.0.weight_hh_l1"}[name]
    layer = variables["params"]["encoder"]["layer_0_reverse" if name == "lstm" else "layer_1"]
    np.testing.assert_array_equal(state_dict[there], layer["recurrent_kernel"].T)
    rules = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    got, report = interop.to_variables(rules, state_dict, shapes)
    report.require_complete("weights")
    jax.tree.map(np.testing.assert_array_equal, got, variables)


@pytest.mark.parametrize(
    ("encoder", "model", "message"),
    [
        (dict(name="gru", hidden=8, layers=1), "gru", "the original's gru has 2 layer"),
        (RECURRENT["gru"] | dict(bidirectional=True), "gru", "two directions: False"),
        (RECURRENT["lstm"], "transformer", "model 'transformer': the encoder is 'lstm'"),
    ],
)
def test_recurrent_models_that_the_original_has_not_are_not_exported(encoder, model, message):
    with pytest.raises((UserError, ValueError), match=message):
        interop.abaw4.to_original(template(encoder=encoder), model=model, dropout=True)


@pytest.mark.parametrize(
    ("layers", "arguments", "indices"),
    [
        (2, dict(dropout=True), (1, 4)),
        (2, dict(dropout=False), (1, 3)),
        (3, dict(dropout=True, input_dropout=False), (0, 3, 6)),
        (0, dict(dropout=True), ()),
    ],
)
def test_head_indices_are_those_of_the_sheet(layers, arguments, indices):
    assert interop.abaw4.head_indices(layers, **arguments) == indices


def test_heads_of_other_tasks_are_listed_as_unused(variables):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    small = template(TASKS[:1])
    _, report = interop.to_variables(table(tasks=("valence",)), state_dict, small)
    assert report.complete
    assert report.unused["net_au_cls.fc_out.bias"] == "the model has no task au"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(encoder__layers=1), "16 tensors fit nowhere|12 tensors fit nowhere"),
        (dict(encoder__layers=3), "12 parameters have no tensor, encoder/layer_2/"),
        (dict(feature_norm=False), "2 tensors fit nowhere, net_layer_norm"),
        (dict(encoder__ffn=5), r"linear1.bias \(6,\) gives \(6,\), .*linear_1/bias is \(5,\)"),
    ],
)
def test_weights_of_another_model_are_refused(variables, changes, message):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    _, report = interop.to_variables(table(), state_dict, template(**changes))
    with pytest.raises(UserError, match=message) as error:
        report.require_complete("a.pth")
    assert str(error.value).startswith("a.pth: not the weights of this model")


def test_another_position_table_is_a_mismatch(variables):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    name = "net_seq.position_embeddings.weight"
    for wrong in (position_table(512, 8, "sinusoid"), np.zeros(3, np.float32)):
        _, report = interop.to_variables(table(), state_dict | {name: wrong}, template())
        assert len(report.mismatched) == 1 and name in report.mismatched[0]


def test_two_tensors_for_one_parameter_are_a_mismatch(variables):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    both = table() | interop.abaw4.head("old.", "au/head/", (1, 4))
    extra = {"old.fc_out.bias": state_dict["net_au_cls.fc_out.bias"]}
    _, report = interop.to_variables(both, state_dict | extra, template())
    assert report.mismatched == ("old.fc_out.bias is a second tensor for au/head/out/bias",)


def test_spelling_needs_heads_that_agree(variables):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    moved = {
        n.replace("net_au_cls.module.4", "net_au_cls.module.3"): x for n, x in state_dict.items()
    }
    with pytest.raises(UserError, match="the heads differ in their layers"):
        interop.abaw4.spelling(moved)
    with pytest.raises(UserError, match="the weights hold no head"):
        interop.abaw4.spelling({"fc.weight": np.zeros(1)})
    with pytest.raises(UserError, match="no task 'valance'. Did you mean 'valence'"):
        table(tasks=("valance",))


def test_a_parameter_without_rule_is_one_line():
    with pytest.raises(UserError, match="no rule for the parameter new/kernel"):
        interop.to_original(table(), {"params": {"new": {"kernel": np.zeros(1)}}})


def test_the_nets_of_one_epoch_are_joined(variables, tmp_path):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    for net in ("_seq", "_v_reg", "_au_cls", "_layer_norm"):
        own = {
            n.removeprefix(f"net{net}."): x
            for n, x in state_dict.items()
            if n.startswith(f"net{net}.")
        }
        interop.save_safetensors(tmp_path / f"latest_net{net}.safetensors", own)
        interop.save_safetensors(
            tmp_path / f"12_net{net}.safetensors", {n: 2 * x for n, x in own.items()}
        )
    for epoch, factor in (("latest", 1), (12, 2)):
        got = interop.abaw4.load_nets(tmp_path, epoch)
        assert set(got) == set(state_dict)
        for name, value in state_dict.items():
            np.testing.assert_array_equal(got[name], factor * value)
    with pytest.raises(UserError, match="no files 13_net<net>.pth. Did you mean '12'"):
        interop.abaw4.load_nets(tmp_path, 13)


def test_half_precision_weights_become_float32(variables):
    state_dict = interop.abaw4.to_original(variables, model="transformer", dropout=True)
    half = {name: x.astype(jnp.bfloat16) for name, x in state_dict.items()}
    got, report = interop.to_variables(table(), half, template())
    assert report.complete
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(np.float32)}
