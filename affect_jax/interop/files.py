"""State dicts on disk: safetensors, and PyTorch's own files through a restricted reader."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from affect_jax.interop import torch_file
from data_pipelines.errors import UserError

StateDict = dict[str, np.ndarray]

_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def load(path: str | pathlib.Path) -> StateDict:
    """Every tensor of a weight file under its name there; torch is not needed.

    Args:
        path: .safetensors, or .pth, .pt, .bin as torch.save writes it since PyTorch 1.6. Tensors
            in nested dicts get dotted names ("model.fc.weight"); what is no tensor is left out.

    Raises:
        UserError: no such file, another form, damaged, or a pickle that holds more than tensors.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weight file.")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in torch_file.SUFFIXES:
        return torch_file.load(path)
    known = ", ".join((".safetensors", *torch_file.SUFFIXES))
    raise UserError(f"{path}: weight files end in {known}.")


def _load_safetensors(path: pathlib.Path) -> StateDict:
    # safetensors.numpy.load_file fails on bfloat16, which numpy knows only through JAX.
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file, or damaged ({error}).") from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise UserError(f"{path}: tensor {name!r} has the type {entry['dtype']}; save as F32.")
        dtype = np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]])
        tensors[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return tensors


def save_safetensors(path: str | pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict; PyTorch reads it with safetensors.torch.load_file."""
    # The writer takes the memory as it lies: a transpose would be written scrambled.
    # (np.ascontiguousarray would make a scalar an array of one entry.)
    whole = {name: np.array(x, order="C") for name, x in tensors.items()}
    safetensors.numpy.save_file(whole, path)
