"""Weights of the ABAW3 original, in and out."""

import itertools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.bins import uniform_bins
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

LAYERS = dict(layers=2, heads=2, ffn=6, positions="abaw4")
ENCODERS = {
    "transformer": LAYERS,
    "transformer_lstm": LAYERS,
    "transformer_attention": LAYERS | dict(memory=3, chunk=2, memory_heads=2),
    "fclstm": {},
}
NETS = {
    "transformer": {"_seq", "_reg"},
    "transformer_lstm": {"_fc", "_te", "_lstm", "_reg"},
    "transformer_attention": {"_seq", "_reg", "_attn"},
    "fclstm": {"_fc", "_seq", "_reg"},
}


def weights(encoder, tasks=("valence", "arousal"), bins=0, **changes):
    """(shapes, random variables) of a small model."""
    c = ConfigDict(
        dict(
            name="multitask",
            features=("a",),
            feature_norm=False,
            encoder=dict(name=encoder, hidden=8, dropout=0.0) | ENCODERS[encoder] | changes,
            structure=dict(name="joint"),
            head=dict(layers=(7, 5), dropout=0.0),
            dtype="float32",
        )
    )
    kind = ("bins", 1) if bins else ("values", 1)
    model = models.build(c, [Task(t, *kind, **(uniform_bins(bins) if bins else {})) for t in tasks])
    batch = {"inputs": {"a": np.zeros((1, 2, 9), np.float32)}, "mask": np.ones((1, 2), bool)}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    return shapes, jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)


@pytest.mark.parametrize(("encoder", "dropout"), [*itertools.product(ENCODERS, (True, False))])
@pytest.mark.parametrize(("tasks", "bins"), [(("valence", "arousal"), 4), (("arousal",), 0)])
def test_exported_weights_come_back_bit_for_bit(encoder, dropout, tasks, bins):
    shapes, variables = weights(encoder, tasks, bins)
    state_dict = interop.abaw3.to_original(variables, tasks, encoder=encoder, dropout=dropout)
    assert {name.split(".")[0] for name in state_dict} == {f"net{n}" for n in NETS[encoder]}
    assert state_dict[f"net_reg.module.{3 if dropout else 2}.weight"].shape == (5, 7)
    spelling = interop.abaw3.spelling(state_dict)
    assert spelling["encoder"] == encoder
    table = interop.abaw3.table(tasks, **spelling)
    got, report = interop.to_variables(table, state_dict, shapes)
    report.require_complete("weights")
    jax.tree.map(np.testing.assert_array_equal, got, variables)


def test_bins_stand_in_the_order_of_the_original():
    tasks = ("valence", "arousal")
    _, variables = weights("fclstm", tasks, bins=4)
    state_dict = interop.abaw3.to_original(variables, tasks, encoder="fclstm", dropout=True)
    bias = variables["params"]["joint"]["head"]["out"]["bias"]  # 4 of valence, 4 of arousal
    there = state_dict["net_reg.fc_out.bias"].reshape(4, 2)
    np.testing.assert_array_equal(there[:, 0], bias[:4])
    np.testing.assert_array_equal(there[:, 1], bias[4:])
    kernel = variables["params"]["joint"]["head"]["out"]["kernel"]
    np.testing.assert_array_equal(state_dict["net_reg.fc_out.weight"][2 * 3 + 1], kernel[:, 4 + 3])


def test_attention_without_parameters_leaves_the_original_its_net():
    tasks = ("valence",)
    shapes, variables = weights("transformer_attention", tasks, attention="single")
    original = dict(encoder="transformer_attention", dropout=True)
    state_dict = interop.abaw3.to_original(variables, tasks, **original)
    assert not state_dict["net_attn.in_proj_weight"].any()
    table = interop.abaw3.table(tasks, **interop.abaw3.spelling(state_dict))
    got, report = interop.to_variables(table, state_dict, shapes)
    assert report.complete and "net_attn.out_proj.bias" in report.unused
    jax.tree.map(np.testing.assert_array_equal, got, variables)


def test_files_of_a_folder_are_read_as_those_of_abaw4(tmp_path):
    tasks = ("valence", "arousal")
    _, variables = weights("transformer_lstm", tasks)
    original = dict(encoder="transformer_lstm", dropout=True)
    state_dict = interop.abaw3.to_original(variables, tasks, **original)
    for net in NETS["transformer_lstm"]:
        own = {n.removeprefix(f"net{net}."): x for n, x in state_dict.items() if f"net{net}." in n}
        interop.save_safetensors(tmp_path / f"2_net{net}.safetensors", own)
    got = interop.abaw4.load_nets(tmp_path, 2)
    assert set(got) == set(state_dict)


def test_other_tasks_and_other_weights_are_refused():
    with pytest.raises(UserError, match="no regressor"):
        interop.abaw3.spelling({"net_v_reg.fc_out.weight": np.zeros((1, 5))})
    with pytest.raises(UserError, match="no tasks arousal, valence. Did you mean"):
        interop.abaw3.table(("arousal", "valence"), encoder="fclstm", indices=(0, 3))
    shapes, _ = weights("transformer")
    _, variables = weights("transformer_lstm")
    state_dict = interop.abaw3.to_original(
        variables, ("valence", "arousal"), encoder="transformer_lstm", dropout=True
    )
    table = interop.abaw3.table(("valence", "arousal"), **interop.abaw3.spelling(state_dict))
    _, report = interop.to_variables(table, state_dict, shapes)
    with pytest.raises(UserError, match="4 tensors fit nowhere, net_lstm.rnn.bias_ih_l0"):
        report.require_complete("a.pth")
