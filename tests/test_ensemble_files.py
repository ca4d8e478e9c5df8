"""The folder of an ensemble: replaced as a whole, read with care, never left half written."""

import json
import os
import shutil

import numpy as np
import pytest

from affect_jax.ensemble.__main__ import cli
from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.member import member_from_json
from affect_jax.ensemble.members import FoldsMember
from affect_jax.report import style
from data_pipelines.errors import UserError
from tests.ensembles import FIT, TASKS, TEST, run, write_member

MEANS = ("--values=mean", "--smooth=none", "--match=no", "--tasks=valence")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two members that predict valence of the splits fit and test, and `fitted`."""
    folder = tmp_path_factory.mktemp("made")
    for i in (0, 1):
        for split, tracks in (("fit", FIT), ("test", TEST)):
            write_member(folder / f"m{i}/predictions" / split, i, 0.5, tracks, tasks=TASKS[:1])
    assert cli([*members_in(folder), f"--out={folder / 'fitted'}", *MEANS]) == 0
    return folder


def members_in(folder):
    return [str(folder / f"m{i}/predictions/fit") for i in (0, 1)]


@pytest.fixture
def members(out, tmp_path):
    return members_in(tmp_path)


@pytest.fixture
def out(made, tmp_path):
    """An ensemble of both members, which lie beside it in tmp_path."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "fitted"


def files_in(folder):
    """{path: bytes} of all files, and nothing for a folder that is not there."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Full(OSError):
    """A full disk."""

    def __init__(self):
        super().__init__(28, "No space left on device", "somewhere")


@pytest.mark.parametrize("stop", [Full, KeyboardInterrupt])
def test_a_fit_that_is_stopped_leaves_the_old_ensemble_and_nothing_beside(
    members, out, tmp_path, monkeypatch, capsys, stop
):
    before, beside = files_in(out), sorted(p.name for p in tmp_path.iterdir())

    def save(figure, path):
        raise stop

    monkeypatch.setattr(style, "save", save)
    code, _, error = run(capsys, *members, f"--out={out}", *MEANS, "--smooth=5")
    assert code in (2, 130) and error.count("\n") == 0
    assert files_in(out) == before and sorted(p.name for p in tmp_path.iterdir()) == beside
    code, _, _ = run(capsys, members[0], f"--out={tmp_path / 'new'}", *MEANS)
    assert code in (2, 130) and not (tmp_path / "new").exists()


def test_a_picture_that_cannot_be_drawn_loses_no_ensemble(members, tmp_path, monkeypatch, capsys):
    def save(figure, path):
        raise ValueError("no such font")

    monkeypatch.setattr(style, "save", save)
    code, lines, _ = run(capsys, *members, f"--out={tmp_path / 'new'}", *MEANS)
    assert code == 0 and "valence/ccc" in json.loads(lines[-1])
    assert (tmp_path / "new/predictions/fit/scores.json").is_file()


def test_what_killed_commands_left_is_cleared_away_and_the_same_command_goes_on(
    members, out, tmp_path, capsys
):
    new = tmp_path / "new"
    for left in (new / ".members-x8/0/au.npz", tmp_path / "new.writing-0a1b2c3d/new/ensemble.json"):
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
    assert run(capsys, *members, f"--out={new}", *MEANS)[0] == 0
    assert sorted(p.name for p in new.iterdir()) == [
        "ensemble.json", "plots", "predictions", "tasks.json"
    ]  # fmt: skip
    half = out / "predictions/test.writing-0a1b2c3d/members/0"
    half.mkdir(parents=True)
    assert run(capsys, f"--apply={out}", "--config.data.split=test")[0] == 0
    assert sorted(p.name for p in (out / "predictions").iterdir()) == ["fit", "test"]
    assert not list(tmp_path.glob("*.writing-*"))


def test_what_others_put_into_the_folder_stays_when_it_is_fitted_again(
    members, out, tmp_path, capsys
):
    (out / "notes.txt").write_text("mine")
    (out / "links").mkdir()
    (out / "links/here").symlink_to("nowhere")
    flags = [f"--out={out}", f"--abaw3={out / 'abaw3'}", *MEANS, "--smooth=3"]
    assert run(capsys, *members, *flags)[0] == 0
    assert (out / "notes.txt").read_text() == "mine" and (out / "links/here").is_symlink()
    assert (out / "abaw3/ensemble/valence/a.txt").is_file()
    assert Fitted.read(out).recipes["valence"][0].window == 3


def test_a_folder_whose_name_is_in_no_encoding_is_refused_in_one_line(members, tmp_path, capsys):
    out = os.fsdecode(os.fsencode(tmp_path / "fitted") + b"\xff")
    for words in ([*members, f"--out={out}", *MEANS], [out, f"--out={tmp_path / 'outer'}", *MEANS]):
        code, _, error = run(capsys, *words)
        assert code == 2 and "fitted\\udcff" in error and "not UTF-8" in error
    assert not os.path.exists(out)


BROKEN = {
    "no json": ("", "not an ensemble that this version wrote"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "a list": ("[]", "not an ensemble"),
    "other weights": ('{"recipes": {"valence": [{"weights": [1]}]}}', "weights: 1 of them"),
    "nan": ('{"recipes": {"valence": [{"weights": [NaN, 1]}]}}', "weights: nan, expected numbers"),
    "infinite": ('{"recipes": {"valence": [{"weights": [1e400, 1]}]}}', "weights: inf"),
    "text": ('{"recipes": {"valence": [{"weights": ["1", 1]}]}}', "weights: '1'"),
    "endless": ('{"recipes": {"valence": [{"scale": -Infinity}]}}', "scale, shift: -inf"),
    "window": ('{"recipes": {"valence": [{"window": 1.5}]}}', "window: 1.5, expected integers"),
    "smoothing": ('{"recipes": {"valence": [{"smoothing": "x"}]}}', "smoothing 'x'"),
    "clip": ('{"recipes": {"valence": [{"clip": [1, -1]}]}}', "clip (1, -1)"),
    "field": ('{"recipes": {"valence": [{"wait": 1}]}}', "'wait'"),
    "total": ('{"total": {"name": "T", "terms": [["valence/ccc", NaN]]}}', "weight of the total"),
    "split": ('{"fitted_on": {"split": "../../x", "tracks": []}}', "split '../../x': the name"),
    "tracks": ('{"fitted_on": {"split": "x", "tracks": [1]}}', "tracks: 1, expected texts"),
    "kind": ('{"members": [{"kind": "rum", "where": "."}]}', "member of kind 'rum'"),
    "where": ('{"members": [{"kind": "run", "where": 7}]}', "member: 7, expected texts"),
}


def merged(entry, change):
    """`entry` with the fields of `change`; the first of a list of recipes is changed inside."""
    if isinstance(entry, list) and entry and isinstance(entry[0], dict) and "weights" in entry[0]:
        return [merged(entry[0], change[0]), *entry[1:]]
    if not isinstance(entry, dict) or not isinstance(change, dict):
        return change
    return entry | {k: merged(entry.get(k), v) for k, v in change.items()}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_ensemble_that_no_fit_wrote_is_one_line(out, tmp_path, capsys, kind):
    text, message = BROKEN[kind]
    file = out / "ensemble.json"
    if text.startswith("{"):
        text = json.dumps(merged(json.loads(file.read_text()), json.loads(text)))
        text = text.replace("Infinity", "1e400")
    file.write_text(text)
    code, _, error = run(capsys, f"--apply={out}", "--config.data.split=test")
    assert code == 2 and f"{file}: " in error and message in error and error.count("\n") == 0
    assert not (out / "predictions/test").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, None])
def test_the_task_table_of_an_ensemble_is_read_with_the_same_care(out, capsys, text):
    (out / "tasks.json").unlink()
    if text:
        (out / "tasks.json").write_text(text)
    code, _, error = run(capsys, f"--apply={out}", "--config.data.split=test")
    assert code == 2 and "tasks.json: " in error and error.count("\n") == 0


def test_every_kind_of_member_is_written_as_it_was_read(tmp_path):
    entries = [
        {"kind": "run", "where": "../run", "checkpoint": "epoch:7"},
        *({"kind": kind, "where": f"a/{kind}"} for kind in ("run", "folds", "ensemble")),
        {"kind": "predictions", "where": "../run/predictions/test"},
        {"kind": "feature", "where": "scores"},
        {"kind": "records", "where": "../face/val.pkl"},
    ]
    members = [member_from_json(entry, tmp_path / "e") for entry in entries]
    assert [member.to_json(tmp_path / "e") for member in members] == entries
    assert [member.name for member in members[:2]] == ["run epoch:7", "run"]
    assert [member.name for member in members[4:]] == ["run", "scores", "face"]


def test_an_ensemble_that_is_a_member_of_itself_is_refused(out, capsys):
    entry = json.loads((out / "ensemble.json").read_text())
    entry["members"][1] = {"kind": "ensemble", "where": "."}
    (out / "ensemble.json").write_text(json.dumps(entry))
    for words in ([f"--apply={out}", "--config.data.split=test"], [out, f"--out={out}2", *MEANS]):
        code, _, error = run(capsys, *words)
        assert code == 2 and "is a member of itself" in error and error.count("\n") == 0


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"marks": [1]}'])
def test_scores_of_folds_that_are_none_are_one_line(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]*scores.json: not [^\n]*$"):
        FoldsMember(str(tmp_path)).marks()


@pytest.mark.parametrize("track", ["../../evil", "/tmp/evil", "..", "a/b"])
def test_a_track_whose_name_is_a_path_is_written_nowhere(tmp_path, capsys, track):
    member = write_member(tmp_path / "m/predictions/fit", 0, 0.5, ["a", "b"], tasks=TASKS[:1])
    file = tmp_path / "m/predictions/fit/valence.npz"
    with np.load(file) as arrays:
        np.savez(file, **dict(arrays) | {"tracks": np.array(["a", track])})
    flags = [f"--out={tmp_path}/deep/er/out", f"--abaw3={tmp_path}/deep/er/abaw3", *MEANS]
    code, _, error = run(capsys, member, *flags)
    assert code == 2 and f"track {track!r}: the name" in error and error.count("\n") == 0
    assert not [p for p in tmp_path.rglob("*.txt") if "valence" not in p.parts]
    assert not (tmp_path / "deep/er/out").exists()
