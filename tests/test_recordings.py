"""Predictions of sound by several runs together."""

import numpy as np
from scipy.special import expit

from affect_jax.ensemble.recipe import as_values
from affect_jax.recordings import Together
from affect_jax.tasks import Task


def test_several_runs_give_the_mean_of_values_and_of_probabilities():
    bins = dict(centres=((-1.0, 0.0, 1.0),), decode="expectation")
    own = (Task("c", "classes", 2), Task("l", "labels", 1), Task("v", "bins", 1, **bins))
    tasks = tuple(as_values(task) for task in own)

    class Fixed:
        tasks, size = own, 800

        def __init__(self, chance, value):
            self.raw = {"c": np.log([chance, 1 - chance]), "l": np.log([chance / (1 - chance)])}
            self.raw["v"] = np.log([[1e-9, 1 - value, value]])
            self.origin = {"run": str(chance), "step": 1}

        def predict(self, windows):
            for key, x in windows:
                yield key, {name: np.float32(raw) + x for name, raw in self.raw.items()}

    together = Together([Fixed(0.2, 0.5), Fixed(0.8, 0.1), Fixed(0.8, 0.3)], tasks)
    fine, wrong = together.predict([("a", 0.0), ("b", np.nan)])
    key, raw = fine
    assert key == "a" and {x.dtype for x in raw.values()} == {np.dtype("float32")}
    np.testing.assert_allclose(np.exp(raw["c"]), [0.6, 0.4], rtol=1e-5)
    np.testing.assert_allclose(expit(raw["l"]), [0.6], rtol=1e-5)
    np.testing.assert_allclose(raw["v"], [0.3], rtol=1e-5)
    assert wrong[0] == "b" and all(np.isnan(x).all() for x in wrong[1].values())
    assert together.origin == {"runs": [{"run": c, "step": 1} for c in ("0.2", "0.8", "0.8")]}
