"""Readers of npy, npz and JSON: what is damaged is one UserError, what is huge stays packed."""

from __future__ import annotations

import io
import pathlib
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import files
from data_pipelines.errors import UserError


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


WHOLE = _npz(names=np.array(["a", "b"]), x=np.arange(12.0).reshape(3, 4))


def test_an_npz_gives_headers_without_and_arrays_with_unpacking(tmp_path):
    (tmp_path / "x.npz").write_bytes(WHOLE)
    with files.Npz(tmp_path / "x.npz") as arrays:
        assert list(arrays) == ["names", "x"]
        assert arrays.header("x") == ((3, 4), np.dtype("f8"))
        np.testing.assert_array_equal(arrays["x"], np.arange(12.0).reshape(3, 4))
        np.testing.assert_array_equal(arrays.mapped("x"), arrays["x"])


def test_an_array_that_nothing_packs_is_mapped_and_its_bytes_are_checked(tmp_path):
    path, x = tmp_path / "x.npz", np.arange(12.0).reshape(3, 4)
    np.savez(path, c=x, f=np.asfortranarray(x), empty=x[:0], scalar=np.float32(2))
    with files.Npz(path) as arrays:
        found = {name: arrays.mapped(name) for name in arrays}
    for name, array in {"c": x, "f": x, "empty": x[:0], "scalar": np.float32(2)}.items():
        np.testing.assert_array_equal(found[name], array)
    assert isinstance(found["c"].base, np.memmap) and not found["c"].flags.writeable
    whole = path.read_bytes()
    at = whole.index(x.tobytes())
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
    with files.Npz(path) as arrays, pytest.raises(UserError, match="Bad CRC-32 for file 'c.npy'"):
        arrays.mapped("c")


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_npz_is_read_or_refused_in_one_line(tmp_path_factory, at, byte, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(WHOLE[:at] if cut else WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    try:
        with files.Npz(path) as arrays:
            for name in arrays:
                arrays[name]
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_what_was_read_of_a_map_is_given_back_and_read_again(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(1 << 20))
    x = files.open_npy(tmp_path / "x.npy")

    def resident():
        text = pathlib.Path("/proc/self/smaps").read_text().split(f"{tmp_path}/x.npy\n")[1]
        return int(text.split("Rss:")[1].split()[0])

    assert x.sum() == 1 << 20 and resident() > 8000
    files.forget(x[5:].reshape(-1, 1), np.zeros(3), None)
    assert resident() < 100 and x.sum() == 1 << 20


def test_an_array_that_is_no_array_of_its_size_is_not_unpacked(tmp_path):
    header = io.BytesIO()
    shape = (10**12,)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(10**6))
    with files.Npz(tmp_path / "x.npz") as arrays, pytest.raises(UserError, match="1000000 bytes"):
        arrays["x"]


def test_an_array_larger_than_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(files.os, "sysconf", lambda name: 2**10)
    with pytest.raises(MemoryError, match=r"x needs 0\.0 GiB, this machine has 0\.0"):
        files.require_memory(2**21, "x")


def test_json_nested_too_deeply_is_one_line(tmp_path):
    (tmp_path / "x.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"x\.json: not a JSON file \(nested too deeply\)\.$"):
        files.read_json(tmp_path / "x.json")


def test_a_npy_of_python_objects_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([None, {}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"x\.npy: not a readable array file"):
        files.open_npy(tmp_path / "x.npy")


def test_json_that_an_editor_put_a_byte_order_mark_in_front_of_is_read(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"train": ["000001"]}')
    assert files.read_json(tmp_path / "x.json") == {"train": ["000001"]}
