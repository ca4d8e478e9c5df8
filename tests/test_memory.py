import jax
import numpy as np
import pytest

from affect_jax import memory
from affect_jax.check import check
from data_pipelines.errors import UserError
from tests.stores import small_store
from tests.tiny import tiny_config, tiny_system


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s").path


def test_sizes_are_those_of_all_leaves_keys_of_random_numbers_too():
    tree = {"a": np.zeros((3, 2), np.float32), "key": jax.random.key(0), "none": None}
    assert 24 <= memory.size_of(jax.eval_shape(lambda: tree)) <= 24 + 16


def test_a_model_beyond_the_memory_is_refused_and_its_largest_parameter_named(store):
    sizes = dict(model__encoder__hidden=90_000, model__encoder__ffn=8)
    with pytest.raises(UserError, match=r"config.model: the parameters \(encoder/layer_0.* GiB"):
        check(tiny_system(store, **sizes))


def test_data_that_does_not_fit_the_device_names_the_other_feeder(store, monkeypatch):
    system = tiny_system(store, data__feeder="resident")
    monkeypatch.setattr(memory, "device_memory", lambda: 1000)
    with pytest.raises(UserError, match="Take config.data.feeder=streamed"):
        system.data.feeder(system.data.training_rows, training=True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 TiB for an array"),
        MemoryError(),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
    ],
)
def test_running_out_of_memory_is_one_line_that_names_the_keys(error, store):
    with (
        pytest.raises(
            UserError, match=r"not enough memory \(\w.*batch_size \(3\).*length"
        ) as found,
        memory.said(tiny_config(store)),
    ):
        raise error
    assert "\n" not in str(found.value)


def test_other_errors_of_the_compiler_are_no_mistakes_of_the_user(store):
    with pytest.raises(jax.errors.JaxRuntimeError), memory.said(tiny_config(store)):
        raise jax.errors.JaxRuntimeError("INTERNAL: something")
