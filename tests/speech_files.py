"""A tiny published speech model on the disk, as transformers writes one, without it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import interop, speech
from affect_jax.interop.speech import table

CONFIG = {
    "model_type": "wav2vec2",
    "conv_dim": [4, 4],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 6,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 32,  # and other fields that no backbone reads
    "architectures": ["Wav2Vec2ForPreTraining"],
}


def variables_of(fields: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Random variables of a config.json's model."""
    model = speech.SpeechTransformer(speech.SpeechConfig.from_json(fields, "here"))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 400)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(x.dtype), shapes)


def tensors_of(fields: dict[str, Any], prefix: str = "", seed: int = 0) -> dict[str, np.ndarray]:
    """{original name: array} of such variables."""
    own = table(speech.SpeechConfig.from_json(fields, "here"))
    tensors = interop.to_original(own, variables_of(fields, seed))
    return {f"{prefix}{name}": x for name, x in tensors.items()}


def write(folder: pathlib.Path, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    interop.save_safetensors(folder / "model.safetensors", tensors)
