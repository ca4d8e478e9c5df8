"""The comparison with stored outputs: its rules, its command, and a quick selection of fixtures."""

import json
import pathlib

import numpy as np
import pytest

from affect_jax.interop import save_safetensors
from data_pipelines.command import exit_code
from tests.golden import __main__ as command
from tests.golden import compare, fixture
from tests.golden.adapters.avb_losses import sum_of_torch
from tests.golden.work import run

QUICK = (
    "abaw3__bins",
    "abaw3__losses",
    "abaw3__schedules",
    "abaw3__smoothing",
    "abaw4__fc_heads",
    "abaw4__fft_encoder",
    "abaw4__losses",
    "abaw4__lr_schedules",
    "abaw4__metrics",
    "abaw4__position_tables",
    "abaw4__smoothing",
    "abaw4__transformer_encoder",
    "abaw4__transformer_encoder_noaffine",
    "avb__data",
    "avb__metrics",
    "avb__plateau",
    "ras__augment",
    "rlps__six_conv_cnn",
)
SLOW = (
    "abaw3__fclstm_xl",
    "abaw3__inference",
    "abaw3__train_transformer_attention",
    "abaw3__train_transformer_lstm_frozen",
    "abaw3__transformer_attention_single",
    "abaw3__transformer_lstm_bins",
    "abaw4__model_transformer",
    "abaw4__model_transformer_fft",
    "abaw4__model_transformer_nope",
    "abaw4__mtl_fft_sbe",
    "abaw4__mtl_sbe",
    "abaw4__mtl_sbe_hsf",
    "abaw4__mtl_se",
    "abaw4__mtl_se_hsf",
    "abaw4__mtl_weight_param_adjust",
    "avb__loss_druw",
    "avb__loss_druw_perturbed",
    "avb__loss_dwa",
    "avb__loss_mean",
    "avb__loss_rruw",
    "avb__loss_rruw_perturbed",
    "rlps__vgg19_bn",
    "vision__resnet18_fer",
    "vision__vgg19_bn_full",
)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_ours_equals_the_original(shared, name):
    result = run(fixture.Fixture(shared / "golden" / name))
    assert result.verdict == "pass", result.line(name)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """Fixtures `right`, `wrong`, `broken`, `elsewhere` and `new`; the last has no adapter."""
    stored = {"in_x": np.ones(3), "out_y": np.array([1.0, 2.0, np.nan]), "out_n": np.arange(3)}

    def broken(one: fixture.Fixture) -> fixture.Answer:
        raise KeyError("no such option")

    adapters = {
        "right": lambda one: fixture.Answer(
            {"out_y": np.array([1, 2, 9.0]), "out_n": np.arange(3)}
        ),
        "wrong": lambda one: fixture.Answer(
            {"out_y": np.array([1, 2.1, 9]), "out_n": np.arange(3)}
        ),
        "broken": broken,
        "elsewhere": lambda one: fixture.Answer(differs={"out_*": "on purpose"}),
    }
    monkeypatch.setattr(fixture, "adapters", lambda: adapters)
    for name in (*adapters, "new"):
        (tmp_path / "sub" / name).mkdir(parents=True)
        (tmp_path / "sub" / name / "meta.json").write_text(json.dumps({}))
        np.savez(tmp_path / "sub" / name / "cases.npz", **stored)
    return tmp_path


def test_command_prints_a_line_a_fixture(folder, capsys):
    assert command.main([str(folder)]) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["right"].endswith("  pass")
    assert lines["elsewhere"].endswith("  differs (on purpose, 2 arrays)")
    assert "fail (out_y: off by 1.0e-01, 6.0e-05 allowed)" in lines["wrong"]
    assert "fail (KeyError: 'no such option')" in lines["broken"]
    assert lines["new"].endswith("  not built (no adapter)")
    assert "1 pass, 1 differs, 2 fail, 1 not built" in lines["1"]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--only", "right"], 0),
        (["--only", "else*"], 0),
        (["--only", "new"], 0),
        (["--only", "new", "--strict"], 1),
        (["--only", "right", "--strict"], 0),
        (["--only", "wrong"], 1),
        (["--only", "nothing"], 2),
    ],
)
def test_exit_code_says_whether_something_fails(folder, flags, code):
    assert exit_code(command.main, [str(folder), *flags]) == code


def test_processes_give_the_same_lines_in_the_same_order(tmp_path, capsys):
    for name in ("abaw9__none", "abaw3__bins", "abaw8__none"):  # one with an adapter
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").write_text("{}")
        np.savez(tmp_path / name / "cases.npz", out_y=np.ones(2))
    codes, lines = [], []
    for jobs in (1, 2):
        codes.append(command.main([str(tmp_path), f"--jobs={jobs}"]))
        lines.append(capsys.readouterr().out.splitlines())
    assert codes == [1, 1] and lines[0] == lines[1]
    assert [line.split("_")[0] for line in lines[0][:3]] == ["abaw3", "abaw8", "abaw9"]
    assert "fail (KeyError" in lines[0][0] and lines[0][3] == "1 fail, 2 not built"


def test_missing_folder_is_2_and_missing_default_is_0(tmp_path, monkeypatch, capsys):
    for flags, message in (
        ([str(tmp_path / "none")], "no such folder"),
        (["q" * 300], "longer than the name of a file can be"),
        (["--onyl", "x"], "Did you mean --only?"),
        (["--jobs=0"], "expected a whole number from 1"),
    ):
        assert exit_code(command.main, flags) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    monkeypatch.setattr(command, "DEFAULT", tmp_path / "none")
    assert command.main([]) == 0
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("out_eval_v_0", 2e-5 * 5),
        ("out_loss_total_step3", 2e-5 * 5),
        ("out_grad1_step0", 2e-4 * 4 + 2e-6),
        ("out_clip_norm_step0", 2e-4 * 4 + 2e-6),
        ("gradin_features_0", 2e-4 * 4 + 2e-6),
        ("buf_after_norm.running_var", 1e-4 * 5),
        ("weights_final/norm.weight", 1e-4 * 5),
        ("out_final_l2", 1e-4 * 5),
        ("out_final/encoder.norm1.weight", 1e-4 * 5),
        ("out_eval_after_v_0", 1e-4 * 5),
        ("out_special", 0.5),
    ],
)
def test_limit_follows_the_kind_of_array(name, limit):
    stored = np.array([-4.0, 1.0, np.nan, np.inf])
    assert compare.limit(name, stored, {"out_spec*": 0.5}) == pytest.approx(limit, rel=1e-12)


@pytest.mark.parametrize(
    ("ours", "stored", "fault"),
    [
        ([1.0, 5.0], [1.0, np.nan], ""),
        ([1.0, np.nan], [1.0, np.nan], "not finite where the original has no value"),
        ([np.nan, 1.0], [1.0, 1.0], "off by inf"),
        ([np.inf, 1.0], [np.inf, 1.0], ""),
        ([1.0 + 3e-5, 0.0], [1.0, 0.0], ""),
        ([1.0 + 5e-5, 0.0], [1.0, 0.0], "off by 5.0e-05, 4.0e-05 allowed"),
        ([[1.0, 1.0]], [1.0, 1.0], "ours (1, 2), stored (2,)"),
        ([1.0, 2.0], [1, 2], ""),
        ([1.0, 2.001], [1, 2], "1 of 2 entries differ"),
        (["a", "b"], ["a", "c"], "1 of 2 entries differ"),
        (None, [1.0], "was not computed"),
    ],
)
def test_difference_says_what_is_wrong(ours, stored, fault):
    got = compare.difference("out_y", ours, np.asarray(stored), {}).fault
    assert (fault in got) if fault else got == ""


def test_a_limit_of_meta_json_is_for_integers_too():
    stored = np.array([10, 20])
    faults = [compare.difference("out_n", [12, 20], stored, {"out_n": x}).fault for x in (2, 1)]
    assert faults[0] == "" and "off by 2.0e+00" in faults[1]


def test_all_that_is_no_input_must_be_answered(tmp_path):
    np.savez(tmp_path / "cases.npz", in_x=[1.0], out_y=[1.0], grad_w=[2.0], buf_mean=[3.0])
    save_safetensors(tmp_path / "weights_final.safetensors", {"w": np.ones(1)})
    stored = fixture.Fixture(tmp_path).outputs
    assert sorted(stored) == ["buf_mean", "grad_w", "out_y", "weights_final/w"]


def test_files_are_compared_by_name_text_and_numbers(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a-1.txt").write_text("a-1\t0.5\n")
    (tmp_path / "b.txt").write_text("none")
    good = {"sub/a-1.txt": "a-1\t0.500009\n", "b.txt": "none"}
    stored = fixture.Fixture(tmp_path).expected(())
    assert [d.fault for d in compare.files(good, stored)] == ["", ""]
    for wrong, fault in (
        ({"sub/a-1.txt": "a-1\t0.51\n"}, "number 2 is off by 1.0e-02"),
        ({"sub/a-1.txt": "a-1 0.5\n"}, "differ in more than numbers"),
        ({"c.txt": ""}, "c.txt: a file that is not expected"),
    ):
        faults = [d for d in compare.files(good | wrong, stored) if d.fault]
        assert len(faults) == 1 and fault in faults[0].fault
        assert faults[0].share > 1
    (missing,) = (d for d in compare.files({"b.txt": "none"}, stored) if d.fault)
    assert "was not written" in missing.fault and missing.share > 1


def test_files_beside_meta_json_are_expected_unless_the_adapter_reads_them(tmp_path):
    for name in ("meta.json", "cases.npz", "weights.safetensors", "raw.csv", "wav/1.wav", "a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    one = fixture.Fixture(tmp_path)
    assert list(one.expected(("raw.csv", "wav/*"))) == ["a.csv"]
    assert list(one.expected(("raw.csv",))) == ["a.csv", "wav/1.wav"]
    (tmp_path / "expected").mkdir()
    (tmp_path / "expected" / "b.csv").write_text("x")
    assert list(one.expected(())) == ["b.csv"]


def test_ignored_arrays_are_left_out_and_forgotten_ones_fail(folder):
    one = fixture.Fixture(folder / "sub" / "right")
    answer = fixture.Answer({"out_y": np.array([1, 2, 9.0])}, ignored={"out_n": "noise"})
    assert compare.judge(one, lambda _: answer).verdict == "pass"
    forgetful = fixture.Answer({"out_y": np.array([1, 2, 9.0])})
    assert compare.judge(one, lambda _: forgetful).reason == "out_n was not computed"


# 1 - torch.full((n,), 1 / n).sum() in steps of 2^-24: where a restraint starts, its gradient is the
# sign of this.
@pytest.mark.parametrize(
    ("n", "gap"),
    [(2, 0), (4, 0), (10, -2), (19, -2), (27, 0), (31, -2), (40, 0), (44, 0), (59, 1), (79, 2)],
)
def test_sums_are_rounded_as_torch_rounds_them(n, gap):
    assert 1 - sum_of_torch(np.full(n, 1 / n, np.float32)) == gap * 2.0**-24
