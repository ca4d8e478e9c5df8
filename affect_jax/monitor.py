"""The scores and losses whose best steps a training keeps."""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

from affect_jax.scoring import require_terms, scores_of
from affect_jax.tasks import Task, scored
from data_pipelines.errors import UserError, nearest


def monitored(
    config: ConfigDict, tasks: Sequence[Task], aux: Sequence[str] = ()
) -> tuple[str, ...]:
    """`config.monitor`, checked; losses can be monitored as loss/<name>.

    Args:
        aux: names of the losses that the model itself gives: loss/<name> in training, aux/<name> in
            the evaluation.

    Raises:
        UserError: a name that is neither a score nor a loss.
    """
    those = scored(tasks)
    require_terms(those, config)
    known = scores_of(those)
    terms = [name for name, _ in config.total.terms]
    if terms and all(name in known for name in terms):
        known.insert(0, config.total.name)
    known += [f"loss/{name}" for name in (*(task.name for task in tasks), *aux, "total")]
    known += [f"aux/{name}" for name in aux]
    # The default names every task of the system; a run of some tasks monitors those.
    left_out = set(config.task) - {task.name for task in those}
    chosen = []
    for name in config.monitor:
        if name in known:
            chosen.append(name)
        elif name.split("/")[0] not in left_out and name != config.total.name:
            hint = nearest(name, known)
            raise UserError(f"config.monitor: no score that is one number: {name!r}. {hint}")
    if not config.data.split:
        chosen = [name for name in chosen if name.startswith("loss/")] or ["loss/total"]
    return tuple(chosen) or tuple(known[:1])
