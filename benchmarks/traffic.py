"""Traffic of the audio suite's programs on an H100, without one: what XLA compiles for it.

    JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 python -m benchmarks.traffic [--model=wav2vec2|hubert|wavlm]
        [--batch=64] [--seconds=2.5] [--top=20]

Needs `pip install "jax[cuda12]"`, no card and no driver. Every kernel of the compiled program reads
its operands and writes its result once. It takes as long as that takes at 2.6 TB/s or, if that is
longer, as long as its products take at 550 TFLOP/s, and 2 microseconds. Printed are the sum, an
estimate, and its parts by where in the model a kernel comes from. Of convolutions in cuDNN no
operations are counted. What the card would choose by trying (which kernel multiplies two matrices)
is left out.
"""

from __future__ import annotations

import collections
import math
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from benchmarks.audio import Functions, seconds
from benchmarks.audio_shape import Shape
from data_pipelines.audio import RATE
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError

BYTES_PER_SECOND, FLOPS_PER_SECOND, LAUNCH = 2.6e12, 550e12, 2e-6
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
runtime_version: { major: 12 minor: 9 } dnn_version_info { major: 9 minor: 8 }
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Without a card nothing is tried: the libraries' kernels are taken.
OPTIONS = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4}
WIDTHS |= {"f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
FREE = {"parameter", "constant", "bitcast", "get-tuple-element", "tuple"}
_LINE = re.compile(r"(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")


class Kernel(NamedTuple):
    """Bytes that a kernel reads and writes, operations of its products, and where it comes from."""

    read: int
    written: int
    flops: int
    source: str

    @property
    def seconds(self) -> float:
        """Time by the rule above."""
        moving = (self.read + self.written) / BYTES_PER_SECOND
        return max(moving, self.flops / FLOPS_PER_SECOND) + LAUNCH


def kernels(text: str) -> list[Kernel]:
    """Kernels of a compiled program, as XLA prints it."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            lines = computations.setdefault("" if head[1] else head[2], [])
        elif " = " in line:
            lines.append(line.strip())
    return list(_kernels(computations[""], computations))


def _kernels(lines: Sequence[str], computations: dict[str, list[str]]) -> Iterator[Kernel]:
    types: dict[str, str] = {}
    for line in lines:
        if not (found := _LINE.match(line)):
            continue
        name, kind, operation, rest = found.groups()
        types[name] = kind
        if operation in FREE:
            continue
        source = re.search(r'op_name="([^"]*)"', line)
        source = source[1] if source else ""
        called = re.search(r"calls=%?([\w.\-]+)", line)
        if called and name.startswith(
            "dynamic_slice"
        ):  # a product that reads parts of its operands
            inner = list(_kernels(computations[called[1]], computations))
            yield inner[-1]._replace(source=source or inner[-1].source)
            continue
        operands = dict.fromkeys(re.findall(r"%([\w.\-]+)", rest.split("), ")[0]))
        read = sum(_bytes(types.get(operand, "")) for operand in operands)
        result = kind.split(", s8[")[0]  # without the space that a library asks for
        flops = 0
        if contracted := re.search(r'"lhs_contracting_dimensions":\["(\d+)"', line):
            left = _shape(types[next(iter(operands))])
            flops = 2 * math.prod(_shape(result)) * left[int(contracted[1])]
        yield Kernel(read, _bytes(result), flops, source)


def _shape(kind: str) -> list[int]:
    return [int(n) for n in re.search(r"\[([\d,]*)\]", kind)[1].split(",") if n]


def _bytes(kind: str) -> int:
    """Bytes of an array, or of a tuple of arrays."""
    arrays = re.findall(r"(\w+)(\[[\d,]*\])", kind)
    return sum(WIDTHS[width] * math.prod(_shape(shape)) for width, shape in arrays)


def compiled(shape: Shape, device: Any) -> dict[str, str]:
    """{"inference": the compiled program, "training": that of a step}."""
    functions, place = Functions.of(shape), jax.sharding.SingleDeviceSharding(device)
    sound = jax.ShapeDtypeStruct((shape.batch, shape.samples), jnp.float32)
    classes = jax.ShapeDtypeStruct((shape.batch,), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(functions.init, key, sound)
    programs = {
        "inference": (functions.hidden, (sound, state[0]["backbone"]), ()),
        "training": (functions.step, (sound, classes, state, key), (2,)),
    }
    texts = {}
    for name, (function, arguments, donated) in programs.items():
        placed = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), arguments
        )
        traced = jax.jit(function, donate_argnums=donated).trace(*placed)
        lowered = traced.lower(lowering_platforms=("cuda",))
        texts[name] = lowered.compile(compiler_options=OPTIONS).as_text()
    return texts


def place_of(source: str) -> str:
    """The part of the model: a name of a layer without its number, and the direction."""
    path = [part for part in source.split("/") if not part.startswith(("jit(", "SpeechTr"))]
    path = [re.sub(r"_\d+$", "", part) for part in path if "backbone" not in part]
    backward = any("transpose(" in part for part in path)
    inner = [part for part in path if "jvp(" not in part][:-1]
    return f"{'/'.join(inner[:2]) or 'the rest'}{', backward' if backward else ''}"


def main(arguments: Sequence[str]) -> int:
    """Print the estimates; returns the exit code."""
    parser = Parser(prog="python -m benchmarks.traffic", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", choices=("wav2vec2", "hubert", "wavlm"), default="wav2vec2")
    add("--batch", type=whole(1, 100_000), default=64, help="clips")
    add("--seconds", type=seconds, default=2.5, help="length of a clip")
    add("--top", type=whole(1, 1000), default=20, help="parts that are printed")
    flags = parser.parse_all(arguments)
    shape = Shape(flags.model, flags.batch, round(flags.seconds * RATE), 1, bf16=True)
    try:
        card = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    except NotImplementedError:
        raise UserError(
            'jax has no compiler for CUDA here: pip install "jax[cuda12]", and set '
            "JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 where there is no driver."
        ) from None
    # Layers take the form for a GPU where jax runs on one.
    with mock.patch("jax.default_backend", return_value="gpu"):
        texts = compiled(shape, card.devices[0])
    for name, text in texts.items():
        given = kernels(text)
        moved = sum(kernel.read + kernel.written for kernel in given)
        total = sum(kernel.seconds for kernel in given)
        print(
            f"{flags.model}, {flags.batch} clips, {name}: about {1e3 * total:.1f} ms, "
            f"{moved / 1e9:.1f} GB, {sum(k.flops for k in given) / 1e12:.2f} TFLOP, "
            f"{len(given)} kernels"
        )
        parts: collections.Counter[str] = collections.Counter()
        for kernel in given:
            parts[place_of(kernel.source)] += kernel.seconds
        for place, took in parts.most_common(flags.top):
            print(f"  {1e3 * took:7.2f} ms  {place}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
