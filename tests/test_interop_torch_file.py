"""PyTorch's files of all versions, read without it; what a hostile one cannot do."""

import argparse
import collections
import io
import pickle
import sys
import types
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import interop
from data_pipelines.errors import UserError


class Storage:
    """A stand-in for torch's typed storages while a file is written; `of` makes it a part."""

    def __init__(self, kind: type, data: np.ndarray, of: "tuple[Storage, int] | None" = None):
        self.kind, self.data, self.of = kind, data, of


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
    for name in ("FloatStorage", "LongStorage", "HalfStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("only named")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


class Pickler(pickle.Pickler):
    """Keeps the storages that it meets, in their order; `old` names parts of them too."""

    def __init__(self, file, old: bool):
        super().__init__(file, protocol=2)
        self.storages, self._old = [], old

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        whole, start = thing.of or (thing, 0)
        if whole not in self.storages:
            self.storages.append(whole)
        part = (f"part {start}", start, thing.data.size) if thing.of else None
        key = str(self.storages.index(whole))
        name = "storage", thing.kind, key, "cpu", whole.data.size
        return (*name, part) if self._old else name


def torch_save_before_1_6(tree, path, *, little=True, said=None) -> None:
    """Write `tree` of Tensors as torch.save did; `said` stands for the first storage's count."""
    with open(path, "wb") as file:
        sizes = {"short": 2, "int": 4, "long": 4}
        system = {"protocol_version": 1001, "little_endian": little, "type_sizes": sizes}
        for value in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(value, file, protocol=2)
        pickler = Pickler(file, old=True)
        pickler.dump(tree)
        # The order of the storages is that of their keys as texts, not of the structure.
        last = range(len(pickler.storages))[::-1]
        pickle.dump([str(i) for i in last], file, protocol=2)
        for i in last:
            data = pickler.storages[i].data
            file.write((data.size if said is None else said).to_bytes(8, "little", signed=True))
            file.write(data.tobytes())


def torch_save(tree, path, compression=zipfile.ZIP_STORED) -> None:
    """Write `tree` of Tensors as torch.save does."""
    text = io.BytesIO()
    pickler = Pickler(text, old=False)
    pickler.dump(tree)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", text.getvalue())
        archive.writestr("archive/byteorder", "little")
        for i, storage in enumerate(pickler.storages):
            archive.writestr(f"archive/data/{i}", storage.data.tobytes())


def tree_of(torch):
    """(a checkpoint of Tensors, what its model is): views, types and a number."""
    numbers = Storage(torch.FloatStorage, np.arange(12, dtype=np.float32))
    half = Storage(torch.HalfStorage, np.array([0.5, 3], np.float16))
    short = Storage(torch.BFloat16Storage, np.array([1.5, -2], jnp.bfloat16))
    count = Storage(torch.LongStorage, np.array([7], np.int64))
    tree = collections.OrderedDict(
        whole=Tensor(numbers, 0, (3, 4), (4, 1)),
        transposed=Tensor(numbers, 0, (4, 3), (1, 4)),
        part=Tensor(numbers, 3, (3,), (2,)),
        half=Tensor(half, 0, (2,), (1,)),
        short=Tensor(short, 0, (2,), (1,)),
        scalar=Tensor(count, 0, (), ()),
        empty=Tensor(numbers, 12, (0, 5), (5, 1)),
    )
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    want = {"whole": whole, "transposed": whole.T, "part": np.array([3, 5, 7], np.float32)}
    want |= {"half": np.array([0.5, 3], np.float16), "scalar": np.array(7)}
    want |= {"short": np.array([1.5, -2], jnp.bfloat16), "empty": np.zeros((0, 5), np.float32)}
    return tree, want


SAVERS = (torch_save, torch_save_before_1_6)


@pytest.mark.parametrize(
    ("save", "name"), [(torch_save, "last.pth.tar"), (torch_save_before_1_6, "model.t7")]
)
def test_files_of_all_versions_are_read_without_torch(save, name, torch_names, tmp_path):
    tree, want = tree_of(torch_names)
    save({"heads": tree, "epoch": 3}, tmp_path / name)
    got = interop.load(tmp_path / name)
    assert list(got) == [f"heads.{name}" for name in tree]
    for name, value in want.items():
        assert got[f"heads.{name}"].dtype == value.dtype
        np.testing.assert_array_equal(got[f"heads.{name}"], value)
    assert np.shares_memory(got["heads.whole"], got["heads.part"])  # mapped, not copied


@pytest.mark.parametrize("save", SAVERS)
def test_the_namespace_of_a_training_beside_its_weights_is_a_mapping(save, torch_names, tmp_path):
    tree, want = tree_of(torch_names)
    device = reduced("torch", "device", ("cuda", 0), torch_names)
    size = reduced("torch", "Size", ((3, 4),), torch_names)
    kept = Tensor(Storage(torch_names.FloatStorage, np.ones(2, np.float32)), 0, (2,), (1,))
    args = argparse.Namespace(lr=0.1, layers=[3, 4], device=device, size=size, mean=kept)
    save({"args": args, "again": args, "state_dict": tree}, tmp_path / "a.pth")
    read = interop.torch_file.load(tmp_path / "a.pth")
    for name in ("args.mean", "again.mean"):
        np.testing.assert_array_equal(read[name], [1, 1])
    assert len(read) == 2 + len(want)
    save({"args": args, "state_dict": tree}, tmp_path / "a.pth")
    assert set(interop.load(tmp_path / "a.pth")) == set(want)


def reduced(module, name, arguments, torch):
    """A thing that is pickled as a call of torch.<name>."""

    def function(*given):
        raise AssertionError("only named")

    function.__module__, function.__qualname__ = module, name
    setattr(torch, name, function)
    return type("Reduced", (), {"__reduce__": lambda self: (function, arguments)})()


def test_a_part_of_a_storage_is_read_from_where_it_begins(torch_names, tmp_path):
    whole = Storage(torch_names.FloatStorage, np.arange(9, dtype=np.float32))
    part = Storage(torch_names.FloatStorage, whole.data[4:8], of=(whole, 4))
    tree = {"whole": Tensor(whole, 0, (9,), (1,)), "x": Tensor(part, 1, (3,), (1,))}
    torch_save_before_1_6(tree, tmp_path / "a.pth")
    np.testing.assert_array_equal(interop.load(tmp_path / "a.pth")["x"], [5, 6, 7])
    tree["x"] = Tensor(part, 1, (4,), (1,))
    torch_save_before_1_6(tree, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a tensor of size \(4,\) in a storage of 4"):
        interop.load(tmp_path / "a.pth")


def test_the_texts_of_python_2_are_read(torch_names, tmp_path):
    tree, _ = tree_of(torch_names)
    torch_save_before_1_6({"scalar": tree["scalar"]}, tmp_path / "a.pth")
    text = (tmp_path / "a.pth").read_bytes()
    old = text.replace(b"X\x06\x00\x00\x00scalar", b"U\x06scalar")
    assert old != text
    (tmp_path / "a.pth").write_bytes(old)
    assert interop.load(tmp_path / "a.pth")["scalar"] == 7


def test_files_of_a_face_detector_from_before_1_6_are_whole(shared):
    layers = {"pnet": 5, "rnet": 6, "onet": 8}
    parameters = 0
    for name, count in layers.items():
        got = interop.load(shared / "weights" / "mtcnn" / f"{name}.pt")
        assert sum(x.ndim > 1 for x in got.values()) == count
        assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in got.values())
        parameters += sum(x.size for x in got.values())
    assert parameters == 495_850


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(little=False), "written on a big-endian machine"),
        (dict(said=2**40), "1,099,511,627,776 are announced"),
        (dict(said=-1), "are announced"),
    ],
)
def test_a_storage_that_claims_what_is_not_there_is_one_line(
    options, message, torch_names, tmp_path
):
    torch_save_before_1_6(tree_of(torch_names)[0], tmp_path / "a.pth", **options)
    with pytest.raises(UserError, match=message):
        interop.load(tmp_path / "a.pth")


def test_a_claim_in_the_structure_and_the_storage_alike_is_held_against_the_file(
    torch_names, tmp_path
):
    numbers = Storage(torch_names.FloatStorage, np.zeros(70000, np.float32))
    torch_save_before_1_6({"x": Tensor(numbers, 0, (2,), (1,))}, tmp_path / "a.pth")
    text = (tmp_path / "a.pth").read_bytes()
    count = (70000).to_bytes(4, "little")
    (tmp_path / "a.pth").write_bytes(text.replace(count, b"\xff\xff\xff\x7f"))
    with pytest.raises(UserError, match="2,147,483,647 are announced, and 280,000 bytes are left"):
        interop.load(tmp_path / "a.pth")


@pytest.mark.parametrize("save", SAVERS)
def test_a_damaged_file_is_read_or_is_one_line(save, torch_names, tmp_path):
    save(tree_of(torch_names)[0], tmp_path / "a.pth")
    text = (tmp_path / "a.pth").read_bytes()
    cut = [text[:i] for i in range(0, len(text), 7)]
    rng = np.random.default_rng(0)
    flipped = []
    for i in range(0, len(text), 3):
        other = bytearray(text)
        other[i] ^= 1 << rng.integers(8)
        flipped.append(bytes(other))
    refused = 0
    for i, damaged in enumerate([*cut, *flipped]):
        (tmp_path / "b.pth").write_bytes(damaged)
        try:
            interop.load(tmp_path / "b.pth")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            # A zip has a sum over each part; the cut off end of the other is missed as well.
            assert i >= len(cut)
    assert refused > len(cut)


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
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_bytes(b"no weights")
    (tmp_path / "text.safetensors").write_bytes(b"no weights at all")
    (tmp_path / "a.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    torch_save({}, tmp_path / "small.pth", zipfile.ZIP_DEFLATED)
    for name, message in {
        "old.pth": "not a file of torch.save that is whole",
        "empty.pth": "cannot mmap an empty file",
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
