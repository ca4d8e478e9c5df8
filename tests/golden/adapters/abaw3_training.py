"""ABAW3 models in training: an update a segment, with what is carried cut off from gradients."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from affect_jax import interop, optim
from tests.golden.adapters.abaw3_losses import total
from tests.golden.adapters.abaw3_original import Original, Segment, dotted
from tests.golden.compare import NUMBER
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter

Nets = dict[str, dict[str, Any]]  # {original net: {our path: array}}


@adapter(
    "abaw3__train_transformer_batchccc",
    "abaw3__train_transformer_mse_clip",
    "abaw3__train_transformer_bins_ce",
    "abaw3__train_transformer_lstm",
    "abaw3__train_transformer_lstm_frozen",
    "abaw3__train_transformer_attention",
    "abaw3__train_fclstm_xl",
)
def training(fixture: Fixture) -> Answer:
    original = Original(fixture)
    if original.config["transformer_pretrained"]:
        _require_pretrained(original)
    run = _Training(original)
    arrays, values, norms = {}, [], []
    for i in range(original.batches):
        outputs, carry = [], None
        for segment in original.segments(i):
            step, carry = run.update(segment, carry)
            outputs.append(step["output"])
            values.append(step["loss"])
            norms.append([step["norms"].get(net, 0.0) for net in fixture.meta["clip_order"]])
            if len(values) == 1:
                arrays |= run.named(step["grads"], "out_grad0/")
        output = np.concatenate(outputs, axis=1)
        arrays[f"out_output_{i}"] = output if len(original.tasks) > 1 else output[..., 0]
    arrays |= {"out_loss": np.stack(values), "out_grad_norm": np.array(norms, np.float32)}
    # Tensors without a part here stay as they are: attention that is not in use.
    arrays |= {f"out_final/{name}": x for name, x in fixture.weights.items()}
    arrays |= run.named(run.nets, "out_final/")
    return Answer({name: _known(name, x, fixture) for name, x in arrays.items()})


def _known(name: str, ours: Any, fixture: Fixture) -> Any:
    """Ours, with the stored key biases: rounding noise, as meta.json says, and not to compare."""
    if not name.endswith("in_proj_bias") or name not in fixture.arrays:
        return ours
    q, _, v = np.split(ours, 3)
    return np.concatenate([q, np.split(fixture.arrays[name], 3)[1], v])


def _require_pretrained(original: Original) -> None:
    """The transformer's file gives the parameters that the fixture's nets `_fc` and `_te` have."""
    encoder = original.params["encoder"]
    own = {"encoder": {part: x for part, x in encoder.items() if part != "lstm"}}
    weights = original.fixture.weights
    file = {n: x for n, x in weights.items() if n.startswith("pretrained.")}
    table = interop.abaw4.transformer("pretrained.", "encoder/")
    taken, report = interop.to_variables(table, file, {"params": own})
    same = report.complete and jax.tree.all(jax.tree.map(np.array_equal, taken["params"], own))
    if not same:
        raise Mismatch(f"the pretrained transformer is not what the nets hold: {report}")


class _Training:
    """Clipping and Adam net by net. A net is stepped from its first gradient on, as torch does."""

    def __init__(self, original: Original):
        self._original = original
        options, config = original.fixture.meta["optimiser"], original.config
        adam = optax.adam(options["lr"], *options["betas"], options["eps"])
        norm = re.search(f"L2 norm ({NUMBER.pattern})", options["clip"])[1]
        clip = optim.clip_by_subnetwork(float(norm))
        self.nets = self._by_net(original.params)
        self._states = {net: adam.init(tree) for net, tree in self.nets.items()}

        def objective(nets: Nets, segment: Segment, carry: Any) -> Any:
            seen, after = original.forward(_params(nets), segment, carry, train=True)
            labels = [segment[task] for task in original.tasks]
            given = {"pred": seen["output"], "target": jnp.stack(labels, -1)}
            given |= {"mask": segment["mask"], "logits": seen.get("logits")}
            if f"{original.tasks[0]}_cls" in segment:
                given["cls"] = jnp.stack([segment[f"{task}_cls"] for task in original.tasks], -1)
            value = total(config["loss_type"], config["loss_weights"], given)
            return value, (seen["output"], jax.lax.stop_gradient(after))

        @jax.jit
        def gradient(nets: Nets, segment: Segment, carry: Any) -> Any:
            one = jax.value_and_grad(objective, has_aux=True)
            (value, (output, after)), grads = one(nets, segment, carry)
            norms = {net: optax.tree.norm(tree) for net, tree in grads.items()}
            clipped = clip.update(grads, clip.init(nets))[0]
            step = {"loss": value, "output": output, "grads": clipped, "norms": norms}
            return step, after

        @functools.partial(jax.jit, static_argnames="reached")
        def move(nets: Nets, states: Any, grads: Nets, reached: tuple[str, ...]) -> Any:
            for net in reached:
                updates, state = adam.update(grads[net], states[net])
                nets = nets | {net: optax.apply_updates(nets[net], updates)}
                states = states | {net: state}
            return nets, states

        self._gradient, self._move = gradient, move

    def update(self, segment: Segment, carry: Any) -> tuple[dict[str, Any], Any]:
        """One step: ({loss, output, and by net the norms and the clipped gradients}, carry)."""
        arrays = {kind: x for kind, x in segment.items() if x.ndim > 1}
        step, after = self._gradient(self.nets, arrays, carry)
        # Nothing is read from the memory in a first segment; frozen nets never have a gradient.
        idle = {"net_attn"} if carry is None else set()
        if self._original.config["transformer_pretrained"]:
            idle |= {"net_fc", "net_te"}
        reached = tuple(sorted(self.nets.keys() - idle))
        self.nets, self._states = self._move(self.nets, self._states, step["grads"], reached)
        step["norms"] = {net: step["norms"][net] for net in reached}
        return step, after

    def named(self, nets: Nets, prefix: str) -> dict[str, Any]:
        """{prefix + name in the fixture: array in the original layout}."""
        state_dict = interop.to_original(self._original.table, {"params": _params(nets)})
        names = {dotted(name): name for name in Fixture(self._original.fixture.folder).weights}
        return {f"{prefix}{names[name]}": x for name, x in state_dict.items()}

    def _by_net(self, params: Any) -> Nets:
        flat = traverse_util.flatten_dict(params, sep="/")
        names = interop.to_original(self._original.table, {"params": params})  # in the same order
        nets: Nets = {}
        for (path, x), name in zip(flat.items(), names, strict=True):
            nets.setdefault(name.split(".")[0], {})[path] = x
        return nets


def _params(nets: Nets) -> dict[str, Any]:
    flat = {path: x for tree in nets.values() for path, x in tree.items()}
    return traverse_util.unflatten_dict(flat, sep="/")
