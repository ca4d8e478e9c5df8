"""Fixtures compared one by one, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import jax

from affect_jax.compilation import compilation_cache
from tests.golden import compare, fixture
from tests.unoptimised import FLAGS


def run(one: fixture.Fixture) -> compare.Result:
    """The verdict on one fixture; what an adapter raises is a failure with its text."""
    try:
        with jax.default_matmul_precision("highest"):
            return compare.judge(one, fixture.adapters().get(one.name))
    except fixture.Mismatch as error:
        return compare.Result("fail", str(error))
    # Whatever one fixture raises, the others are still to be compared.
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return compare.Result("fail", f"{type(error).__name__}: {text}")


def run_all(found: Sequence[fixture.Fixture], jobs: int) -> Iterator[compare.Result]:
    """The verdicts in the order of the fixtures, of `jobs` processes if there are several."""
    if jobs == 1:
        compilation_cache()
        yield from map(run, found)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of JAX's threads may hang
    with ProcessPoolExecutor(min(jobs, len(found)), spawn, initializer=_start) as pool:
        yield from pool.map(run, found)


def _start() -> None:
    """Begin a process, before JAX reads its flags."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
    compilation_cache()
