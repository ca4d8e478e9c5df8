"""Parts of a model from the part's own section of a config: checked where the user can see it."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from affect_jax.config import require_kind
from data_pipelines.errors import UserError, nearest, shown

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}  # of config.model.dtype


def require_keys(config: Mapping[str, Any], known: Sequence[str]) -> None:
    """UserError where `config.model` has not exactly these keys."""
    for key in config:
        if key not in known:
            raise UserError(f"config.model.{key}: no such key. {nearest(key, known)}")
    for key in known:
        if key not in config:
            raise UserError(f"config.model.{key} is missing.")


def entry(where: str, name: Any, table: Mapping[str, Any]) -> Any:
    """table[name], or a UserError that begins with `where`, a key of the config."""
    if not isinstance(name, str) or name not in table:
        raise UserError(f"{where} = {shown(name)}: no such choice. {nearest(name, table)}")
    return table[name]


def part(
    where: str, module: type[nn.Module], settings: Mapping[str, Any], **given: Any
) -> Callable[..., nn.Module]:
    """A maker of `module` from one section of a config; called with what the family adds.

    Args:
        where: the section as the user writes it, "config.model.encoder".
        module: its fields are the keys that the section may have; fields without a default must
            be there.
        settings: the section, without its "name".
        given: fields that are no business of the config.

    Raises:
        UserError: a key is unknown or missing, a value of another kind than the field's, or the
            module refuses it (ValueError).
    """
    internal = {"parent", "name", *given}
    fields = [f for f in dataclasses.fields(module) if f.name not in internal]
    known = [f.name for f in fields]
    for key in settings:
        if key not in known:
            raise UserError(f"{where}.{key}: no such key. {nearest(key, known)}")
    kinds = typing.get_type_hints(module)
    for field in fields:
        if field.name in settings:
            require_kind(f"{where}.{field.name}", settings[field.name], kinds[field.name])
        elif field.default is dataclasses.MISSING:
            raise UserError(f"{where}.{field.name} is missing.")
    make = functools.partial(module, **settings, **given)
    try:
        make()
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    return make
