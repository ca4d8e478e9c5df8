"""The A-VB family in the training loop, killed and resumed, and on stored hidden states."""

import contextlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import checkpoint, speech
from affect_jax import train as loop
from affect_jax.export import cli as export
from affect_jax.main import cli as main
from affect_jax.metrics import ccc
from affect_jax.models.blocks.speech.chosen import speech_config
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.train_run import train_run
from configs.base import base_config
from configs.vocal_bursts import get_config
from data_pipelines.join import open_store
from data_pipelines.store import Store
from tests.test_models_vocal_bursts import SMALL
from tests.test_train import _StopAfter
from tests.toys.stores import sound

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return sound(tmp_path_factory.mktemp("data") / "sound")


def config(root, features=("audio",), backbone=SMALL, head="chain", **options) -> ConfigDict:
    c = base_config()
    c.data.root = str(root)
    c.data.clips, c.data.normalise = True, "none"
    if features == ("audio",):
        c.data.seconds, c.data.random_start = 0.05, True
    c.data.batch_size, c.data.eval_batch_size, c.chunk_steps = 4, 4, 2
    head = dict(name=head, embedding=8, pooling="mean", sigmoid=("loudness",), **options)
    c.model = ConfigDict(dict(name="vocal_bursts", features=features, dtype="float32"))
    c.model.padding = "masked"
    c.model.backbone, c.model.head = ConfigDict(backbone), ConfigDict(head)
    c.tasks = ("tone", "loudness")
    c.task.tone = ConfigDict(dict(kind="classes", size=2, loss="ce", metrics=("uar",)))
    c.task.loudness = ConfigDict(dict(kind="values", size=1, loss="ccc", metrics=("ccc",)))
    c.monitor = ("loudness/ccc",)
    c.optim.lr, c.epochs, c.checkpoint = 0.01, 2, "last"
    return c


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("runs") / "speech")
    train_run(config(store, teacher_forcing=(1.0, 0.0)), run)
    return run


def digest(run):
    return checkpoint.digest(checkpoint.last_whole(run.checkpoints)[1])


def test_a_chain_on_a_backbone_that_is_killed_goes_the_same_way(store, trained, tmp_path):
    run = Run(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(3)))
        with pytest.raises(loop.Stopped):
            train_run(config(store, teacher_forcing=(1.0, 0.0)), run)
    assert len(run.records()) < 2
    train_run(config(store, teacher_forcing=(1.0, 0.0)), run)
    assert digest(run) == digest(trained)


def test_a_chain_is_scored_on_its_predictions_and_on_the_labels_in_their_place(store, trained):
    scores = trained.finished["scores"]
    own = config(store, teacher_forcing=(1.0, 0.0))
    own.data.split, own.data.feeder = "validation", "streamed"
    system = system_of(trained, own)
    _, variables = weights(system, trained, "last")
    data, rows = system.data, system.data.rows("validation")
    batch = data.source().batch(rows, data.shape(), np.arange(6, dtype=np.int32))
    batch = system.prepare(batch, None, False)
    taught = system.model.apply(variables, batch).aux["arrays"]["taught/loudness"]
    want = float(ccc(taught, batch["labels"]["loudness"], batch["label_mask"]["loudness"]))
    assert scores["taught/loudness/ccc"] == pytest.approx(want, abs=1e-5)
    assert abs(want - scores["loudness/ccc"]) > 1e-6
    assert not [name for name in scores if name.startswith("taught/tone")]
    card = (trained.folder / "README.md").read_text()
    row = f"| loudness/ccc | {scores['loudness/ccc']:.3f} | {want:.3f} |"
    assert row in card.split("| score | on predictions | on labels |")[1]
    assert (trained.folder / "plots" / "taught_validation.png").stat().st_size > 5000


def test_exported_hidden_states_train_another_head(store, trained, tmp_path):
    names = [f"hidden_{i}" for i in range(3)]
    out = tmp_path / "states"
    arrays = f"--arrays={','.join(names)}"
    assert export([str(trained.folder), f"--out={out}", arrays]) == 0
    features = tuple(f"speech/{name}" for name in names)
    assert {Store(out).features[name].shape for name in features} == {(8,)}
    run = Run(tmp_path / "run")
    data = f"{store},{out}"
    train_run(config(data, features, dict(model_type="stored"), "branch", heads=2), run)
    assert np.isfinite(run.records()[-1]["scores"]["validation"]["loudness/ccc"])
    assert "on predictions" not in (run.folder / "README.md").read_text()
    assert not [name for name in run.finished["scores"] if name.startswith("taught")]


def test_heads_train_on_the_hidden_states_of_a_published_backbone_as_it_is(tmp_path):
    backbone = speech_config(get_config("smoke").model.backbone)
    model = speech.SpeechTransformer(backbone)
    sound = np.zeros((1, 40_000), np.float32)
    variables = jax.jit(model.init)(jax.random.key(7), sound)
    speech.save(tmp_path / "published", backbone, variables)
    twin = "--config.data.root=twin:bursts?size=small"
    published, run = f"--config.init.weights={tmp_path / 'published'}", tmp_path / "base"
    flags = ["--config=configs/vocal_bursts.py:smoke", f"--workdir={run}", published, twin]
    frozen = ["--config.freeze=.*", "--config.epochs=1", "--config.data.split="]
    assert main([*flags, *frozen]) == 0
    out = tmp_path / "hidden"
    assert export([str(run), twin, f"--out={out}", "--arrays=hidden"]) == 0

    data, states = open_store("twin:bursts?size=small"), Store(out)
    assert states.features["base/hidden"].shape == (3, 16)
    samples = np.asarray(data.feature("audio")[data.rows("audio", 5)][:40_000])
    sound[0, : len(samples)] = samples / 32768
    hidden = jax.jit(model.apply)(variables, sound).hidden
    stored = states.feature("base/hidden")[states.tracks[5].offset]
    assert states.tracks[5].name == data.tracks[5].name
    np.testing.assert_allclose(stored, np.concatenate(hidden).mean(1), atol=1e-5)

    flags = ["--config=configs/vocal_bursts.py:chain,dwa,smoke,stored"]
    flags += [f"--config.data.root={data.path},{out}", f"--workdir={tmp_path / 'chain'}"]
    assert main(flags) == 0
    raw = checkpoint.last_whole(Run(tmp_path / "chain").checkpoints)[1]
    assert set(raw["params"]) == {"head"}
    assert np.isfinite(Run(tmp_path / "chain").records()[-1]["scores"]["validation"]["total"])
