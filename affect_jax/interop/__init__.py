"""Weights of the original PyTorch systems, in and out, by their original names.

    state_dict = interop.load("original.safetensors")       # or .pth; torch is not needed
    table = interop.abaw4.table(("valence", "au"), **interop.abaw4.spelling(state_dict))
    variables, report = interop.to_variables(table, state_dict, template)
    report.require_complete("original.safetensors")

`template` is what `jax.eval_shape(model.init, key, batch)` gives: {"params": ...}, and batch
statistics where the model has any. One table of rules a model serves both directions. Which
original a config's model has is looked up in `interop.families`.
"""

from affect_jax.interop import abaw3, abaw4, ras, recurrent, speech
from affect_jax.interop.files import load, save_safetensors
from affect_jax.interop.rules import Report, Rule, Table, to_original, to_variables

__all__ = [
    "Report",
    "Rule",
    "Table",
    "abaw3",
    "abaw4",
    "load",
    "ras",
    "recurrent",
    "save_safetensors",
    "speech",
    "to_original",
    "to_variables",
]
