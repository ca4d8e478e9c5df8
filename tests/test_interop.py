"""Weights of the originals: the readers, the rules in both directions, what is refused."""

import collections
import io
import pickle
import sys
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.interop import pickled
from affect_jax.models.blocks.transformer import position_table
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

TASKS = (Task("valence", "values", 1), Task("au", "labels", 12))


class Storage:
    """A stand-in for torch's typed storages while a file is written."""

    def __init__(self, kind: type, data: np.ndarray):
        self.kind, self.data = kind, data


class Tensor:
    """A view of a storage that pickles as a torch tensor does."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple):
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def torch_names(monkeypatch):
    """Modules with the names that a file of torch.save mentions; torch is not needed."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("only named")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def torch_save(tree, path, compression=zipfile.ZIP_STORED) -> None:
    """Write `tree` of Tensors as torch.save does."""
    storages, text = [], io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, Storage):
                storages.append(thing)
                return "storage", thing.kind, str(len(storages) - 1), "cpu", thing.data.size
            return None

    Pickler(text, protocol=2).dump(tree)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", text.getvalue())
        archive.writestr("archive/byteorder", "little")
        for i, storage in enumerate(storages):
            archive.writestr(f"archive/data/{i}", storage.data.tobytes())


def test_a_torch_file_is_read_without_torch(torch_names, tmp_path):
    numbers = Storage(torch_names.FloatStorage, np.arange(12, dtype=np.float32))
    half = Storage(torch_names.BFloat16Storage, np.array([1.5, -2], jnp.bfloat16))
    count = Storage(torch_names.LongStorage, np.array([7], np.int64))
    tree = collections.OrderedDict(
        whole=Tensor(numbers, 0, (3, 4), (4, 1)),
        transposed=Tensor(numbers, 0, (4, 3), (1, 4)),
        part=Tensor(numbers, 3, (3,), (2,)),
        half=Tensor(half, 0, (2,), (1,)),
        scalar=Tensor(count, 0, (), ()),
    )
    torch_save({"heads": tree, "epoch": 3}, tmp_path / "a.pth")
    got = interop.load(tmp_path / "a.pth")
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    want = {"whole": whole, "transposed": whole.T, "part": np.array([3, 5, 7], np.float32)}
    want |= {"half": np.array([1.5, -2], jnp.bfloat16), "scalar": np.array(7)}
    assert set(got) == {f"heads.{name}" for name in want}
    for name, value in want.items():
        assert got[f"heads.{name}"].dtype == value.dtype
        np.testing.assert_array_equal(got[f"heads.{name}"], value)


def test_torch_itself_writes_files_that_are_read(tmp_path):
    torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
    layer = torch.nn.Linear(3, 2)
    torch.save(layer.state_dict(), tmp_path / "a.pth")
    got = interop.load(tmp_path / "a.pth")
    np.testing.assert_array_equal(got["weight"], layer.weight.detach().numpy())


def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "written"), "w")

    torch_save({"weight": Attack()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a.pth: holds .*open, and only tensors are read"):
        interop.load(tmp_path / "a.pth")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "view",
    [(0, (13,), (1,)), (4, (3, 3), (4, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (99,), (0,))],
)
def test_a_tensor_outside_its_storage_is_refused(torch_names, tmp_path, view):
    numbers = Storage(torch_names.FloatStorage, np.arange(12, dtype=np.float32))
    torch_save({"x": Tensor(numbers, *view)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="not a file of torch.save that is whole"):
        interop.load(tmp_path / "a.pth")


def test_files_of_other_forms_are_refused_in_one_line(torch_names, tmp_path):
    (tmp_path / "old.pth").write_bytes(b"\x80\x02\x8a\x0al\xfc\x9c")
    (tmp_path / "text.pth").write_bytes(b"no weights")
    (tmp_path / "text.safetensors").write_bytes(b"no weights at all")
    (tmp_path / "a.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    torch_save({}, tmp_path / "small.pth", zipfile.ZIP_DEFLATED)
    for name, message in {
        "old.pth": "before 1.6. Save it anew",
        "text.pth": "not a file of torch.save that is whole .File is not a zip file",
        "zip.pth": "no data.pkl",
        "small.pth": "compressed",
        "text.safetensors": "not a safetensors file",
        "a.npz": "weight files end in .safetensors, .pth, .pt, .bin",
        "none.pth": "no such weight file",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            interop.load(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def pickled_file(path, text: bytes, data: bytes = b"", **fields):
    """A file as torch.save writes it, of any bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/data/0", data)
        for member in archive.infolist():
            for field, value in fields.items():
                setattr(member, field, value)


def doubled(first: bytes, again: bytes) -> bytes:
    """A pickle whose references double sixty times; each level is remembered under its number."""
    text = b"\x80\x02" + first + b"q\x00"
    for i in range(60):
        text += again.replace(b"?", bytes([i])) + b"q" + bytes([i + 1])
    return text


# A tensor of four numbers, rebuilt anew.
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00(K\x04t(K\x01t\x89NtR"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\x80\x04" + b"]" * 4000 + b"a" * 3999 + b".", "nested too deeply"),
        (b"\x80\x04]\x94h\x00a.", "nested too deeply"),
        (b"\x80\x04]r\xff\xff\xff\x0f.", "it remembers thing 268,435,455"),
        (doubled(b"]", b"](h?h?e") + b".", "nested too deeply, or too large"),
        (doubled(b")", b"h?h?\x86") + b".", "nested too deeply, or too large"),
        (doubled(b")", b"h?h?\x86") + b"}h\x3cK\x01s.", "a key of type tuple"),
        (b"\x80\x04" + doubled(b")", b"h?h?\x86")[2:] + b"h\x00\x93.", "that is no text"),
        (b"\x80\x02ccollections\nOrderedDict\n" + b"](K\x01K\x02e\x85R.", "takes 0 positional"),
        (b"\x80\x02K\x01K\x02\x8a\xff" + b"\x01" * 255 + b"\x87.", "holds no tensor"),
        (b"\x80\x02" + TENSOR.replace(b"(K\x04t(", b"(\x8a\x09" + b"\x01" * 9 + b"t("), "than"),
        (b"\x80\x02]", "pickle exhausted before seeing STOP"),
        (b"\x80\x02]" + b"0" * 9 + b".", "instruction POP"),
        (b"\x80\x02K\x01K\x02a.", "items are added to a int"),
    ],
)
def test_a_pickle_made_to_take_for_ever_is_one_line(text, message, tmp_path):
    pickled_file(tmp_path / "a.pth", text, b"\0" * 16)
    with pytest.raises(UserError, match=message) as error:
        interop.load(tmp_path / "a.pth")
    assert str(tmp_path / "a.pth") in str(error.value) and "\n" not in str(error.value)


def test_tensors_that_share_a_storage_are_not_copied_without_end(tmp_path):
    large = TENSOR.replace(b"K\x04t", b"M\xe8\x03t")  # all 1,000 numbers
    text = b"\x80\x02](" + large * 10
    pickled_file(tmp_path / "tied.pth", text + b"e.", b"\0" * 4000)
    assert len(interop.load(tmp_path / "tied.pth")) == 10
    pickled_file(tmp_path / "a.pth", text + large * 90 + b"e.", b"\0" * 4000)
    with pytest.raises(UserError, match="more than 8 times as large as the file"):
        interop.load(tmp_path / "a.pth")


def test_a_pickle_of_too_many_steps_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "MOST_INSTRUCTIONS", 100)
    pickled_file(tmp_path / "a.pth", b"\x80\x02](" + b"K\x01" * 200 + b"e.")
    with pytest.raises(UserError, match="takes more than 100 steps"):
        interop.load(tmp_path / "a.pth")
    monkeypatch.setattr(pickled, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="expected at most 100"):
        interop.load(tmp_path / "a.pth")


def test_parts_that_claim_more_than_the_file_has_are_refused(tmp_path):
    pickled_file(tmp_path / "a.pth", b"\x80\x02].", b"\0" * 16, file_size=10**12)
    with pytest.raises(UserError, match="its parts claim 2,000,000,000,000 bytes of"):
        interop.load(tmp_path / "a.pth")


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
    return jax.eval_shape(model.init, jax.random.key(0), batch)["params"]


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), template())


def table(**changes):
    return interop.abaw4.table(
        **(dict(tasks=("valence", "au"), prefix="", indices=(1, 4)) | changes)
    )


@pytest.mark.parametrize("model", ["transformer", "mtl_transformer"])
@pytest.mark.parametrize("dropout", [True, False])
def test_exported_weights_come_back_bit_for_bit(params, model, dropout):
    state_dict = interop.abaw4.to_original(params, model=model, dropout=dropout)
    head = "net_au_cls.0." if model == "mtl_transformer" else "net_au_cls."
    assert state_dict[f"{head}module.{4 if dropout else 3}.weight"].shape == (5, 7)
    rules = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    got, report = interop.to_params(rules, state_dict, template())
    report.require_complete("weights")
    assert set(report.unused) == {"net_seq.linear.weight", "net_seq.linear.bias"}
    jax.tree.map(np.testing.assert_array_equal, got, params)


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
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    state_dict = interop.abaw4.to_original(params, model=model, dropout=True)
    rules = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    got, report = interop.to_params(rules, state_dict, shapes)
    report.require_complete("weights")
    jax.tree.map(np.testing.assert_array_equal, got, params)
    # The branch that nothing reads, and the fixed table, of each transformer and nothing else.
    pooled = {f"net{net}.linear.{part}" for net in transformers for part in ("weight", "bias")}
    assert set(report.unused) == pooled
    fixed = {name for name, path in report.mapped.items() if not path}
    assert fixed == {f"net{net}.position_embeddings.weight" for net in transformers}


def test_a_fed_target_and_an_fft_layer_have_the_original_names_and_shapes():
    shapes = template(structure=SBE | FED, encoder=RELATIVE)
    params = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
    state_dict = interop.abaw4.to_original(params, model="mtl_transformer", dropout=True)
    got = {name: x.shape for name, x in state_dict.items()}
    assert got["net_seq.model.attn_layers.1.conv_q.weight"] == (8, 8, 1)
    assert got["net_seq.model.attn_layers.1.emb_rel_v"] == (1, 7, 4)
    assert got["net_seq.model.ffn_layers.0.conv.weight"] == (8, 8, 3)
    assert got["net_seq.model.norm_layers_2.1.gamma"] == (8,)
    # 8 of the shared encoder and 5 of the source's last hidden layer.
    assert got["net_au_cls.0.encoder.layers.1.self_attn.in_proj_weight"] == (39, 13)
    assert got["net_au_cls.1.module.1.weight"] == (7, 13)
    with pytest.raises(ValueError, match="'mtl_transformer' has"):
        interop.abaw4.to_original(params, model="transformer", dropout=True)


def test_exported_tensors_have_the_original_layout(params):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    layer, attention = params["encoder"]["layer_1"], params["encoder"]["layer_1"]["attention"]
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
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    state_dict = interop.abaw4.to_original(params, model=name, dropout=True)
    there = {"lstm": "net_seq.rnn.weight_hh_l0_reverse", "gru": "net_seq.rnns.0.weight_hh_l1"}[name]
    layer = params["encoder"]["layer_0_reverse" if name == "lstm" else "layer_1"]
    np.testing.assert_array_equal(state_dict[there], layer["recurrent_kernel"].T)
    rules = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    got, report = interop.to_params(rules, state_dict, shapes)
    report.require_complete("weights")
    jax.tree.map(np.testing.assert_array_equal, got, params)


@pytest.mark.parametrize(
    ("encoder", "model", "message"),
    [
        (dict(name="gru", hidden=8, layers=1), "gru", "the original's gru has 2 layer"),
        (RECURRENT["gru"] | dict(bidirectional=True), "gru", "two directions: False"),
        (RECURRENT["lstm"], "transformer", "model 'transformer': the encoder is 'lstm'"),
    ],
)
def test_recurrent_models_that_the_original_has_not_are_not_exported(encoder, model, message):
    with pytest.raises(ValueError, match=message):
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


def test_heads_of_other_tasks_are_listed_as_unused(params):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    small = template(TASKS[:1])
    _, report = interop.to_params(table(tasks=("valence",)), state_dict, small)
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
def test_weights_of_another_model_are_refused(params, changes, message):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    _, report = interop.to_params(table(), state_dict, template(**changes))
    with pytest.raises(UserError, match=message) as error:
        report.require_complete("a.pth")
    assert str(error.value).startswith("a.pth: not the weights of this model")


def test_another_position_table_is_a_mismatch(params):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    name = "net_seq.position_embeddings.weight"
    for wrong in (position_table(512, 8, "sinusoid"), np.zeros(3, np.float32)):
        _, report = interop.to_params(table(), state_dict | {name: wrong}, template())
        assert len(report.mismatched) == 1 and name in report.mismatched[0]


def test_two_tensors_for_one_parameter_are_a_mismatch(params):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    both = table() | interop.abaw4.head("old.", "au/head/", (1, 4))
    extra = {"old.fc_out.bias": state_dict["net_au_cls.fc_out.bias"]}
    _, report = interop.to_params(both, state_dict | extra, template())
    assert report.mismatched == ("old.fc_out.bias is a second tensor for au/head/out/bias",)


def test_spelling_needs_heads_that_agree(params):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    moved = {
        n.replace("net_au_cls.module.4", "net_au_cls.module.3"): x for n, x in state_dict.items()
    }
    with pytest.raises(UserError, match="the heads differ in their layers"):
        interop.abaw4.spelling(moved)
    with pytest.raises(UserError, match="the weights hold no head"):
        interop.abaw4.spelling({"fc.weight": np.zeros(1)})
    with pytest.raises(UserError, match="no task 'valance'. Did you mean 'valence'"):
        table(tasks=("valance",))


def test_a_parameter_without_rule_is_our_mistake(params):
    with pytest.raises(ValueError, match="no rule for the parameter new/kernel"):
        interop.to_original(table(), params | {"new": {"kernel": np.zeros(1)}})


def test_the_nets_of_one_epoch_are_joined(params, tmp_path):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
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


def test_half_precision_weights_become_float32(params):
    state_dict = interop.abaw4.to_original(params, model="transformer", dropout=True)
    half = {name: x.astype(jnp.bfloat16) for name, x in state_dict.items()}
    got, report = interop.to_params(table(), half, template())
    assert report.complete
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(np.float32)}
