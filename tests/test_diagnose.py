import types

import numpy as np
import pytest

from affect_jax.data import Data
from affect_jax.diagnose import explain_non_finite
from affect_jax.tasks import Task
from data_pipelines.store_writer import StoreWriter
from tests.tiny import tiny_config

FEATURES = {"x": dict(size=2), "level": dict(shape=(), axis="rate", rate_hz=10)}
LABELS = {"level": dict(kind="values", size=1)}


def explained(path, clips=False, **broken):
    """The line on the first training row, of 4 frames or a clip, that begins anywhere."""
    frames = 1 if clips else 10
    streams = {"x": np.ones((frames, 2)), "level": np.ones(20)}
    for name, row in broken.items():
        streams[name][row] = np.nan
    with StoreWriter(path, name="bad", features=FEATURES, labels=LABELS) as writer:
        writer.add(
            track="a",
            split="train",
            features=streams,
            labels={"level": np.zeros(frames)},
            frames=np.arange(3, 3 + frames),
            fps=5,
        )
    config = tiny_config(path, data__normalise="none", data__clips=clips, data__random_start=True)
    config.data.seconds = 0.5 if clips else 0.0
    config.model.features = ("x", "level")
    system = types.SimpleNamespace(config=config, data=Data(config, (Task("level", "values", 1),)))
    ids = np.array([0, -1], np.int32)
    return explain_non_finite(system, system.data.training_rows, ids, 7, {"total": np.inf})


@pytest.mark.parametrize(
    ("clips", "broken", "said"),
    [
        (False, dict(x=8), "feature 'x' of track a, image 11 (nan)"),
        (True, dict(level=17), "feature 'level' of track a, row 18 of those that are fed (nan)"),
        (True, {}, "the inputs are finite"),
    ],
)
def test_rows_that_begin_anywhere_are_looked_for_in_all_of_their_track(
    tmp_path, clips, broken, said
):
    assert said in explained(tmp_path / "s", clips, **broken)
