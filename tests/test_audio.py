"""Recordings of any length, predicted window by window into a csv a file."""

import csv
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import systems
from affect_jax.audio import _cells, cli, columns
from affect_jax.audio import write as to_csv
from affect_jax.checkpoint import Checkpoints
from affect_jax.predict import Predictor
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.tasks import Task
from configs.audio_keys import audio_keys
from configs.base import base_config
from data_pipelines.errors import UserError
from data_pipelines.sources import audio
from tests.conftest import ROOT
from tests.test_models_vocal_bursts import SMALL
from tests.toys.stores import sound

RATE = 16_000
SIZE = 800  # samples of a window


def tiny(store) -> ConfigDict:
    c = base_config()
    c.system, c.audio = "audio", audio_keys()
    c.audio.level = "rms"
    c.data.root, c.data.clips, c.data.seconds = str(store), True, SIZE / RATE
    c.data.eval_batch_size = 8
    c.tasks, c.monitor, c.checkpoint = ("tone", "loudness"), ("loudness/ccc",), "last"
    c.task.tone = dict(kind="classes", size=2, names=("low", "high"), loss="ce", metrics=("uar",))
    c.task.loudness = dict(kind="values", size=1, loss="ccc", metrics=("ccc",))
    c.model = dict(name="vocal_bursts", features=("audio",), dtype="float32", padding="masked")
    c.model.backbone = dict(SMALL, num_hidden_layers=1)
    c.model.head = dict(name="vanilla", embedding=4, pooling="attention", sigmoid=("loudness",))
    return c


def log_mel() -> ConfigDict:
    """The other family that hears clips."""
    m = ConfigDict(dict(name="log_mel", features=("audio",), dtype="float32"))
    m.mel = dict(bands=8, window=0.004, hop=0.002, low=50.0, high=8000.0)
    m.spec_augment = dict(stretch=0.0, shift=0, times=0, time=0, bands=0, band=0)
    m.update(channels=(2,), width=4, pooling="mean", dropout=0.0)
    return m


def drawn(folder, model=None):
    """A run with weights as they are drawn, whose data are gone."""
    run, config = Run(folder / "bursts"), tiny(sound(folder / "data"))
    config.model = model or config.model
    system = systems.build(config)
    run.create()
    run.write_tasks(system.tasks)
    run.write_statistics(system.data.statistics)
    configs.save(config, run.config_file)
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.save(3, system.init(), {})
    shutil.rmtree(folder / "data")
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("runs"))


def write(path, samples, rate=RATE):
    """A file of so many samples of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(samples).normal(size=samples) * 0.1
    soundfile.write(path, noise.astype(np.float32), rate)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name, samples in (("a.wav", 800), ("a.flac", 500), ("b/Ä.WAV", 2100), ("b/c/d.wav", 300)):
        write(folder / name, samples)
    soundfile.write(folder / "b" / "silence.wav", np.zeros(2000), 8000)
    (folder / "b" / "notes.txt").write_text("of the day")
    (folder / "._a.wav").write_text("a system's")
    return folder


def predict(source, run, out, *flags):
    return cli([str(source), f"--run={run.folder}", f"--out={out}", *flags])


@pytest.fixture(scope="module")
def predicted(recordings, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new" / "predicted"
    assert predict(recordings, run, out) == 0
    return out


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def spans(path):
    return [tuple(round(float(row[k]) * RATE) for k in ("start", "end")) for row in rows(path)]


def test_each_file_has_a_csv_of_its_name_in_its_folder(predicted, run):
    files = {str(p.relative_to(predicted)) for p in predicted.rglob("*") if p.is_file()}
    tables = {"a.wav.csv", "a.flac.csv", "b/Ä.WAV.csv", "b/c/d.wav.csv", "b/silence.wav.csv"}
    assert files == {*tables, "origin.json"}
    origin = json.loads((predicted / "origin.json").read_text())
    assert origin == {"run": "bursts", "step": 3, "seconds": 0.05, "hop": 0.025}
    assert [p.name for p in predicted.parent.iterdir()] == ["predicted"]


def test_a_row_is_a_window_with_what_is_decoded(predicted):
    assert spans(predicted / "b" / "Ä.WAV.csv") == [
        (0, 800),
        (400, 1200),
        (800, 1600),
        (1200, 2000),
        (1300, 2100),
    ]
    assert spans(predicted / "b" / "c" / "d.wav.csv") == [(0, 300)]
    assert len(spans(predicted / "b" / "silence.wav.csv")) == 9
    for row in rows(predicted / "b" / "Ä.WAV.csv"):
        assert list(row) == ["start", "end", "tone", "tone_probability", "loudness"]
        assert row["tone"] in ("low", "high") and 0.5 <= float(row["tone_probability"]) <= 1
        assert 0 < float(row["loudness"]) < 1


def require_same(recordings, run, predicted, tmp_path):
    """Files of one window have the predictions of clips in a store."""
    files = {"full": "a.wav", "short": "a.flac", "shorter": "b/c/d.wav"}  # of one window each
    (tmp_path / "clips").mkdir()
    for clip, name in files.items():
        shutil.copy(recordings / name, tmp_path / "clips" / f"{clip}{name[name.index('.') :]}")
    audio.fill(tmp_path / "clips", tmp_path / "store")
    config = configs.read(run.config_file)
    config.data.root = str(tmp_path / "store")
    system = system_of(run, config)
    _, variables = weights(system, run, "last")
    tracks = Predictor(system, "test").tracks(variables)
    names = [track.name for track in system.data.store.tracks]
    expected = {names[index]: raw for index, raw in tracks}
    assert expected.keys() == files.keys()
    for clip, name in files.items():
        (row,) = rows(predicted / f"{name}.csv")
        raw = expected[clip]
        assert float(row["loudness"]) == pytest.approx(raw["loudness"][0, 0], abs=1e-5)
        chances = np.asarray(jax.nn.softmax(raw["tone"][0]))
        assert row["tone"] == ("low", "high")[chances.argmax()]
        assert float(row["tone_probability"]) == pytest.approx(chances.max(), abs=1e-5)


def test_a_window_has_the_prediction_of_a_clip_in_a_store(recordings, run, predicted, tmp_path):
    require_same(recordings, run, predicted, tmp_path)


@pytest.mark.slow
def test_a_window_has_the_prediction_of_a_clip_in_a_store_with_the_other_family(
    recordings, tmp_path
):
    run, out = drawn(tmp_path, model=log_mel()), tmp_path / "out"
    assert predict(recordings, run, out) == 0
    require_same(recordings, run, out, tmp_path)


def test_one_file_is_predicted_with_any_hop_in_the_place_of_what_was_there(
    recordings, run, tmp_path, capsys
):
    out = tmp_path / "out"
    out.mkdir()
    assert predict(recordings / "b" / "Ä.WAV", run, out, "--hop=0.05") == 0
    assert spans(out / "Ä.WAV.csv") == [(0, 800), (800, 1600), (1300, 2100)]
    assert predict(recordings / "b" / "c", run, out, "--checkpoint=last") == 0
    assert {p.name for p in out.iterdir()} == {"d.wav.csv", "origin.json"}
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"{out}: 1 file, 1 window of 0.05 s"


def test_files_that_are_passed_over_are_named(recordings, predicted, run, tmp_path, capsys):
    assert predict(recordings, run, tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "not read, of no known kind or place: b/notes.txt" in said.err
    assert f"{tmp_path / 'out'}: 5 files, 17 windows of 0.05 s\n" == said.out


def refused(capsys, arguments, message):
    capsys.readouterr()
    assert cli([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.wav", None, "gone.wav: no such file or folder."),
        ("empty.wav", b"", "empty.wav: not readable audio (it has 0 bytes)"),
        ("text.wav", b"hello" * 99, "text.wav: not readable audio"),
        ("folder", "", "no audio file (*.wav, *.flac, *.ogg, *.opus, *.mp3) in it."),
    ],
)
def test_what_is_no_sound_is_named_and_nothing_is_written(
    name, content, message, run, tmp_path, capsys
):
    path = tmp_path / "in" / name
    path.parent.mkdir()
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    out = tmp_path / "out"
    refused(capsys, [path, f"--run={run.folder}", f"--out={out}"], message)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_file_that_is_broken_further_on_leaves_what_was_written_before(run, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    write(folder / "a.wav", 900)
    assert predict(folder, run, out) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    broken = np.zeros(40_000, np.float32)
    broken[-1] = np.nan
    soundfile.write(folder / "c.wav", broken, RATE, subtype="FLOAT")
    refused(capsys, [folder, f"--run={run.folder}", f"--out={out}"], "c.wav: not readable audio")
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}


def test_a_folder_of_other_things_is_not_replaced(recordings, run, predicted, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.csv").touch()
    (tmp_path / "file").touch()
    also = tmp_path / "also"
    shutil.copytree(predicted, also)
    (also / "b" / "x.npz").touch()
    for out, message in (
        (tmp_path / "mine", "holds x.csv, so it is no folder that recordings were written to"),
        (recordings, "so it is no folder"),
        (also, "holds x.npz"),
        (tmp_path / "file", "is a file"),
    ):
        refused(capsys, [recordings, f"--run={run.folder}", f"--out={out}"], message)
    assert (recordings / "a.wav").is_file()


@pytest.mark.parametrize("hop", ["0", "-1", "nan", "inf", "0.06", "half", "1e999"])
def test_a_hop_that_leaves_sound_out_is_refused(hop, recordings, run, tmp_path, capsys):
    arguments = [recordings, f"--run={run.folder}", f"--out={tmp_path / 'out'}", f"--hop={hop}"]
    refused(capsys, arguments, f"--hop={hop}: expected seconds, above 0 and at most the 0.05")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.features", ("face",), "its model reads ('face',), and a recording is ('audio',)"),
        ("data.clips", False, "its model reads frames of tracks"),
        ("data.seconds", 0.0, "its model was fed whole clips"),
        ("system", "supervised", "does not say at which rate its sound is"),
    ],
)
def test_runs_of_other_data_are_refused(key, value, message, run, recordings, tmp_path, capsys):
    shutil.copytree(run.folder, tmp_path / "run")
    config = configs.read(run.config_file)
    config.update_from_flattened_dict({key: value})
    configs.save(config, tmp_path / "run" / "config.json")
    arguments = [recordings, f"--run={tmp_path / 'run'}", f"--out={tmp_path / 'out'}"]
    refused(capsys, arguments, message)
    refused(capsys, [recordings, f"--run={tmp_path}", f"--out={tmp_path / 'out'}"], "no run here")


def test_columns_are_named_by_names_and_by_tasks_where_those_come_twice():
    two = Task("two", "values", 2, ("Valence", "Arousal"))
    kinds = Task("kinds", "labels", 2, ("laugh", "cry"))
    plain = Task("x", "values", 2)
    assert columns([two, kinds, plain]) == [
        *("Valence", "Arousal", "laugh", "cry", "laugh_probability", "cry_probability"),
        *("x_1", "x_2"),
    ]
    again = Task("again", "values", 1, ("Valence",))
    assert columns([two, again]) == ["two_Valence", "two_Arousal", "again_Valence"]
    assert columns([Task("t", "values", 2, ("start", "b"))]) == ["t_start", "t_b"]
    cells = _cells(Task("kinds", "labels", 2, decode="threshold"), np.float32([0, -1]))
    assert cells[:3] == [1, 0, "0.5"]
    assert _cells(Task("c", "classes", 3), np.float32([0, 0, 0]))[0] == 0


def test_a_prediction_that_is_no_number_names_file_and_second(recordings, tmp_path):
    class Diverged:
        tasks, size = (Task("x", "values", 1),), SIZE

        def predict(self, windows):
            for (path, start, end), _ in windows:
                yield (path, start, end), {"x": np.float32([np.nan if start == 800 else 0])}

    path = recordings / "b" / "Ä.WAV"
    with pytest.raises(UserError, match=r"Ä.WAV: the prediction of x at 0.05 s is no finite"):
        to_csv(Diverged(), {path: path.relative_to(recordings)}, tmp_path, 400)


def test_runs_are_named_together(recordings, run, predicted, tmp_path, capsys):
    shutil.copytree(run.folder, tmp_path / "other")
    out, both = tmp_path / "out", [f"--run={tmp_path / 'other'}", "--tasks=loudness"]
    assert predict(recordings / "b" / "c", run, out, *both) == 0
    (row,), (alone,) = rows(out / "d.wav.csv"), rows(predicted / "b" / "c" / "d.wav.csv")
    assert list(row) == ["start", "end", "loudness"]
    assert float(row["loudness"]) == pytest.approx(float(alone["loudness"]), abs=1e-6)
    origin = json.loads((out / "origin.json").read_text())
    assert origin["runs"] == [{"run": name, "step": 3} for name in ("bursts", "other")]
    given = [recordings, f"--run={run.folder}", f"--out={out}"]
    refused(capsys, [*given, f"--run={run.folder}"], "member bursts is named twice")
    refused(capsys, [*given, "--tasks=loud"], "member bursts has no task 'loud'")


def test_runs_that_differ_in_windows_or_tasks_are_refused(recordings, run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    config = configs.read(run.config_file)
    config.data.seconds = 0.1
    configs.save(config, other / "config.json")
    given = [recordings, f"--run={run.folder}", f"--run={other}", f"--out={tmp_path / 'out'}"]
    refused(capsys, given, f"{other}: hears windows of 0.1 s, {run.folder} of 0.05 s")
    table = json.loads((other / "tasks.json").read_text())
    (other / "tasks.json").write_text(json.dumps(table).replace("loudness", "volume"))
    refused(capsys, given, "member bursts has task 'loudness', member other has not. Name those")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_hour_takes_the_memory_of_a_minute(run, tmp_path):
    code = (
        "import resource, sys\nfrom affect_jax.audio import cli\nassert cli(sys.argv[1:]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for minutes in (1, 60):
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", 8000, 1) as file:
            noise = np.random.default_rng(0).normal(size=8000 * 60).astype(np.float32) * 0.1
            for _ in range(minutes):
                file.write(noise)
        flags = [str(path), f"--run={run.folder}", f"--out={tmp_path / 'out'}", "--hop=0.05"]
        command = [sys.executable, "-c", code, *flags]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        peaks.append(int(said.split()[-1]))  # KiB
        assert len(rows(tmp_path / "out" / f"{path.name}.csv")) == minutes * 1200
    assert peaks[1] - peaks[0] < 30_000, peaks  # an hour of samples as they are stored: 112,500
