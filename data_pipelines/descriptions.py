"""Descriptions of behaviour: tokens of a language model pooled to a vector, and its text.

For scripts that run such a model on videos; affect_jax/text.py pools with it too.

Source: the released code of arXiv 2603.13056, which pools in the model's own type (bfloat16) and
takes the variance as E[x^2] - E[x]^2, of which little is left there.
"""

from __future__ import annotations

import re

import numpy as np

EPS = 1e-6  # of the variance


def pooled(hidden_bsh: np.ndarray, mask_bs: np.ndarray) -> dict[str, np.ndarray]:
    """{"mean", "std", "last": float32 [B, H]} over the tokens of each text.

    std is sqrt(variance + 1e-6), the variance that of the population; last is the last token. Of a
    text without tokens mean is 0, std 1e-3, and last the end of the sequence.

    Args:
        hidden_bsh: states of the tokens, of any float type; they are summed in float32. What the
            mask leaves out may be NaN.
        mask_bs: [B, S], not 0 where a token counts.
    """
    mask = np.asarray(mask_bs).astype(bool)
    hidden = np.where(mask[..., None], np.asarray(hidden_bsh, np.float32), np.float32(0))
    count = np.maximum(mask.sum(1), 1)[:, None].astype(np.float32)
    mean = hidden.sum(1) / count
    squares = np.where(mask[..., None], hidden - mean[:, None], 0) ** 2
    length = mask.shape[1]
    last = np.where(mask.any(1), length - 1 - mask[:, ::-1].argmax(1), length - 1)
    return {
        "mean": mean,
        "std": np.sqrt(squares.sum(1) / count + np.float32(EPS)),
        "last": np.asarray(hidden_bsh, np.float32)[np.arange(len(mask)), last],
    }


def token_mask(ids_bs: np.ndarray, *tokens: int) -> np.ndarray:
    """bool [B, S]: tokens with one of these numbers, those of a video's patches, say.

    Take `video_token_id` of the model's configuration: a tokenizer mostly knows the marks of start
    and end alone, and a mask of these leaves out all that was seen.
    """
    return np.isin(ids_bs, tokens)


def clean(text: str) -> str:
    """A description in one line, with a mark at its end; nothing stays nothing."""
    text = " ".join(text.split())
    return text if not text or re.search(r"[.!?]$", text) else f"{text}."
