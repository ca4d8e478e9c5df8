"""Systems that are no part of the project train through its loop: what a new one can rely on."""

import contextlib

import numpy as np
import pytest

from affect_jax import checkpoint
from affect_jax import train as loop
from affect_jax.main import cli
from affect_jax.run import Run
from affect_jax.step import chunk
from tests.conftest import ROOT
from tests.test_train import _StopAfter
from tests.toys.stores import pictures

TOYS = ROOT / "tests" / "toys"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("toys") / "pictures")


def digest(run):
    folder = Run(run).checkpoints
    return checkpoint.digest(checkpoint.last_whole(folder)[1])


def kept(run):
    """The rows that were selected when the newest checkpoint was written."""
    return np.asarray(checkpoint.last_whole(Run(run).checkpoints)[1]["extra"]["kept"])


def selector(store, run, *more):
    config = TOYS / "selector_config.py"
    flags = [f"--config={config}", f"--config.data.root={store}", f"--workdir={run}", *more]
    return cli(flags)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """(run, programs that were compiled, rows that each training phase was fed)."""
    programs, fed = {}, []

    def compiled(step, *arguments):
        programs[step] = chunk(step, *arguments)
        return programs[step]

    def phase(self, phase):
        if phase.rows is not None:
            fed.append(phase.rows.tolist())
        return ran(self, phase)

    ran = loop._Loop._phase
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "chunk", compiled)
        patch.setattr(loop._Loop, "_phase", phase)
        run = tmp_path_factory.mktemp("runs") / "whole"
        assert selector(store, run, "--config.epochs=4") == 0
    return run, programs, fed


def test_a_selector_and_its_classifier_train_in_turns(whole):
    run, _, fed = whole
    assert [record["epoch"] for record in Run(run).records()] == [1, 2, 3, 4]
    assert len({tuple(rows) for rows in fed}) == 4 and len({len(rows) for rows in fed}) > 1
    assert np.flatnonzero(kept(run)).tolist() == fed[-1]
    policy = checkpoint.last_whole(Run(run).checkpoints)[1]["extra"]["policy"]
    assert all(np.asarray(leaf).any() for leaf in policy.values())


def test_a_changing_number_of_rows_compiles_nothing_anew(whole):
    _, programs, fed = whole
    assert {-(-len(rows) // 4) for rows in fed} > {6} or len({-(-len(r) // 4) for r in fed}) > 1
    # One program for a chunk of the full table, and one for a single step.
    assert sorted(program._cache_size() for program in programs.values()) == [1, 2]


# A look at the signals is taken once a chunk. A score phase has 2 chunks, training some more.
@pytest.mark.parametrize("looks", [0, 1, 2, 3, 4, 9])
def test_a_selector_that_is_killed_in_any_phase_goes_the_same_way(store, tmp_path, whole, looks):
    run, epochs = tmp_path / "run", "--config.epochs=4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(looks)))
        assert selector(store, run, epochs) == 0
    assert Run(run).started and not Run(run).finished
    state = checkpoint.last_whole(Run(run).checkpoints)[1]
    assert int(state["position"]) < 8
    assert selector(store, run, epochs) == 0
    assert digest(run) == digest(whole[0])
    assert Run(run).metrics_file.read_text() == Run(whole[0]).metrics_file.read_text()
