"""State dicts on disk: safetensors, and PyTorch's own files through a restricted reader."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from affect_jax.interop import torch_file
from affect_jax.interop.wrapping import unwrapped
from data_pipelines.errors import UserError, shown
from data_pipelines.files import readable, require_memory

_log = logging.getLogger(__name__)

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
            in nested dicts get dotted names ("heads.fc.weight"); what is no tensor is left out.
            What stands around a model ("module.", "state_dict.", interop.wrapping) is taken off
            the names, and said in the log.

    Raises:
        UserError: no such file, another form, damaged, or a pickle that holds more than tensors.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weight file.")
    if path.suffix == ".safetensors":
        tensors = _load_safetensors(path)
    elif path.suffix in torch_file.SUFFIXES:
        tensors = torch_file.load(path)
    else:
        known = ", ".join((".safetensors", *torch_file.SUFFIXES))
        raise UserError(f"{path}: weight files end in {known}.")
    if not tensors:
        raise UserError(f"{path}: holds no tensor.")
    bare, line = unwrapped(tensors)
    if line:
        _log.warning("%s: %s", path, line)
    return bare


def _load_safetensors(path: pathlib.Path) -> StateDict:
    # safetensors.numpy.load_file fails on bfloat16, which numpy knows only through JAX.
    with readable(path, "a safetensors file that is whole"):
        require_memory(2 * path.stat().st_size, path.name)
        try:
            entries = safetensors.deserialize(path.read_bytes())
        except safetensors.SafetensorError as error:
            raise ValueError(error) from None
        tensors = {}
        for name, entry in entries:
            if entry["dtype"] not in _SAFETENSORS_DTYPES:
                kind = f"{shown(name)} has the type {entry['dtype']}"
                raise UserError(f"{path}: tensor {kind}; save as F32.")
            dtype = np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]])
            tensors[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
        return tensors


def save_safetensors(path: str | pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict; PyTorch reads it with safetensors.torch.load_file."""
    # The writer takes the memory as it lies: a transpose would be written scrambled.
    # (np.ascontiguousarray would make a scalar an array of one entry.)
    whole = {name: np.array(x, order="C") for name, x in tensors.items()}
    safetensors.numpy.save_file(whole, path)
