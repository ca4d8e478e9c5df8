"""Set before jax is imported: CPU only, and one compilation cache for all test processes."""

import os
import pathlib
import signal

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache / "affect_jax" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import pytest  # noqa: E402

from tests.unoptimised import FLAGS  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_configure(config):
    """Quick tests compile without optimising, slow ones as a training does.

    `XLA_FLAGS= make test` compiles the quick ones as a training does too.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", FLAGS)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of fixtures and real data beside the project, or a skip that says so."""
    if not SHARED.is_dir():
        pytest.skip("../shared (fixtures and real data) is not on this machine")
    return SHARED


@pytest.fixture
def store(tmp_path) -> pathlib.Path:
    """The path of a store that is not there yet."""
    return tmp_path / "store"


@pytest.fixture
def affwild2_folder(tmp_path) -> pathlib.Path:
    """Features and labels of Aff-Wild2 in its own layout and names, a few frames each."""
    from tests.inputs import real_names

    return real_names(tmp_path / "affwild2")


@pytest.fixture(autouse=True, scope="session")
def signals_as_in_a_terminal():
    """Signals that nohup, or a shell without job control, has the tests ignore do what they do."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
