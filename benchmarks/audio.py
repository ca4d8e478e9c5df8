"""The audio suite: a speech transformer of base size on raw audio, beside transformers' own.

    python -m benchmarks.run --suite=audio [--model=wav2vec2|hubert|wavlm] [--batches=4]
        [--seconds=2.5] [--rounds=5] [--steps=STEPS] [--bf16] [--json=FILE]

*training*: forward, backward and AdamW of all parameters under a classifier of the frames' mean,
with the dropouts and time masks of the published configs. *inference*: the hidden states of a
batch. The batch is on the device. On a GPU, 8 and 64 clips with --bf16 are what fine-tuning and
export use; there the share of the card's peak is printed. Without torch and transformers
(pip install ".[torch]") ours alone is measured.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from affect_jax.models.blocks.speech import SpeechConfig, SpeechTransformer, frames_of
from benchmarks import temporal
from benchmarks.audio_shape import CLASSES, Shape
from benchmarks.rounds import Times, alternate, printed
from data_pipelines.audio import RATE
from data_pipelines.command import Parser, whole
from data_pipelines.errors import shown
from data_pipelines.paths import user_path

# Dense peak in FLOP/s: bfloat16, and float32 as the cards multiply it by default (TF32).
PEAKS = {"A100": (312e12, 156e12), "H100": (989e12, 495e12), "H200": (989e12, 495e12)}


class Classifier(nn.Module):
    """Backbone, mean over frames, one linear layer."""

    config: SpeechConfig
    dtype: Any

    @nn.compact
    def __call__(self, audio_bs: jax.Array, train: bool = False) -> jax.Array:
        backbone = SpeechTransformer(self.config, dtype=self.dtype, name="backbone")
        last_bth = backbone(audio_bs, train=train).last
        return nn.Dense(CLASSES, name="out")(last_bth.astype(jnp.float32).mean(1))


class Functions(NamedTuple):
    """Functions of a shape, to be compiled.

    Attributes:
        init: (key, audio) -> state, parameters and moments.
        step: (audio, classes, state, key) -> (state, loss), a step of training.
        hidden: (audio, parameters of the backbone) -> its last hidden states.
    """

    init: Callable[..., Any]
    step: Callable[..., Any]
    hidden: Callable[..., Any]

    @classmethod
    def of(cls, shape: Shape) -> Functions:
        """The functions of this project's backbone."""
        config = SpeechConfig.from_json(shape.config, "the benchmark")
        model = Classifier(config, jnp.bfloat16 if shape.bf16 else jnp.float32)
        backbone = SpeechTransformer(config, dtype=model.dtype)
        adam = optax.adamw(1e-5, weight_decay=0.0)

        def init(key: jax.Array, audio: jax.Array) -> Any:
            params = model.init(key, audio[:1])["params"]
            return params, adam.init(params)

        def loss_of(params: Any, audio: jax.Array, classes: jax.Array, key: jax.Array) -> jax.Array:
            logits = model.apply({"params": params}, audio, train=True, rngs={"dropout": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean()

        def step(audio: jax.Array, classes: jax.Array, state: Any, key: jax.Array) -> Any:
            params, moments = state
            loss, gradient = jax.value_and_grad(loss_of)(params, audio, classes, key)
            updates, moments = adam.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), moments), loss

        return cls(init, step, lambda audio, p: backbone.apply({"params": p}, audio).last)


class Ours:
    """Steps of this project's backbone."""

    def __init__(self, shape: Shape):
        self.steps, self.key = shape.steps, jax.random.key(0)
        self.audio, self.classes = map(jnp.asarray, shape.data())
        functions = Functions.of(shape)
        self.state = jax.jit(functions.init)(self.key, self.audio)
        step = functools.partial(functions.step, self.audio, self.classes)
        # A chunk of steps is one scan, as in a training.
        self._chunk = jax.jit(functools.partial(jax.lax.scan, step), donate_argnums=0)
        self._hidden = jax.jit(functions.hidden)

    def training(self) -> float:
        """Seconds a step."""
        self.key, key = jax.random.split(self.key)
        start = time.perf_counter()
        self.state, loss = self._chunk(self.state, jax.random.split(key, self.steps))
        jax.block_until_ready((self.state, loss))
        return (time.perf_counter() - start) / self.steps

    def inference(self) -> float:
        """Seconds a batch."""
        params = self.state[0]["backbone"]
        start = time.perf_counter()
        for _ in range(self.steps):
            last = self._hidden(self.audio, params)
        jax.block_until_ready(last)
        return (time.perf_counter() - start) / self.steps


def flops(config: SpeechConfig, samples: int) -> float:
    """Floating-point operations of one clip forward: products of convolutions, layers, attention.

    A multiplication with its addition counts as two. A training step takes three times as many.
    """
    width, frames = config.hidden_size, int(frames_of(config, samples))
    layer = 4 * width**2 + 2 * width * config.intermediate_size + 2 * frames * width
    each = config.conv_dim[-1] * width + config.num_hidden_layers * layer
    each += width**2 // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    total, length, channels = frames * each, samples, 1
    for out, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride):
        length = (length - kernel) // stride + 1
        total += length * kernel * channels * out
        channels = out
    return 2.0 * total


def share(shape: Shape, kind: str, rounds: Sequence[Times]) -> str:
    """A line on the part of the card's peak that both reach; "" for a device that is not known."""
    name = next((name for name in PEAKS if name in kind), None)
    if name is None:
        return ""
    peak = PEAKS[name][0 if shape.bf16 else 1]
    forward = shape.batch * flops(SpeechConfig.from_json(shape.config, ""), shape.samples)
    parts = []
    for what in (key for key in rounds[0] if key.endswith(("training", "inference"))):
        seconds = statistics.median(each[what] for each in rounds)
        times = 3 if what.endswith("training") else 1
        parts.append(f"{what} {times * forward / seconds / peak:.1%}")
    return f"  of the {peak / 1e12:.0f} TFLOP/s of one {name}: {', '.join(parts)}"


def main(arguments: Sequence[str]) -> int:
    """Measure every batch size; returns the exit code."""
    parser = Parser(
        prog="python -m benchmarks.run --suite=audio",
        description=__doc__.split("\n")[0],
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--suite", choices=("audio",))
    add("--model", choices=("wav2vec2", "hubert", "wavlm"), default="wav2vec2")
    add("--batches", type=_batches, default="4", help="clips a batch, joined by commas")
    add("--seconds", type=seconds, default=2.5, help="length of a clip")
    add("--rounds", type=whole(1, 1000), default=5, help="alternated rounds of both")
    add("--steps", type=whole(1, 100_000), help="steps a round (default 2, on a GPU 50)")
    add("--bf16", action="store_true", help="bfloat16 activations on both sides")
    add("--json", type=user_path, help="also write the numbers to this file")
    flags = parser.parse_all(arguments)
    if flags.json:
        flags.json.open("a").close()
    other = peer()
    header = temporal.header(other is not None)
    print(header, flush=True)
    device, results = jax.devices()[0], []
    for batch in flags.batches:
        steps = flags.steps or (2 if device.platform == "cpu" else 50)
        shape = Shape(flags.model, batch, round(flags.seconds * RATE), steps, flags.bf16)
        print(f"{flags.model}, {batch} clips of {flags.seconds:g} s", flush=True)
        rounds = printed(alternate(timers(shape, other), flags.rounds), batch, "clips")
        if line := share(shape, device.device_kind, rounds):
            print(line, flush=True)
        case = f"{batch}x{flags.seconds:g}s"
        results.append({"model": flags.model, "shape": case, "rounds": rounds})
    if flags.json:
        flags.json.write_text(json.dumps({"header": header, "results": results}, indent=1))
    return 0


def timers(shape: Shape, other: Callable[[Shape], Any] | None) -> dict[str, Callable[[], float]]:
    """{"ours training": seconds a step, ...}; those of torch where there is a peer."""
    sides = {"ours": Ours(shape)} | ({"torch": other(shape)} if other else {})
    return {
        f"{side} {what}": getattr(thing, what)
        for what in ("training", "inference")
        for side, thing in sides.items()
    }


def peer() -> Callable[[Shape], Any] | None:
    """The other side; None where torch or transformers is missing."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        return None
    from benchmarks.torch_speech import Peer

    return Peer


def _batches(text: str) -> list[int]:
    try:
        return [whole(1, 100_000)(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        message = f"{shown(text)}: expected numbers of clips, as in 8,64"
        raise argparse.ArgumentTypeError(message) from None


def seconds(text: str) -> float:
    """The length of a clip that a flag gives, for argparse."""
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0.1 <= length <= 1000:
        raise argparse.ArgumentTypeError(f"{shown(text)}: expected seconds from 0.1 to 1000")
    return length
