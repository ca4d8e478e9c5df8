"""configs/emogator.py from training to the scores of speakers in another store."""

import json

import numpy as np
import pytest

from affect_jax.main import cli
from data_pipelines.audio import FEATURES, RATE
from data_pipelines.emotions import EMOTIONS
from data_pipelines.store_writer import StoreWriter


def clips(path, **splits):
    """A store of noise: {split: number of clips}, three a speaker."""
    rng = np.random.default_rng(0)
    labels = {"emotion": dict(kind="classes", size=30, names=EMOTIONS)}
    with StoreWriter(path, name="emogator", features=FEATURES, labels=labels) as writer:
        for split, count in splits.items():
            for i in range(count):
                wave = rng.normal(size=int(RATE * rng.uniform(0.1, 0.3))) * 1000
                writer.add(
                    track=f"{split}{i}",
                    split=split,
                    group=f"{split}{i // 3}",
                    features={"audio": wave.astype(np.int16)},
                    labels={"emotion": [i % 30]},
                )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("variants", ["smoke", "raw,smoke"])
def test_it_trains_and_scores_the_speakers_of_another_store(variants, tmp_path):
    known = clips(tmp_path / "known", train=40, validation=6)
    sealed = clips(tmp_path / "sealed", test=9)
    run = f"--workdir={tmp_path / 'run'}"
    assert (
        cli([f"--config=configs/emogator.py:{variants}", run, f"--config.data.root={known}"]) == 0
    )
    other = [f"--config.data.root={sealed}", "--config.data.split=test"]
    assert cli(["--mode=evaluate", run, *other]) == 0
    scores = json.loads((tmp_path / "run" / "predictions" / "test" / "scores.json").read_text())
    assert 0 <= scores["emotion/accuracy"] <= 1
