"""Predictions of a track depend on nothing but the track: not on its batch, order or neighbours."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import systems
from affect_jax.predict import Predictor
from affect_jax.state import State
from configs import mtl, va
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.stores import LABELS, small_store
from tests.tiny import tiny_config

ENCODERS = mtl.ENCODERS | va.ENCODERS
REST = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ENCODERS
    if name not in ("lstm", "transformer_attention")
]


def predicted(store, split, encoder, variables=None, **changes):
    """({track: {task: raw}}, variables) of the tiny model; random parameters if none are given."""
    config = tiny_config(store, data__normalise="none", **changes)
    if encoder != "transformer":
        sizes = dict(hidden=8, layers=1, heads=2, ffn=8, memory=2, chunk=3, window=2)
        config.model.encoder = ConfigDict(ENCODERS[encoder])
        config.model.encoder.update({k: v for k, v in sizes.items() if k in ENCODERS[encoder]})
    system = systems.build(config)
    if variables is None:
        state: State = system.init()
        # Larger than at the start of a training, so that outputs are far above rounding.
        params = jax.tree.map(lambda p: 4 * p if p.ndim > 1 else p, state.params)
        variables = {"params": params, "batch_stats": state.batch_stats}
    tracks = Predictor(system, split).tracks(variables)
    return {system.data.store.tracks[i].name: raw for i, raw in tracks}, variables


def reordered(store: Store, folder, order):
    """The same tracks in another order, one of them alone in a split of its own."""
    features = {name: dict(size=f.size) for name, f in store.features.items()}
    with StoreWriter(folder, name="reordered", features=features, labels=LABELS) as writer:
        for i in order:
            track = store.tracks[i]
            rows = slice(track.offset, track.offset + track.frames)
            split = "alone" if i == order[0] else "rest"
            x = {name: store.feature(name)[rows] for name in features}
            writer.add(track=track.name, split=split, features=x, frames=store.frames[rows])
    return folder


@pytest.mark.parametrize("encoder", ["transformer", "lstm", "transformer_attention"] + REST)
def test_a_tracks_predictions_stay_when_batches_order_and_company_change(encoder, tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3, 24), validation=(9, 14))
    size = {"data__eval_batch_size": 3}
    whole, variables = predicted(store.path, "train+validation", encoder, **size)
    assert sorted(whole) == sorted(track.name for track in store.tracks)
    other = reordered(store, tmp_path / "other", [2, 4, 0, 3, 1])
    size = {"data__eval_batch_size": 2}
    again = {}
    for split in ("alone", "rest"):
        again |= predicted(other, split, encoder, variables, data__train_split=split, **size)[0]
    for name, raw in whole.items():
        assert len(raw["valence"]) == next(t.frames for t in store.tracks if t.name == name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), raw, again[name])
    assert np.ptp(whole["train2"]["valence"]) > 1e-3  # or nothing was compared
