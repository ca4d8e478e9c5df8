"""A-VB heads on given features: evaluation, training, statistics and gradients.

The original's own ways are reproduced here, from outside: what it calls pooling by attention or by
the maximum is the mean in VANILLA and CHAIN (maximum) and the last step in BRANCH (both).
"""

from __future__ import annotations

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import interop
from affect_jax.interop.families import vocal_bursts as names
from affect_jax.models.blocks.task_heads import HeadTask
from affect_jax.models.vocal_bursts import HEADS
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, adapter

# The original's names of the tasks as ours, and of its models.
OURS = {original: task for task, original in names.TASKS.items()}
MODELS = {
    "basemtl": "vanilla",
    "stacked": "chain",
    "attnbranch": "branch",
    "attnbranch_v2": "branch_v2",
}
SQUASHED = ("high", "culture")


def make_head(name: str, tasks: tuple[HeadTask, ...], pool: str, **options: Any) -> nn.Module:
    """A head without dropout, which the traces are made without.

    Args:
        pool: as the original calls it.
    """
    if name in ("branch", "branch_v2"):
        options = {"dropout": 0.0, **options}
    return HEADS[name](tasks=tasks, pooling=pooling_of(name, pool), **options)


def pooling_of(name: str, pool: str) -> str:
    """Ours for what the original calls `pool` in the head of that name."""
    if name in ("branch", "branch_v2"):
        return "mean" if pool == "avg" else "last"
    return "attention" if pool == "attention" else "mean"


def tasks_of(sizes: dict[str, int]) -> tuple[HeadTask, ...]:
    """Our tasks from {the original's name: size}, in the original's order."""
    found = []
    for task, original in names.TASKS.items():
        kind = "classes" if task == "type" else "values"
        found.append(HeadTask(task, kind, sizes[original], task in SQUASHED))
    return tuple(found)


@adapter(
    "avb__head_vanilla_attention",
    "avb__head_vanilla_avg",
    "avb__head_chain_attention",
    "avb__head_chain_avg",
    "avb__head_branch_v1_attention",
    "avb__head_branch_v1_avg",
    "avb__head_branch_v2_attention",
    "avb__head_branch_v2_avg",
)
def head(fixture: Fixture) -> Answer:
    options, arrays, stored = fixture.meta["constructor"], {}, fixture.arrays
    name = re.fullmatch(r"avb__head_(vanilla|chain|branch_v1|branch_v2)_\w+?", fixture.name)[1]
    name = name.removesuffix("_v1")
    heads = {"heads": options["num_heads"]} if "num_heads" in options else {}
    tasks = tasks_of({task: stored[f"in_cotangent_{task}"].shape[1] for task in OURS})
    pool = options.get("pool", "attention")
    model = make_head(name, tasks, pool, embedding=options["embedding_size"], **heads)
    count = sum(array.startswith("in_features_") for array in stored)
    states = [jnp.asarray(stored[f"in_features_{i}"]) for i in range(count)]
    mask, rows = jnp.ones(states[0].shape[:2], bool), jnp.ones(len(states[0]), bool)
    labels = {}
    for original, task in OURS.items():
        label = jnp.asarray(stored[f"in_label_{original}"])
        labels[task] = label, jnp.ones(label.shape, bool)
    table = names.head(name)
    variables = variables_of(fixture, table, model, states, mask, rows)

    def run(variables: Any, states: Any, train: bool, labels: Any = None) -> Any:
        mutable = ["batch_stats"] if train else False
        return model.apply(variables, states, mask, rows, train, labels, mutable=mutable)

    def scalar(params: Any, states: Any) -> Any:
        (out, _), updated = run(variables | {"params": params}, states, True, labels)
        terms = [(out[task] * stored[f"in_cotangent_{o}"]).sum() for o, task in OURS.items()]
        return sum(terms), (out, updated)

    @jax.jit
    def everything(params: Any, states: Any) -> Any:
        grads, (trained, updated) = jax.grad(scalar, (0, 1), has_aux=True)(params, states)
        alone = run(variables | {"params": params}, states, True)[0][0]
        evaluated = run(variables | {"params": params}, states, False)[0]
        return {"eval": evaluated, "train": trained, "train_nolabel": alone}, grads, updated

    cases, (of_params, of_states), updated = everything(variables["params"], states)
    for case, predictions in cases.items():
        arrays |= {f"out_{case}_{o}": predictions[task] for o, task in OURS.items()}
    arrays |= {f"gradin_features_{i}": grad for i, grad in enumerate(of_states)}
    grads = interop.to_original(table, {"params": of_params})
    arrays |= {
        f"grad_{n}": without_noise(name, n, x, stored.get(f"grad_{n}")) for n, x in grads.items()
    }
    buffers = interop.to_original(table, {"batch_stats": updated["batch_stats"]})
    arrays |= {f"buf_after_{n}": x for n, x in buffers.items()}
    arrays |= {
        f"buf_after_{n}": count + 1
        for n, count in fixture.weights.items()
        if n.endswith("num_batches_tracked")
    }
    return Answer(arrays, ignored={f"grad_{bias}": NOISE for bias in BIASES[name]})


# Of each head: the biases in front of a batch norm, whose true gradient is zero.
BIASES = {
    "vanilla": ("*_model.0.bias", "*_model.3.bias"),
    "chain": ("*_encoder.0.bias", "*_encoder.3.bias"),
    "branch": ("*_classifier.2.bias", "*_regressor.2.bias", "*mhas.*.out_proj.bias"),
    "branch_v2": ("*_classifier.0.bias", "*_regressor.0.bias"),
}
NOISE = "rounding noise, in front of a batch norm"


def without_noise(head: str, name: str, ours: np.ndarray, stored: np.ndarray | None) -> np.ndarray:
    """Ours, with what is rounding noise as it is stored where q, k, v are one bias: that of the
    keys, and in BRANCH that of the values, which a batch norm takes away."""
    if not name.endswith("in_proj_bias") or stored is None:
        return ours
    q, _, v = np.split(ours, 3)
    _, k, of_values = np.split(stored, 3)
    return np.concatenate([q, k, of_values if head == "branch" else v])


@adapter("avb__head_attnfusion")
def fusion(fixture: Fixture) -> Answer:
    return Answer(differs={"*": "four backbones, of which the original trains one, are not built"})


@adapter("avb__head_chain_v2_fixed", "avb__head_chain_v2_perf")
def chain_v2(fixture: Fixture) -> Answer:
    return Answer(differs={"*": "a chain inside a task, a branch of the original's, is not built"})
