"""A system of pictures with a small classifier, trained as any other."""

from __future__ import annotations

import dataclasses

import flax.linen as nn

from affect_jax.models import Output
from affect_jax.systems.supervised import Supervised
from tests.toys.selector import Classifier


class Pairs(Classifier):
    """The classifier of tests/toys/selector.py, whose features are pairs [B, D / 2, 2]."""

    def __call__(self, batch, *rest, **options) -> Output:
        output = super().__call__(batch, *rest, **options)
        feature = output.aux["arrays"]["embedding"]
        pairs = feature.reshape(len(feature), -1, 2)
        return dataclasses.replace(output, aux={"arrays": {"embedding": pairs}})


class Pictures(Supervised):
    """That classifier alone."""

    def make_model(self) -> nn.Module:
        (task,) = self.tasks
        return Pairs(task.name, task.size)


def build(config, **given) -> Pictures:
    return Pictures(config, **given)
