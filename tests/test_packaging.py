"""Declared, pinned and documented names agree with what is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("affect_jax", "data_pipelines", "configs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = sorted((ROOT / "constraints").glob("py3*.txt"))

# Where the name that is imported is not the name that is installed.
DISTRIBUTION = {
    "PIL": "pillow",
    "absl": "absl-py",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
}


def requirements(*extras: str) -> dict[str, Requirement]:
    """The base dependencies and those of the extras, by canonical name."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def pins(path: Path) -> dict[str, str]:
    """{canonical name: version} of a constraints file."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines)}


def third_party(nodes: Iterator[ast.AST]) -> set[str]:
    """Canonical names of the distributions that the import statements among nodes need."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
    own = {*PACKAGES, *sys.stdlib_module_names}
    return {canonicalize_name(DISTRIBUTION.get(name, name)) for name in names - own}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_every_import_at_the_top_of_a_module_is_a_base_dependency() -> None:
    declared = set(requirements())
    for name, tree in sources():
        assert third_party(iter(tree.body)) <= declared, name


def test_every_import_inside_a_function_is_a_dependency_of_some_kind() -> None:
    declared = set(requirements(*PROJECT["optional-dependencies"]))
    for name, tree in sources():
        assert third_party(ast.walk(tree)) <= declared, name


def test_every_folder_with_modules_is_a_package_that_gets_installed() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path.parent.relative_to(ROOT)


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.stem)
def test_constraints_are_plain_pins_from_any_registry(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.stem)
def test_constraints_pin_every_declared_dependency_within_its_bounds(path: Path) -> None:
    pinned = pins(path)
    for name, requirement in requirements("dev").items():
        assert name in pinned
        assert requirement.specifier.contains(pinned[name]), requirement
    assert not {"torch", "tensorflow", "affect-jax"} & set(pinned)


def test_constraints_differ_between_the_python_versions_in_jax_and_flax() -> None:
    py311, py312 = (pins(ROOT / "constraints" / f"py3{minor}.txt") for minor in (11, 12))
    assert py311.keys() == py312.keys()
    assert py311["jax"] != py312["jax"] and py311["flax"] != py312["flax"]
    for pinned in (py311, py312):
        assert pinned["jax"] == pinned["jaxlib"]


def test_installed_packages_are_importable_from_any_folder(tmp_path) -> None:
    try:
        metadata.distribution("affect_jax")
    except metadata.PackageNotFoundError:
        pytest.skip("affect_jax is not installed in this environment (make setup does it)")
    code = "import affect_jax, affect_jax.config, data_pipelines.store, configs.base"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_beside_a_clone_all_that_a_training_needs_is_found(tmp_path) -> None:
    # Installed editable and started from the folder that holds the clone, `affect_jax` is that
    # clone, a bare folder; its modules come from the finder of the installation.
    (tmp_path / "affect_jax").symlink_to(ROOT)
    (tmp_path / "configs").mkdir()  # one's own
    code = (
        "import importlib.machinery as m, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        return m.PathFinder.find_spec(name, [{str(ROOT)!r} + '/' + name.split('.')[0]] "
        f"if '.' in name else [{str(ROOT)!r}])\n"
        f"sys.path = [''] + [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
        "sys.meta_path.insert(sys.meta_path.index(m.PathFinder) + 1, Finder)\n"
        "import affect_jax\n"
        "assert not hasattr(affect_jax, '__version__')\n"
        "import affect_jax.train_run, affect_jax.folds\n"
        "from affect_jax.config import load\n"
        "from affect_jax.report.card import _versions\n"
        "print(load('configs/mtl.py:smoke').name, _versions())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("configs/mtl.py:smoke ## Versions")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_in_the_documents_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(
        re.findall(r"(?:^ {4}|`)make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE)
    )
    assert named and named <= targets


def test_files_that_the_documents_name_exist() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_note_names_a_test_that_exists() -> None:
    notes = (ROOT / "NOTES.md").read_text().split("\n\n")[2:]
    assert len(notes) > 5
    for note in notes:
        guard = re.search(r"`(tests/\w+\.py)::(test_\w+)`", note)
        assert guard, f"no test guards: {note[:60]}"
        assert f"def {guard[2]}(" in (ROOT / guard[1]).read_text(), guard[0]
