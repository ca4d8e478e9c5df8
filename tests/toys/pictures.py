"""A system of pictures with a small classifier, trained as any other."""

from __future__ import annotations

import flax.linen as nn

from affect_jax.systems.supervised import Supervised
from tests.toys.selector import Classifier


class Pictures(Supervised):
    """The classifier of tests/toys/selector.py alone."""

    def make_model(self) -> nn.Module:
        (task,) = self.tasks
        return Classifier(task.name, task.size)


def build(config, **given) -> Pictures:
    return Pictures(config, **given)
