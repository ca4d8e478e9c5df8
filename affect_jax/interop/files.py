"""State dicts on disk: safetensors, and PyTorch's own files through a restricted reader."""

from __future__ import annotations

import json
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
from data_pipelines.files import readable
from data_pipelines.replace_file import replace_file

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

    Tensors are read only views of the mapped file: what is not used is not read.

    Args:
        path: .safetensors, or .pth, .pt, .bin, ... as any version of torch.save writes it. Tensors
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
    # safetensors.numpy.load_file fails on bfloat16, which numpy knows only through JAX, and copies.
    with readable(path, "a safetensors file that is whole"):
        try:
            with safetensors.safe_open(path, framework="np"):
                pass  # the header is right: every tensor lies inside the file, and has its size
        except safetensors.SafetensorError as error:
            raise ValueError(error) from None
        whole = np.memmap(path, np.uint8, "r").view(np.ndarray)
        start = 8 + int.from_bytes(whole[:8].tobytes(), "little")
        tensors = {}
        for name, entry in json.loads(whole[8:start].tobytes()).items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in _SAFETENSORS_DTYPES:
                kind = f"{shown(name)} has the type {entry['dtype']}"
                raise UserError(f"{path}: tensor {kind}; save as F32.")
            first, end = entry["data_offsets"]
            flat = whole[start + first : start + end].view(_SAFETENSORS_DTYPES[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
        return tensors


def save_safetensors(path: str | pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict; PyTorch reads it with safetensors.torch.load_file.

    A kill leaves the old file or the new one.
    """
    path = pathlib.Path(path)
    # The writer takes the memory as it lies: a transpose would be written scrambled.
    # (np.ascontiguousarray would make a scalar an array of one entry.)
    whole = {name: np.asarray(x, order="C") for name, x in tensors.items()}
    with replace_file(path) as partial:
        partial.touch()  # a folder that is missing or closed: the writer's own error is of no kind
        try:
            # transformers refuses a file that does not say for which library it is.
            safetensors.numpy.save_file(whole, partial, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:
            raise UserError(f"{path}: cannot be written ({error}).") from None
