"""Flags of the benchmarks, and what the machine computes beside them. No speed is tested here."""

import importlib
import json
import subprocess
import sys

import pytest

from benchmarks import load, run, temporal
from data_pipelines.command import exit_code


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
        ("kill", ["--config=nope.py"], "no file nope.py"),
        ("kill", ["--seed=x"], "expected a whole number"),
        ("ccc", ["--means=1,x"], "expected numbers, as in 0.1,5"),
        ("ccc", ["--means=inf"], "expected numbers, as in 0.1,5"),
        ("ccc", ["--frames=0"], "expected a whole number from 2"),
        ("context", ["--seeds=0"], "expected a whole number from 1"),
        ("structures", ["--seeds=1"], "required: --workdir"),
        ("structures", ["--workdir=" + "c" * 300], "longer than the name of a file can be"),
        ("ridge_mouth", ["--store=nowhere"], "nowhere is no store"),
        ("subsets", [], "required: MEMBER"),
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
