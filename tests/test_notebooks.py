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
import numpy as np
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


@pytest.fixture
def twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a notebook in an empty folder, and again, as one does; returns its names.

    Its texts are replaced by others before, so that it is run in small.
    """

    def run(name: str, **replaced: str) -> dict:
        monkeypatch.chdir(tmp_path)
        matplotlib.use("Agg")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        names, cells = {}, code_of(ROOT / "notebooks" / f"{name}.ipynb")
        for variable, value in replaced.items():
            line = re.compile(rf"^{variable} = .*?(?=  #|$)", re.MULTILINE)
            assert sum(len(line.findall(cell)) for cell in cells) == 1
            cells = [line.sub(f"{variable} = {value}", cell) for cell in cells]
        for cell in 2 * cells:
            run_cell(cell, names, environment)
        return names

    return run


@pytest.mark.slow
def test_the_way_from_a_metric_to_an_entry_runs_in_small(tmp_path: Path, twice) -> None:
    names = twice("challenge_entry", config='"configs/mtl.py:smoke"')
    assert names["score"](names["predictions"], names["target"], names["mask"])[0] > 0.9
    listed = (tmp_path / names["official"]).read_text().splitlines()
    assert len((tmp_path / "entry.txt").read_text().splitlines()) == len(listed)
    assert names["scores"]("runs/both")["valence/ccc"] > 0


@pytest.mark.slow
def test_the_way_from_a_folder_of_audio_to_a_recording_runs_in_small(tmp_path: Path, twice) -> None:
    names = twice("vocal_bursts", clips="40", config='"sounds.py:smoke"')
    assert [row["start"] for row in names["rows"][:3]] == ["0.0", "0.25", "0.5"]
    assert len(names["rows"]) == 117 and {row["kind"] for row in names["rows"]} <= {*names["KINDS"]}
    assert names["output"].last.shape == (1, 99, 96)


@pytest.mark.slow
def test_the_way_from_noisy_faces_to_a_selection_runs_in_small(tmp_path: Path, twice) -> None:
    (tmp_path / "small.py").write_text(
        "from configs import rlps\n\n\n"
        "def get_config(variants=''):\n"
        "    c = rlps.get_config(','.join(filter(None, (variants, 'smoke'))))\n"
        "    c.rlps.lr, c.rlps.policy_passes = 0.01, 30  # some are retained, and some removed\n"
        "    return c\n"
    )
    small = dict(size='"small"', config='"small.py"', epochs="1", turns="2", fresh="1")
    names = twice("rlps", **small)
    assert set(names["mean_p_retain"]("literal")) == {"full", "half", "none", "all"}
    for noise, found in names["results"].items():
        counts = [count for _, count in found.values()]
        assert counts[0] == counts[1] + counts[3] == 150, noise
        assert counts[1] == counts[2] and counts[3] == counts[4], noise


@pytest.mark.slow
def test_the_way_from_three_branches_to_their_fusion_runs_in_small(tmp_path: Path, twice) -> None:
    names = twice("fusion", twin='"twin:ras?size=small"', smoke='":smoke"')
    gate = names["said"].feature("fusion/gate")
    assert gate.shape[1] == len(names["experts"]) == 9
    np.testing.assert_allclose(gate.sum(1), 1, rtol=1e-5)
    assert [*names["results"]] == [*names["BRANCHES"], "late fusion", "experts", "best possible"]
    proof = (tmp_path / "runs/fusion/provenance/README.md").read_text()
    assert "None of the" in proof and "the checkpoint or settings" not in proof
