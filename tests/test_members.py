import json
import pathlib

import pytest

from affect_jax.check import check
from affect_jax.checkpoint import steps_in
from affect_jax.config import epochs_in, save
from affect_jax.members import FOLDS_FILE, expand
from affect_jax.restore import choose_step
from affect_jax.run import Run
from affect_jax.train import train
from configs.mtl import get_config
from data_pipelines.errors import UserError
from tests.stores import small_store
from tests.tiny import tiny_system


@pytest.mark.parametrize(
    ("name", "run", "checkpoints"),
    [
        ("runs/mtl", "runs/mtl", [""]),
        ("runs/mix@17", "runs/mix", ["epoch:17"]),
        ("runs/mix@9-11", "runs/mix", ["epoch:9", "epoch:10", "epoch:11"]),
        ("runs/me@home", "runs/me@home", [""]),
        ("runs/me@home@3", "runs/me@home", ["epoch:3"]),
    ],
)
def test_a_name_stands_for_a_run_or_for_epochs_of_it(name, run, checkpoints):
    assert list(expand(name)) == [(pathlib.Path(run), text) for text in checkpoints]


def test_the_folder_of_a_cross_validation_stands_for_its_folds(tmp_path):
    for name in ("fold2", "fold10", "fold1", "predictions", "folded"):
        (tmp_path / name).mkdir()
    assert list(expand(tmp_path)) == [(tmp_path, "")]
    config = get_config("smoke")
    config.folds.count = 9
    save(config, tmp_path / FOLDS_FILE)
    folds = [tmp_path / f"fold{k}" for k in range(1, 11)]
    for fold in folds[::-1]:
        fold.mkdir(exist_ok=True)
        (fold / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not all folds are trained. Go on with: .*--mode=folds"):
        list(expand(tmp_path))
    (tmp_path / "scores.json").write_text("{}")
    assert list(expand(tmp_path)) == [(fold, "") for fold in folds]
    assert list(expand(f"{tmp_path}@3")) == [(fold, "epoch:3") for fold in folds]
    (tmp_path / "fold7" / "config.json").unlink()
    with pytest.raises(UserError, match="fold7: this fold is gone"):
        list(expand(tmp_path))


@pytest.mark.parametrize("variants", ["mix", "mix,smoke", "mix,script", "mix,paper,au"])
def test_the_epochs_that_the_mix_keeps_are_epochs_of_its_training(variants):
    c = get_config(variants)
    assert c.data.train_split == "train+validation" and not c.data.split
    assert all(1 <= e <= c.epochs for e in epochs_in(c.keep_epochs).ends)


def test_checkpoints_of_the_epochs_asked_for_stay_and_are_found_by_epoch(tmp_path):
    store = small_store(tmp_path / "s").path
    changes = dict(epochs=6, eval_every_epochs=6, keep_epochs="1,3-4", tasks="valence")
    system = tiny_system(store, data__split="", **changes)
    check(system)
    run = Run(tmp_path / "run")
    train(system, run)
    (run.folder / "config.json").write_text(json.dumps(system.config.to_dict()))
    steps = {r["epoch"]: r["step"] for r in run.records()}
    assert list(steps) == [1, 3, 4, 6]
    assert steps_in(run.checkpoints) == list(steps.values())
    step, raw = choose_step(run, "epoch:3")
    assert step == steps[3] and int(raw["position"]) == 3
    with pytest.raises(UserError, match="no checkpoint of epoch 2; it has those of 1, 3, 4, 6"):
        choose_step(run, "epoch:2")
    with pytest.raises(UserError, match="names epoch 7, the training has 6"):
        check(tiny_system(store, **changes | {"keep_epochs": "5-7"}))


@pytest.mark.parametrize("key", ["checkpoint", "folds__checkpoint"])
def test_a_checkpoint_that_no_training_leaves_is_refused_before_it(tmp_path, key):
    store = small_store(tmp_path / "s").path
    for good in ("last", "P_MTL", "epoch:2"):
        check(tiny_system(store, epochs=2, **{key: good}))
    for bad, message in (("bset", "Did you mean 'best'"), ("epoch:3", "epoch:1 to epoch:2")):
        with pytest.raises(UserError, match=message):
            check(tiny_system(store, epochs=2, **{key: bad}))


def test_more_epochs_than_a_run_is_asked_for_at_once_are_refused_without_counting_them():
    with pytest.raises(UserError, match=r"names 99,999,999,999 epochs, expected at most 1000"):
        list(expand("runs/a@1-99999999999"))
