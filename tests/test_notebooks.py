"""Notebooks are run from top to bottom in small, and are kept without outputs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(notebook: Path) -> list[str]:
    """The code cells, without those that install."""
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [cell for cell in code if not cell.startswith("%pip")]


def run_cell(cell: str, names: dict, environment: dict[str, str]) -> None:
    """Run a cell as a notebook does: python, and "!" lines by the shell."""
    for part in re.split(r"^(!.*\n?)", cell, flags=re.MULTILINE):
        if not part.startswith("!"):
            exec(compile(part, "cell", "exec"), names)
            continue
        command = part[1:].strip().format(**names)
        result = subprocess.run(
            command, shell=True, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_python_and_holds_no_output(notebook: Path) -> None:
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
    for cell in code_of(notebook):
        ast.parse(re.sub(r"^!.*$", "", cell, flags=re.MULTILINE))


@pytest.mark.slow
def test_the_way_from_a_metric_to_an_entry_runs_in_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    names = {}
    for cell in 2 * code_of(ROOT / "notebooks" / "challenge_entry.ipynb"):  # and again, as one does
        small = cell.replace('config = "configs/mtl.py"', 'config = "configs/mtl.py:smoke"')
        run_cell(small, names, environment)
    assert names["config"] == "configs/mtl.py:smoke"
    assert names["score"](names["predictions"], names["target"], names["mask"])[0] > 0.9
    listed = (tmp_path / names["official"]).read_text().splitlines()
    assert len((tmp_path / "entry.txt").read_text().splitlines()) == len(listed)
    assert names["scores"]("runs/both")["valence/ccc"] > 0
