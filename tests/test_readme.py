"""The README is run: the example, and the way from own data to a trained model."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from affect_jax import config as configs
from affect_jax import systems
from data_pipelines import verify
from data_pipelines.store import Store

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SCRIPTS = {m[1]: block for block in BLOCKS if (m := re.match(r"# (\w+\.py)\n", block))}


def test_the_example_prints_what_its_comments_say() -> None:
    example = next(block for block in BLOCKS if "import ccc" in block)
    promised = re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
    assert len(promised) == 2
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), {})
    assert printed.getvalue().splitlines() == promised


def test_the_first_screen_has_the_commands_and_the_systems() -> None:
    screen = "\n".join(README.splitlines()[:40])
    for line in ("make train", "make test", "pip install -e .", "pip install -e '.[cuda]'"):
        assert f"    {line}" in screen
    assert "| system |" in screen and "from affect_jax.metrics import ccc" in screen


def commands_of(section: str) -> list[str]:
    """The python commands that a section of the README shows, without "python"."""
    text = README[README.index(f"## {section}") :]
    text = text[: text.index("\n## ")].replace("\\\n", " ")
    return re.findall(r"^ {4}python (.*)$", text, re.MULTILINE)


def run_commands(commands: list[str], folder: Path) -> None:
    for command in commands:
        result = subprocess.run(
            [sys.executable, *shlex.split(command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


def test_the_csv_files_of_the_readme_become_a_store(tmp_path: Path) -> None:
    """Written with the csv module alone, as a spreadsheet would."""
    (tmp_path / "csv").mkdir()

    def write(name: str, *rows: list) -> None:
        with (tmp_path / "csv" / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    write("splits.csv", ["video", "split"], ["a", "train"], ["b", "validation"])
    for video, start in (("a", 1), ("b", 5)):
        frames = range(start, start + 4)
        write(f"{video}_face.csv", ["frame", "f1", "f2"], *([i, i / 2, -i] for i in frames))
        write(
            f"{video}_labels.csv",
            ["frame", "valence"],
            *([i, i / 10 if i % 2 else ""] for i in frames),
        )
    (tmp_path / "from_csv.py").write_text(SCRIPTS["from_csv.py"])
    run_commands(["from_csv.py"], tmp_path)
    store = Store(tmp_path / "stores" / "lab")
    assert store.splits == ("train", "validation") and store.frames.tolist() == [*range(1, 9)]
    assert store.feature("face")[:, 1].tolist() == [-i for i in range(1, 9)]
    values, mask = store.label("valence")
    assert mask[:, 0].tolist() == [True, False] * 4
    np.testing.assert_allclose(values[mask], [0.1, 0.3, 0.5, 0.7], rtol=1e-6)
    assert verify.check(store).problems == []


def test_the_streams_of_the_readme_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "streams.py").write_text(SCRIPTS["streams.py"])
    run_commands(["streams.py"], tmp_path)
    store = Store(tmp_path / "stores" / "streams")
    assert store.tracks[0].frames == 30 and store.feature("face").shape == (30, 48, 48)
    assert store.feature("voice").dtype == np.int16 and store.spans("words")[1].tolist() == [
        12,
        27.5,
    ]
    assert verify.check(store).problems == []


@pytest.mark.slow
def test_the_own_data_of_the_readme_becomes_a_trained_and_scored_run(tmp_path: Path) -> None:
    files = {name: SCRIPTS[name] for name in ("make_store.py", "mine.py")}
    assert sum(len([line for line in text.splitlines() if line]) for text in files.values()) <= 24
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    commands = commands_of("Your own data")
    assert len(commands) == 3
    run_commands(commands, tmp_path)
    lines = (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["scores"]["validation"]["valence/ccc"] > 0.9


@pytest.mark.slow
def test_the_way_to_a_challenge_entry_works_as_shown_in_small(tmp_path: Path) -> None:
    commands = commands_of("From training to a challenge entry")
    assert len(commands) == 10
    small = {
        "--name=mtl": "--name=mtl --size=small",
        "configs/mtl.py:gru": "configs/mtl.py:gru,smoke --config.folds.count=2",
        "configs/mtl.py ": "configs/mtl.py:smoke --config.folds.count=2 ",
    }
    for old, new in small.items():
        commands = [command.replace(old, new) for command in commands]
    run_commands(commands, tmp_path)
    fitted = json.loads((tmp_path / "runs" / "entry" / "ensemble.json").read_text())
    assert len(fitted["members"]) == 2
    scores = tmp_path / "runs" / "entry" / "predictions" / "validation" / "scores.json"
    assert 0 < json.loads(scores.read_text())["au/f1_binary"] <= 1
    assert (scores.parent.parent / "test" / "au.npz").is_file()
    official = tmp_path / "official" / "annotations" / "MTL_Challenge_test_set_release.txt"
    entry = (tmp_path / "entry.txt").read_text().splitlines()
    listed = official.read_text().splitlines()
    assert [row.split(",")[0] for row in entry[1:]] == [row.split(",")[0] for row in listed[1:]]


@pytest.mark.slow
def test_a_folder_of_sounds_becomes_predictions_of_a_recording_as_shown_in_small(
    tmp_path: Path,
) -> None:
    soundfile = pytest.importorskip("soundfile")
    time = np.arange(16_000) / 16_000
    (tmp_path / "sounds").mkdir()
    with (tmp_path / "sounds" / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "split", "kind", "strength"])
        for i in range(24):
            kind, hz = (("cry", 900), ("laugh", 200))[i % 2]
            loud = 0.1 + i % 5 / 10
            soundfile.write(
                tmp_path / f"sounds/{i}.wav", loud * np.sin(2 * np.pi * hz * time), 16_000
            )
            rows.writerow([i, "validation" if i > 15 else "train", kind, loud])
    soundfile.write(tmp_path / "recording.flac", np.tile(np.sin(900 * time), 7) / 2, 16_000)
    script = SCRIPTS["sounds.py"].replace("vocal_bursts(variants)", 'vocal_bursts("smoke")')
    (tmp_path / "sounds.py").write_text(script)
    commands = commands_of("Sound")
    assert [command.split()[1] for command in commands[:3]] == [
        "data_pipelines.prepare",
        "affect_jax.main",
        "affect_jax.audio",
    ]
    run_commands(commands[:3], tmp_path)
    with (tmp_path / "predicted" / "recording.flac.csv").open(newline="") as file:
        windows = list(csv.DictReader(file))
    assert list(windows[0]) == ["start", "end", "kind", "kind_probability", "strength"]
    assert [float(w["start"]) for w in windows] == [0, 1.25, 2.5, 3.75, 4.5]


@pytest.mark.slow
def test_a_folder_of_faces_becomes_a_selection_as_shown_in_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    for place, kind in enumerate(kinds):
        (tmp_path / "faces" / kind).mkdir(parents=True)
        for i in range(20):
            picture = rng.integers(0, 99, (50, 50))
            picture[:, 7 * place : 7 * place + 7] += 150
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"faces/{kind}/{i}.png")
    (tmp_path / "faces" / "test").mkdir()
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "faces/test/one.png")
    commands = commands_of("Faces")
    retaining = "rlps.py:quarter,smoke --config.rlps.first_rate=.9 "  # some, in one turn
    small = {"fer2013.py ": "fer2013.py:smoke ", "rlps.py:quarter ": retaining}
    for old, new in small.items():
        commands = [command.replace(old, new) for command in commands]
    assert len(commands) == 7
    run_commands(commands, tmp_path)
    kept = (tmp_path / "runs/selected/selection/keep.txt").read_text().splitlines()
    assert kept and (tmp_path / "runs/kept/predictions/fold1/scores.json").is_file()
    with (tmp_path / "runs/selected/predictions/test/selection.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["track"] == "test_one" and row["label"] == "" and 0 < float(row["p_retain"]) < 1
    labels = Store(tmp_path / "stores/noisy").labels
    assert {"clean", "kind"} <= set(labels)
    assert len((tmp_path / "small_loss.txt").read_text().splitlines()) == round(0.6 * 126)


def test_the_config_of_the_readme_selects_clips_by_their_type(tmp_path: Path) -> None:
    (tmp_path / "selected.py").write_text(SCRIPTS["selected.py"])
    config = configs.load(str(tmp_path / "selected.py"))
    config.data.root = "twin:bursts?size=small"
    system = systems.build(config)
    assert config.rlps.system == "audio" and config.epochs - config.rlps.alternations == 10
    assert jax.eval_shape(system.init).extra["feature"].shape[1] == 4 * config.model.head.embedding
