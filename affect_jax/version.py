"""The version, in a module: beside a clone, `affect_jax` may be found as a bare folder."""

__version__ = "0.2.0.dev0"
