"""The one-way arrows between the packages: import lines read, and imports in bare processes."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("affect_jax", "data_pipelines", "configs")

# Who may use whom, lowest first: a module imports its own layer and those below it.
LAYERS = (
    {"tasks", "losses", "metrics", "models"},
    {"scoring"},
    {"train", "predict"},
    {"main"},
)


def module_of(path: Path) -> str:
    """'affect_jax.models.multitask' for that file, 'affect_jax.models' for models/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Full names of all that a source imports, at the top or inside a function.

    `from a.b import c` gives both a.b and a.b.c, since c may be a module.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Every module of the three packages with the names that it imports."""
    table = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = module_of(path)
            table[name] = set(imports(path.read_text(), name, path.name == "__init__.py"))
    return table


def crossings(imported: dict[str, set[str]], source: str, *targets: str) -> list[str]:
    """The lines 'module -> name' in which something below source imports a target."""
    return [
        f"{module} -> {name}"
        for module, names in imported.items()
        if inside(module, source)
        for name in sorted(names)
        if any(inside(name, target) for target in targets)
    ]


def test_imports_are_found_in_every_form_they_are_written() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n"
    found = set(imports(source, "top.middle.leaf", is_package=False))
    assert found == {"a.b", "c", "c.d", "top.middle", "top.middle.e", "top.g", "top.g.h"}


def test_data_pipelines_never_imports_jax_or_affect_jax(imported) -> None:
    forbidden = ("jax", "jaxlib", "flax", "optax", "orbax", "affect_jax", "configs")
    assert crossings(imported, "data_pipelines", *forbidden) == []


def circle(imported: dict[str, set[str]]) -> list[str]:
    """The modules of the first circle of imports, or none.

    Of `from package import module` only the module counts: what it stands for is not the package's.
    """

    def edges(module: str) -> Iterator[str]:
        for name in imported[module] & imported.keys():
            parts = {one for one in imported[module] if one.rpartition(".")[0] == name}
            if name != module and not (parts and parts <= imported.keys()):
                yield name

    try:
        graphlib.TopologicalSorter({name: edges(name) for name in imported}).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_a_circle_through_an_import_inside_a_function_is_seen() -> None:
    sources = {
        "p": "from p.a import f",
        "p.a": "def f():\n    from p.b import g",
        "p.b": "from p import c",
        "p.c": "from p.a import f",
    }
    table = {name: set(imports(text, name, name == "p")) for name, text in sources.items()}
    assert set(circle(table)) == {"p.a", "p.b", "p.c"}
    table["p.c"] = {"p", "p.d"}
    assert set(circle(table)) == {"p", "p.a", "p.b", "p.c"}
    table["p.c"] = {"p", "p.a"}
    table["p.a"] = {"os"}
    assert circle(table) == []


def test_nothing_imports_itself_through_others(imported) -> None:
    table = dict(imported)
    for folder in ("benchmarks", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = module_of(path)
            table[name] = set(imports(path.read_text(), name, path.name == "__init__.py"))
    assert circle(table) == []


def test_packages_never_import_tests_or_benchmarks(imported) -> None:
    for package in PACKAGES:
        assert crossings(imported, package, "tests", "benchmarks") == []


def test_configs_are_found_by_name_and_used_by_no_module(imported) -> None:
    # affect_jax.config looks where the package is installed; it takes no values from it.
    assert crossings(imported, "affect_jax", "configs") == []


def test_models_know_no_losses_and_losses_no_models(imported) -> None:
    models, losses = "affect_jax.models", "affect_jax.losses"
    assert crossings(imported, models, losses, "affect_jax.weighting", "affect_jax.metrics") == []
    assert crossings(imported, losses, models) == []
    assert crossings(imported, "affect_jax.metrics", models) == []


def test_lower_layers_never_import_higher_ones(imported) -> None:
    for height, layer in enumerate(LAYERS):
        above = [f"affect_jax.{name}" for higher in LAYERS[height + 1 :] for name in sorted(higher)]
        for name in sorted(layer):
            assert crossings(imported, f"affect_jax.{name}", *above) == []


def test_nothing_imports_the_program_itself(imported) -> None:
    for package in PACKAGES:
        assert crossings(imported, package, "affect_jax.main") == []


def test_one_model_family_never_imports_another(imported) -> None:
    files = [f for f in (ROOT / "affect_jax" / "models").glob("*.py") if f.stem != "__init__"]
    names = [module_of(file) for file in files]
    assert names and all("\ndef build(" in file.read_text() for file in files)
    for name in names:
        assert crossings(imported, name, *(other for other in names if other != name)) == []


def without(blocked: tuple[str, ...], code: str) -> None:
    """Run code in a fresh process in which the blocked packages cannot be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    command = [sys.executable, "-c", block + code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_labels_store_plan_and_verify_need_neither_grain_nor_jax() -> None:
    without(
        ("grain", "tensorflow_datasets", "jax", "flax"),
        "from data_pipelines import labels, plan, store, verify",
    )


def test_metrics_need_no_data_library() -> None:
    without(
        ("grain", "tensorflow_datasets", "h5py", "array_record", "pandas", "pyarrow"),
        "from affect_jax.metrics import ccc",
    )


def test_model_families_are_listed_without_importing_them() -> None:
    without(
        ("affect_jax.models.multitask",),
        "from ml_collections import ConfigDict\n"
        "from affect_jax import models\n"
        "try:\n    models.build(ConfigDict(dict(name='multitsk')), [])\n"
        "except models.UserError as error:\n    assert \"mean 'multitask'\" in str(error)",
    )


def test_configs_are_built_without_jax() -> None:
    modules = [f.stem for f in (ROOT / "configs").glob("*.py") if "def get_config" in f.read_text()]
    assert "mtl" in modules
    without(
        ("jax", "flax", "optax", "grain", "numpy"),
        f"import importlib\nfor name in {modules!r}:\n"
        "    importlib.import_module('configs.' + name).get_config()",
    )
