"""Selective state spaces over the rows of a sequence: encoder "mamba".

Source: Gu and Dao, "Mamba", arXiv 2312.00752, in the form of the released code of arXiv 2603.13056
(behaviour model): a norm behind each block, no outer residual, and a scale D that is both the bias
of the step and the weight of the skip.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.encoded import Projection
from affect_jax.models.blocks.layer_norm import layer_norm
from data_pipelines.errors import nearest

DISCRETISATIONS = ("zoh", "ras")
_XAVIER = nn.initializers.xavier_uniform()


class MambaBlock(nn.Module):
    """Reads u: norm(D u + drop(W_o(y * silu(b)))), with (a, b) = W_i u and y = the states of

    c = silu(causal depthwise convolution(a)), step = softplus(D + W_2 W_1 c),
    h_t = decay_t h_(t-1) + step_t c_t (W_B c)_t and y_t = h_t (W_C c)_t.

    Attributes:
        state: S, states of each channel.
        kernel: frames that the convolution reads: the frame and those before it.
        rank: R, width between W_1 and W_2.
        dropout: rate on what is added to the skip.
        discretisation: of the decay. zoh: exp(-step exp(A)), of the paper, below 1 whatever A is;
            ras: step exp(-A), of the released code, which may grow beyond 1 with the step, so that
            long rows may overflow.
        dtype: of the computation; parameters, scan and norm are float32.
    """

    state: int
    kernel: int
    rank: int
    dropout: float
    discretisation: str
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, u_bth: jax.Array, mask_bt: jax.Array, train: bool = False) -> jax.Array:
        """(batch, time, H), bool (batch, time) -> (batch, time, H); masked frames are exactly 0."""
        width = u_bth.shape[-1]

        def dense(x: jax.Array, size: int, name: str) -> jax.Array:
            return nn.Dense(size, use_bias=False, dtype=self.dtype, kernel_init=_XAVIER, name=name)(
                x
            )

        a, b = jnp.split(dense(u_bth, 2 * width, "in_projection"), 2, axis=-1)
        c = nn.silu(CausalConvolution(self.kernel, self.dtype, name="convolution")(a))
        skip = self.param("skip", nn.initializers.ones, (width,), jnp.float32)
        step = dense(dense(c, self.rank, "step_1"), width, "step_2").astype(jnp.float32)
        first = nn.initializers.constant(jnp.arange(1, self.state + 1, dtype=jnp.float32))
        if self.discretisation == "zoh":  # as the paper: the logarithm of the rate of decay
            first = nn.initializers.constant(jnp.log(jnp.arange(1, self.state + 1)))
        decay = self.param("decay", first, (width, self.state), jnp.float32)
        y = scan(
            *(nn.softplus(skip + step), c, dense(c, self.state, "input")),
            *(dense(c, self.state, "output"), decay, self.discretisation),
        )
        out = dense(y.astype(self.dtype) * nn.silu(b), width, "out_projection")
        out = Dropout(self.dropout, name="dropout")(out, train).astype(jnp.float32)
        norm = layer_norm(1e-5, self.dtype, "norm")
        return jnp.where(mask_bt[..., None], norm(skip * u_bth + out), 0)


def scan(
    step_bth: jax.Array,
    x_bth: jax.Array,
    input_bts: jax.Array,
    output_bts: jax.Array,
    decay_hs: jax.Array,
    discretisation: str,
) -> jax.Array:
    """float32 (batch, time, H): the outputs y of a block's states, which begin at 0.

    One frame after another: with an associative scan the gradients take 2 to 4.5 times as long on a
    CPU (rows of 16 to 512 frames, H 64 and 256, S 8), and the memory of all states at once.
    """
    given = (step_bth, x_bth, input_bts, output_bts)
    over_time = [jnp.swapaxes(x.astype(jnp.float32), 0, 1) for x in given]
    rate = jnp.exp(decay_hs if discretisation == "zoh" else -decay_hs)

    def frame(h_bhs: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        step, x, into, out = now
        kept = (
            jnp.exp(-step[..., None] * rate) if discretisation == "zoh" else step[..., None] * rate
        )
        h_bhs = kept * h_bhs + (step * x)[..., None] * into[:, None]
        return h_bhs, jnp.einsum("bhs,bs->bh", h_bhs, out)

    start = jnp.zeros((len(x_bth), *decay_hs.shape), jnp.float32)
    return jnp.swapaxes(jax.lax.scan(frame, start, tuple(over_time))[1], 0, 1)


class CausalConvolution(nn.Module):
    """Convolution of each channel over its last frames, with a bias; zeros before the first.

    Attributes:
        kernel: number of frames.
        dtype: of the computation; parameters are float32.
    """

    kernel: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bth: jax.Array) -> jax.Array:
        """(batch, time, H) -> the same."""
        width, time = x_bth.shape[-1], x_bth.shape[1]

        def uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
            bound = self.kernel**-0.5  # as PyTorch's, of one channel in
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        kernel = self.param("kernel", uniform, (self.kernel, 1, width), jnp.float32)
        bias = self.param("bias", uniform, (width,), jnp.float32)
        padded = jnp.pad(x_bth.astype(self.dtype), ((0, 0), (self.kernel - 1, 0), (0, 0)))
        # A sum of shifted copies: a CPU takes many times longer for the gradient of a depthwise
        # convolution.
        parts = [
            padded[:, k : k + time] * kernel[k, 0].astype(self.dtype) for k in range(self.kernel)
        ]
        return sum(parts) + bias.astype(self.dtype)


class Mamba(nn.Module):
    """Encoder "mamba": a projection, then blocks one after another; no frame reads a later one.

    Attributes:
        hidden: width H.
        layers: number of blocks.
        dropout: rate, of the projection too.
        state, kernel, discretisation, dtype: as of MambaBlock.
        rank: as of MambaBlock; 0: H // 16, at least 1.
    """

    hidden: int
    layers: int
    dropout: float
    state: int = 8
    kernel: int = 5
    rank: int = 0
    discretisation: str = "zoh"
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("state", "kernel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 1 or more.")
        if self.rank < 0:
            raise ValueError(f"rank = {self.rank}: expected a width, or 0 for hidden // 16.")
        if self.discretisation not in DISCRETISATIONS:
            hint = nearest(self.discretisation, DISCRETISATIONS)
            raise ValueError(f"discretisation = {self.discretisation!r}: no such choice. {hint}")
        require_rate(self.dropout)

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: None = None, train: bool = False
    ) -> tuple[jax.Array, None]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), and no carry.

        Masked frames are exactly 0.
        """
        x = Projection(self.hidden, self.dropout, self.dtype, name="projection")(x_btd, train)
        x = jnp.where(mask_bt[..., None], x, 0)
        for i in range(self.layers):
            block = MambaBlock(
                *(self.state, self.kernel, self.rank or max(1, self.hidden // 16)),
                *(self.dropout, self.discretisation, self.dtype),
                name=f"block_{i}",
            )
            x = block(x, mask_bt, train)
        return x, carry
