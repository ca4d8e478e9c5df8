"""Builders of faces for tensorflow-datasets: the rows of the store, in its order."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines.datasets.expw import Expw
from data_pipelines.datasets.fer2013 import Fer2013
from data_pipelines.datasets.rafdb import RafDb
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from tests import pictures


def rafdb(folder):
    names = [f"train_{i:05}" for i in range(5)] + ["test_0001"]
    for i, name in enumerate(names):
        pictures.save(folder / f"{name}_aligned.png", pictures.pixels(i))
    lines = "".join(f"{name}.jpg {i + 1}\n" for i, name in enumerate(names))
    (folder / "list_patition_label.txt").write_text(lines)


def expw(folder):
    for i in range(10):
        pictures.save(folder / "image" / f"p{i}.png", pictures.pixels(i))
    lines = "".join(f"p{i}.png 0 4 2 30 40 1 {i % 7}\n" for i in range(10))
    (folder / "label.lst").write_text(lines)


def fer2013(folder):
    arrays = np.stack([pictures.pixels(i, grey=True) for i in range(4)])
    np.savez(folder / "train.npz", images=arrays[:3], labels=np.arange(3))
    np.savez(folder / "public_test.npz", images=arrays[1:])


def prepared(builder, folder, config="default", to="tfds"):
    made = builder(data_dir=folder.parent / to, config=config)
    manual = tfds.download.DownloadConfig(manual_dir=folder)
    made.download_and_prepare(download_config=manual)
    return made


@pytest.mark.parametrize(
    ("builder", "write", "counts"),
    [
        (RafDb, rafdb, {"train": 4, "validation": 1, "test": 1}),
        (Expw, expw, {"train": 8, "validation": 1, "test": 1}),
        (Fer2013, fer2013, {"train": 3, "public_test": 1, "public_test_seen": 2}),
    ],
    ids=["rafdb", "expw", "fer2013"],
)
def test_a_builder_has_the_pictures_and_labels_of_the_store(tmp_path, builder, write, counts):
    (tmp_path / "faces").mkdir()
    write(tmp_path / "faces")
    made = prepared(builder, tmp_path / "faces")
    builder.SOURCE.fill(tmp_path / "faces", tmp_path / "store")
    store = Store(tmp_path / "store")
    assert {name: split.num_examples for name, split in made.info.splits.items()} == counts
    labels, mask = store.label("expression")
    assert made.info.features["expression"].names == list(store.labels["expression"].names)
    for split in store.splits:
        for i, example in zip(store.split(split), made.as_data_source(split), strict=True):
            assert example["picture"].decode() == store.tracks[i].name
            assert example["group"].decode() == store.tracks[i].group
            np.testing.assert_array_equal(example["face"], store.feature("face")[i])
            assert example["expression"] == (labels[i] if mask[i] else -1)
    assert any("of the published set that are there" in note for note in made.notes)


def test_a_broken_or_missing_picture_stops_a_builder_unless_its_config_skips_it(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    rafdb(folder)
    (folder / "train_00002_aligned.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"txt:3: .*train_00002_aligned\.png"):
        prepared(RafDb, folder)
    (folder / "test_0001_aligned.png").unlink()
    with pytest.raises(UserError, match=r"txt:6: test_0001: the picture is not there"):
        prepared(RafDb, folder, to="again")
    made = prepared(RafDb, folder, "skip_bad", to="skipped")
    assert {name: split.num_examples for name, split in made.info.splits.items()} == {
        "train": 3,
        "validation": 1,
    }
    assert any("train_00002_aligned" in note for note in made.notes)
    assert any("rows without a picture, left out" in note for note in made.notes)
