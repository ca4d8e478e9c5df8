"""Entries to A-VB: written from predictions of clips, and checked against a list of them."""

import csv
import re

import numpy as np
import pytest
from scipy.special import softmax

from affect_jax.ensemble.__main__ import cli as ensemble
from affect_jax.main import cli as run_command
from affect_jax.prediction_files import Predictions, read_split
from affect_jax.run import Run
from affect_jax.submission.__main__ import main
from affect_jax.tasks import Task, to_json
from data_pipelines.bursts import CULTURE, DEFINITIONS, EMOTIONS, TYPES
from data_pipelines.prepare import main as prepare
from data_pipelines.twins.__main__ import main as twins

CLIPS = ("00012", "12", "7")
TRACKS = ("type", "two", "high", "culture")
SURPRISE = [
    "China_Surprise",
    "United States_Surprise",
    "South Africa_Surprise",
    "Venezuela_Surprise",
]


def predict(folder, clips=CLIPS, seed=0, **changes):
    """A folder of random predictions of all four tasks. Returns {task: raw}."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        Task(name=name, **DEFINITIONS[name], loss="ce" if name == "type" else "ccc")
        for name in TRACKS
    ]
    (folder / "tasks.json").write_text(to_json(tasks))
    count, raws = np.arange(len(clips), dtype=np.int32), {}
    for task in tasks:
        raw = changes.get(task.name, rng.uniform(0, 1, (len(clips), task.size)))
        raws[task.name] = np.asarray(raw, np.float32)
        Predictions(np.array(clips), count, np.ones_like(count), raws[task.name]).write(
            folder / f"{task.name}.npz"
        )
    return raws


def name_of(track: str) -> str:
    return f"A-VB-{track.capitalize()}_us_them_1.csv"


@pytest.fixture
def run(tmp_path, capsys):
    """run(command, track, *flags) -> (exit code, stdout, stderr)."""
    listed = tmp_path / "test.csv"
    listed.write_text("File_ID,Voc_Type\n" + "".join(f"{c},\n" for c in reversed(CLIPS)))

    def call(command, track, *flags):
        capsys.readouterr()
        common = [command, f"--track={track}", f"--list={listed}"]
        if command == "write":
            common += [f"--predictions={tmp_path / 'run'}", f"--out={tmp_path / name_of(track)}"]
        elif not any(not flag.startswith("--") for flag in flags):
            flags = (*flags, str(tmp_path / name_of(track)))
        code = main([*common, *flags])
        return code, *capsys.readouterr()

    return call


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_entries_have_the_official_header_and_the_decoded_predictions(run, tmp_path):
    raw = predict(tmp_path / "run")
    order = [CLIPS.index(c) for c in reversed(CLIPS)]
    for track in TRACKS:
        code, out, err = run("write", track)
        assert code == 0 and not err, err
        assert f"valid for track {track}: 3 rows of 3 clips" in out
        header, *rows = rows_of(tmp_path / name_of(track))
        assert [row[0] for row in rows] == ["[7]", "[12]", "[00012]"]
        cells = [row[1:] for row in rows]
        if track == "type":
            assert header == ["File_ID", "Voc_Type"]
            assert cells == [[TYPES[raw["type"][i].argmax()]] for i in order]
            continue
        names = {"two": ("Valence", "Arousal"), "high": EMOTIONS, "culture": CULTURE}[track]
        plain = [c.replace("SouthAfrica", "South Africa") for c in header[1:]]
        want = raw[track][order][:, [names.index(c) for c in plain]]
        np.testing.assert_allclose(np.array(cells, float), want, atol=1e-6)
        assert sorted(plain) == sorted(names)
        assert plain == list(names) or track == "culture"
        assert run("check", track)[0] == 0


def test_the_surprise_of_each_country_stands_last_and_one_column_is_spelt_as_officially(
    run, tmp_path
):
    predict(tmp_path / "run")
    run("write", "culture")
    header = rows_of(tmp_path / name_of("culture"))[0]
    assert len(header) == 41 and header[-4:] == SURPRISE
    assert [c for c in header if "SouthAfrica" in c] == ["SouthAfrica_Sadness"]
    assert header[27] == "SouthAfrica_Sadness" and header[26] == "South Africa_Triumph"


def test_values_are_clipped_to_zero_and_one_and_that_is_said(run, tmp_path):
    predict(tmp_path / "run", two=[[1.5, 0.2], [-0.25, 0.3], [0.4, 0.5]])
    code, out, _ = run("write", "two")
    assert code == 0 and "two: values clipped to 0 or 1: 2." in out
    rows = rows_of(tmp_path / name_of("two"))[1:]
    assert rows[1] == ["[12]", "0.000000", "0.300000"]
    assert rows[2] == ["[00012]", "1.000000", "0.200000"]


@pytest.mark.parametrize(
    "name",
    ["two.csv", "A-VB-High_us_1.csv", "A-VB-Two_us_6.csv", "A-VB-Two_us_0.csv", "A-VB-Two_1.csv"],
)
def test_a_file_must_be_called_as_the_organisers_say(run, tmp_path, name):
    predict(tmp_path / "run")
    code, _, error = run("write", "two", f"--out={tmp_path / name}")
    assert code == 2 and "A-VB-Two_<team>_<n>.csv, with <n> from 1 to 5" in error
    assert not (tmp_path / name).exists()
    (tmp_path / name).write_text("File_ID,Valence,Arousal\n")
    code, _, error = run("check", "two", str(tmp_path / name))
    assert code == 2 and "<team>_<n>.csv" in error


def test_a_clip_without_a_prediction_is_refused_and_one_too_many_only_dropped_if_asked(
    run, tmp_path
):
    predict(tmp_path / "run", clips=("00012", "12", "8"))
    code, out, error = run("write", "high")
    assert code == 2 and out == "" and "no prediction for clip '7'" in error
    assert "predicts '8', not in" in error and not (tmp_path / name_of("high")).exists()
    code, _, error = run("write", "high", "--fill")
    assert code == 2 and "clips have no neighbours" in error
    predict(tmp_path / "run", clips=(*CLIPS, "8"))
    assert run("write", "high")[0] == 2
    code, out, _ = run("write", "high", "--drop")
    assert code == 0 and "left out, not in" in out and "1 clip." in out


@pytest.mark.parametrize(
    "track, line, old, new, parts",
    [
        ("two", 2, "[7]", "7", (":2: '7', expected its File_ID in brackets: [7]",)),
        ("two", 3, "[12]", "[7]", (":3: '[7]' again, it is in line 2", "row of '[12]' is missing")),
        ("two", 3, "[12]", "[012]", ("'[012]' is not in", "'[12]' is missing")),
        ("two", 4, ",", ",1.2", (":4: Valence is '1.2", "expected a number from 0 to 1")),
        ("high", 4, ",0", ",nan", (":4: Awe is", "expected a number from 0 to 1")),
        ("high", 2, "[7],", "[7],0.5,", (":2: 12 fields",)),
        ("high", 1, "Awe", "Fear", (":1: header", "expected 'File_ID,Awe")),
        ("type", 1, "Voc_Type", "Valence,Arousal", (":1: header", "that of track two")),
        ("type", 3, "]", "],x", (":3: 3 fields",)),
        ("culture", 4, "[00012]", "[00013]", ("'[00013]' is not in",)),
    ],
)
def test_what_is_wrong_in_an_entry_is_named_by_line(run, tmp_path, track, line, old, new, parts):
    predict(tmp_path / "run")
    run("write", track)
    path = tmp_path / name_of(track)
    lines = path.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")
    code, out, error = run("check", track)
    assert code == 2 and out == "" and all(part in error for part in parts), error


def test_a_class_that_there_is_not_is_named_with_those_that_there_are(run, tmp_path):
    predict(tmp_path / "run")
    run("write", "type")
    path = tmp_path / name_of("type")
    first = path.read_text().splitlines()[1].split(",")[1]
    for wrong in (first.lower(), "0", ""):
        path.write_text(path.read_text().replace(f"[7],{first}", f"[7],{wrong}"))
        code, _, error = run("check", "type")
        assert code == 2 and "Voc_Type is" in error and "expected one of Laugh, Grunt" in error
        path.write_text(path.read_text().replace(f"[7],{wrong}", f"[7],{first}"))


def test_rows_in_another_order_and_other_spellings_of_the_header_are_valid(run, tmp_path):
    predict(tmp_path / "run")
    run("write", "culture")
    path = tmp_path / name_of("culture")
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *sorted(rows)]) + "\n")
    assert run("check", "culture")[0] == 0
    for spelling in ("South Africa", "SouthAfrica"):
        every = header.replace("SouthAfrica", "South Africa").replace("South Africa", spelling)
        path.write_text("\n".join([every, *rows]) + "\n")
        assert run("check", "culture")[0] == 0


def test_of_a_list_with_splits_the_test_clips_count(run, tmp_path):
    predict(tmp_path / "run")
    listed = tmp_path / "data_info.csv"
    lines = ["Split,File_ID,Country", "Train,[1],China", *(f"Test,[{c}]," for c in CLIPS)]
    listed.write_text("\n".join(lines) + "\n")
    code, out, _ = run("write", "two", f"--list={listed}")
    assert code == 0 and "3 rows of 3 clips" in out
    val = tmp_path / "val.csv"
    val.write_text("File_ID,Voc_Type\n" + "".join(f"{c},Laugh\n" for c in CLIPS))
    assert run("write", "two", f"--list={val}")[0] == 0


def test_a_track_of_clips_has_no_editions_and_no_frames(run, tmp_path):
    predict(tmp_path / "run")
    code, _, error = run("write", "two", "--edition=5")
    assert code == 2 and "A-VB, which was held once" in error
    code, _, error = run("write", "culture", f"--list={tmp_path / 'run' / 'tasks.json'}")
    assert code == 2 and "no column File_ID" in error and error.count("\n") == 1


ORDER = ("two", "culture", "type", "high")
PLAIN = ("--values=mean", "--smooth=none", "--match=no")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, runs): official files, their store, and two runs that have predicted its test split.

    The second is a chain in another order of the tasks.
    """
    folder = tmp_path_factory.mktemp("challenge")
    official, store = folder / "official", folder / "store"
    assert twins(["--name=bursts", f"--output={official}", "--size=small"]) == 0
    assert prepare(["--source=humevb", f"--input={official}", f"--store={store}"]) == 0
    runs = []
    for name, head, order in (("a", "vanilla", TRACKS), ("b", "chain", ORDER)):
        run = f"--workdir={folder / name}"
        config = f"--config=configs/vocal_bursts.py:smoke,{head}"
        data = f"--config.data.root={store}", f"--config.tasks={','.join(order)}"
        assert run_command([config, run, *data, "--config.epochs=1"]) == 0
        assert run_command([run, "--mode=predict", "--config.data.split=test"]) == 0
        runs.append(Run(folder / name))
    return folder, runs


def entry(folder, predictions, track, team):
    """A valid entry written from these predictions, clips by name: class numbers, or [N, size]."""
    out = folder / f"A-VB-{track.capitalize()}_{team}_1.csv"
    common = [f"--track={track}", f"--list={folder / 'official' / 'labels' / 'data_info.csv'}"]
    assert main(["write", *common, f"--predictions={predictions}", f"--out={out}"]) == 0
    assert main(["check", *common, str(out)]) == 0
    header, *rows = rows_of(out)
    rows = sorted(rows)
    assert len(rows) == 20
    if track == "type":
        return np.array([TYPES.index(row[1]) for row in rows])
    columns = [name.replace("SouthAfrica", "South Africa") for name in header]
    places = [columns.index(name) for name in DEFINITIONS[track]["names"]]
    return np.array(rows)[:, places].astype(float)


def outputs(run, track):
    """Raw predictions of the test clips [N, size], by name."""
    task = next(task for task in run.read_tasks() if task.name == track)
    p = read_split(run.predictions / "test", [task])[task]
    return p.raw[np.argsort(p.tracks[p.track])]


@pytest.mark.slow
def test_a_chain_in_any_order_predicts_its_tasks_by_name(trained):
    plain, chain = trained[1]
    sizes = {task.name: task.size for task in chain.read_tasks()}
    assert tuple(sizes) == ORDER and sizes == {"type": 8, "two": 2, "high": 10, "culture": 40}
    card = (chain.folder / "README.md").read_text()
    links = card.split("| score | on predictions | on labels |")[1].split("\n\n")[0]
    assert tuple(dict.fromkeys(re.findall(r"(\w+)/", links))) == ORDER[1:]
    assert "on predictions" not in (plain.folder / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("track", TRACKS)
def test_a_run_is_written_as_an_entry(trained, track):
    folder, runs = trained
    for run in runs:
        got, raw = entry(folder, run.folder, track, run.folder.name), outputs(run, track)
        want = raw.argmax(-1) if track == "type" else np.clip(raw, 0, 1)
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("classes", ["mean", "vote"])
def test_runs_are_combined_into_an_entry(trained, classes):
    folder, runs = trained
    members, out = [str(run.folder) for run in runs], folder / classes
    assert ensemble([*members, f"--out={out}", f"--classes={classes}", *PLAIN]) == 0
    assert ensemble([f"--apply={out}", "--config.data.split=test"]) == 0
    for track in TRACKS:
        got, raws = entry(folder, out, track, classes), [outputs(run, track) for run in runs]
        if track != "type":
            np.testing.assert_allclose(got, np.clip(np.mean(raws, 0), 0, 1), atol=1e-6)
        elif classes == "mean":
            assert (got == softmax(raws, -1).mean(0).argmax(-1)).all()
        else:
            assert (got == np.argmax(raws, -1)).any(0).all()


@pytest.mark.slow
def test_an_ensemble_that_is_chosen_on_the_validation_clips_is_a_valid_entry(trained, capsys):
    folder, runs = trained
    out = folder / "chosen"
    assert ensemble([*(str(run.folder) for run in runs), f"--out={out}"]) == 0
    assert "window" not in capsys.readouterr().out
    assert ensemble([f"--apply={out}", "--config.data.split=test"]) == 0
    for track in TRACKS:
        entry(folder, out, track, "chosen")
