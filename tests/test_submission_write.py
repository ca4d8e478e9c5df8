import dataclasses

import numpy as np
import pytest

from affect_jax import main as runs
from affect_jax.prediction_files import Predictions
from affect_jax.submission.__main__ import main
from affect_jax.submission.check import SHOWN, Refused
from affect_jax.submission.formats import format_of
from affect_jax.submission.official import read_list
from affect_jax.submission.write import _at
from affect_jax.submission.write import write as write_entry
from affect_jax.tasks import tasks_from_config, to_json
from configs.abaw_tasks import ABAW_TASKS
from data_pipelines import labels
from tests.entries import FORMS

TASKS = {t.name: t for t in tasks_from_config({"tasks": tuple(ABAW_TASKS), "task": ABAW_TASKS})}
VIDEOS = {"video2_left": [2, 3, 7], "314": [1], "video2": [1, 2, 3, 4, 9]}


def predict(folder, frames, names=tuple(TASKS), seed=0, **changes):
    """A folder of random predictions; changes: {task: raw predictions}. Returns the raw ones."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tasks.json").write_text(to_json([TASKS[name] for name in names]))
    lengths = [len(f) for f in frames.values()]
    raws = {n: rng.normal(0, 0.4, (sum(lengths), TASKS[n].size)) for n in names} | changes
    for name, raw in raws.items():
        Predictions(
            tracks=np.array(list(frames)),
            track=np.repeat(np.arange(len(frames), dtype=np.int32), lengths),
            frame=np.concatenate(list(frames.values())).astype(np.int32),
            raw=np.asarray(raw, np.float32),
        ).write(folder / f"{name}.npz")
    return {name: np.asarray(raw, np.float32) for name, raw in raws.items()}


def image_list(folder, frames, header="image"):
    path = folder / "list.txt"
    images = [f"{v}/{k:05d}.jpg" for v, numbers in frames.items() for k in numbers]
    path.write_text("\n".join([header, *images]) + "\n")
    return path


@pytest.fixture
def write(tmp_path, capsys):
    """Runs the command on tmp_path/run (or others); returns (exit code, stdout, stderr)."""

    def run(*flags, track="mtl", folders=("run",), listed=None):
        path = listed or tmp_path / "list.txt"
        given = [f"--track={track}", f"--list={path}", f"--out={tmp_path / 'out'}"]
        given += [f"--predictions={tmp_path / f}" for f in folders]
        capsys.readouterr()
        code = main(["write", *given, *flags])
        out, err = capsys.readouterr()
        assert not list(tmp_path.glob(".*")), "something partial was left"
        if code:
            assert out == "" and err.splitlines()[-1].startswith("error: ")
        return code, out, err

    return run


def test_a_multi_task_entry_has_the_decoded_predictions_in_the_order_of_the_list(write, tmp_path):
    raw = predict(tmp_path / "run", VIDEOS)
    order = dict(reversed(VIDEOS.items()))
    image_list(tmp_path, order)
    code, out, _ = write()
    assert code == 0 and "valid for track mtl: 9 rows of 3 videos" in out
    read = labels.read_mtl(tmp_path / "out", warn=pytest.fail)
    assert list(read) == list(order)
    rows = dict(zip(VIDEOS, np.split(np.arange(9), [3, 4])))
    for video, track in read.items():
        assert track.frames.tolist() == VIDEOS[video]
        assert all(mask.all() for _, mask in track.labels.values())
        want = {name: x[rows[video]] for name, x in raw.items()}
        for name in ("valence", "arousal"):
            np.testing.assert_allclose(
                track.labels[name][0], want[name].clip(-1, 1), rtol=0, atol=5.1e-7
            )
        np.testing.assert_array_equal(track.labels["expression"][0], want["expression"].argmax(-1))
        np.testing.assert_array_equal(track.labels["au"][0], want["au"] >= 0)


@pytest.mark.parametrize(
    "form", [("va", 5), ("expr", 5), ("au", 10), ("va", 1), ("expr", 3), ("au", 3)], ids=str
)
def test_every_other_track_is_written_as_its_edition_asks(form, write, tmp_path):
    frames = {"video10_1_left": range(1, 6), "314": range(1, 3)}
    raw = predict(tmp_path / "run" / "predictions" / "test", frames)
    track, edition = form
    header, kinds = FORMS[form]
    one_file = edition >= 5
    names = tmp_path / "names.txt"
    names.write_text("314\nvideo10_1_left\n")
    listed = image_list(tmp_path, frames, header) if one_file else names
    assert write(f"--edition={edition}", track=track, listed=listed)[0] == 0
    columns = {
        "va": np.c_[raw["valence"], raw["arousal"]].clip(-1, 1),
        "expr": raw["expression"].argmax(-1)[:, None],
        "au": raw["au"] >= 0,
    }[track]
    if one_file:
        texts = [(tmp_path / "out").read_text()]
        parts = [columns]
    else:
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
            f"{v}.txt" for v in frames
        )
        texts = [(tmp_path / "out" / f"{v}.txt").read_text() for v in frames]
        parts = np.split(columns, [5])
    for text, part in zip(texts, parts):
        first, *lines = text.splitlines()
        assert first == header and text.endswith("\n")
        cells = np.array([line.split(",")[-len(kinds) :] for line in lines])
        np.testing.assert_allclose(cells.astype(float), part, rtol=0, atol=5.1e-7)
        if track != "va":
            assert np.isin(cells, list("01234567")).all()


def test_values_between_predicted_images_lie_on_the_line_and_classes_are_of_the_nearest():
    known, wanted = np.array([3, 7, 8]), np.arange(1, 11)
    values = np.array([0.0, 0.4, -1.0])
    line = [0, 0, 0, 0.1, 0.2, 0.3, 0.4, -1, -1, -1]
    np.testing.assert_allclose(_at(wanted, known, values, between=True), line)
    nearest = [3, 3, 3, 3, 3, 7, 7, 8, 8, 8]  # 5 is as near to 3 as to 7: the earlier
    assert _at(wanted, known, known, between=False).tolist() == nearest
    assert _at(wanted, np.array([5]), np.eye(2)[:1], between=False).tolist() == [[1, 0]] * 10


def test_images_without_a_prediction_are_refused_by_name_or_filled(write, tmp_path):
    predict(tmp_path / "run", {"a": [1, 4], "b_left": [2]})
    image_list(tmp_path, {"a": [1, 2, 3, 4], "b_left": [1, 2]})
    code, _, err = write()
    assert code == 2 and err.splitlines()[-1] == "error: 8 problems, nothing was written."
    assert "valence.npz: no prediction for 2 images (2 to 3) of 'a'; --fill takes" in err
    assert "au.npz: no prediction for image 1 of 'b_left'; --fill takes" in err
    assert not (tmp_path / "out").exists()
    code, out, _ = write("--fill")
    assert code == 0 and "au: images that took their neighbours' values: 3." in out
    assert len((tmp_path / "out").read_text().splitlines()) == 7


def test_values_are_filled_from_the_line_or_from_the_nearest_image(write, tmp_path):
    predict(tmp_path / "run", {"a": [1, 4]}, valence=[[0.1], [0.4]])
    image_list(tmp_path, {"a": [1, 2, 3, 4]})
    for how, expected in (
        ("--fill", [0.1, 0.2, 0.3, 0.4]),
        ("--fill=nearest", [0.1, 0.1, 0.4, 0.4]),
    ):
        assert write(how)[0] == 0
        rows = (tmp_path / "out").read_text().splitlines()[1:]
        assert [float(row.split(",")[1]) for row in rows] == expected
    code, _, err = write("--fill=nearst")
    assert code == 2 and "--fill=nearst: Did you mean 'nearest'" in err


def test_what_is_not_in_the_list_is_refused_by_name_or_left_out(write, tmp_path):
    predict(tmp_path / "run", {"a": [1, 2, 3], "a_left": [1]})
    image_list(tmp_path, {"a": [1, 3]})
    code, _, err = write()
    assert code == 2 and err.splitlines()[-1] == "error: 8 problems, nothing was written."
    assert "valence.npz: predicts image 2 of 'a', not in" in err
    assert "valence.npz: predicts 'a_left', not in" in err
    code, out, _ = write("--drop")
    assert code == 0 and "au: left out, not in" in out
    assert "1 video, images of other videos: 1." in out


def test_a_video_without_any_prediction_is_refused_whatever_is_asked(write, tmp_path):
    predict(tmp_path / "run", {"video2_left": [1], "314": [1]})
    image_list(tmp_path, {"video2": [1], "314": [1]})
    code, _, err = write("--fill", "--drop")
    assert (
        code == 2 and "au.npz: no prediction for video 'video2'. Did you mean 'video2_left'" in err
    )


def test_a_frame_that_no_window_covers_has_no_prediction(write, tmp_path):
    valence = np.array([[np.nan], [0.5]])
    predict(tmp_path / "run", {"a": [1, 2]}, valence=valence)
    image_list(tmp_path, {"a": [1, 2]})
    code, _, err = write()
    assert code == 2 and "no prediction for image 1 of 'a'" in err.splitlines()[0]
    assert write("--fill")[0] == 0
    assert (tmp_path / "out").read_text().splitlines()[1].startswith("a/00001.jpg,0.500000,")


def test_a_value_out_of_range_is_clipped_and_said(write, tmp_path):
    predict(tmp_path / "run", {"a": [1, 2]}, valence=[[-1.5], [1.0]], arousal=[[7.0], [1.1]])
    image_list(tmp_path, {"a": [1, 2]})
    code, out, _ = write(track="va")
    assert code == 0 and "valence: values clipped to -1 or 1: 1." in out and "1: 2." in out
    rows = (tmp_path / "out").read_text().splitlines()[1:]
    assert rows == ["a/00001.jpg,-1.000000,1.000000", "a/00002.jpg,1.000000,1.000000"]


def test_a_prediction_that_is_not_finite_is_refused(write, tmp_path):
    predict(tmp_path / "run", {"a": [4, 5]}, ["valence", "arousal"], arousal=[[0.0], [np.inf]])
    image_list(tmp_path, {"a": [4, 5]})
    code, _, err = write(track="va")
    assert code == 2 and "arousal.npz: image 5 of a is predicted as [inf]" in err


def test_tasks_may_come_from_several_folders_but_each_from_one(write, tmp_path):
    predict(tmp_path / "v", {"a": [1]}, ["valence", "expression"])
    predict(tmp_path / "a", {"a": [1]}, ["arousal"])
    image_list(tmp_path, {"a": [1]})
    assert write(track="va", folders=["v", "a"])[0] == 0
    code, _, err = write(track="va", folders=["v"])
    assert code == 2 and "no predictions of arousal, which track va needs" in err
    predict(tmp_path / "a", {"a": [1]}, ["arousal", "valence"])
    code, _, err = write(track="va", folders=["v", "a"])
    assert code == 2 and "valence is predicted in" in err


def test_classes_in_another_order_are_refused(write, tmp_path):
    predict(tmp_path / "run", {"a": [1]}, ["expression"])
    names = TASKS["expression"].names
    other = dataclasses.replace(TASKS["expression"], names=names[::-1])
    (tmp_path / "run" / "tasks.json").write_text(to_json([other]))
    image_list(tmp_path, {"a": [1]})
    code, _, err = write(track="expr")
    assert code == 2 and "8 classes Other, Surprise" in err and "Neutral, Anger" in err


@pytest.mark.parametrize(
    ("flags", "folder", "message"),
    [
        ([], "nothing", "nothing: no such folder"),
        (["--split=test"], "run", "has no predictions/test"),
        (["--split=vaildation"], "whole", "Did you mean 'validation'"),
        ([], "whole", "no predictions of split 'test'; write them with --mode=predict"),
        (["--edition=3"], "run", "out: is not a new or empty folder"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(flags, folder, message, write, tmp_path):
    predict(tmp_path / "run", {"a": [1]})
    predict(tmp_path / "whole" / "predictions" / "validation", {"a": [1]})
    image_list(tmp_path, {"a": [1]})
    (tmp_path / "out").write_text("image_location,valence,arousal\n")
    code, _, err = write(*flags, folders=[folder], track="va")
    assert code == 2 and message in err and err.count("\n") == 1


def test_an_entry_replaces_an_entry_and_no_other_file(write, tmp_path):
    predict(tmp_path / "run", {"a": [1]})
    image_list(tmp_path, {"a": [1]}, header="image_location,valence,arousal")
    assert write(track="va")[0] == write(track="va")[0] == 0
    before = (tmp_path / "list.txt").read_text()
    for file in ("list.txt", "run/valence.npz"):
        code, _, err = write(f"--out={tmp_path / file}", track="va")
        assert code == 2 and f"{file}: exists and is no entry of track va" in err
    assert (tmp_path / "list.txt").read_text() == before
    (tmp_path / "run" / "valence.npz").unlink()
    code, _, err = write(track="va")
    assert code == 2 and "no predictions of valence, which track va needs. Known: arousal" in err


@pytest.mark.slow
@pytest.mark.parametrize("track", ["mtl", "va"])
def test_a_trained_run_on_a_twin_becomes_an_entry_that_passes(track, tmp_path, capsys):
    from data_pipelines.twins.__main__ import main as write_twin

    files, run, out = tmp_path / "files", tmp_path / "run", tmp_path / "entry.txt"
    assert write_twin([f"--name={track}", f"--output={files}", "--size=small"]) == 0
    config = f"--config=configs/{track}.py:smoke"
    assert runs.cli([config, f"--workdir={run}", "--config.epochs=1"]) == 0
    listed = files / "annotations" / "validation_set_annotations.txt"
    if track == "va":
        name = "5th ABAW Annotations/VA_Estimation_Challenge/Validation_Set"
        listed = files / "annotations" / name
    common = [f"--track={track}", f"--list={listed}"]
    capsys.readouterr()
    write = ["write", *common, f"--predictions={run}", "--split=validation", f"--out={out}"]
    assert main(write) == 0, capsys.readouterr().err
    assert main(["check", *common, str(out)]) == 0
    assert f"valid for track {track}" in capsys.readouterr().out


def test_only_the_problems_that_are_shown_look_for_the_nearest_name(tmp_path):
    predict(tmp_path / "run", {f"a{i}": [1] for i in range(60)})
    form = format_of("mtl")
    path = image_list(tmp_path, {f"b{i}": [1] for i in range(60)})
    official = read_list(path, form, warn=pytest.fail)
    with pytest.raises(Refused) as refused:
        write_entry([tmp_path / "run"], None, official, form, tmp_path / "out")
    problems = [p for p in refused.value.problems if "no prediction for video" in p]
    assert len(problems) == 4 * 60
    assert [("Did you mean" in p) for p in problems] == [i < SHOWN for i in range(240)]


def test_an_entry_without_a_name_is_refused(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    predict(tmp_path / "run", VIDEOS)
    image_list(tmp_path, VIDEOS)
    code, _, error = write("--out=")
    assert code == 2 and "--out=.: " in error
