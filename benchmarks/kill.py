"""Kill a training with SIGKILL at ten moments; every resumed run must end with the same bits.

    python -m benchmarks.kill [--seed=0] [--folder=FOLDER] [--config=configs/mtl.py:smoke]

Trains once without a break, then ten times with a kill: three inside a save, two in an
evaluation, one in compilation, four between chunks. After each kill the same command runs to its
end; the digest over the whole last state and metrics.jsonl must equal the unbroken run's.
Exit code 1 where one differs.
"""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from affect_jax import config as configs
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.paths import user_path

# What the run says when the phase begins, and how long after that the kill may come (seconds).
PHASES = {
    "compile": ("compiling the training step", (0.05, 0.4)),
    "save": ("saving step", (0.0, 0.03)),
    "evaluate": ("evaluating step", (0.0, 0.02)),
    "train": ("epoch ", (0.0, 0.3)),
}
MOMENTS = (
    "save",
    "train",
    "evaluate",
    "save",
    "compile",
    "train",
    "evaluate",
    "train",
    "save",
    "train",
)
# Five epochs, and where the config has these keys a model whose save takes long enough to be hit.
LONGER = {
    "epochs": 5,
    "chunk_steps": 2,
    "model.encoder.hidden": 256,
    "model.encoder.ffn": 1024,
    "model.backbone.intermediate_size": 1024,
    "model.feature": 1024,
}


class Bench:
    """Runs of one config in folders of their own."""

    def __init__(self, folder: pathlib.Path, config: str, extra: tuple[str, ...] = ()):
        self.folder, self.config, self.extra = folder, config, extra

    def command(self, name: str) -> list[str]:
        """The training command of a run."""
        python = [sys.executable, "-m", "affect_jax.main", "--verbose"]
        return [*python, f"--config={self.config}", f"--workdir={self.folder / name}", *self.extra]

    def start(self, name: str, **environment: str) -> subprocess.Popen:
        """The command, its messages readable line by line."""
        return subprocess.Popen(
            self.command(name),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def finish(self, name: str) -> None:
        """The command to its end."""
        done = subprocess.run(self.command(name), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")

    def result(self, name: str) -> tuple[str, str]:
        """(digest of the last state, text of metrics.jsonl)."""
        command = [sys.executable, "-m", "affect_jax.checkpoint", str(self.folder / name)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return out.splitlines()[-1], (self.folder / name / "metrics.jsonl").read_text()

    def kill(self, name: str, phase: str, rng: random.Random) -> str | None:
        """Start the run and kill it in `phase`; what was seen, or None where the moment passed."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        mark, (low, high) = PHASES[phase]
        occurrence = 1 if phase == "compile" else rng.randint(1, 4)
        # A compilation has to be a real one to be killed in.
        environment = {"JAX_ENABLE_COMPILATION_CACHE": "false"} if phase == "compile" else {}
        process = self.start(name, **environment)
        seen: list[str] = []
        for line in process.stderr:
            seen.append(line.strip())
            if mark in line:
                occurrence -= 1
                if not occurrence:
                    break
        delay = rng.uniform(low, high)
        time.sleep(delay)
        if process.poll() is not None:
            return None
        process.kill()
        after = [line.strip() for line in process.stderr]
        process.wait()
        partial = list((self.folder / name / "checkpoints").glob("*tmp*"))
        if (phase == "save" and not partial) or (phase in ("compile", "evaluate") and after):
            return None
        last = seen[-1] if seen else "the start"
        inside = f"; unfinished on disk: {partial[0].name}" if partial else ""
        return f"{phase}: {delay * 1000:.0f} ms after {last[:40]!r}{inside}"


def main(arguments: Sequence[str]) -> int:
    """Run the ten kills and compare."""
    parser = Parser(
        prog="python -m benchmarks.kill", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--seed", type=whole(), default=0)
    parser.add_argument("--folder", help="where the runs go; default: a temporary folder")
    parser.add_argument("--config", default="configs/mtl.py:smoke")
    flags = parser.parse_all(arguments)
    config = configs.load(flags.config)
    configs.check(config)
    rng = random.Random(flags.seed)
    folder = user_path(flags.folder or tempfile.mkdtemp(prefix="affect_jax-kill-"))
    known = dict(configs.flat(config))
    extra = tuple(f"--config.{key}={value}" for key, value in LONGER.items() if key in known)
    bench = Bench(folder, flags.config, extra)
    print(f"{len(MOMENTS)} kills in {folder}, seed {flags.seed}", flush=True)
    bench.finish("unbroken")
    expected = bench.result("unbroken")
    print(f"unbroken: {expected[0]}", flush=True)
    failed = 0
    for i, phase in enumerate(MOMENTS):
        name = f"killed{i}"
        moment = None
        for _ in range(20):
            moment = bench.kill(name, phase, rng)
            if moment:
                break
        if moment is None:
            print(f"{i + 1:2}  {phase}: not hit in 20 tries", flush=True)
            failed += 1
            continue
        bench.finish(name)
        same = bench.result(name) == expected
        failed += not same
        print(f"{i + 1:2}  {moment}  ->  {'same bits' if same else 'DIFFERS'}", flush=True)
    print(f"{len(MOMENTS) - failed} of {len(MOMENTS)} resumed runs equal the unbroken one")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(exit_code(main))
