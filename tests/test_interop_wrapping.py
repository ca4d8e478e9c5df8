import pytest

from affect_jax import interop
from affect_jax.interop.wrapping import unwrapped
from data_pipelines.errors import UserError

NAMES = ("net_seq.affine.weight", "net_v_reg.module.1.weight", "net_v_reg.fc_out.weight")


def state(pattern: str, *others: str) -> dict[str, int]:
    return {**{pattern.format(name): i for i, name in enumerate(NAMES)}, **dict.fromkeys(others)}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (state("module.{}"), "'module.' taken off"),
        (state("_orig_mod.{}"), "'_orig_mod.' taken off"),
        (state("module._orig_mod.{}"), "'_orig_mod.' and 'module.' taken off"),
        (state("state_dict.{}"), "'state_dict.' taken off"),
        (state("state_dict.module.{}"), "'state_dict.' and 'module.' taken off"),
        (state("model.{}"), "'model.' taken off"),
        (state("model_state_dict.model.{}"), "'model_state_dict.' and 'model.' taken off"),
        (
            state("net.module.{}", "best_acc", "acc"),
            "'net.' and 'module.' taken off the names, acc",
        ),
        (state("model.{}", "model_ema.x"), "'model.' taken off the names, model_ema left out"),
        (
            state("model.{}", "optimizer.state.0.exp_avg", "scheduler.x", "epoch"),
            "'model.' taken off the names, epoch, optimizer, scheduler left out",
        ),
    ],
)
def test_what_stands_around_a_model_is_taken_off_and_said(given, line):
    found, said = unwrapped(given)
    assert found == dict(zip(NAMES, range(3), strict=True)) and line in said


def test_compiled_parts_lose_their_mark_wherever_it_stands():
    found, _ = unwrapped({"net_seq._orig_mod.affine.weight": 0, "net_v_reg.fc_out.weight": 1})
    assert list(found) == ["net_seq.affine.weight", "net_v_reg.fc_out.weight"]


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ("module.0.weight", "module.0.bias"),  # a list of layers that the model calls module
        ("module.1.weight", "fc_out.weight"),  # a head
        ("affine.weight", "model.attn_layers.0.conv_q.weight"),  # a relative encoder
        ("a._orig_mod.x", "a.x"),
        (),
    ],
)
def test_a_models_own_names_stay(names):
    given = {name: i for i, name in enumerate(names)}
    assert unwrapped(given) == (given, "")


def test_names_that_do_not_fit_are_shown():
    other = {f"encoder.layer{i}.weight": i for i in range(5000)}
    for spelling in (interop.abaw4.spelling, interop.abaw3.spelling):
        with pytest.raises(UserError, match=r"They hold encoder.layer0.weight, .*5,000 in all"):
            spelling(other)
