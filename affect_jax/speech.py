"""Published speech transformers (wav2vec 2.0, HuBERT, WavLM) as Linen modules, alone.

    model, variables = speech.load("facebook/wav2vec2-base")       # or a folder, or a file
    output = model.apply(variables, audio_bs)                      # output.last [B, T, 768]
    speech.save("mine", model.config, variables)                   # transformers reads it

docs/speech.md is the page on them.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from affect_jax.interop import files, published
from affect_jax.interop.rules import Report, to_original, to_variables
from affect_jax.interop.speech import table
from affect_jax.models.blocks.speech import SpeechConfig, SpeechOutput, SpeechTransformer, frames_of
from data_pipelines.errors import UserError, listed
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_json
from data_pipelines.replace_folder import replace_folder

__all__ = ["SpeechConfig", "SpeechOutput", "SpeechTransformer", "frames_of", "load", "save"]

_log = logging.getLogger(__name__)
_MASK = "mask_embedding"  # of masked frames in training; models that were fine-tuned may lack it


def load(
    source: str | pathlib.Path,
    *,
    masked_norm: bool = False,
    remat: bool = False,
    dtype: jnp.dtype = jnp.float32,
) -> tuple[SpeechTransformer, dict[str, Any]]:
    """A published model and its variables, float32; what was read of them is in the log.

    Args:
        source: a folder with config.json and weights, a weight file with config.json beside it, or
            the name of a repository that lies in the Hugging Face cache (interop.published).
        masked_norm, remat, dtype: of SpeechTransformer.

    Raises:
        UserError: there is no such model here, a value of its config is not supported, or the
            weights are damaged or not those of its config.
    """
    found = published.find(source)
    config = found.speech_config()
    model = SpeechTransformer(config, masked_norm=masked_norm, remat=remat, dtype=dtype)
    variables, report = to_variables(table(config), found.load(), _template(model))
    _require(report, found)
    if _MASK in report.missing:
        vector = jax.random.uniform(jax.random.key(0), (config.hidden_size,))
        variables["params"][_MASK] = jax.device_get(vector)
    _say(report, found)
    return model, variables


def save(folder: str | pathlib.Path, config: SpeechConfig, variables: Mapping[str, Any]) -> None:
    """Write config.json and model.safetensors, which transformers' `from_pretrained` reads.

    Args:
        folder: new, or of an earlier `save`, which is replaced as a whole.
        config: of the model.
        variables: of a SpeechTransformer of it.

    Raises:
        UserError: the folder holds other things, or the variables are of another model.
    """
    path, own = user_path(folder), {published.CONFIG, published.WEIGHTS}
    if path.is_dir() and (others := sorted({item.name for item in path.iterdir()} - own)):
        raise UserError(
            f"{path}: holds {listed(others, 3)}, which would be removed. Name a new folder."
        )
    _require_of(config, variables)
    tensors = to_original(table(config), variables)
    with replace_folder(path) as new:
        replace_json(new / published.CONFIG, config.to_json(), sort_keys=False)
        files.save_safetensors(new / published.WEIGHTS, tensors)


def _template(model: SpeechTransformer) -> Any:
    """Shapes of the variables of a model."""
    sound = jax.ShapeDtypeStruct((1, _samples(model.config)), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), sound)


def _require_of(config: SpeechConfig, variables: Mapping[str, Any]) -> None:
    """UserError where the variables are not those of the config's model, by name and shape."""
    there, wanted = (
        {path: np.shape(x) for path, x in traverse_util.flatten_dict(dict(tree), sep="/").items()}
        for tree in (variables, _template(SpeechTransformer(config)))
    )
    for path in [*wanted, *there]:
        if there.get(path) != wanted.get(path):
            one, other = (f"is {x[path]}" if path in x else "is none" for x in (there, wanted))
            raise UserError(
                f"the variables are of another model: {path} {one}, and of the config {other}. "
                "Give {'params': ...}, and batch_stats where the model has them, with its own "
                "config."
            )


def _samples(config: SpeechConfig) -> int:
    """Samples of one frame."""
    samples = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride))):
        samples = (samples - 1) * stride + kernel
    return samples


def _require(report: Report, found: published.Published) -> None:
    """UserError where a parameter has no tensor, or one of another shape."""
    missing = [path for path in report.missing if path != _MASK]
    faults = list(report.mismatched[:1])
    if missing:
        faults.append(f"{len(missing)} parameters have no tensor, {listed(missing[:3])} first")
    if faults:
        raise UserError(f"{found.weights}: not the weights of {found.config}: {'; '.join(faults)}.")


def _say(report: Report, found: published.Published) -> None:
    line = f"{found.weights}: {len(report.mapped)} tensors read"
    if report.unused:
        line += f"; of no use here: {listed(report.unused, 5)}"
    if _MASK in report.missing:
        line += "; none for masked frames, which get a random vector"
    _log.info("%s", line)
    if report.unknown:
        _log.warning("%s: left out: %s", found.weights, listed(report.unknown, 5))
