"""The EmoGator source: clips by speaker, category and instance, whichever splits are there."""

import json
import re

import numpy as np
import pytest
import soundfile

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import emogator
from data_pipelines.store import Store


def write(path, level=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = level * np.sin(np.arange(1600) / 10)
    kind = ("OGG", "OPUS") if path.suffix.lower() == ".opus" else (None, None)
    soundfile.write(path, sound, 16000, format=kind[0], subtype=kind[1])


def write_speakers(folder, **splits):
    (folder / "speakers.json").write_text(json.dumps(splits))


def filled(folder, **flags):
    report = Report()
    emogator.fill(folder, folder.parent / "store", report, **flags)
    return Store(folder.parent / "store"), report.notes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "emogator").mkdir()
    return tmp_path / "emogator"


def test_a_clip_is_a_track_with_its_category_and_its_speaker_is_the_group(folder):
    for name in ("000002-30-1", "000001-01-1", "000001-17-2"):
        write(folder / "opus" / f"{name}.opus")
    write_speakers(folder, validation=["000002"], train=["000001"])
    store, notes = filled(folder)
    assert [(t.name, t.split, t.group, t.frames) for t in store.tracks] == [
        ("000001-01-1", "train", "000001", 1),
        ("000001-17-2", "train", "000001", 1),
        ("000002-30-1", "validation", "000002", 1),
    ]
    labels, mask = store.label("emotion")
    assert mask.all() and [emogator.EMOTIONS[i] for i in labels] == [
        "Adoration",
        "Interest",
        "Triumph",
    ]
    audio = store.features["audio"]
    assert (audio.dtype, audio.rate, audio.shape) == ("int16", 16000, ())
    assert store.tracks[1].rows["audio"] == (1600, 1600)
    assert notes == [] and not verify.check(store).problems
    assert store.references("validation") == {}  # only of all that were published


def test_the_classes_are_those_of_the_published_description(shared):
    text = (shared / "data" / "emogator" / "README.md").read_text()
    listed = re.search(r"Categories 01 to 30: (.*)\.", text)[1]
    assert tuple(listed.split(", ")) == emogator.EMOTIONS


def test_a_folder_may_hold_the_test_speakers_alone(folder):
    write(folder / "opus" / "000009-05-1.opus")
    store, notes = filled(folder)
    assert store.splits == ("test",) and store.label("emotion")[0].tolist() == [4]
    assert notes == ["speakers that no list of speakers.json names, taken as test: 000009"]
    write_speakers(folder, train=["000001"], test=["000009"])
    store, notes = filled(folder)
    assert store.splits == ("test",)
    assert notes == ["speakers of speakers.json without a clip: 000001"]


def test_a_clip_that_is_there_twice_is_read_once_as_opus(folder):
    write(folder / "mp3" / "000001-02-1.mp3", level=0.1)
    write(folder / "mp3" / "000001-03-1.MP3", level=0.1)
    write(folder / "opus" / "000001-02-1.opus")
    (folder / "opus" / "._000001-02-1.opus").write_bytes(b"\0")
    (folder / "opus" / "notes.opus").write_bytes(b"")
    store, notes = filled(folder)
    assert [track.name for track in store.tracks] == ["000001-02-1", "000001-03-1"]
    assert np.abs(store.feature("audio")[:1600].astype(int)).max() > 10_000
    assert "clips that are there twice, not read again: mp3/000001-02-1.mp3" in notes
    assert any("files of a system" in note for note in notes)
    assert any("not read, of no known kind or place: opus/notes.opus" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "speakers", "message"),
    [
        ("000001-31-1", {}, "category 31, expected 01 to 30"),
        ("000001-01-1", {"a": ["000001"], "b": ["000001"]}, "000001 is in a and in b"),
        ("000001-01-1", {"a": [1]}, 'a: [1], expected a list of speakers such as "000001"'),
        ("000001-01-1", {"a": "000001"}, "a: '000001', expected a list of speakers"),
        ("000001-01-1", {"a/b": []}, "the name holds '/'"),
        ("anything", {}, "no clip in it. Expected such as 000001-01-1.opus"),
    ],
)
def test_what_does_not_fit_is_named(folder, name, speakers, message):
    write(folder / f"{name}.wav")
    write_speakers(folder, **speakers)
    with pytest.raises(UserError, match=re.escape(message)):
        filled(folder)


def test_a_broken_clip_is_refused_or_left_out_by_the_command(folder, tmp_path, capsys):
    write(folder / "000001-01-1.wav")
    (folder / "000001-02-1.wav").write_bytes(b"<html>not found</html>")
    arguments = ["--source=emogator", f"--input={folder}", f"--store={tmp_path / 'store'}"]
    assert prepare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "000001-02-1.wav: not readable audio" in line and "--skip-bad" in line
    assert not (tmp_path / "store").exists()
    assert prepare.main([*arguments, "--skip-bad"]) == 0
    assert [track.name for track in Store(tmp_path / "store").tracks] == ["000001-01-1"]
    assert "bad files, left out" in capsys.readouterr().out
