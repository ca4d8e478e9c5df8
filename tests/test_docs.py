"""Commands of docs/multimodal.md name modules, flags, configs and keys that there are."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest

from affect_jax import config as configs

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "multimodal.md").read_text().replace("\\\n", " ")
COMMANDS = [shlex.split(line) for line in re.findall(r"^ +python -m (.*)$", TEXT, re.MULTILINE)]
MADE = "runs/search/best.json"  # by a command before


def test_every_stage_is_there() -> None:
    modules = {module for module, *_ in COMMANDS}
    stages = ("video", "segments", "prepare", "records")
    assert {f"data_pipelines.{name}" for name in stages} <= modules and len(COMMANDS) > 25
    assert {f"affect_jax.{x}" for x in ("text", "export", "subsets", "provenance")} <= modules


def test_configs_and_their_keys_are_there() -> None:
    checked = 0
    for module, *arguments in COMMANDS:
        given = dict(a.split("=", 1) for a in arguments if a.startswith("--") and "=" in a)
        if module == "affect_jax.main" and given.get("--config", MADE) != MADE:
            keys = {k[9:]: v for k, v in given.items() if k.startswith("--config.")}
            configs.override(configs.load(given["--config"]), list(keys.items()))
            checked += 1
    assert checked >= 6


@pytest.mark.parametrize("module", sorted({m for m, *_ in COMMANDS} - {"affect_jax.main"}))
def test_flags_are_those_that_help_names(module: str) -> None:
    for name, *arguments in COMMANDS:
        if name != module:
            continue
        chooses = [a for a in arguments if a.startswith("--source=") or a in ("write", "check")]
        text = help_of(module, chooses)
        for flag in (a.split("=")[0] for a in arguments if a.startswith("--")):
            assert re.search(rf"(?<![\w-]){re.escape(flag)}\b", text), f"{module}: {flag}\n{text}"


def help_of(module: str, chooses: list[str]) -> str:
    """Text that --help prints."""
    program = importlib.import_module(module)
    if program.__spec__.submodule_search_locations is not None:
        program = importlib.import_module(f"{module}.__main__")
    run = program.cli if hasattr(program, "cli") else program.main
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        run([*chooses, "--help"])
    return printed.getvalue()
