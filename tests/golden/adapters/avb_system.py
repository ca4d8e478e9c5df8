"""The whole A-VB system: sound to predictions, and a few steps of its training."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.interop.families import vocal_bursts as names
from affect_jax.models.blocks.speech import SpeechConfig
from affect_jax.models.vocal_bursts import HEADS
from affect_jax.tasks import Task
from tests.golden.adapters.avb_heads import (
    BIASES,
    MODELS,
    NOISE,
    OURS,
    SQUASHED,
    pooling_of,
    without_noise,
)
from tests.golden.adapters.avb_losses import REGRESSIONS, Criterion
from tests.golden.adapters.avb_optimiser import optimiser_of
from tests.golden.adapters.weights import variables_of
from tests.golden.fixture import Answer, Fixture, adapter


class System:
    """Model of a fixture, made as a config makes it, and the stored weights as its variables."""

    def __init__(self, fixture: Fixture, wave: np.ndarray):
        options = fixture.meta["model"]
        self.head = MODELS[options["model_name"]]
        end = "" if "out_low" in fixture.arrays else "_step0"
        kind = "pred_" if end else ""
        self.sizes = {o: fixture.arrays[f"out_{kind}{o}{end}"].shape[-1] for o in OURS}
        kinds = {"type": "classes"}
        tasks = [Task(t, kinds.get(t, "values"), self.sizes[o]) for o, t in OURS.items()]
        self.config = config = ConfigDict(_config(fixture, self.head))
        self.table = names.table(config, tuple(OURS.values()), fixture.weights)
        if "num_heads" in options:  # no tensor shows them, and the original has 8
            config.head.heads = options["num_heads"]
        self.model = models.build(config, tasks)
        if (read := _read(options, self.head)) not in (None, self._own_layers()):
            kind = type("Given", (HEADS[self.head],), {"reads": lambda self, depth: read})
            self.model = self.model.clone(head=functools.partial(kind, **self.model.head.keywords))
        self.variables = variables_of(fixture, self.table, self.model, self.batch(wave))

    def named(self, params: Any, batch_stats: Any = None) -> dict[str, np.ndarray]:
        """{the original's name: array} of the model, of those of the criterion nothing."""
        own = {"params": {part: params[part] for part in ("backbone", "head")}}
        if batch_stats is not None:
            own["batch_stats"] = batch_stats
        return interop.to_original(self.table, own)

    @property
    def noise(self) -> dict[str, str]:
        """{glob of stored names: why} of what has no true gradient, and follows from such."""
        noise = {bias: NOISE for bias in (*BIASES[self.head], "*.k_proj.bias")}
        noise["classifier.*.running_mean"] = "follows the bias in front of it"
        if not self.config.backbone.do_stable_layer_norm and self.head in ("vanilla", "chain"):
            last = self.config.backbone.num_hidden_layers - 1
            noise[f"*.layers.{last}.final_layer_norm.bias"] = NOISE
        if self.config.backbone.feat_extract_norm == "group":
            noise["*.conv_layers.0.conv.bias"] = NOISE
        return noise

    def _own_layers(self) -> tuple[int, ...]:
        return self.model.head().reads(self.config.backbone.num_hidden_layers)

    def batch(self, wave: Any, targets: Any = None) -> dict[str, Any]:
        """A batch of ours: all of it is sound."""
        rows = jnp.ones(len(wave), bool)
        labels = {OURS[original]: x for original, x in (targets or {}).items()}
        return {
            "inputs": {"audio": wave},
            "inputs_mask": {"audio": jnp.ones(wave.shape, bool)},
            "mask": rows,
            "labels": labels,
            "label_mask": {task: jnp.ones(x.shape, bool) for task, x in labels.items()},
        }

    def evaluate(self, variables: Any, wave: Any) -> dict[str, jax.Array]:
        """{the original's name of a task: prediction}."""
        predictions = self.model.apply(variables, self.batch(wave)).predictions
        return {original: predictions[task] for original, task in OURS.items()}


def _config(fixture: Fixture, head: str) -> dict[str, Any]:
    options = fixture.meta["model"]
    own = {"sigmoid": SQUASHED, "embedding": options["embedding_size"]}
    if head in ("branch", "branch_v2"):
        own |= {"dropout": 0.0, "layers": options.get("branch_layers", "even")}
    return dict(
        name="vocal_bursts",
        features=("audio",),
        dtype="float32",
        padding="heard",
        backbone=SpeechConfig.from_json(fixture.meta["config"], fixture.name).to_json(),
        head=dict(name=head, pooling=pooling_of(head, options.get("pool", "attention")), **own),
    )


def _read(options: dict[str, Any], head: str) -> tuple[int, ...] | None:
    """Hidden states that the original reads, by their numbers whatever the depth is; None: ours."""
    if "layer_indices" in options:
        return (*([-1] if head == "branch" else []), *options["layer_indices"])
    cnn = head in ("vanilla", "chain") and options.get("features") == "cnn"
    return (-1,) if cnn else None


@adapter("avb__e2e_branch")
def end_to_end(fixture: Fixture) -> Answer:
    wave = jnp.asarray(fixture.arrays["in_wave"])
    system = System(fixture, wave)
    predictions = jax.jit(system.evaluate)(system.variables, wave)
    return Answer({f"out_{task}": x for task, x in predictions.items()})


@adapter("avb__train_trace_a", "avb__train_trace_b")
def trace(fixture: Fixture) -> Answer:
    given, options = fixture.arrays, fixture.meta["train"]
    steps = sum(name.startswith("in_wave_step") for name in given)
    waves = [jnp.asarray(given[f"in_wave_step{k}"]) for k in range(steps)]
    system = System(fixture, waves[0])
    strategy = re.search(r"loss strategy (\w+)", fixture.meta["what"])[1]
    given_of_rule = {k: options.get(k, x) for k, x in (("phi", 1.0), ("temperature", 10.0))}
    criterion = Criterion(strategy, {t: system.sizes[t] for t in REGRESSIONS}, **given_of_rule)
    weights, states = criterion.init()
    params = dict(system.variables["params"]) | ({"criterion": weights} if weights else {})
    batch_stats = system.variables["batch_stats"]
    backbone = {"match": "backbone/.*", "rate": options["fe_lr"] / options["lr"]}
    optimiser = optimiser_of(options, params, backbone=backbone)
    opt_state, scale = optimiser.init(params), {group.name: 1.0 for group in optimiser.groups}

    @jax.jit
    def step(params: Any, batch_stats: Any, states: Any, opt_state: Any, wave: Any, targets: Any):
        def total(params: Any) -> Any:
            own = {name: x for name, x in params.items() if name != "criterion"}
            output, updated = system.model.apply(
                {"params": own, "batch_stats": batch_stats},
                system.batch(wave, targets),
                train=True,
                mutable=["batch_stats"],
            )
            predictions = {original: output.predictions[task] for original, task in OURS.items()}
            value, aux = criterion(params.get("criterion", {}), states, predictions, targets)
            return value, (aux, predictions, updated["batch_stats"])

        (value, (aux, predictions, updated)), grads = jax.value_and_grad(total, has_aux=True)(
            params
        )
        grads = grads | {"head": _without_noise(grads["head"])}
        new, opt_state = optimiser.update(grads, opt_state, params, 0.0, scale)
        new["backbone"] = _reached(grads["backbone"], new["backbone"], params["backbone"])
        return (new, updated, aux[0], opt_state), (value, aux[1], predictions, grads)

    arrays = {}
    now: Any = params, batch_stats, states, opt_state
    for k, wave in enumerate(waves):
        targets = {t: jnp.asarray(given[f"in_target_{t}_step{k}"]) for t in OURS}
        now, (value, of_tasks, predictions, grads) = step(*now, wave, targets)
        arrays |= {f"out_loss_step{k}": value, f"out_task_losses_step{k}": of_tasks}
        arrays |= {f"out_pred_{task}_step{k}": x for task, x in predictions.items()}
        learned = now[0].get("criterion", {})
        arrays |= {f"out_criterion_{name}_step{k}": x for name, x in learned.items()}
        if k == 0:
            for name, x in system.named(grads).items():
                arrays[f"grad_{name}"] = without_noise(
                    system.head, name, x, given.get(f"grad_{name}")
                )
    params, batch_stats = now[:2]
    final = system.named(params, batch_stats) | {
        name: count + steps
        for name, count in fixture.weights.items()
        if name.endswith("num_batches_tracked")
    }
    stored = fixture.outputs
    for name, x in final.items():
        key = f"weights_final/{name}"
        arrays[key] = without_noise(system.head, name, x, stored.get(key))
    variables = {"params": params, "batch_stats": batch_stats}
    evaluated = jax.jit(system.evaluate)(variables, waves[0])
    arrays |= {f"out_eval_after_{task}": x for task, x in evaluated.items()}
    rates = optimiser.rates(0.0, scale)
    parts = [part for part in ("backbone", "head", "criterion") if part in params]
    groups = {part: rates[part if part in rates else "default"] for part in parts}
    arrays["out_lr_groups"] = np.array(list(groups.values()), np.float32)
    arrays["out_group_sizes"] = [len(jax.tree.leaves(params[part])) for part in groups]
    return Answer(arrays, ignored={f"*{name}": why for name, why in system.noise.items()})


def _without_noise(grads: Any) -> Any:
    """Gradients of a head, 0 for biases in front of a batch norm: Adam makes steps of their noise.

    The original's take such steps, which are in its predictions after training; ours would add to
    the gap.
    """
    noise = ("hidden", "out")
    return {
        part: {
            layer: x | {"bias": 0 * x["bias"]} if layer in noise else x for layer, x in own.items()
        }
        if part.startswith("task_")
        else own
        for part, own in grads.items()
    }


def _reached(grads: Any, new: Any, old: Any) -> Any:
    """The new parameters, the old ones where nothing comes of them: torch leaves such alone, decay
    and all."""
    return jax.tree.map(lambda g, x, was: jnp.where((g == 0).all(), was, x), grads, new, old)
