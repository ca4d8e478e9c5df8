"""A system whose model gives arrays and a loss beside its predictions, for tests of who asks."""

import jax.numpy as jnp
from flax import linen as nn

from affect_jax.models import Output
from affect_jax.systems.supervised import Supervised
from tests.tiny import tiny_config


class Given(nn.Module):
    """A model whose output has arrays and a loss: frames, and the sum over a row's frames."""

    width: int = 4  # as long as the rows are

    @nn.compact
    def __call__(self, batch, carry=None, train=False, progress=0.0):
        x = jnp.where(batch["mask"][..., None], batch["inputs"]["a"], 0)
        raw = nn.Dense(1, use_bias=False, name="valence", kernel_init=nn.initializers.ones)(x)
        total = jnp.repeat(x[..., 0].reshape(len(x), -1).sum(1)[:, None], self.width, 1)
        arrays = {"frames": x.astype(jnp.bfloat16), "total": total}
        loss = (batch["row"] + 1).sum(where=batch["row"] >= 0) / jnp.maximum(
            (batch["row"] >= 0).sum(), 1
        )
        return Output({"valence": raw}, None, {"arrays": arrays, "losses": {"rows": loss}})


class GivenSystem(Supervised):
    """A system whose one task is valence."""

    def make_model(self) -> nn.Module:
        return Given()


def given(store, **changes):
    """(the system of the model above on a store, variables of the model)."""
    config = tiny_config(store.path, tasks="valence", data__normalise="none", **changes)
    config.model.features = ("a",)
    system = GivenSystem(config)
    return system, system.init().variables()
