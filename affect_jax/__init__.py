"""affect_jax: five published affect-recognition systems in JAX/Flax."""

from affect_jax.version import __version__

__all__ = ["__version__"]
