"""Attention to a memory of earlier segments, against plain NumPy and over long tracks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.memory import MemoryTransformer, empty, remember
from affect_jax.models.blocks.transformer import Transformer

B, T, D, H = 3, 7, 3, 4
SETTINGS = dict(
    hidden=H, layers=1, heads=2, ffn=6, dropout=0.0, positions="none", memory=3, chunk=3
)
SIZES = [[7, 7, 2], [7, 0, 7], [7, 4, 0], [1, 6, 7]]  # unmasked frames of the rows in four segments


def encoder(**changes) -> MemoryTransformer:
    return MemoryTransformer(**(SETTINGS | dict(memory_heads=2) | changes))


@pytest.fixture(scope="module")
def segments():
    """[(x [B, T, D], mask [B, T])], with numbers in the padding too."""
    rng = np.random.default_rng(0)
    masks = [np.arange(T) < np.array(sizes)[:, None] for sizes in SIZES]
    return [(rng.normal(size=(B, T, D)).astype(np.float32), mask) for mask in masks]


@pytest.fixture(scope="module")
def params(segments):
    tree = jax.jit(encoder().init)(jax.random.key(0), *segments[0])["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), tree)


MODELS = {kind: encoder(attention=kind) for kind in ("multihead", "single")}
RUN = {
    kind: jax.jit(lambda p, x, v, carry, model=model: model.apply({"params": p}, x, v, carry))
    for kind, model in MODELS.items()
}


def outputs(kind, params, segments):
    """Outputs and memories of all segments, one after another."""
    if kind == "single":
        params = {k: v for k, v in params.items() if k != "memory_attention"}
    carry, results = empty(B, 3, H), []
    for x, mask in segments:
        y, carry = RUN[kind](params, x, mask, carry)
        results.append((np.asarray(y), carry))
    return results


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def read_numpy(kind, p, x, memory):
    """Sheet abaw3, 3.3: what one row reads from its memory, a head at a time."""
    if kind == "single":
        return softmax(x @ memory.T / np.sqrt(H)) @ memory
    w, b = p["in_projection"]["kernel"], p["in_projection"]["bias"]
    q = x @ w[:, :H] + b[:H]
    k, v = (memory @ w[:, i * H : (i + 1) * H] + b[i * H : (i + 1) * H] for i in (1, 2))
    parts = [slice(0, 2), slice(2, 4)]
    mixed = [softmax(q[:, s] @ k[:, s].T / np.sqrt(2)) @ v[:, s] for s in parts]
    return np.concatenate(mixed, -1) @ p["out_projection"]["kernel"] + p["out_projection"]["bias"]


@pytest.mark.parametrize("kind", ["multihead", "single"])
def test_a_track_reads_and_remembers_as_a_plain_loop_does(kind, params, segments):
    plain = Transformer(**{k: v for k, v in SETTINGS.items() if k not in ("memory", "chunk")})
    shared = {k: params[k] for k in ("projection", "layer_0")}
    hidden = jax.jit(lambda x, mask: plain.apply({"params": shared}, x, mask)[0])
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["memory_attention"])
    memories = [np.zeros((0, H)) for _ in range(B)]
    for (x, mask), (got, carry) in zip(segments, outputs(kind, params, segments), strict=True):
        h = np.asarray(hidden(x, mask), np.float64)
        for b in range(B):
            n = int(mask[b].sum())
            want = h[b, :n]
            if len(memories[b]):
                want = want + read_numpy(kind, wide, want, memories[b])
            np.testing.assert_allclose(got[b, :n], want, atol=1e-5)
            means = [h[b, i : min(i + 3, n)].mean(0) for i in range(0, n, 3)]
            memories[b] = np.concatenate([memories[b], np.reshape(means, (-1, H))])[-3:]
            filled = int(carry["filled"][b])
            assert filled == len(memories[b])
            slots = np.asarray(carry["slots"][b])
            np.testing.assert_allclose(slots[3 - filled :], memories[b], atol=1e-5)
            assert not slots[: 3 - filled].any()


def test_rows_depend_on_themselves_alone_and_not_on_padding(params, segments):
    turned = [(x[::-1], mask[::-1]) for x, mask in segments]
    other = [(np.where(v[..., None], x, 99).astype(np.float32), v) for x, v in segments]
    for changed, back in ((turned, slice(None, None, -1)), (other, slice(None))):
        for (y, carry), (z, again), (_, mask) in zip(
            outputs("multihead", params, segments),
            outputs("multihead", params, changed),
            segments,
            strict=True,
        ):
            np.testing.assert_allclose(z[back][mask], y[mask], atol=1e-6)
            np.testing.assert_allclose(again["slots"][back], carry["slots"], atol=1e-6)


def test_no_carry_is_a_zero_carry(params, segments):
    x, mask = segments[0]
    y, carry = RUN["multihead"](params, x, mask, None)
    z, again = RUN["multihead"](params, x, mask, empty(B, 3, H))
    jax.tree.map(np.testing.assert_array_equal, (y, carry), (z, again))


def test_reading_is_learned_where_there_is_something_to_read(params, segments):
    x, mask = segments[0]

    @jax.jit
    def gradient(params, filled):
        def total(params):
            carry = {"slots": jnp.arange(3 * B * H, dtype=jnp.float32).reshape(B, 3, H) / 9}
            y, _ = MODELS["multihead"].apply({"params": params}, x, mask, carry | filled)
            return (y[mask] ** 2).sum()

        return jax.grad(total)(params)

    some = gradient(params, {"filled": np.full(B, 2)})
    assert np.abs(some["memory_attention"]["in_projection"]["kernel"]).max() > 0
    none = gradient(params, {"filled": np.zeros(B, np.int64)})
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(none["memory_attention"]))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(none))


def test_no_gradient_goes_back_through_the_memory(segments):
    def kept(x):
        return remember(empty(B, 3, D), x, segments[0][1], 3)["slots"].sum()

    assert not np.asarray(jax.jit(jax.grad(kept))(segments[0][0])).any()


def test_a_segment_longer_than_the_memory_leaves_its_newest_chunks():
    x = np.arange(8, dtype=np.float32)[None, :, None]
    memory = remember(empty(1, 2, 1), x, np.ones((1, 8), bool), 3)
    np.testing.assert_array_equal(memory["slots"][0, :, 0], [4, 6.5])
    assert int(memory["filled"][0]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(memory=0), "memory = 0: expected 1 or more"),
        (dict(chunk=-1), "chunk = -1: expected 1 or more"),
        (dict(attention="multi"), "attention = 'multi'.* Did you mean 'multihead'"),
        (dict(memory_heads=3), "memory_heads = 3 does not divide hidden = 4"),
        (dict(heads=3), "heads = 3 does not divide hidden = 4"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        encoder(**changes)
    assert encoder(attention="single", memory_heads=3).memory == 3
