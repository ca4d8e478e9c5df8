"""affect_jax: five published affect-recognition systems in JAX/Flax."""

__version__ = "0.1.0"
