"""How programs are compiled, and where they are kept between runs."""

from __future__ import annotations

import functools
import os

from data_pipelines.paths import user_path


def compilation_cache() -> None:
    """Keep compiled programs between runs, in the user's cache folder."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = user_path(home) / "affect_jax" / "jax"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # a read-only home: compile every time
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


# Products by Eigen, XLA's older way on a CPU, in place of YNNPACK, which keeps the reductions: a
# training step of the ABAW4 transformer is 1.15 times as fast at 8 x 250 frames on two cores, 1.04
# at 8 x 64. In the small products of a scan over time YNNPACK is the faster (LSTM, GRU: 1.2 times).
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def compiler_options(platform: str, *, recurrent: bool) -> dict[str, str]:
    """For jax.jit: the options worth having on `platform`, as far as this jaxlib knows them.

    Args:
        platform: of the devices, as jax names it: "cpu", "gpu".
        recurrent: the model hands a state on. Most such run over time; the attention memory,
            which does not, goes without the gain.
    """
    if platform != "cpu" or recurrent:
        return {}
    import jax

    try:
        jax.jit(lambda x: x, compiler_options=_CPU).lower(0).compile()
    except jax.errors.JaxRuntimeError:  # no such option
        return {}
    return _CPU
