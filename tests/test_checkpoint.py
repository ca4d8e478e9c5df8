import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import checkpoint
from affect_jax.checkpoint import Checkpoints
from data_pipelines.errors import UserError


def state(seed):
    key = jax.random.key(seed)
    big = jax.random.normal(key, (64, 64))
    return {"params": {"w": big}, "rng": key, "step": jnp.int32(seed), "none": None, "empty": {}}


@pytest.fixture
def folder(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step), {"note": step})
    return tmp_path / "checkpoints"


def damage(folder: pathlib.Path, step: int, how: str) -> None:
    """Change the largest file of the arrays of a step."""
    file = max((folder / str(step) / "state").rglob("d/*"), key=lambda f: f.stat().st_size)
    data = bytearray(file.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 16
        file.write_bytes(data)
    else:
        file.write_bytes(data[: len(data) // 2])


def restored(folder, like=None):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.restore_last(like or state(0))


def test_a_saved_state_comes_back_bit_for_bit_with_its_key(folder):
    step, raw, meta = restored(folder)
    assert step == 3 and meta == {"note": 3}
    back = checkpoint.place(raw, state(0), lambda tree: tree)
    assert checkpoint.digest(back) == checkpoint.digest(state(3))
    assert jax.random.uniform(back["rng"]) == jax.random.uniform(state(3)["rng"])


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_a_broken_step_is_skipped_with_a_message_and_the_one_before_is_used(folder, how, caplog):
    damage(folder, 3, how)
    step, raw, _ = restored(folder)
    assert step == 2 and "checkpoint 3 is broken and skipped" in caplog.text
    np.testing.assert_array_equal(raw["params"]["w"], state(2)["params"]["w"])
    assert checkpoint.last_whole(folder)[0] == 2


def test_when_every_step_is_broken_the_error_says_so(folder):
    for step in (1, 2, 3):
        damage(folder, step, "flip")
    with pytest.raises(UserError, match="none of the 3 checkpoints can be used"):
        restored(folder)


def test_another_shape_is_an_error_and_never_a_silent_restart(folder):
    like = state(0) | {"params": {"w": jnp.zeros((3, 3))}}
    with pytest.raises(UserError, match=r"params/w has shape \(64, 64\), the config asks"):
        restored(folder, like)


def test_a_step_that_was_broken_can_be_written_again(folder):
    damage(folder, 3, "flip")
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, state(9), {})
    assert restored(folder)[0] == 3


def test_only_the_steps_asked_for_are_kept(folder):
    with Checkpoints(folder) as checkpoints:
        checkpoints.keep([1, 3])
        assert checkpoints.steps() == [1, 3]
    assert checkpoint.steps_in(folder) == [1, 3]


def test_no_checkpoint_is_none(tmp_path):
    assert restored(tmp_path / "empty") is None
    assert checkpoint.last_whole(tmp_path / "nowhere") is None


def test_the_command_prints_a_digest_a_step_and_names_broken_ones(folder, capsys):
    assert checkpoint.main([str(folder.parent)]) == 0
    lines = capsys.readouterr().out.split("\n")
    host = jax.tree.map(np.asarray, state(3) | {"rng": jax.random.key_data(state(3)["rng"])})
    assert lines[2] == f"3 {checkpoint.digest(host)}"
    damage(folder, 2, "flip")
    assert checkpoint.main([str(folder.parent)]) == 1
    assert "2 BROKEN" in capsys.readouterr().out


def test_the_digest_sees_value_type_and_shape():
    a = {"x": np.zeros((2, 3), np.float32)}
    for other in (np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int32)):
        assert checkpoint.digest(a) != checkpoint.digest({"x": other})
