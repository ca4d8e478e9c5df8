"""RAS, face and behaviour branch: the models, in evaluation, three updates, and again."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.models.blocks import pooling
from affect_jax.models.blocks.encoded import Dynamic
from affect_jax.models.blocks.heads import NormHead
from affect_jax.models.blocks.mamba import MambaBlock, scan
from affect_jax.optim import Optimiser
from affect_jax.tasks import Task
from configs.base import base_config
from tests.golden.adapters.ras_scores import both_losses, loss_by_row
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

TASKS = interop.ras.TASKS


class OverPadding(Dynamic):
    """The gate bd of the original, which reads padding too."""

    def row_mean(self, x_bth: jax.Array, mask_bt: jax.Array) -> jax.Array:
        return x_bth.mean(1)


@adapter("ras__face_model_mlp", "ras__face_model_linear")
def face_model(fixture: Fixture) -> Answer:
    own = fixture.meta["constructor"]
    width = own["hidden_dim"]
    encoder = dict(
        name="dynamic",
        hidden=width,
        layers=own["tr_layers"],
        heads=own["num_heads"],
        ffn=width,
        dropout=0.0,
    )
    head = dict(name="norm", hidden=width if own["head_type"] == "mlp" else 0, dropout=0.0)
    given = fixture.arrays
    frames = np.arange(given["in_train_features"].shape[2])
    mask = frames < given["in_train_lengths"][..., None]
    loss_mask = mask & given["in_train_valid"] & ~given["in_train_missing"]
    names = {"embedding": "embedding", "backbone": "hidden"}
    return _trace(fixture, encoder, head, loss_by_row, (mask, loss_mask), names)


@adapter(
    *(f"ras__beh_transformer_{gate}" for gate in ("none", "bt", "bd", "t", "d")),
    *("ras__beh_mamba_auto", "ras__beh_mamba_discr"),
)
def behaviour_model(fixture: Fixture) -> Answer:
    own = fixture.meta["constructor"]
    encoder = dict(hidden=own["d_model"], layers=own["num_layers"], dropout=0.0)
    if "mamba_d_state" in own:
        encoder |= dict(
            name="mamba",
            state=own["mamba_d_state"],
            kernel=own["mamba_kernel_size"],
            rank=own["mamba_d_discr"],
            discretisation="ras",
        )
    else:
        encoder |= dict(
            name="dynamic",
            heads=own["nhead"],
            ffn=own["ff_dim"],
            positions="sinusoid" if own["positional_encoding"] else "none",
            gate=own["gate_mode"],
            longest=own["max_seq_len"] if own["gate_mode"] == "t" else 0,
        )
    head = dict(name="norm", hidden=own["head_hidden_dim"], dropout=0.0)
    mask = fixture.arrays["in_train_mask"]
    names = {"hidden": "hidden", "head_features": "embedding"}
    return _trace(fixture, encoder, head, both_losses, (mask, mask), names)


def _trace(
    fixture: Fixture,
    encoder: dict[str, Any],
    head: dict[str, Any],
    loss: Callable[..., jax.Array],
    masks: tuple[np.ndarray, np.ndarray],
    names: dict[str, str],
) -> Answer:
    """The answer of a model: of every case, of the updates, and of case 0 after them.

    Args:
        loss: called with predictions, labels and mask.
        masks: bool [steps, B, T] of what is attended to, and of what is learned.
        names: {what the stored arrays call it: "hidden", of the encoder, or "embedding", what the
            last linear layer reads}.
    """
    given, meta = fixture.arrays, fixture.meta
    config = ConfigDict(
        dict(
            name="multitask",
            features=("x",),
            feature_norm=False,
            encoder=encoder,
            structure=dict(name="joint"),
            head=head,
            dtype="float32",
        )
    )
    model = models.build(config, [Task(task, "values", 1) for task in TASKS])
    if encoder.get("gate") == "bd":
        model = model.clone(encoder=functools.partial(OverPadding, **model.encoder.keywords))
    table = interop.ras.table(TASKS, config, fixture.weights)

    def forward(params: Any, x: Any, mask: Any, train: bool = False) -> dict[str, jax.Array]:
        # Part by part: the model zeroes padding, which the original's queries read.
        hidden, _ = model.encoder().apply({"params": params["encoder"]}, x, mask, None, train)
        head = {"params": params["joint"]["head"]}
        pred, read = model.head(size=len(TASKS)).apply(head, hidden, train)
        own = {"hidden": hidden, "embedding": read}
        return {"pred": pred} | {there: own[here] for there, here in names.items()}

    evaluate = jax.jit(forward)
    cases = sorted(m[1] for name in given if (m := re.fullmatch(r"in_features_(\d+)", name)))
    inputs = {}
    for case in cases:
        x = given[f"in_features_{case}"]
        inputs[case] = x, given.get(f"in_mask_{case}", np.ones(x.shape[:2], bool))
    x, mask = inputs[cases[0]]
    params = params_of(fixture, table, model, {"inputs": {"x": x}, "mask": mask})
    arrays = {
        f"out_{name}_{case}": value
        for case in cases
        for name, value in evaluate(params, *inputs[case]).items()
    }
    optimiser = Optimiser(_adamw(meta["optimiser"]), params, epochs=1)
    state, scale = optimiser.init(params), optimiser.fresh_plateau()["scale"]

    @jax.jit
    def update(params: Any, state: Any, x: Any, mask: Any, target: Any, learned: Any) -> Any:
        def total(params: Any) -> jax.Array:
            return loss(forward(params, x, mask, True)["pred"], target, learned)

        value, grads = jax.value_and_grad(total)(params)
        params, state = optimiser.update(grads, state, params, 0.0, scale)
        return params, state, value, grads

    wanted = {key.split("/")[0]: name for key, name in meta["trained_tensors"].items()}
    values = []
    for step, (mask, learned) in enumerate(zip(*masks, strict=True)):
        x, target = given["in_train_features"][step], given["in_train_labels"][step]
        params, state, value, grads = update(params, state, x, mask, target, learned)
        values.append(value)
        if not step:
            own = interop.to_original(table, {"params": grads})
            arrays |= {f"out_{key}": own[name] for key, name in wanted.items()}
    arrays["out_losses"] = np.array(values, np.float64)
    own = interop.to_original(table, {"params": params})
    arrays |= {f"out_{key.replace('grad', 'final')}": own[name] for key, name in wanted.items()}
    after = evaluate(params, *inputs[cases[0]])
    return Answer(arrays | {f"out_after_{name}": value for name, value in after.items()})


def _adamw(options: dict[str, Any]) -> ConfigDict:
    config = base_config().optim
    (beta1, beta2), lr = options["betas"], options["lr"]
    own = dict(name="adamw", schedule="constant", clip_norm=0.0, lr=lr, eps=options["eps"])
    own |= dict(beta1=beta1, beta2=beta2, weight_decay=options["weight_decay"])
    config.update(ConfigDict(own))
    return config


@adapter("ras__beh_mamba_block")
def mamba_block(fixture: Fixture) -> Answer:
    own, given, arrays = fixture.meta["constructor"], fixture.arrays, {}
    block = MambaBlock(
        state=own["d_state"],
        kernel=own["kernel_size"],
        rank=own["d_discr"],
        dropout=0.0,
        discretisation="ras",
    )
    table = interop.Table(interop.ras.mamba_block("", ""))
    for name, x in given.items():
        if match := re.fullmatch(r"in_x_(\d+)", name):
            mask = given.get(f"in_mask_{match[1]}", np.ones(x.shape[:2], bool))
            params = params_of(fixture, table, block, x, mask)
            out, state = block.apply({"params": params}, x, mask, capture_intermediates=True)
            parts = {
                k: v["__call__"][0] for k, v in state["intermediates"].items() if k != "__call__"
            }
            c = jax.nn.silu(parts["convolution"])
            step = jax.nn.softplus(params["skip"] + parts["step_2"])
            y = scan(step, c, parts["input"], parts["output"], params["decay"], "ras")
            here = {"out": out, "conv": c, "ssm": y}
            arrays |= {f"out_{key}_{match[1]}": value for key, value in here.items()}
    return Answer(arrays)


@adapter("ras__beh_segment_head")
def segment_head(fixture: Fixture) -> Answer:
    given, arrays, size = fixture.arrays, {}, 2
    widths = fixture.meta["constructor"]["head_hidden_dim"]
    for name, x in given.items():
        if not (match := re.fullmatch(r"in_hidden_(\d+)", name)):
            continue
        pooled = pooling.mean(x, given[f"in_attention_mask_{match[1]}"] > 0)
        arrays[f"out_pooled_{match[1]}"] = pooled
        for width in widths:
            kind = "mlp" if width else "linear"
            own = {n: w for n, w in fixture.weights.items() if n.startswith(f"{kind}.")}
            head = NormHead(size, width, 0.0, norm="none")
            table = interop.Table(interop.ras.head(f"{kind}.head", "", width, "none"))
            params = params_of(fixture, table, head, pooled, weights=own)
            arrays[f"out_pred_{kind}_{match[1]}"], _ = head.apply({"params": params}, pooled)
    return Answer(arrays)
