"""Speed of ours beside PyTorch's, in one run on one machine.

    python -m benchmarks.run --suite=temporal [--rounds=5] [--shapes=8x64,8x250] [--bf16]
        [--model=transformer|lstm|gru]

Prints a line a shape: milliseconds a step and frames a second of both, the ratio (PyTorch's time
over ours: above 1 we are faster) with its smallest and largest round. Without torch
(pip install ".[torch]") ours alone is measured.

    python -m benchmarks.run --suite=growth

Time and memory of the commands as the data grow: benchmarks/growth.py, with flags of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys

SUITES = ("temporal", "growth")


def main() -> int:
    """Run one suite."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--suite")
    chosen, others = first.parse_known_args()
    if chosen.suite == "growth":
        from benchmarks import growth

        return growth.main(others)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--suite", choices=SUITES, default="temporal")
    parser.add_argument("--rounds", type=int, default=5, help="alternated rounds of both")
    parser.add_argument("--shapes", default="8x64,8x250", help="batch x frames, joined by commas")
    parser.add_argument("--steps", type=int, default=24, help="steps an epoch")
    parser.add_argument("--model", choices=("transformer", "lstm", "gru"), default="transformer")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 activations on both sides")
    parser.add_argument("--json", help="also write the numbers to this file")
    flags = parser.parse_args()

    from benchmarks import temporal

    peer = importlib.util.find_spec("torch") is not None
    print(temporal.header(peer), flush=True)
    results = []
    for text in flags.shapes.split(","):
        batch, length = (int(n) for n in text.split("x"))
        shape = temporal.Shape(batch, length, flags.steps, flags.bf16, flags.model)
        rounds = temporal.measure(shape, flags.rounds, peer=peer)
        results.append({"model": flags.model, "shape": text, "rounds": rounds})
        print(report(f"{flags.model}, batch {text}", shape.frames, rounds), flush=True)
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump({"header": temporal.header(peer), "results": results}, file, indent=1)
    return 0


def report(text: str, frames: int, rounds: list[dict[str, float]]) -> str:
    """Lines on the model and shape that `text` names.

    A round is {"ours chunk": s a step, "torch epoch": s a step, ...}.
    """
    lines = [text]
    for what in ("chunk", "epoch"):
        ours = statistics.median(r[f"ours {what}"] for r in rounds)
        line = f"  {what:<6} ours {ours * 1e3:8.2f} ms a step ({frames / ours:,.0f} frames/s)"
        if f"torch {what}" in rounds[0]:
            theirs = statistics.median(r[f"torch {what}"] for r in rounds)
            ratios = sorted(r[f"torch {what}"] / r[f"ours {what}"] for r in rounds)
            line += (
                f"   torch {theirs * 1e3:8.2f} ms   ratio {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} rounds)"
            )
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
