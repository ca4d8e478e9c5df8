"""Options of the compiler."""

import jax
import pytest

from affect_jax import compilation


@pytest.fixture(autouse=True)
def fresh():
    compilation.compiler_options.cache_clear()
    yield
    compilation.compiler_options.cache_clear()


def test_products_are_left_to_eigen_on_a_cpu_outside_scans_over_time():
    options = compilation.compiler_options("cpu", recurrent=False)
    x = jax.numpy.ones((64, 64))
    program = jax.jit(lambda x: x @ x, compiler_options=options).lower(x).compile().as_text()
    assert "ynn" not in program
    assert compilation.compiler_options("cpu", recurrent=True) == {}
    assert compilation.compiler_options("gpu", recurrent=False) == {}


def test_an_option_that_this_jaxlib_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(compilation, "_CPU", {"xla_cpu_no_such_option": "1"})
    assert compilation.compiler_options("cpu", recurrent=False) == {}
