"""Flags under which XLA compiles in a third of the time, for programs that run once or twice."""

from importlib import metadata

FLAGS = "--xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):  # later ones do not know it and abort
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
