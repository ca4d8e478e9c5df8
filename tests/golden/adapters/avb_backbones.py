"""Vocal bursts: wav2vec2, HuBERT and WavLM backbones, and the sampler of SpecAugment."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import interop
from affect_jax.interop import speech
from affect_jax.models.blocks.gelu import gelu
from affect_jax.models.blocks.speech import (
    SpeechConfig,
    SpeechOutput,
    SpeechTransformer,
    frames_of,
)
from affect_jax.models.blocks.speech.masking import span_mask
from affect_jax.models.blocks.speech.positions import weight_normalised
from affect_jax.models.blocks.speech.relative import buckets
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter


@adapter(
    *("avb__wav2vec2_base", "avb__wav2vec2_stable", "avb__hubert_base", "avb__hubert_large"),
    *("avb__wavlm_base", "avb__wavlm_large"),
)
def backbone(fixture: Fixture) -> Answer:
    """Every case of a tiny model, in evaluation, and in training where a cotangent is given."""
    given = fixture.arrays
    config = SpeechConfig.from_json(fixture.meta["config"], fixture.name)
    model, table = SpeechTransformer(config), speech.table(config)
    variables = variables_of(fixture, table, model, given["in_wave_0"])
    params, statistics = variables["params"], {k: x for k, x in variables.items() if k != "params"}
    _same_from_other_files(fixture, table, variables)
    arrays = {"out_len_table": frames_of(config, given["in_len_table"])}
    if "direction" in params["positions"]:
        own = params["positions"]
        kernel = weight_normalised(own["direction"], own["length"])
        arrays["out_pos_conv_kernel"] = np.moveaxis(kernel, (-1, -2), (0, 1))
    if "in_rel_pos" in given:
        sizes = config.num_buckets, config.max_bucket_distance
        arrays["out_buckets"] = buckets(given["in_rel_pos"], *sizes)
    for name in fixture.outputs:
        if not name.startswith("out_hidden_states_"):
            continue
        case = name.removeprefix("out_hidden_states_")
        wave = given.get(f"in_wave_{case}", given["in_wave_0"])
        mask = given.get(f"in_attention_mask_{case}")
        run = functools.partial(
            model.apply,
            mask_bs=None if mask is None else mask > 0,
            time_mask=given.get(f"in_time_mask_{case}"),
            feature_mask=given.get(f"in_feature_mask_{case}"),
        )
        if f"in_cotangent_{case}" not in given:
            arrays |= _evaluated(config, run, variables, wave, case)
            continue

        def scalar(
            params: Any, run: Any = run, wave: Any = wave, case: str = case
        ) -> tuple[jax.Array, Any]:
            state = {"params": params, **statistics}
            output, _ = run(state, wave, train=True, mutable=["batch_stats"])
            return (output.last * given[f"in_cotangent_{case}"]).sum(), output

        grads, output = jax.jit(jax.grad(scalar, has_aux=True))(params)
        arrays |= _given(output, case)
        named = interop.to_original(table, {"params": grads})
        arrays |= {f"grad_{key}": x for key, x in named.items()}
    return Answer(arrays)


def _given(output: SpeechOutput, case: str) -> dict[str, Any]:
    """What a model gives, by the stored names."""
    arrays = {f"out_hidden_states_{case}": jnp.stack(output.hidden)}
    if output.features is not None:
        arrays[f"out_extract_features_{case}"] = output.features
    if output.mask is not None:
        arrays[f"out_frame_mask_{case}"] = output.mask
    return arrays


def _evaluated(
    config: SpeechConfig, run: Any, variables: Any, wave: np.ndarray, case: str
) -> dict[str, Any]:
    """What a model gives in a case, and what stands in between."""

    @jax.jit
    def captured(variables: Any, wave: jax.Array) -> Any:
        return run(variables, wave, capture_intermediates=True)

    output, state = captured(variables, wave)
    state = state["intermediates"]
    last = f"layer_{config.num_hidden_layers - 1}"
    convolution = f"conv_{len(config.conv_dim) - 1}"
    arrays = _given(output, case) | {
        f"out_conv_features_{case}": gelu(state[convolution]["__call__"][0]),
        f"out_projected_{case}": state["projection"]["__call__"][0],
        f"out_last_layer_raw_{case}": state[last]["__call__"][0],
    }
    if "relative" in state and case == "0":
        arrays["out_position_bias"] = state["relative"]["__call__"][0]
    return arrays


def _same_from_other_files(fixture: Fixture, table: interop.Table, variables: Any) -> None:
    """The other weight files of the fixture hold the same numbers under older names."""
    for name in fixture.meta.get("extra_weights", ()):
        weights = interop.load(fixture.folder / name)
        others, report = interop.to_variables(table, weights, variables)
        if not report.complete:
            raise Mismatch(f"{name}: {report}".replace("\n", "; "))
        if not jax.tree.all(jax.tree.map(np.array_equal, others, variables)):
            raise Mismatch(f"{name} holds other numbers")


@adapter("avb__specaugment")
def specaugment(fixture: Fixture) -> Answer:
    """Statistics of four times as many draws, so that little of the noise is ours.

    Extremes are those of as many draws as the original made.
    """
    arrays = {}
    for i, case in enumerate(fixture.meta["cases"]):
        marginal, counts = _drawn(case, rounds=4)
        bins, n = case["length"] + 1, case["batch"]
        arrays |= {
            f"out_marginal_{i}": marginal.mean(0),
            f"out_hist_masked_{i}": np.stack(
                [np.bincount(row, minlength=bins) / row.size for row in counts.T.reshape(n, -1)]
            ),
            f"out_mean_masked_{i}": counts.mean((0, 1)),
            f"out_std_masked_{i}": counts.std((0, 1)),
            f"out_max_masked_{i}": counts[0].max(0),
            f"out_min_masked_{i}": counts[0].min(0),
        }
    return Answer(arrays)


def _drawn(case: dict[str, Any], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """(share of masks [rounds, batch, length], masked positions [rounds, draws, batch])."""
    lengths = case["valid_lengths"]

    def draw(key: jax.Array) -> jax.Array:
        return span_mask(
            key,
            (case["batch"], case["length"]),
            case["mask_prob"],
            case["mask_length"],
            case["min_masks"],
            None if lengths is None else jnp.asarray(lengths),
        )

    @jax.jit
    def drawn(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        masks = jax.vmap(draw)(jax.random.split(key, case["draws"]))
        return masks.mean(0), masks.sum(2)

    found = [drawn(key) for key in jax.random.split(jax.random.key(0), rounds)]
    return tuple(np.stack(arrays) for arrays in zip(*found, strict=True))
