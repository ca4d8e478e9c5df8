"""configs/fer2013.py: what its variants choose, and from training to the scores of a test."""

import json

import numpy as np
import pytest

from affect_jax.config import load
from affect_jax.main import cli
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.store_writer import StoreWriter


def faces(path, **splits):
    """A store of noise: {split: number of pictures}, one a group."""
    rng = np.random.default_rng(0)
    features = {"face": dict(shape=(48, 48), dtype="uint8")}
    labels = {"expression": dict(kind="classes", size=7, names=EXPRESSIONS)}
    with StoreWriter(path, name="faces", features=features, labels=labels) as writer:
        for split, count in splits.items():
            for i in range(count):
                face = rng.integers(0, 256, (1, 48, 48)).astype(np.uint8)
                streams = {"face": face}
                writer.add(
                    track=f"{split}{i}",
                    split=split,
                    features=streams,
                    labels={"expression": [i % 7]},
                )
    return path


def test_ten_crops_are_the_recipe_of_the_public_classifier():
    config = load("configs/fer2013.py:vgg19,ten_crop")
    assert (config.image.crop, config.image.views, config.image.flip) == (44, 10, True)
    assert dict(config.model.backbone) == {"name": "vgg19"}
    assert (config.model.feature, config.model.dropout) == (0, 0.5)
    optim = config.optim
    assert (optim.name, optim.lr, optim.momentum, optim.weight_decay) == ("sgd", 0.01, 0.9, 5e-4)
    assert (optim.nesterov, optim.clip, optim.clip_norm) == (False, "value", 0.1)
    assert (config.epochs, config.data.batch_size, config.data.drop_last) == (250, 128, False)


def test_no_test_picture_chooses_anything():
    for variants in ("", "vgg19", "resnet18,ten_crop"):
        config = load(f"configs/fer2013.py:{variants}")
        parts = [config.data.split, *config.data.train_split.split("+")]
        assert config.folds.cut == "train" and parts == [f"fold{k}" for k in range(1, 11)]
    with pytest.raises(UserError, match="'resnet18' and 'vgg19' exclude each other"):
        load("configs/fer2013.py:vgg19,resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("variants", ["smoke", "resnet18,smoke", "vgg19,ten_crop,smoke"])
def test_it_trains_and_scores_the_test_pictures(variants, tmp_path):
    store = faces(tmp_path / "store", train=40, public_test=9)
    run = f"--workdir={tmp_path / 'run'}"
    root = f"--config.data.root={store}"
    assert cli([f"--config=configs/fer2013.py:{variants}", run, root]) == 0
    assert cli(["--mode=evaluate", run, "--config.data.split=public_test"]) == 0
    found = tmp_path / "run" / "predictions" / "public_test" / "scores.json"
    scores = json.loads(found.read_text())
    assert 0 <= scores["expression/accuracy"] <= 1
