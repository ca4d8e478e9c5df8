"""HDF5 files of others: what points to what is gone is named, never read as zeros."""

import h5py
import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.hdf5 import Hdf5

X = np.arange(12, dtype=np.float32).reshape(6, 2)


def virtual(file, key, source, of="x", shape=(6, 2), rows=slice(None)):
    """A virtual data set of six rows in an open file."""
    layout = h5py.VirtualLayout((6, 2), "f4")
    layout[:] = h5py.VirtualSource(str(source), of, shape=shape)[rows]
    file.create_virtual_dataset(key, layout)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """x.h5 holds an array, links.h5 and virtual.h5 what leads to it or to nowhere."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"], file["short"] = X, X[:4]
        file["gone"] = h5py.SoftLink("/nowhere")
        virtual(file, "gone_virtual", "gone.h5")
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["there"] = h5py.ExternalLink("x.h5", "x")
        file["virtual"] = h5py.ExternalLink("virtual.h5", "there")
        file["soft"] = h5py.SoftLink("/nowhere")
        file["loop"] = h5py.SoftLink("/loop")
        file["external"] = h5py.ExternalLink("gone.h5", "x")
        file["key"] = h5py.ExternalLink("x.h5", "y")
        file["twice"] = h5py.ExternalLink("x.h5", "gone")
        file["gone_virtual"] = h5py.ExternalLink("x.h5", "gone_virtual")
        file["group/a"], file["empty"], file["type"] = X, h5py.Empty("f4"), np.dtype("f4")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        virtual(file, "there", "x.h5")
        virtual(file, "moved", "/nowhere/x.h5")
        virtual(file, "gone", "gone.h5")
        virtual(file, "key", "x.h5", of="y")
        virtual(file, "link", "x.h5", of="gone")
        virtual(file, "nested", "x.h5", of="gone_virtual")
        virtual(file, "own", ".", of="gone")
        virtual(file, "short", "x.h5", of="short", shape=(8, 2), rows=slice(2, 8))
        virtual(file, "cycle", ".", of="cycle")
        file["soft"] = h5py.SoftLink("/gone")
    monkeypatch.chdir("/")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "key"),
    [("x", "x"), ("links", "there"), ("links", "virtual"), ("virtual", "there"),
     ("virtual", "moved"), ("links", "group/a")],
)  # fmt: skip
def test_arrays_are_found_through_links_and_virtual_sources(folder, name, key):
    with Hdf5(folder / f"{name}.h5") as file:
        np.testing.assert_array_equal(file.array(key)[...], X)


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("links", "soft", r"links\.h5:soft: a link to /nowhere, which is gone"),
        ("links", "loop", r"links\.h5:loop: a link to /loop, which is gone"),
        ("links", "external", r"links\.h5:external: a link to gone\.h5:x, which is gone"),
        ("links", "key", r"links\.h5:key: a link to x\.h5:y, which is gone"),
        ("links", "twice", r"links\.h5:twice: a link to x\.h5:gone, which is gone"),
        ("links", "soft/x", r"links\.h5:soft: a link to"),
        ("links", "gone_virtual", r"gone_virtual: its rows lie in gone\.h5:x, which is gone"),
        ("links", "group", "group: no array"),
        ("links", "type", "type: no array"),
        ("links", "empty", "empty: an empty data set"),
        ("links", "group/b", "group/b: not a readable HDF5 array"),
        ("virtual", "gone", r"virtual\.h5:gone: its rows lie in gone\.h5:x, which is gone"),
        ("virtual", "soft", r"virtual\.h5:soft: its rows lie in gone\.h5:x, which is gone"),
        ("virtual", "key", r"x\.h5:y: not a readable HDF5 array"),
        ("virtual", "link", r"x\.h5:gone: a link to /nowhere, which is gone"),
        ("virtual", "nested", r"x\.h5:gone_virtual: its rows lie in gone\.h5:x, which is gone"),
        ("virtual", "own", r"virtual\.h5:gone: its rows lie in gone\.h5:x, which is gone"),
        ("virtual", "short", r"short: takes rows up to .* of .*x\.h5:short, whose shape is \(4, 2"),
        ("virtual", "cycle", "cycle: its rows lie in itself"),
    ],
)
def test_what_leads_nowhere_is_named_with_file_and_key(folder, name, key, message):
    with Hdf5(folder / f"{name}.h5") as file, pytest.raises(UserError, match=message) as error:
        file.array(key)
    assert "\n" not in str(error.value)


def test_a_virtual_source_far_away_is_found_where_hdf5_finds_it(folder, tmp_path_factory):
    far = tmp_path_factory.mktemp("far")
    (far / "virtual.h5").symlink_to(folder / "virtual.h5")
    with Hdf5(far / "virtual.h5") as file:
        np.testing.assert_array_equal(file.array("there")[...], X)


def test_values_in_a_file_beside_that_ends_too_early_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with h5py.File("raw.h5", "w") as file:
        file.create_dataset("x", X.shape, "f4", external=[("raw.bin", 0, h5py.h5f.UNLIMITED)])
    X.tofile("raw.bin")
    with Hdf5("raw.h5") as file:
        np.testing.assert_array_equal(file.array("x")[...], X)
    X[:4].tofile("raw.bin")
    with Hdf5("raw.h5") as file, pytest.raises(UserError, match="x: its values lie in raw.bin, w"):
        file.array("x")


def test_names_are_those_of_a_group_and_none_of_an_array(folder):
    with Hdf5(folder / "x.h5") as file:
        assert set(file.names()) == {"x", "short", "gone", "gone_virtual"}
        assert file.names("x") is None
    with h5py.File(folder / "bytes.h5", "w") as file:
        file.id.links.create_soft(b"a\xff", b"x")
    with Hdf5(folder / "bytes.h5") as file:
        assert file.names() == ["a\\xff"]
