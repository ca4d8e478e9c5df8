"""The ensemble command on made-up folders of predictions."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from affect_jax.ensemble.__main__ import cli
from affect_jax.ensemble.fitted import Fitted
from affect_jax.interop import abaw3_files
from affect_jax.prediction_files import Predictions, find_tasks, read_split
from affect_jax.tasks import decode
from benchmarks import subsets
from tests.ensembles import FIT, MEANS, TASKS, TEST, run, write_member, write_members


@pytest.fixture
def members(tmp_path):
    return write_members(tmp_path)


def test_an_ensemble_is_fitted_marked_applied_and_better_than_its_members(
    members, tmp_path, capsys
):
    out = tmp_path / "fitted"
    code, lines, _ = run(capsys, members[0], f"--out={out}", *members[1:], "--windows=0,2,5")
    assert code == 0
    assert "ensemble (fitted on this split)" in "\n".join(lines)
    assert json.loads(lines[-1])["fitted_on_this_split"] is True
    kept = json.loads((out / "ensemble.json").read_text())
    assert kept["fitted_on"] == {"store": "", "split": "fit", "tracks": list(FIT)}
    assert [m["where"] for m in kept["members"]] == [f"../m{i}/predictions/fit" for i in range(3)]
    assert len(kept["notes"]["tried"]["valence"]) == (3 + 3) * 3 * 2

    code, lines, _ = run(capsys, f"--apply={out}", "--config.data.split=test")
    scores = json.loads(lines[-1])
    assert code == 0 and scores["fitted_on_this_split"] is False
    assert scores == json.loads((out / "predictions" / "test" / "scores.json").read_text())
    for name in ("valence/ccc", "expression/f1", "au/f1_binary"):
        row = next(line for line in lines if line.startswith(name)).split()
        assert float(row[1]) == round(scores[name], 3)
        assert scores[name] >= float(row[-1]) - 0.02, row  # the best member, in hindsight
    assert (out / "plots" / "members_test.png").is_file()
    loaded = read_split(out / "predictions" / "test", find_tasks(out / "predictions" / "test"))
    assert {task.name: p.raw.shape for task, p in loaded.items()} == {
        "valence": (120, 1),
        "expression": (120, 3),
        "au": (120, 2),
    }
    assert not [p for p in out.iterdir() if p.name.startswith(".members")]


def test_files_of_the_abaw3_original_are_written_beside(members, tmp_path, capsys):
    out, files = tmp_path / "fitted", tmp_path / "abaw3"
    assert cli([*members, f"--out={out}", f"--abaw3={files}", *MEANS, "--tasks=valence"]) == 0
    assert sorted(p.name for p in files.iterdir()) == ["1-m0", "2-m1", "3-m2", "ensemble"]
    kept = abaw3_files.read(files / "2-m1" / "val_pred_valence_nosmooth_ori.json")
    stored = Predictions.read(tmp_path / "m1/predictions/fit/valence.npz")
    assert list(kept) == list(FIT)
    np.testing.assert_array_equal(np.concatenate([p for p, _ in kept.values()]), stored.raw[:, 0])
    made = Predictions.read(out / "predictions/fit/valence.npz").raw[40:80, 0]
    lines = (files / "ensemble/valence/b.txt").read_text().splitlines()
    assert lines[0] == "valence" and [float(x) for x in lines[1:]] == [float(x) for x in made]


def test_a_fit_moves_with_its_members(members, tmp_path, capsys):
    out = tmp_path / "fitted"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    before = Predictions.read(out / "predictions" / "test" / "valence.npz").raw
    shutil.move(tmp_path, tmp_path.parent / "elsewhere")
    out = tmp_path.parent / "elsewhere" / "fitted"
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    after = Predictions.read(out / "predictions" / "test" / "valence.npz").raw
    np.testing.assert_array_equal(before, after)
    shutil.move(tmp_path.parent / "elsewhere", tmp_path)


def test_an_ensemble_is_a_member_and_what_it_was_fitted_on_is_remembered(members, tmp_path, capsys):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    assert cli([*members[:2], f"--out={inner}", *MEANS[1:]]) == 0
    assert cli([f"--apply={inner}", "--config.data.split=test"]) == 0
    where = [inner, members[2], f"--out={outer}", "--config.data.split=test"]
    code, lines, _ = run(capsys, *where, *MEANS)
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is False
    fitted = Fitted.read(outer)
    assert fitted.fitted_on is None and fitted.fitted_tracks == set(FIT)
    code, lines, _ = run(capsys, f"--apply={outer}", "--config.data.split=fit")
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is True


def test_without_labels_members_are_averaged_and_a_fit_is_refused(tmp_path, capsys):
    members = [
        write_member(tmp_path / f"m{i}" / "new", i, 1.0, TEST, labelled=False) for i in (0, 1)
    ]
    out = tmp_path / "fitted"
    code, lines, _ = run(capsys, *members, f"--out={out}")
    assert code == 0 and "scores" not in " ".join(lines)
    assert {r.method for rs in Fitted.read(out).recipes.values() for r in rs} == {"mean"}
    raws = [Predictions.read(tmp_path / f"m{i}" / "new" / "valence.npz").raw for i in (0, 1)]
    made = Predictions.read(out / "predictions" / "new" / "valence.npz").raw
    np.testing.assert_allclose(made, np.mean(raws, 0), rtol=1e-6)
    p = [
        1 / (1 + np.exp(-Predictions.read(tmp_path / f"m{i}" / "new" / "au.npz").raw))
        for i in (0, 1)
    ]
    made = Predictions.read(out / "predictions" / "new" / "au.npz").raw
    np.testing.assert_array_equal(decode(TASKS[2], made), np.mean(p, 0) >= 0.5)
    code, _, error = run(capsys, *members, f"--out={out}", "--values=convex")
    assert code == 2 and "task valence: nothing to fit on, there is no label of it" in error


def test_another_fit_takes_the_predictions_of_the_last_one_with_it(members, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    assert cli([*members, f"--out={out}", *MEANS, "--tasks=valence,au"]) == 0
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*.*"))
    assert made == [
        "ensemble.json",
        "plots/members_fit.png",
        "predictions/fit/au.npz",
        "predictions/fit/scores.json",
        "predictions/fit/valence.npz",
        "tasks.json",
    ]
    inside = out / "predictions" / "fit"
    code, _, error = run(capsys, inside, f"--out={out}", *MEANS, "--tasks=valence")
    assert code == 2 and "member out is in it" in error and inside.is_dir()


def test_scores_of_a_split_go_when_it_is_predicted_without_labels(members, tmp_path):
    out = tmp_path / "out"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    for i in range(3):
        write_member(tmp_path / f"m{i}/predictions/test", i, 1.0, TEST, labelled=False)
    assert cli([f"--apply={out}", "--config.data.split=test"]) == 0
    assert not (out / "predictions/test/scores.json").exists()
    assert not (out / "plots/members_test.png").exists()


def test_each_task_may_have_a_window_of_its_own(members, tmp_path, capsys):
    out, arousal = tmp_path / "out", dataclasses.replace(TASKS[0], name="arousal")
    both = [
        write_member(tmp_path / f"n{i}/predictions/fit", i, 0.5, FIT, tasks=(TASKS[0], arousal))
        for i in (0, 1)
    ]
    flags = [f"--out={out}", "--values=mean", "--match=no"]
    assert cli([*both, *flags, "--smooth=valence:50,arousal:20"]) == 0
    assert [r.window for rs in Fitted.read(out).recipes.values() for r in rs] == [50, 20]
    assert cli([*both, *flags, "--smooth=arousal:none", "--windows=7,8"]) == 0
    windows = [r.window for rs in Fitted.read(out).recipes.values() for r in rs]
    assert windows[0] in (7, 8) and windows[1] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out=o"], "no member is named"),
        (["m", "--apply=o"], "has its own members"),
        (["m"], "give either --out=FITTED with members, or --apply=FITTED"),
        (["m", "--out=o"], "no run (config.json), no ensemble"),
        (["--apply=o"], "no ensemble here"),
        (["feature:*", "--out=o"], "needs the store"),
        (["m", "--out=o", "--vales=mean"], "Did you mean --values"),
        (["MEMBER", "--out=o", "--values=meen"], "Did you mean 'mean'"),
        (["MEMBER", "--out=o", "--smooth=wide"], "--smooth=wide: expected numbers of frames"),
        (["MEMBER", "--out=o", "--match=maybe"], "--match=maybe"),
        (["MEMBER", "--out=o", "--smooth=valenc:5"], "Did you mean 'valence'"),
        (["MEMBER", "--out=o", "--smooth=5,10"], "expected W for all, or TASK:W,TASK:W"),
        (["MEMBER", "--out=o", "--smooth=valence:wide"], "expected numbers of frames"),
        (["MEMBER", "--out=o", "--config.data.train_split=x"], "of which data? Give"),
        (["MEMBER", "MEMBER", "--out=o"], "named twice"),
        (["MEMBER", "MEMBER/../fit", "--out=o"], "named twice"),
        (["MEMBER", "--out=o", "--tasks=arousal"], "has no task 'arousal'"),
        (["MEMBER", "--out=MEMBER"], "exists and is no ensemble"),
        (["MEMBER", "--out=MEMBER/au.npz"], "MEMBER/au.npz: no folder that can be written"),
        (["MEMBER", "--out=o", "--abaw3=MEMBER/au.npz"], "--abaw3=MEMBER/au.npz: cannot be made"),
        (["MEMBER", "--out=o", "--tasks=au,au"], "--tasks names 'au' twice"),
        (["MEMBER@3", "--out=o"], "only a run has epochs"),
        (["MEMBER@3-1", "--out=o"], "the first comes after the last"),
        (["MEMBER", "--out=o", "--config.data.split=tset"], "Known: fit, test"),
        (["MEMBER", "--out=o", "--config.data.split=../x"], "--config.data.split '../x': the name"),
        (["MEMBER", "--out=o", "--windows=0,9999999999"], "expected numbers of frames"),
        (["MEMBER", "--out=o", "--smooth=none", "--windows=x"], "--windows=x: expected numbers"),
        (["MEMBER", "--out=o", "--smooth=valence:1,valence:2"], "names 'valence' twice"),
        (["MEMBER", "--out=o", "--smooth=-1"], "expected numbers of frames"),
        (["MEMBER", f"--out={'o' * 300}"], "longer than the name of a file can be"),
        (["MEMBER", "--out=o", f"--abaw3={'o' * 300}"], "longer than the name of a file can be"),
        (["m" * 300, "--out=o"], "longer than the name of a file can be"),
        ([f"--apply={'o' * 300}"], "longer than the name of a file can be"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    members, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    message, *words = (text.replace("MEMBER", members[0]) for text in (message, *words))
    code, _, error = run(capsys, *words)
    assert code == 2 and message in error and error.count("\n") == 0


def test_an_ensemble_is_no_member_of_itself(members, tmp_path, capsys):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    assert cli([members[0], f"--out={inner}", *MEANS]) == 0
    assert cli([str(inner), f"--out={outer}", *MEANS]) == 0
    for member in (inner, outer):
        code, _, error = run(capsys, member, members[1], f"--out={inner}", *MEANS)
        assert code == 2 and "is a member, or in one" in error


def test_a_broken_file_of_an_ensemble_is_named(members, tmp_path, capsys):
    out = tmp_path / "fitted"
    assert cli([*members, f"--out={out}", *MEANS]) == 0
    text = (out / "ensemble.json").read_text()
    for broken in (text.replace('"format": 1', '"format": 9'), "{}", text.replace("weights", "w")):
        (out / "ensemble.json").write_text(broken)
        code, _, error = run(capsys, f"--apply={out}", "--config.data.split=test")
        assert code == 2 and "not an ensemble that this version wrote" in error


def test_subsets_are_listed_by_the_score_that_the_ensemble_chooses_by(tmp_path, capsys):
    members = [
        write_member(
            tmp_path / str(noise) / "predictions" / "fit", seed, noise, FIT, tasks=TASKS[:1]
        )
        for seed, noise in enumerate((0.4, 0.8, 2.0))
    ]
    subsets.main([*members, "--split=fit"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 3 + 1  # subsets of one, two and three members
    assert f"  {members[0]}: valence" in lines[0]  # the one with the least noise
    code, _, _ = run(capsys, *members, f"--out={tmp_path / 'all'}", "--config.data.split=fit")
    assert code == 0
    tried = json.loads((tmp_path / "all" / "ensemble.json").read_text())["notes"]["tried"]
    best = max(one["score"] for one in tried["valence"])
    assert float(lines[-1].split()[0]) == pytest.approx(best, abs=1e-4)
