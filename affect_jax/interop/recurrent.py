"""Names of torch.nn.LSTM and torch.nn.GRU: any number of layers, one direction or two."""

from __future__ import annotations

from affect_jax.interop import rules
from affect_jax.interop.rules import Rule, Table


def layers(original: str, path: str) -> Table:
    """Rules of one nn.LSTM or nn.GRU <-> models.recurrent; both prefixes end in their separator.

    The blocks of the gates stand in the same order on both sides.
    """
    return Table(
        tuple(
            rule
            for end in ("", "_reverse")
            for kind, name in (("ih", "input"), ("hh", "recurrent"))
            for rule in (
                Rule(
                    f"{original}weight_{kind}_l{{i}}{end}",
                    f"{path}layer_{{i}}{end}/{name}_kernel",
                    rules.transposed,
                    rules.transposed,
                ),
                Rule(
                    f"{original}bias_{kind}_l{{i}}{end}",
                    f"{path}layer_{{i}}{end}/{name}_bias",
                ),
            )
        )
    )
