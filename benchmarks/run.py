"""Speed of ours beside PyTorch's, in one run on one machine.

    python -m benchmarks.run --suite=temporal [--rounds=5] [--shapes=8x64,8x250] [--bf16]
        [--model=transformer|lstm|gru]

Prints milliseconds a step and frames a second of both, the ratio (PyTorch's time over ours: above 1
we are faster) with its smallest and largest round, and beside each round what else the machine
computed: PyTorch's threads suffer more from others than ours, so that rounds under load flatter us.
Without torch (pip install ".[torch]") ours alone is measured.

    python -m benchmarks.run --suite=audio

Training and inference of a speech transformer from raw audio: benchmarks/audio.py, with flags of
its own.

    python -m benchmarks.run --suite=growth

Time and memory of the commands as the data grow: benchmarks/growth.py, with flags of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Sequence

from benchmarks.rounds import printed
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import shown
from data_pipelines.paths import user_path

OWN_FLAGS = ("audio", "growth")  # suites that read their own
SUITES = ("temporal", *OWN_FLAGS)


def main(arguments: Sequence[str]) -> int:
    """Run one suite; returns the exit code."""
    first = Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--suite")
    chosen, others = first.parse_known_args(arguments)
    if chosen.suite in OWN_FLAGS:
        return importlib.import_module(f"benchmarks.{chosen.suite}").main(others)
    parser = Parser(
        prog="python -m benchmarks.run", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--suite", choices=SUITES, default="temporal")
    add("--rounds", type=whole(1, 1000), default=5, help="alternated rounds of both")
    add("--shapes", type=shapes, default="8x64,8x250", help="batch x frames, joined by commas")
    add("--steps", type=whole(1, 100_000), default=24, help="steps an epoch")
    add("--model", choices=("transformer", "lstm", "gru"), default="transformer")
    add("--bf16", action="store_true", help="bfloat16 activations on both sides")
    add("--json", type=user_path, help="also write the numbers to this file")
    flags = parser.parse_all(arguments)
    if flags.json:
        flags.json.open("a").close()  # an hour later would be late to find that it cannot be

    from benchmarks import temporal

    peer = None
    if importlib.util.find_spec("torch") is not None:
        from benchmarks.torch_peer import Peer

        peer = Peer
    header = temporal.header(peer is not None)
    print(header, flush=True)
    results = []
    for batch, length in flags.shapes:
        shape = temporal.Shape(batch, length, flags.steps, flags.bf16, flags.model)
        print(f"{flags.model}, batch {batch}x{length}", flush=True)
        measured = temporal.measure(shape, flags.rounds, peer=peer)
        kept = printed(measured, shape.frames, "frames")
        results.append({"model": flags.model, "shape": f"{batch}x{length}", "rounds": kept})
    if flags.json:
        text = json.dumps({"header": header, "results": results}, indent=1)
        flags.json.write_text(text)
    return 0


def shapes(text: str) -> list[tuple[int, int]]:
    """[(batch, frames)] of "8x64,8x250"; at least one."""
    parts = [re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})", part) for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{shown(text)}: expected BATCHxFRAMES, as in 8x64,8x250")
    return [(int(part[1]), int(part[2])) for part in parts]


if __name__ == "__main__":
    sys.exit(exit_code(main))
