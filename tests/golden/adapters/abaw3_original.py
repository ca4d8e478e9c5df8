"""An ABAW3 original of a fixture as our model: sizes, parameters, segments and what is carried."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.bins import expectation, frequency_bins, uniform_bins
from affect_jax.models.blocks import memory
from affect_jax.tasks import Task
from configs.va import COUNTS
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Fixture

Segment = dict[str, np.ndarray]


def bins_of(task: str, *, weighted: bool) -> dict[str, Any]:
    """`centres` and `edges` of one target of the transformer family."""
    return frequency_bins(COUNTS[task]) if weighted else uniform_bins(22)


def scrambled(*, weighted: bool) -> np.ndarray:
    """[22, 2]: what the original multiplies the softmax with, both targets' centres mixed up."""
    both = [bins_of(task, weighted=weighted)["centres"][0] for task in COUNTS]
    return np.concatenate(both).reshape(-1, 2)


class Named(Fixture):
    """The fixture with its tensors called as in affect_jax.interop."""

    @functools.cached_property
    def meta(self) -> dict[str, Any]:
        meta = super().meta
        if "unused" in meta:
            meta = meta | {"unused": [dotted(name) for name in meta["unused"]]}
        return meta

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return {dotted(name): x for name, x in super().weights.items()}


def dotted(name: str) -> str:
    """ "net_seq/affine.weight" -> "net_seq.affine.weight"."""
    return name.replace("/", ".", 1)


class Original:
    """Our model with the fixture's weights, fed as the original feeds itself.

    The original's own ways are reproduced here, from outside: a mask of ones, since padding is
    attended to, remembered and run over; no limit on the memory of a first segment; the scrambled
    matrix of bin centres.
    """

    def __init__(self, fixture: Fixture):
        self.fixture = Named(fixture.folder)
        self.config = self.fixture.meta["config"]
        target = self.config["target"]
        self.tasks = ("valence", "arousal") if target == "both" else (target,)
        own = {n: x for n, x in self.fixture.weights.items() if not n.startswith("pretrained.")}
        outputs = own["net_reg.fc_out.weight"].shape[0] // len(self.tasks)
        self.bins = outputs if outputs > 1 else 0
        self.encoder = self.config["model"].replace("fclstm_xl", "fclstm")
        self.model = models.build(self._model_config(), [self._task(name) for name in self.tasks])
        spelling = interop.abaw3.spelling(own)
        self.table = interop.abaw3.table(self.tasks, **spelling)
        first = self.segments(0)[0]
        self.params = params_of(
            self.fixture, self.table, self.model, self.inputs(first), weights=own
        )

    def segments(self, i: int) -> list[Segment]:
        """Batch i cut along time; the last segment keeps its own length."""
        suffix = f"_{i}"
        whole = {
            name.removeprefix("in_").removesuffix(suffix): x
            for name, x in self.fixture.arrays.items()
            if name.startswith("in_") and name.endswith(suffix) and "length" not in name
        }
        length = self.config["max_seq_len"]
        starts = range(0, whole["feature"].shape[1], length)
        return [{kind: x[:, s : s + length] for kind, x in whole.items()} for s in starts]

    @property
    def batches(self) -> int:
        """Number of batches."""
        return sum(name.startswith("in_feature_") for name in self.fixture.arrays)

    @staticmethod
    def inputs(segment: Segment) -> dict[str, Any]:
        """Every frame exists."""
        feature = segment["feature"]
        return {"inputs": {"all": feature}, "mask": np.ones(feature.shape[:2], bool)}

    def forward(
        self, params: Any, segment: Segment, carry: Any, *, train: bool = False
    ) -> tuple[dict[str, jax.Array], Any]:
        """({"output", "hidden" and, with bins, "logits"} of a segment, carry).

        output [B, T, targets]; hidden [B, T, H], of the last transformer layer; logits
        [B, T, bins, targets].
        """
        # The default of the options is the string.
        plain = self.encoder == "transformer_attention" and not self._reads
        layer = f"layer_{self.config['num_layers'] - 1}"
        output, state = self.model.apply(
            {"params": params},
            self.inputs(segment),
            carry=None if plain else carry,
            train=train,
            capture_intermediates=lambda module, _: module.name == layer,
            mutable=["intermediates"],
        )
        layers = state.get("intermediates", {}).get("encoder", {})
        result = {"hidden": layers[layer]["__call__"][0]} if layer in layers else {}
        after = output.carry
        if plain:
            after = memory.remember(
                carry or memory.empty(len(result["hidden"]), *self._memory_shape),
                result["hidden"],
                self.inputs(segment)["mask"],
                self.config["mem_avg_len"],
            )
        if self.encoder == "transformer_attention":
            after = self._limited(after, first=carry is None)
        raw = [output.predictions[task] for task in self.tasks]
        if self.bins:
            values = [expectation(x, (w,)) for x, w in zip(raw, self._centres(), strict=True)]
            result["logits"] = jnp.stack([x[..., 0, :] for x in raw], axis=-1)
        else:
            values = raw
        return result | {"output": jnp.concatenate(values, axis=-1)}, after

    @property
    def _reads(self) -> str:
        """The attention to the memory, "" for none."""
        return {"None": ""}.get(self.config["former_attention"], self.config["former_attention"])

    @property
    def _memory_shape(self) -> tuple[int, int]:
        """Slots for all that the longest batch can leave, and their width."""
        length, chunk = self.config["max_seq_len"], self.config["mem_avg_len"]
        longest = max(
            x.shape[1] for n, x in self.fixture.arrays.items() if n.startswith("in_feature_")
        )
        return -(-longest // length) * -(-length // chunk), self._hidden

    def _limited(self, carry: memory.Memory, *, first: bool) -> memory.Memory:
        """The original forgets from the second segment on; -1 is no limit."""
        most = self.config["max_mem_len"]
        if first or most == -1:
            return carry
        return carry | {"filled": jnp.minimum(carry["filled"], most)}

    def _centres(self) -> list[np.ndarray]:
        if self.encoder == "fclstm":
            return [np.asarray(uniform_bins(self.bins + 2)["centres"][0][1:-1])] * len(self.tasks)
        return list(scrambled(weighted=self.config["cls_weighted"]).T)

    def _task(self, name: str) -> Task:
        if not self.bins:
            return Task(name, "values", 1)
        return Task(name, "bins", 1, **uniform_bins(self.bins))

    @property
    def _hidden(self) -> int:
        width = self.config["hidden_size"]
        return width if width > 0 else min(self.config["input_dim"] // 2, 512)

    def _model_config(self) -> ConfigDict:
        config, name = self.config, self.encoder
        encoder: dict[str, Any] = dict(name=name, hidden=self._hidden, dropout=0.0)
        if name != "fclstm":
            encoder |= dict(
                layers=config["num_layers"],
                heads=config["nhead"],
                ffn=config["ffn_dim"],
                positions="abaw4" if config["use_pe"] else "none",
            )
        if name == "transformer_lstm":
            encoder["residual"] = config["residual"] == "y"
        if name == "transformer_attention" and self._reads:
            encoder |= dict(
                memory=self._memory_shape[0], chunk=config["mem_avg_len"], attention=self._reads
            )
            encoder["memory_heads"] = config.get("former_attention_heads", 4)
        elif name == "transformer_attention":
            encoder["name"] = "transformer"
        layers = tuple(int(w) for w in str(config["regress_layers"]).split(","))
        return ConfigDict(
            dict(
                name="multitask",
                features=("all",),
                feature_norm=False,
                structure=dict(name="joint"),
                dtype="float32",
                encoder=encoder,
                head=dict(layers=layers, dropout=0.0),
            )
        )


def remembered(carry: Mapping[str, jax.Array]) -> np.ndarray:
    """[B, filled, H]: rows of a fixture are equally long for the original."""
    filled = int(carry["filled"][0])
    return np.asarray(carry["slots"])[:, carry["slots"].shape[1] - filled :]
