"""Where compiled programs are kept between runs."""

from __future__ import annotations

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
