"""Masked CCC of many frames: our float32 `ccc` beside float64 NumPy, error and time.

    python -m benchmarks.ccc [--frames=10000000] [--rounds=7] [--means=0.1,5,100,10000]

The data have a spread of .3 around each mean, 70 % of them valid. NumPy's time is that of the
faster of two ways to write it, on arrays that are float64 already. Both take turns, so that a busy
machine slows both; the ratio is NumPy's time over ours (above 1 ours is faster), its median with
the smallest and largest round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from affect_jax.metrics import ccc
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import shown

LIMIT = 1e-5  # of the error, which must hold at every mean


def by_selection(p: np.ndarray, t: np.ndarray, mask: np.ndarray) -> float:
    """The valid entries copied out, then centred."""
    p, t = p[mask], t[mask]
    mean_p, mean_t = p.mean(), t.mean()
    dev_p, dev_t = p - mean_p, t - mean_t
    whole = dev_p @ dev_p + dev_t @ dev_t + p.size * (mean_p - mean_t) ** 2
    return 2 * (dev_p @ dev_t) / whole


def by_weights(p: np.ndarray, t: np.ndarray, mask: np.ndarray) -> float:
    """The mask as weights 0 and 1."""
    n = mask.sum()
    mean_p, mean_t = (p @ mask) / n, (t @ mask) / n
    dev_p, dev_t = (p - mean_p) * mask, (t - mean_t) * mask
    whole = dev_p @ dev_p + dev_t @ dev_t + n * (mean_p - mean_t) ** 2
    return 2 * (dev_p @ dev_t) / whole


def seconds(function: Callable[..., Any], arrays: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*arrays))
    return time.perf_counter() - start


def example(frames: int, mean: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions and labels (float32) and a mask, from a fixed seed."""
    rng = np.random.default_rng(0)
    target = (0.3 * rng.standard_normal(frames) + mean).astype(np.float32)
    pred = (target + 0.2 * rng.standard_normal(frames)).astype(np.float32)
    return pred, target, rng.random(frames) < 0.7


def measure(frames: int, mean: float, rounds: int) -> tuple[float, list[dict[str, float]]]:
    """(error against float64, a dict of seconds for every round)."""
    pred, target, mask = example(frames, mean)
    double = pred.astype(np.float64), target.astype(np.float64), mask
    weights = *double[:2], mask.astype(np.float64)
    on_device = jax.device_put((pred, target, mask))
    error = abs(float(ccc(*on_device)) - by_selection(*double))
    ccc(pred, target, mask).block_until_ready()  # compiled before the first round
    return error, [
        {
            "numpy": min(seconds(by_selection, double), seconds(by_weights, weights)),
            "device": seconds(ccc, on_device),
            "host": seconds(ccc, (pred, target, mask)),
        }
        for _ in range(rounds)
    ]


def means(text: str) -> list[float]:
    """The finite numbers of "0.1,5"; at least one."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{shown(text)}: expected numbers, as in 0.1,5")
    return values


def main(arguments: Sequence[str]) -> int:
    """Print a line a mean; exit code 1 if an error is above the limit or ours is slower."""
    parser = Parser(
        prog="python -m benchmarks.ccc", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--frames", type=whole(2), default=10_000_000)
    add("--rounds", type=whole(1, 1000), default=7, help="alternated rounds of both")
    add("--means", type=means, default="0.1,5,100,10000", help="joined by commas")
    flags = parser.parse_all(arguments)

    print(f"{flags.frames:,} frames, jax {jax.__version__} on {jax.devices()[0].device_kind}")
    good = True
    for mean in flags.means:
        error, rounds = measure(flags.frames, mean, flags.rounds)
        middle = {key: 1e3 * statistics.median(r[key] for r in rounds) for key in rounds[0]}
        line = f"mean {mean:>8g}   error {error:.1e}   numpy {middle['numpy']:.0f} ms"
        good &= error <= LIMIT
        for key, name in (("device", "ours on the device"), ("host", "from NumPy arrays")):
            ratios = sorted(r["numpy"] / r[key] for r in rounds)
            ratio = statistics.median(ratios)
            good &= ratio >= 1
            line += f"   {name} {middle[key]:.0f} ms, ratio {ratio:.2f}"
            line += f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(exit_code(main))
