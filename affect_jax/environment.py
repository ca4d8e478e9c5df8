"""The surroundings of a training: others change its results in the last digits."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import Any

import flax
import jax

from affect_jax.version import __version__


def environment() -> dict[str, Any]:
    """{name: value} of what bit-for-bit sameness depends on besides the state."""
    return {
        "affect_jax": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jax.lib.__version__,
        "flax": flax.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def changed(then: Any) -> Iterator[str]:
    """A line for everything that is not as a checkpoint says that it was.

    Args:
        then: `environment` of a checkpoint; anything else where that is damaged.
    """
    if not isinstance(then, dict):
        yield "it does not say what it was made with"
        return
    for name, now in environment().items():
        before = then.get(name, "older" if name == "affect_jax" else "unknown")
        if before != now:
            yield f"{name} was {before}, is {now}: results may differ in the last digits"
