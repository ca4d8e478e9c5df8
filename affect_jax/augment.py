"""Changes of sound at random, for training: gain, noise, band limit and reverb.

Functions of waveforms [..., S], of what is drawn; `augment` draws it, for each row by its own key.
Source: the rules and ranges of the RAS audio branch (arXiv 2603.13056, its released code). Its
reverb is applied backwards in time, a swelling echo; here an impulse comes first and then fades.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from affect_jax.models.blocks import choose

Range = tuple[float, ...]  # (from, to), drawn uniformly
# Bounds of what is drawn; all else are decibels.
BOUNDS = dict.fromkeys(("low_pass", "band_from", "band_to", "mix"), (0.0, 1.0))
BOUNDS |= dict.fromkeys(("seconds", "decay"), (0.0, math.inf))
LEAST_POWER = 1e-8
LEAST_TAPS = 16
_MIXUP = zlib.crc32(b"mixup")


def gain(x: jax.Array, db: jax.Array) -> jax.Array:
    """Sound [..., S] made louder by db [...] decibels: x 10^(db / 20)."""
    return x * 10 ** (jnp.asarray(db)[..., None] / 20)


def add_noise(
    x: jax.Array, noise: jax.Array, snr: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Sound with noise at a signal-to-noise ratio.

    Args:
        x, noise: [..., S].
        snr: decibels [...].
        mask: bool [..., S], samples that exist: the powers are theirs, and only they get noise.
            None: all.
    """
    mask = jnp.ones(x.shape, bool) if mask is None else mask
    power, of_noise = (jnp.maximum(_power(s, mask), LEAST_POWER) for s in (x, noise))
    scale = jnp.sqrt(power / (10 ** (jnp.asarray(snr) / 10) * of_noise))
    return x + jnp.where(mask, scale[..., None] * noise, 0)


def _power(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean square [...] of the samples that exist."""
    return jnp.where(mask, x**2, 0).sum(-1) / jnp.maximum(mask.sum(-1), 1)


def low_pass(x: jax.Array, bins: jax.Array) -> jax.Array:
    """The first `bins` [...] of the S // 2 + 1 frequencies of x [..., S]."""
    spectrum = jnp.fft.rfft(x)
    kept = jnp.arange(spectrum.shape[-1]) < jnp.asarray(bins)[..., None]
    return jnp.fft.irfft(jnp.where(kept, spectrum, 0), x.shape[-1])


def impulse(noise: jax.Array, decay: jax.Array, length: jax.Array) -> jax.Array:
    """Impulse response of a room, of absolute sum 1.

    Args:
        noise: standard normal [..., N].
        decay: [...], by which exponent the last tap is smaller than the first.
        length: [...], taps that are not 0, at most N.
    """
    decay, length = jnp.asarray(decay)[..., None], jnp.asarray(length)[..., None]
    tap = jnp.arange(noise.shape[-1])
    taps = jnp.where(tap < length, noise * jnp.exp(-decay * tap / jnp.maximum(length - 1, 1)), 0)
    return taps / jnp.abs(taps).sum(-1, keepdims=True)


def reverb(x: jax.Array, taps: jax.Array, mix: jax.Array) -> jax.Array:
    """Sound in a room: (1 - mix) x[t] + mix sum_k taps[k] x[t - k].

    Args:
        x: [..., S].
        taps: impulse response [..., N].
        mix: share of the echo [...].
    """
    size = 2 ** math.ceil(math.log2(x.shape[-1] + taps.shape[-1] - 1))
    spectrum = jnp.fft.rfft(x, size) * jnp.fft.rfft(taps, size)
    echo = jnp.fft.irfft(spectrum, size)[..., : x.shape[-1]]
    mix = jnp.asarray(mix)[..., None]
    return (1 - mix) * x + mix * echo


@dataclasses.dataclass(frozen=True)
class Step:
    """Change of one row: step(x [S], mask [S], key, rate) -> [S].

    Attributes:
        probability: share of the rows that are changed. The other fields are ranges (from, to), of
            which a value is drawn uniformly for each row.
    """

    probability: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability = {self.probability}: expected a number from 0 to 1")
        for name, value in dataclasses.asdict(self).items():
            if name == "probability":
                continue
            low, high = BOUNDS.get(name, (-math.inf, math.inf))
            if len(value) != 2 or not low <= value[0] <= value[1] <= high:
                within = f", within {low:g} and {high:g}" if name in BOUNDS else ""
                raise ValueError(f"{name} = {value}: expected (from, to){within}")


@dataclasses.dataclass(frozen=True)
class Gain(Step):
    """`gain` by `db` decibels."""

    db: Range

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array, rate: float) -> jax.Array:
        return gain(x, _between(key, self.db))


@dataclasses.dataclass(frozen=True)
class Noise(Step):
    """`add_noise`, white, at a ratio of `snr` decibels."""

    snr: Range

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array, rate: float) -> jax.Array:
        of_noise, of_snr = jax.random.split(key)
        return add_noise(x, jax.random.normal(of_noise, x.shape), _between(of_snr, self.snr), mask)


@dataclasses.dataclass(frozen=True)
class Band(Step):
    """`low_pass`, or as often a band that is the difference of two; in shares of rate / 2."""

    low_pass: Range
    band_from: Range
    band_to: Range

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.band_from[1] > self.band_to[0]:
            raise ValueError(
                f"band_from = {self.band_from}, band_to = {self.band_to}: expected that every "
                "band begins below its end"
            )

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array, rate: float) -> jax.Array:
        of_kind, *of_bins = jax.random.split(key, 4)
        count = x.shape[-1] // 2 + 1
        low, first, last = (
            jnp.maximum((count * _between(k, share)).astype(jnp.int32), 1)
            for k, share in zip(of_bins, (self.low_pass, self.band_from, self.band_to), strict=True)
        )
        is_band = jax.random.bernoulli(of_kind)
        return low_pass(x, jnp.where(is_band, last, low)) - low_pass(x, is_band * first)


@dataclasses.dataclass(frozen=True)
class Reverb(Step):
    """`reverb` by an `impulse` of some `seconds`, 16 taps at least."""

    seconds: Range
    decay: Range
    mix: Range

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array, rate: float) -> jax.Array:
        of_noise, of_length, of_decay, of_mix = jax.random.split(key, 4)
        longest = min(max(int(self.seconds[1] * rate), LEAST_TAPS), x.shape[-1])
        length = (_between(of_length, self.seconds) * rate).astype(jnp.int32)
        noise = jax.random.normal(of_noise, (longest,))
        decay, mix = _between(of_decay, self.decay), _between(of_mix, self.mix)
        return reverb(x, impulse(noise, decay, jnp.clip(length, LEAST_TAPS, longest)), mix)


def _between(key: jax.Array, ends: Range) -> jax.Array:
    return jax.random.uniform(key, (), jnp.float32, *ends)


STEPS = {"gain": Gain, "noise": Noise, "band": Band, "reverb": Reverb}


def augment(
    x: jax.Array, mask: jax.Array, keys: jax.Array, steps: Mapping[str, Step], rate: float
) -> jax.Array:
    """Sound after the steps, in the order of STEPS, each drawn for every row by itself.

    Nothing is beyond [-1, 1] afterwards, and padding is 0 as before.

    Args:
        x: [B, S] in [-1, 1].
        mask: bool [B, S], samples that exist.
        keys: [B], a random key a row.
        steps: {name in STEPS: step}; none changes nothing.
        rate: samples a second.
    """

    def row(x: jax.Array, mask: jax.Array, key: jax.Array) -> jax.Array:
        for name in filter(steps.get, STEPS):
            step = steps[name]
            whether, how = jax.random.split(jax.random.fold_in(key, zlib.crc32(name.encode())))
            changed = jnp.where(mask, step(x, mask, how, rate), 0)
            x = jnp.where(jax.random.bernoulli(whether, step.probability), changed, x)
        return jnp.clip(x, -1, 1)

    return jax.vmap(row)(x, mask, keys) if steps else x


def mixup(
    batch: Mapping[str, Any],
    sounds: Sequence[str],
    classes: Mapping[str, int],
    keys: jax.Array,
    alpha: float,
    size: int,
) -> dict[str, Any]:
    """Batch of clips in which each is mixed with the next one, and so are their labels.

    x <- s x + (1 - s) x', with the share s of the clip itself at least 1/2: the larger part of a
    draw from Beta(alpha, alpha). The first clip follows the last one of a full batch; clips without
    a next one stay. Labels of classes become shares of the classes [B, C]; a mixed label exists
    where both do.

    Args:
        batch: with inputs [B, S], inputs_mask, labels [B] or [B, K], label_mask, mask.
        sounds: streams that are mixed.
        classes: {label of classes: C}.
        keys: [B], a random key a row.
        alpha: above 0; the larger, the more even are the mixtures.
        size: rows of a full batch; the places behind them only make the devices' shares even.

    Source: Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018.
    """

    def following(x: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.roll(x[:size], -1, 0), x[size:]])

    draw = jax.vmap(lambda key: jax.random.beta(jax.random.fold_in(key, _MIXUP), alpha, alpha))
    part = draw(keys)
    share = jnp.where(following(batch["mask"]), jnp.maximum(part, 1 - part), 1)

    def mixed(x: jax.Array) -> jax.Array:
        own = share.reshape(-1, *(1,) * (x.ndim - 1))
        return own * x + (1 - own) * jnp.where(own < 1, following(x), 0)

    def both(mask: jax.Array) -> jax.Array:
        alone = (share == 1).reshape(-1, *(1,) * (mask.ndim - 1))
        return mask & (alone | following(mask))

    inputs, masks = dict(batch["inputs"]), dict(batch["inputs_mask"])
    for name in sounds:
        inputs[name] = mixed(inputs[name])
        masks[name] |= following(masks[name]) & (share < 1)[:, None]
    labels = {
        name: mixed(jax.nn.one_hot(x, classes[name]) if name in classes else x)
        for name, x in batch["labels"].items()
    }
    exist = {name: both(mask) for name, mask in batch["label_mask"].items()}
    new = {"inputs": inputs, "inputs_mask": masks, "labels": labels, "label_mask": exist}
    return dict(batch) | new


def steps_of(config: Mapping[str, Any]) -> dict[str, Step]:
    """The steps of a config.audio.augment that have a probability, as `augment` takes them.

    Raises:
        UserError: names the key that is wrong.
    """
    steps = {}
    for name, values in config.items():
        kind = choose.entry("config.audio.augment: step", name, STEPS)
        step = choose.part(f"config.audio.augment.{name}", kind, dict(values))()
        if step.probability:
            steps[name] = step
    return steps
