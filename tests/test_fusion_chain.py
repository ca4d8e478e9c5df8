"""The chain from branches to fusion as configs/ras_fusion.py has it, in small, and its table."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import configs.ras_fusion
from affect_jax.prediction_files import Predictions
from affect_jax.report.interval import DrawnScores
from affect_jax.scoring import Total
from affect_jax.tasks import Task
from benchmarks import fusion, fusion_chain
from data_pipelines.command import exit_code

ROOT = Path(__file__).resolve().parent.parent
SMALL = "twin:ras?size=small"
KILLED = "--workdir=runs/audio"  # in its second fold
TRACKS, FRAMES = 6, 50


def commands() -> list[list[str]]:
    """The commands of the docstring, each as a list of words, in its smoke sizes and on SMALL."""
    text = configs.ras_fusion.__doc__.partition("\nChain:")[2].partition("\nSubsets:")[0]
    lines = re.findall(r"^ {4}python (-m .*)$", text.replace("\\\n", " "), re.MULTILINE)
    small = []
    for line in lines:
        line = re.sub(r"(--config=\S+?\.py)(:\S+)?", lambda m: f"{m[1]}{m[2] or ':'},smoke", line)
        small.append(shlex.split(line.replace(":,", ":").replace("twin:ras", SMALL)))
    return small


@pytest.mark.slow
def test_every_command_of_the_chain_runs_and_a_killed_one_goes_on(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    printed = {}
    for command in commands():
        if KILLED in command:
            kill_in_second_fold(command, tmp_path)
        done = start(command, tmp_path)
        out, err = done.communicate(timeout=600)
        assert done.returncode == 0, f"{shlex.join(command)}\n{err[-3000:]}"
        printed[shlex.join(command)] = out
    scores = json.loads((tmp_path / "runs" / "audio" / "scores.json").read_text())
    assert len(scores["folds"]) == 3
    for name in ("fusion", "late"):  # no stage has known a video that is scored
        text = (tmp_path / "runs" / name / "provenance" / "README.md").read_text()
        for branch in ("face", "behaviour", "audio"):
            assert branch in text
    manifest = json.loads((tmp_path / "exports" / "heard" / "manifest.json").read_text())
    (seen,) = manifest["features"]["heard/embedding"]["trained_on"]
    assert seen.endswith(" train")
    manifest = json.loads((tmp_path / "exports" / "audio" / "manifest.json").read_text())
    assert "out of fold" in " ".join(manifest["features"]["audio/valence"]["trained_on"])
    subsets = (tmp_path / "runs" / "fusion" / "subsets" / "validation.csv").read_text()
    assert len(subsets.splitlines()) == 8  # seven subsets of three modalities


def start(command: list[str], folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_in_second_fold(command: list[str], folder: Path) -> None:
    process = start(command, folder)
    for line in process.stderr:
        if line.startswith("fold2  epoch"):
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    audio = folder / "runs" / "audio"
    assert (audio / "fold1" / "finished.json").is_file() and not (audio / "scores.json").exists()


# --- table ---------------------------------------------------------------------------------------


def scores(noise: float, seed: int) -> DrawnScores:
    """Scores of valence and arousal of some tracks, predicted with noise."""
    rng = np.random.default_rng(seed)
    names = np.array([f"track{i}" for i in range(TRACKS)])
    track, frame = np.divmod(np.arange(TRACKS * FRAMES, dtype=np.int32), FRAMES)
    loaded = {}
    for name in ("valence", "arousal"):
        label = np.random.default_rng(len(name)).standard_normal((len(track), 1)).astype("f4")
        raw = label + noise * rng.standard_normal(label.shape).astype("f4")
        task = Task(name, "values", 1, (name,), "ccc", ("ccc",), "identity")
        p = Predictions(names, track, frame + 1, raw, label, np.ones(label.shape, bool))
        loaded[task] = p
    total = Total("CCC", (("valence/ccc", 0.5), ("arousal/ccc", 0.5)))
    return DrawnScores(loaded, {str(name): str(name) for name in names}, total)


def test_a_gap_is_closed_from_the_best_branch_to_the_ceiling():
    drawn = {
        name: [scores(noise, seed) for seed in (0, 1)]
        for name, noise in (("face", 1.0), ("audio", 2.0), ("fused", 0.5))
    }
    once = np.ones((1, TRACKS))
    best, fused = (np.mean([one(once)[0, -1] for one in drawn[n]]) for n in ("face", "fused"))
    ceiling = {"valence/ccc": 1.0, "arousal/ccc": 1.0, "CCC": 1.0}
    lines = fusion.rows(drawn, {"fusion ceiling": ceiling}, ("face", "audio"), draws=100)
    by_name = {line[0]: line for line in lines}
    assert [len(line) for line in lines] == [6] * 4
    assert by_name["face"][-2:] == ["", ""]
    closed, gain = by_name["fused"][-2:]
    assert float(closed) == pytest.approx((fused - best) / (1 - best), abs=0.006)
    more, low, high = map(float, re.findall(r"[-+][.\d]+", gain))
    assert more == pytest.approx(fused - best, abs=6e-4) and 0 < low < more < high
    assert by_name["fusion ceiling"][3:] == ["1.000", "", ""]
    lines = fusion.rows(drawn, {}, ("face", "audio"), draws=100)  # a store without ceilings
    assert lines[-1][0] == "fused" and lines[-1][-2] == "" and lines[-1][-1] == gain


def test_a_frame_that_no_member_predicts_has_the_nearest_number_of_its_own_track():
    raw = np.array([1, np.nan, np.nan, 2, np.nan, 3], np.float32)[:, None]
    track = np.array([0, 0, 0, 1, 1, 1], np.int32)
    p = Predictions(np.array(["a", "b"]), track, np.array([1, 2, 3, 1, 2, 9], np.int32), raw)
    assert fusion.without_gaps(p).raw[:, 0].tolist() == [1, 1, 1, 2, 2, 3]


def test_a_signal_in_a_stage_ends_the_command_and_the_same_one_goes_on_with_it(
    tmp_path, monkeypatch, capsys
):
    flags = ["--workdir", str(tmp_path), "--root", SMALL, "--seeds=1", "--sizes=smoke"]
    asked = []

    class Module:
        """Commands that print and write what they write last, but for the third."""

        @staticmethod
        def main(arguments):
            asked.append(arguments)
            print("a command")
            given = dict(a.split("=", 1) for a in arguments if "=" in a)
            if len(asked) == 3:
                return
            folder = Path(given.get("--workdir") or given.get("--out") or given["--apply"])
            predictions = folder / "predictions" / "validation"
            predictions.mkdir(parents=True, exist_ok=True)
            files = ("finished.json", "scores.json", "manifest.json", "ensemble.json")
            for file in (*(folder / f for f in files), predictions / "scores.json"):
                file.write_text("{}")

    monkeypatch.setattr(fusion_chain, "import_module", lambda name: Module)
    monkeypatch.setattr(fusion, "read_split", lambda *a: {})
    monkeypatch.setattr(fusion, "find_tasks", lambda *a: ())
    monkeypatch.setattr(fusion, "rows", lambda drawn, *a: [[name] + [""] * 5 for name in drawn])
    assert exit_code(fusion.main, flags) == 0
    out, err = capsys.readouterr()
    assert out == "" and "stopped; the same command goes on." in err and len(asked) == 3
    assert exit_code(fusion.main, flags) == 0
    assert asked[3:6] == asked[:3]  # a training says itself that it is finished
    made = len(asked)
    out = capsys.readouterr().out
    assert "a command" not in out and out.count("\n") == 2 + 9
    assert exit_code(fusion.main, flags) == 0
    again = asked[made:]  # trainings alone: three branches, their folds, three fusions, a control
    assert len(again) == 10 and all("--config=" in " ".join(one) for one in again)
    shuffled = next(a for a in again[-1] if a.startswith("--config.data.root="))
    assert shuffled.startswith("--config.data.root=twin:ras?shuffle=1,")
