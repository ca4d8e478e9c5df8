"""ABAW4: feedback of labels. What does not depend on it is compared: the other tasks' outputs."""

from __future__ import annotations

import jax
import numpy as np

from affect_jax import interop
from tests.golden.adapters import abaw4_models as models
from tests.golden.adapters.abaw4_models import TASKS
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

WHY = "embeddings of labels as feedback, which the paper does not have, are not offered"


@adapter("abaw4__mtl_label_feedback_gt1", "abaw4__mtl_sbe_label_feedback")
def label_feedback(fixture: Fixture) -> Answer:
    """Before training, in evaluation, every task but the targets is one of SE or SBE."""
    config, length = fixture.meta["config"], fixture.meta["config"]["max_seq_len"]
    names = tuple(name for name in TASKS if name not in config["feed_target"])
    nets = ("net_seq.", *(f"net{interop.abaw4.NETS[TASKS[name]]}." for name in names))
    weights = {n: x for n, x in fixture.weights.items() if n.startswith(nets)}
    model = models.build(fixture, names)
    tasks = tuple(TASKS[name] for name in names)
    table = interop.abaw4.table(tasks, **interop.abaw4.spelling(weights))
    params, arrays = None, {}
    run = jax.jit(lambda params, batch: model.apply({"params": params}, batch).predictions)
    for i in range(sum(name.startswith("in_feature_") for name in fixture.arrays)):
        whole = {kind: fixture.arrays[f"in_{kind}_{i}"] for kind in ("feature", "mask")}
        cuts = range(0, whole["mask"].shape[1], length)
        segments = [{kind: x[:, s : s + length] for kind, x in whole.items()} for s in cuts]
        batches = [models.inputs(config, segment) for segment in segments]
        if params is None:
            params = params_of(fixture, table, model, batches[0], weights=weights)
        outputs = [run(params, batch) for batch in batches]
        for name in names:
            joined = np.concatenate([output[TASKS[name]] for output in outputs], axis=1)
            arrays[f"out_eval_{name}_{i}"] = joined[..., 0] if name in "va" else joined
    return Answer(arrays, differs={name: WHY for name in fixture.outputs if name not in arrays})
