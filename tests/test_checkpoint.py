import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from affect_jax import checkpoint
from affect_jax.checkpoint import Checkpoints
from affect_jax.state import State
from data_pipelines.errors import UserError
from tests.conftest import ROOT


def state(seed):
    key = jax.random.key(seed)
    big = jax.random.normal(key, (64, 64))
    return {"params": {"w": big}, "rng": key, "step": jnp.int32(seed), "none": None, "empty": {}}


@flax.struct.dataclass
class _Kept:
    """A state with attributes, as that of a training."""

    params: Any
    rng: Any
    step: Any
    none: Any
    empty: Any
    plateau: Any
    opt_state: Any = None


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


def test_what_an_older_version_did_not_keep_is_as_before_the_first_step(folder):
    like = state(0) | {"best": {"score": jnp.float32(-5)}, "ema_batch_stats": {"m": jnp.ones(2)}}
    _, raw, _ = restored(folder, like)
    assert raw["best"]["score"] == -5 and raw["ema_batch_stats"]["m"].tolist() == [1, 1]
    np.testing.assert_array_equal(raw["params"]["w"], state(3)["params"]["w"])
    _, raw, _ = restored(folder, jax.eval_shape(lambda: like))
    assert raw["best"]["score"] == 0  # only the shape is known, before a training


def test_the_plateau_rule_of_an_older_version_is_read(tmp_path):
    old = state(1) | {"plateau": {"scale": jnp.float32(0.5), "stale": jnp.int32(3)}}
    new = {"scale": {"default": jnp.float32(1)}, "waited": jnp.int32(0), "best": jnp.float32(9)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _Kept(**old), {})
    _, raw, _ = restored(tmp_path, _Kept(**state(0) | {"plateau": new}))
    assert raw.plateau["scale"]["default"] == 0.5 and raw.plateau["waited"] == 3


def test_the_optimiser_of_an_older_version_with_frozen_parameters_is_read(tmp_path):
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    adam = optax.chain(optax.scale_by_adam())
    parts = {"trained": adam, "frozen": optax.set_to_zero()}
    old = optax.multi_transform(parts, {"a": "trained", "b": "frozen"})
    _, kept = old.update(params, old.init(params))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _Kept(**state(1) | {"plateau": {}, "opt_state": kept}), {})
    fresh = adam.init({"a": jnp.zeros(2)})
    _, raw, _ = restored(tmp_path, _Kept(**state(0) | {"plateau": {}, "opt_state": fresh}))
    assert raw.opt_state[0].count == 1
    np.testing.assert_allclose(raw.opt_state[0].mu["a"], 0.1)


@pytest.mark.parametrize("part", ["params", "opt_state", "extra"])
def test_a_state_of_another_model_is_refused(folder, part):
    more = dict(state(0).get(part, {})) | {"new": jnp.ones(2)}
    with pytest.raises(UserError, match=rf"checkpoints/3: has no {part}/new: another config"):
        restored(folder, state(0) | {part: more})
    with pytest.raises(UserError, match=r"has params/w, which the model of this config has not"):
        restored(folder, state(0) | {"params": {}})


def test_another_shape_is_an_error_and_never_a_silent_restart(folder):
    like = state(0) | {"params": {"w": jnp.zeros((3, 3))}}
    with pytest.raises(UserError, match=r"params/w has shape \(64, 64\), the config asks"):
        restored(folder, like)


def test_a_step_that_was_broken_can_be_written_again(folder):
    damage(folder, 3, "flip")
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, state(9), {})
    assert restored(folder)[0] == 3


def test_a_damaged_word_beside_the_state_breaks_the_step(folder, caplog):
    file = folder / "3" / "meta" / "metadata"
    file.write_text(file.read_text().replace('"note"', '"nose"'))
    assert restored(folder)[0] == 2 and "checkpoint 3 is broken" in caplog.text


def test_a_step_saved_before_there_was_a_digest_of_its_words_is_taken(folder):
    file = folder / "3" / "meta" / "metadata"
    meta = json.loads(file.read_text())
    del meta["meta_digest"]
    file.write_text(json.dumps(meta))
    assert restored(folder)[::2] == (3, {"note": 3})


def test_a_step_that_a_training_removes_while_it_is_read_is_no_broken_one(
    folder, caplog, monkeypatch
):
    read = checkpoint.read_raw

    def removed_first(place, step):
        if step == 3:
            shutil.rmtree(place / "3")
        return read(place, step)

    monkeypatch.setattr(checkpoint, "read_raw", removed_first)
    assert checkpoint.last_whole(folder)[0] == 2 and "broken" not in caplog.text


def test_recurrent_state_of_other_devices_is_refused_with_that_reason(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        saved = State(*[jnp.zeros(2)] * 17).replace(carry={"h": jnp.zeros((8, 3))})
        checkpoints.save(1, saved, {"environment": {"devices": 1}})
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match=r"saved on 1 device\(s\) with 8 rows .*; 3 devices need 9"):
        restored(tmp_path, saved.replace(carry={"h": jnp.zeros((9, 3))}))


def test_a_place_that_takes_no_checkpoints_is_refused_at_once(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(UserError, match=r"checkpoints: a file cannot be written \("):
        Checkpoints(tmp_path / "checkpoints")


@pytest.mark.parametrize("size", [100, 1_000, 10_000])
def test_a_save_that_the_disk_refuses_is_one_line_and_the_program_ends(size, tmp_path):
    code = (
        "import pathlib, resource, sys\n"
        "import jax.numpy as jnp\n"
        "from affect_jax.checkpoint import Checkpoints\n"
        "from data_pipelines.errors import UserError\n"
        "state = {f'w{i}': jnp.arange(2000.) * i for i in range(20)}\n"
        "try:\n"
        "    with Checkpoints(pathlib.Path(sys.argv[1])) as checkpoints:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "        checkpoints.save(1, state, {})\n"
        "        checkpoints.wait()\n"
        "except UserError as error:\n"
        "    sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"{tmp_path}: a checkpoint cannot be written (")


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
    with pytest.raises(UserError, match="longer than the name of a file can be"):
        checkpoint.main(["q" * 300])


def test_the_digest_sees_value_type_and_shape():
    a = {"x": np.zeros((2, 3), np.float32)}
    for other in (np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int32)):
        assert checkpoint.digest(a) != checkpoint.digest({"x": other})
