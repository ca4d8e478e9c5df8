"""What the README shows is run: the example, and the way from own data to a trained model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


@pytest.mark.slow
def test_the_own_data_of_the_readme_becomes_a_trained_and_scored_run(tmp_path: Path) -> None:
    files = {m[1]: b for b in BLOCKS if (m := re.match(r"# (\w+\.py)\n", b))}
    assert set(files) == {"make_store.py", "mine.py"}
    assert sum(len([line for line in text.splitlines() if line]) for text in files.values()) <= 24
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    section = README[README.index("## Your own data") :]
    commands = re.findall(r"^ {4}python (.*)$", section[: section.index("\n## ")], re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        result = subprocess.run(
            [sys.executable, *shlex.split(command)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    lines = (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["scores"]["validation"]["valence/ccc"] > 0.9
