"""Builders for tensorflow-datasets: what a store has, read by the same code, without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines.datasets.humevb import HumeVb
from data_pipelines.errors import UserError
from data_pipelines.sources import humevb
from data_pipelines.store import Store
from data_pipelines.twins import bursts


@pytest.fixture
def folder(tmp_path):
    bursts.write("bursts", tmp_path / "twin", {"Train": 3, "Val": 2, "Test": 2}, seed=0)
    return tmp_path / "twin"


def prepared(folder, config="default", to="tfds"):
    builder = HumeVb(data_dir=folder.parent / to, config=config)
    manual = tfds.download.DownloadConfig(manual_dir=folder)
    builder.download_and_prepare(download_config=manual)
    return builder


def test_hume_vb_has_the_clips_and_labels_of_the_store_in_its_order(folder, tmp_path):
    builder = prepared(folder)
    humevb.fill(folder, tmp_path / "store")
    store = Store(tmp_path / "store")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 3,
        "validation": 2,
        "test": 2,
    }
    for split in store.splits:
        examples = builder.as_data_source(split)
        for i, example in zip(store.split(split), examples, strict=True):
            assert example["clip"].decode() == store.tracks[i].name
            audio = store.feature("audio")[store.rows("audio", i)]
            np.testing.assert_array_equal(example["audio"], audio)
            for label in store.labels:
                values, mask = (np.asarray(x[i]) for x in store.label(label))
                missing = -1 if values.ndim == 0 else np.nan
                np.testing.assert_array_equal(example[label], np.where(mask, values, missing))
                assert mask.all() == (split != "test")
    code = "import sys, data_pipelines.datasets.humevb; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_hume_vb_lacks_is_named(folder, tmp_path, capfd):
    wav = sorted((folder / "wav").iterdir())[0]
    wav.rename(tmp_path / wav.name)
    builder = prepared(folder)
    assert f"clips without a file, left out: {wav.stem}" in builder.notes
    assert wav.stem in capfd.readouterr().err
    (folder / "labels" / "data_info.csv").unlink()
    (folder / "labels" / "type_info.csv").unlink()
    with pytest.raises(UserError, match=r"no table in it.*data_info\.csv"):
        prepared(folder, to="other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssertionError, match=r"labels/data_info\.csv.*wav/\*\.wav"):
        prepared(tmp_path / "empty", to="other")


def test_a_broken_clip_of_hume_vb_stops_unless_the_config_skips_it(folder, tmp_path):
    bad = sorted((folder / "wav").iterdir())[0]
    bad.write_text("no sound")
    with pytest.raises(UserError, match=bad.name):
        prepared(folder)
    builder = prepared(folder, "skip_bad")
    assert sum(split.num_examples for split in builder.info.splits.values()) == 6
    assert any(bad.name in note for note in builder.notes)
