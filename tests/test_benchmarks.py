"""Flags of the benchmarks, and what the machine computes beside them. No speed is tested here."""

import importlib
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.speech import SpeechConfig, SpeechTransformer
from benchmarks import audio, commits, load, many_tracks, rounds, run, temporal
from benchmarks.audio_shape import Shape
from data_pipelines.command import exit_code
from data_pipelines.errors import UserError
from tests.speech_files import CONFIG


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("run", ["--shapes=x"], "expected BATCHxFRAMES"),
        ("run", ["--shapes="], "expected BATCHxFRAMES"),
        ("run", ["--shapes=8"], "expected BATCHxFRAMES"),
        ("run", ["--shapes=8x64,0x0"], "expected BATCHxFRAMES"),
        ("run", ["--shapes=-1x4"], "expected BATCHxFRAMES"),
        ("run", ["--rounds=0"], "expected a whole number from 1"),
        ("run", ["--rounds=-1"], "expected a whole number from 1"),
        ("run", ["--steps=0"], "expected a whole number from 1"),
        ("run", ["--json=/proc/x"], "/proc/x: "),
        ("run", ["--suite=speed"], "invalid choice: 'speed'"),
        ("run", ["--round=3"], "unknown argument '--round=3'. Did you mean --rounds?"),
        ("run", ["--suite=audio", "--batches=8,x"], "expected numbers of clips, as in 8,64"),
        ("run", ["--suite=audio", "--batches=0"], "expected numbers of clips, as in 8,64"),
        ("run", ["--suite=audio", "--seconds=nan"], "expected seconds from 0.1 to 1000"),
        ("run", ["--suite=audio", "--model=hubrt"], "invalid choice: 'hubrt'"),
        ("run", ["--suite=audio", "--step=1"], "Did you mean --steps?"),
        ("kill", ["--config=nope.py"], "no file nope.py"),
        ("kill", ["--seed=x"], "expected a whole number"),
        ("ccc", ["--means=1,x"], "expected numbers, as in 0.1,5"),
        ("ccc", ["--means=inf"], "expected numbers, as in 0.1,5"),
        ("ccc", ["--frames=0"], "expected a whole number from 2"),
        ("many_tracks", ["--tracks=0"], "expected a whole number from 1"),
        ("context", ["--seeds=0"], "expected a whole number from 1"),
        ("structures", ["--seeds=1"], "required: --workdir"),
        ("structures", ["--workdir=" + "c" * 300], "longer than the name of a file can be"),
        ("bursts", ["--heads=vanilla"], "required: --workdir"),
        ("bursts", ["--workdir=x", "--heads=chian"], "--heads: 'chian': Did you mean 'chain'?"),
        ("bursts", ["--workdir=x", "--weightings=dwa,"], "--weightings: '': Known: fixed, dwa"),
        ("ridge_mouth", ["--store=nowhere"], "nowhere is no store"),
        ("fusion", ["--seeds=1"], "required: --workdir"),
        ("fusion", ["--workdir=x", "--folds=1"], "expected a whole number from 2"),
        ("subsets", [], "required: MEMBER"),
        ("commits", ["nowhere", "HEAD"], "nowhere: neither a folder nor a commit"),
        ("commits", ["HEAD", "HEAD", "--rounds=0"], "expected a whole number from 1"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(name, flags, message, capsys):
    assert exit_code(importlib.import_module(f"benchmarks.{name}").main, flags) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and not out


def test_rounds_under_load_are_marked_in_print_and_json(tmp_path, monkeypatch, capsys):
    loads = [load.Load(0.3, 0.01, 2), load.Load(2.5, 1.3, 2)]
    rounds = [({"ours chunk": 0.01, "ours epoch": 0.02}, each) for each in loads]
    monkeypatch.setattr(temporal, "measure", lambda *_, **__: iter(rounds))
    run.main(["--shapes=1x2", f"--json={tmp_path / 'numbers.json'}"])
    quiet, loaded = (x for x in capsys.readouterr().out.splitlines() if x.startswith("  round"))
    assert quiet.endswith("load 0.30, others 0.01 of 2 cores")
    assert loaded.endswith("load 2.50, others 1.30 of 2 cores   UNDER LOAD")
    kept = json.loads((tmp_path / "numbers.json").read_text())["results"][0]["rounds"]
    assert [r["quiet"] for r in kept] == [True, False] and kept[1]["others"] == 1.3


def test_what_this_process_and_its_children_compute_is_no_load_of_others():
    before = load._own()
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert 0.25 <= load._own() - before < 5
    measured = load.Watch().stop()
    assert measured.others >= 0 and measured.cores >= 1


# A benchmarks.run that knows how long it takes.
STAND_IN = """
import importlib.util, json, pathlib, sys
file = next(word for word in sys.argv if word.startswith("--json=")).removeprefix("--json=")
assert "--shapes=1x2" in sys.argv and importlib.util.find_spec("torch") is None
with pathlib.Path({log!r}).open("a") as log:
    log.write({name!r})
one = {{"ours chunk": {seconds}, "ours epoch": 1.0, "average": 0.1, "quiet": True}}
result = {{"model": "lstm", "shape": "1x2", "rounds": [one]}}
pathlib.Path(file).write_text(json.dumps({{"header": "", "results": [result]}}))
"""


@pytest.fixture
def states(tmp_path, monkeypatch):
    """A repository whose first commit takes 2 s a step and whose work tree takes 3; their log."""
    repository, log = tmp_path / "repository", tmp_path / "log"
    (repository / "benchmarks").mkdir(parents=True)
    program = repository / "benchmarks" / "run.py"
    program.write_text(STAND_IN.format(log=str(log), name="b", seconds=2.0))
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    program.write_text(STAND_IN.format(log=str(log), name="a", seconds=3.0))
    monkeypatch.setattr(commits, "ROOT", repository)
    return repository, log


def test_a_commit_and_a_work_tree_are_measured_in_turns_and_the_checkout_is_removed(states, capsys):
    repository, log = states
    commits.main(["HEAD", str(repository), "--rounds=3", "--shapes=1x2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "round 1   lstm 1x2 chunk 1.500   lstm 1x2 epoch 1.000"
    assert lines[3] == (
        "lstm 1x2 chunk: before 2000.00 ms a step, after 3000.00 ms, after / before 1.500 "
        "(1.500 to 1.500, 3 rounds)"
    )
    assert len(lines) == 5 and log.read_text() == "baabba"
    trees = subprocess.run(
        ["git", "-C", str(repository), "worktree", "list"], capture_output=True, text=True
    )
    assert trees.stdout.count("\n") == 1


def test_a_tree_whose_benchmark_fails_is_one_line_with_what_it_said(states, capsys):
    repository, _ = states
    assert exit_code(commits.main, ["HEAD", str(repository), "--shapes=8"]) == 2
    said = capsys.readouterr()
    assert "benchmarks.run failed: AssertionError" in said.err and said.err.count("\n") == 1


def test_the_ratio_of_two_commits_is_the_median_of_the_pairs_with_an_interval_around_it():
    drift = np.linspace(1, 4, 21)  # the machine becomes slower, for both
    noise = np.random.default_rng(1).normal(1, 0.02, 21)
    middle, low, high = commits.ratio(drift, 1.1 * drift * noise)
    assert middle == pytest.approx(np.median(1.1 * noise)) and low < middle < high
    assert low > 1.05 and high < 1.15
    assert commits.ratio([2.0], [3.0]) == (1.5, 1.5, 1.5)


def test_rounds_under_load_and_the_cases_of_benchmarks_run_are_read():
    first = {"ours chunk": 1.0, "torch chunk": 9.0, "ours epoch": 2.0, "quiet": True}
    rounds = [first, first | {"ours chunk": 3.0, "quiet": False}]
    result = {"model": "gru", "shape": "8x64", "rounds": rounds}
    times, quiet = commits.read(json.dumps({"header": "", "results": [result]}))
    assert times == {"gru 8x64 chunk": 2.0, "gru 8x64 epoch": 2.0} and not quiet
    with pytest.raises(UserError, match="no case in common: gru 8x64 chunk, gru 8x64 epoch; x"):
        commits.report([times], [{"x": 1.0}])


def test_every_part_that_many_tracks_take_time_in_is_measured():
    assert len({what for what, seconds in many_tracks.measure(30) if seconds > 0}) == 5


@pytest.mark.slow
def test_our_side_of_the_temporal_suite_runs():
    shape = temporal.Shape(2, 4, 1, False, "gru")
    ((times, _),) = temporal.measure(shape, 1, peer=None)
    assert set(times) == {"ours chunk", "ours epoch"} and all(t > 0 for t in times.values())


def tiny(monkeypatch, model="wav2vec2"):
    """A shape of 2 clips whose model is tiny."""
    fields = CONFIG | {"model_type": model}
    monkeypatch.setattr(Shape, "config", property(lambda self: fields))
    return Shape(model, 2, 400, 1, False)


@pytest.mark.parametrize("more", [{"num_hidden_layers": 4}, {"conv_dim": [128, 256]}])
def test_the_flops_of_the_audio_suite_grow_as_those_that_the_compiler_counts(more):
    fields = CONFIG | {"conv_dim": [128, 64], "hidden_size": 128, "intermediate_size": 512}

    def both(fields):
        config = SpeechConfig.from_json(fields, "here")
        model, audio_bs = SpeechTransformer(config), jnp.zeros((1, 800))
        shapes = jax.eval_shape(model.init, jax.random.key(0), audio_bs)
        lowered = jax.jit(model.apply).lower(shapes, audio_bs)
        return audio.flops(config, 800), lowered.cost_analysis()["flops"]

    (ours, counted), (more_ours, more_counted) = both(fields), both(fields | more)
    # The compiler counts norms and GELUs too.
    assert more_ours - ours == pytest.approx(more_counted - counted, rel=0.1)


def test_the_share_of_a_card_is_that_of_its_peak(monkeypatch):
    shape = tiny(monkeypatch)
    seconds = 2 * audio.flops(SpeechConfig.from_json(CONFIG, ""), 400) / 495e12
    times = {"ours training": 30 * seconds, "torch inference": 2 * seconds}
    line = audio.share(shape, "NVIDIA H100 80GB HBM3", [times])
    assert line == "  of the 495 TFLOP/s of one H100: ours training 10.0%, torch inference 50.0%"
    assert not audio.share(shape, "cpu", [times])


def test_a_report_gives_items_a_second_and_the_ratio_of_the_rounds():
    taken = [{"ours a": 0.5, "torch a": 1.0}, {"ours a": 0.5, "torch a": 2.0}]
    assert rounds.report(4, "clips", taken) == (
        "  a         ours   500.00 ms a step (8.0 clips/s)   torch  1500.00 ms   "
        "ratio 3.00 (2.00 to 4.00, 2 rounds)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["wav2vec2", "hubert", "wavlm"])
def test_both_sides_of_the_audio_suite_run(model, monkeypatch):
    taken = list(rounds.alternate(audio.timers(tiny(monkeypatch, model), audio.peer()), 1))
    sides = {name.split()[0] for name in taken[0][0]}
    assert sides == ({"ours", "torch"} if audio.peer() else {"ours"})
    assert all(seconds > 0 for seconds in taken[0][0].values())
