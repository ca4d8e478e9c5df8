"""Pickles that are made to run, to grow or to take for ever: each is refused in one line."""

import zipfile

import numpy as np
import pytest

from affect_jax import interop
from data_pipelines import pickled
from data_pipelines.errors import UserError


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
        (
            b"\x80\x02" + TENSOR.replace(b"(K\x04t(", b"(\x8a\x09" + b"\x01" * 9 + b"t(") + b".",
            "than",
        ),
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


def test_tensors_that_share_a_storage_are_not_copied(tmp_path):
    large = TENSOR.replace(b"K\x04t", b"M\xe8\x03t")  # all 1,000 numbers
    pickled_file(tmp_path / "a.pth", b"\x80\x02](" + large * 90 + b"e.", b"\0" * 4000)
    tensors = list(interop.load(tmp_path / "a.pth").values())
    assert len(tensors) == 90 and tensors[0].size == 1000
    assert all(np.shares_memory(tensors[0], x) for x in tensors)


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
