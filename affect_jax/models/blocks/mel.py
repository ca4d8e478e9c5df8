"""Log-mel spectrograms of sound, and what changes them at random in training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

LEAST_POWER = 1e-6


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function: wherever its rows are computed is right."""
    return function


class LogMel(nn.Module):
    """Sound in, logarithms of its power in bands of equal width on the mel scale out.

    Frames of `window` seconds under a Hann window, `hop` seconds apart, a frame where all its
    samples exist; of a row too short for one, the first frame. Triangular filters that meet
    at their peaks, on the scale 2595 log10(1 + f / 700).

    Attributes:
        rate: samples a second.
        bands: number of filters F.
        window, hop: seconds.
        low, high: Hz, where the lowest filter begins and the highest ends.
        spread: makes of a function of rows [B, ...] one that each device computes for its own: a
            fast Fourier transform the compiler has no way to spread. Products with matrices, which
            it does, take two to four times as long on a CPU.
    """

    rate: int
    bands: int
    window: float
    hop: float
    low: float
    high: float
    spread: Callable[..., Any] = as_it_is

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bands < 1:
            raise ValueError(f"bands = {self.bands}: expected a number from 1 on")
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"low = {self.low}, high = {self.high}: expected 0 <= low < high <= "
                f"{self.rate / 2:g}, half the rate"
            )
        if not 1 / self.rate <= self.hop <= self.window:
            raise ValueError(f"hop = {self.hop}: expected seconds from one sample to the window")

    def __call__(self, x_bs: jax.Array, mask_bs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(batch, samples) -> ((batch, time, bands), bool (batch, time)), 0 where masked."""
        size, hop = round(self.window * self.rate), round(self.hop * self.rate)
        short = max(size - x_bs.shape[1], 0)
        x_bs, mask_bs = (jnp.pad(a, ((0, 0), (0, short))) for a in (x_bs, mask_bs))
        count = (x_bs.shape[1] - size) // hop + 1
        index = hop * np.arange(count)[:, None] + np.arange(size)
        frames = x_bs[:, index] * np.hanning(size + 1)[:-1].astype(np.float32)
        spectrum = self.spread(lambda frames: jnp.fft.rfft(frames, _next_power(size)))(frames)
        power = spectrum.real**2 + spectrum.imag**2
        filters = mel_filters(self.rate, _next_power(size), self.bands, self.low, self.high)
        mask_bt = mask_bs[:, size - 1 :: hop][:, :count].at[:, 0].set(mask_bs[:, 0])
        return jnp.where(mask_bt[..., None], jnp.log(power @ filters + LEAST_POWER), 0), mask_bt


def _next_power(size: int) -> int:
    return 1 << (size - 1).bit_length()


@functools.lru_cache
def mel_filters(rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """float32 [size // 2 + 1, bands]: weights of the frequencies of an FFT in each band."""
    mel = 2595 * np.log10(1 + np.array([low, high]) / 700)
    edges = 700 * (10 ** (np.linspace(*mel, bands + 2) / 2595) - 1)
    hertz = np.arange(size // 2 + 1)[:, None] * rate / size
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


class SpecAugment(nn.Module):
    """Changes of spectrograms in training, drawn for each row: speed, pitch, and masks.

    Attributes:
        stretch: largest share by which a row is played faster or slower; what is then longer than
            the batch is cut.
        shift: most bands by which all of a row moves up or down.
        times, time: number of masks over frames, and their largest width in frames.
        bands, band: number of masks over bands, and their largest width in bands.

    Source: the masks are those of Park et al., "SpecAugment", Interspeech 2019, filled with 0.
    """

    stretch: float
    shift: int
    times: int
    time: int
    bands: int
    band: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("stretch", "shift", "times", "time", "bands", "band"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} = {getattr(self, field)}: expected a number from 0 on")

    def __call__(
        self, x_btf: jax.Array, mask_bt: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """(batch, time, bands), bool (batch, time) -> the same, 0 where masked."""
        if not train:
            return x_btf, mask_bt
        of_speed, of_pitch, of_times, of_bands = jax.random.split(self.make_rng("dropout"), 4)
        rows, frames, bands = x_btf.shape
        if self.stretch:
            most = np.log1p(self.stretch)
            speed = jnp.exp(jax.random.uniform(of_speed, (rows, 1), minval=-most, maxval=most))
            at = jnp.round(speed * jnp.arange(frames)).astype(jnp.int32)
            mask_bt = _taken(mask_bt, at, 1) & (at < frames)
            x_btf = _taken(x_btf, at[..., None], 1)
        if self.shift:
            by = jax.random.randint(of_pitch, (rows, 1, 1), -self.shift, self.shift + 1)
            x_btf = _taken(x_btf, by + jnp.arange(bands), 2)
        seen_bt = ~_masks(of_times, self.times, self.time, mask_bt.sum(1), frames)
        seen_bf = ~_masks(of_bands, self.bands, self.band, jnp.full(rows, bands), bands)
        seen_btf = (mask_bt & seen_bt)[..., None] & seen_bf[:, None]
        return jnp.where(seen_btf, x_btf, 0), mask_bt


def _taken(x: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    """Entries of an axis, the nearest one where the index is outside."""
    return jnp.take_along_axis(x, jnp.clip(index, 0, x.shape[axis] - 1), axis)


def _masks(key: jax.Array, count: int, width: int, length: jax.Array, size: int) -> jax.Array:
    """bool [B, size]: `count` spans of 0 to `width` places, uniform, within the first `length`."""
    of_width, of_start = jax.random.split(key)
    shape = (length.shape[0], count, 1)
    widths = jax.random.randint(of_width, shape, 0, width + 1)
    widths = jnp.minimum(widths, length[:, None, None])
    room = (length[:, None, None] - widths + 1).astype(jnp.float32)
    start = (jax.random.uniform(of_start, shape) * room).astype(jnp.int32)
    place = jnp.arange(size)
    return ((place >= start) & (place < start + widths)).any(1)
