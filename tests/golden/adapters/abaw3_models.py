"""ABAW3 models in evaluation: outputs, what they carry, bin logits."""

from __future__ import annotations

import jax
import numpy as np

from tests.golden.adapters.abaw3_original import Original, remembered
from tests.golden.fixture import Answer, Fixture, adapter


@adapter(
    "abaw3__transformer_both",
    "abaw3__transformer_single_nope",
    "abaw3__transformer_bins_uniform",
    "abaw3__transformer_bins_weighted",
    "abaw3__transformer_lstm_residual",
    "abaw3__transformer_lstm_noresidual",
    "abaw3__transformer_lstm_bins",
    "abaw3__transformer_attention_multihead",
    "abaw3__transformer_attention_single",
    "abaw3__transformer_attention_none",
    "abaw3__transformer_attention_unlimited",
    "abaw3__fclstm_xl",
    "abaw3__fclstm_xl_bins",
)
def evaluation(fixture: Fixture) -> Answer:
    original = Original(fixture)
    forward = jax.jit(original.forward)
    arrays = {}
    for i in range(original.batches):
        outputs, carries = [], [None]
        for segment in original.segments(i):
            given = {"feature": segment["feature"]}
            output, carry = forward(original.params, given, carries[-1])
            outputs.append(output)
            carries.append(carry)
        joined = {k: np.concatenate([o[k] for o in outputs], axis=1) for k in outputs[0]}
        if len(original.tasks) == 1:
            joined["output"] = joined["output"][..., 0]
        last = carries[-1] or {}
        if "h" in last:
            joined |= {k: np.stack([c[k][:, 0] for c in carries[1:]]) for k in "hc"}
        if "slots" in last:
            joined["mem_len"] = np.array([remembered(c).shape[1] for c in carries[1:]])
            joined["mem_last"] = remembered(last)
        arrays |= {f"out_{kind}_{i}": x for kind, x in joined.items()}
    return Answer(arrays)
