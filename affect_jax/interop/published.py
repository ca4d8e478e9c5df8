"""Published speech models as they lie on the disk: config.json, and weights in one file or several.

A source is a folder, a weight file with its config.json beside it, or the name of a repository of
the Hugging Face Hub ("facebook/wav2vec2-base") that is in the Hub's cache on this machine. Nothing
is ever downloaded.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from affect_jax.interop import files
from affect_jax.models.blocks.speech import SpeechConfig
from data_pipelines.errors import UserError, listed, shown
from data_pipelines.files import read_json
from data_pipelines.paths import is_repository, require_name, user_path

_log = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_INDEX = ".index.json"
_WEIGHTS = (WEIGHTS, f"{WEIGHTS}{_INDEX}", "pytorch_model.bin", f"pytorch_model.bin{_INDEX}")
# Fields that say how a model is trained, not what it computes.
_OF_TRAINING = (
    *("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"),
    *("layerdrop", "apply_spec_augment", "initializer_range"),
    *("mask_time_prob", "mask_time_length", "mask_time_min_masks"),
    *("mask_feature_prob", "mask_feature_length", "mask_feature_min_masks"),
)


@dataclasses.dataclass(frozen=True)
class Published:
    """Files of a model.

    Attributes:
        weights: a weight file, or the index of several (`model.safetensors.index.json`).
        config: config.json beside them; None where there is none.
    """

    weights: pathlib.Path
    config: pathlib.Path | None

    def speech_config(self) -> SpeechConfig:
        """Config in config.json. UserError where it is missing, damaged or not supported."""
        if self.config is None:
            raise UserError(
                f"{self.weights}: no {CONFIG} beside it, which says what model it is; copy the "
                "one that it was published with there."
            )
        return SpeechConfig.from_json(self._fields(), self.config)

    def require(self, own: SpeechConfig) -> None:
        """UserError, with the names, where the run's config is of a model that computes otherwise.

        Without a config.json of a model nothing is compared. Rates of dropout and masking, which a
        training chooses, may differ: a line of the log names them.
        """
        if self.config is None or "model_type" not in self._fields():
            return  # a config.json may be that of a run
        theirs = self.speech_config()
        names = [field.name for field in dataclasses.fields(own)]
        differ = [name for name in names if getattr(own, name) != getattr(theirs, name)]
        of_model = [name for name in differ if name not in _OF_TRAINING]
        if of_model:
            raise UserError(f"{self.config}: {_sides(of_model, theirs, own)}. Change the config.")
        if differ:
            _log.warning("%s: %s", self.config, _sides(differ, theirs, own))

    def load(self) -> files.StateDict:
        """Every tensor by its name. UserError as `files.load`, and where an index is wrong."""
        if not self.weights.name.endswith(_INDEX):
            return files.load(self.weights)
        index, tensors = _index(self.weights), {}
        for shard in sorted(set(index.values())):
            tensors |= files.load(self.weights.with_name(shard))
        if missing := [name for name in index if name not in tensors]:
            raise UserError(
                f"{self.weights}: names {listed(missing, 3)}, which none of its files hold. "
                "Download them again."
            )
        return {name: tensors[name] for name in index}

    def _fields(self) -> dict[str, Any]:
        fields = read_json(self.config)
        if not isinstance(fields, dict):
            raise UserError(f"{self.config}: {type(fields).__name__}, expected an object.")
        return fields


def find(source: str | pathlib.Path) -> Published:
    """The files of a source, as the module describes one.

    Raises:
        UserError: there is no such source, or it has no weights.
    """
    path = user_path(source)
    if path.is_file():
        config = path.with_name(CONFIG)
        return Published(path, config if config.is_file() else None)
    if path.is_dir():
        return _of_folder(path)
    if is_repository(source):
        return _of_folder(_cached(str(source)))
    raise UserError(
        f"{source}: no such file or folder, nor a name like facebook/wav2vec2-base. Expected a "
        f"folder with {CONFIG} and {WEIGHTS} or pytorch_model.bin, or a weight file."
    )


def _of_folder(folder: pathlib.Path) -> Published:
    there = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not there:
        raise UserError(
            f"{folder}: no weights in it. Expected {' or '.join(_WEIGHTS)}; a file of another "
            "name is given by its path."
        )
    config = folder / CONFIG
    return Published(there[0], config if config.is_file() else None)


def _cached(name: str) -> pathlib.Path:
    """The folder of a repository's latest files in the Hub's cache, wherever HF_HOME has it."""
    try:
        from huggingface_hub import constants, try_to_load_from_cache
    except ImportError:
        raise UserError(
            f"{name}: no such file or folder; to find it in the Hugging Face cache, "
            "pip install huggingface-hub."
        ) from None
    try:
        found = [try_to_load_from_cache(name, file) for file in (CONFIG, *_WEIGHTS)]
    except ValueError:  # no name that a repository can have
        found = []
    first = next((path for path in found if isinstance(path, str)), None)
    if first is None:
        raise UserError(
            f"{name}: no such file or folder, and not in the Hugging Face cache "
            f"({constants.HF_HUB_CACHE}). Where there is a network: hf download {name}"
        )
    return pathlib.Path(first).parent


def _sides(names: Sequence[str], theirs: SpeechConfig, own: SpeechConfig) -> str:
    """The values of both sides."""
    values = ([shown(getattr(side, name)) for side in (theirs, own)] for name in names)
    return "; ".join(f"{name} = {a}, here {b}" for name, (a, b) in zip(names, values))


def _index(path: pathlib.Path) -> dict[str, str]:
    """{tensor: name of its file}."""
    index = read_json(path, "an index of weight files")
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not table:
        raise UserError(f"{path}: no weight_map in it, an object of tensor and file expected.")
    for file in table.values():
        if not isinstance(file, str):
            raise UserError(f"{path}: a file is called {shown(file)}, expected a name.")
        require_name(file, f"{path}: file")
    return table
