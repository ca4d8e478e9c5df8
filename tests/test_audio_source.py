"""The audio source: any folder of audio files as a store, with or without labels."""

import re
import shutil

import numpy as np
import pytest
import soundfile

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import audio
from data_pipelines.store import Store


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mine"
    for i, name in enumerate(("anna/01.wav", "anna/02.FLAC", "Jürgen.wav")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.eye(1, 800 + i)[0] / 2, 8000)
    return root


def filled(folder, **flags):
    report = Report()
    audio.fill(folder, folder.parent / "store", report, **flags)
    return Store(folder.parent / "store"), report.notes


def test_without_a_table_all_is_for_predictions(folder):
    store, notes = filled(folder)
    assert [(t.name, t.split, t.group, t.frames) for t in store.tracks] == [
        ("Jürgen", "test", "Jürgen", 1),
        ("anna_01", "test", "anna_01", 1),
        ("anna_02", "test", "anna_02", 1),
    ]
    assert store.labels == {} and notes == []
    assert [t.rows["audio"][1] for t in store.tracks] == [1604, 1600, 1602]
    stream = store.features["audio"]
    assert (stream.shape, stream.dtype, stream.axis, stream.rate) == ((), "int16", "rate", 16000)
    assert not verify.check(store).problems


def test_labels_splits_and_groups_come_from_the_table(folder):
    (folder / "Labels.csv").write_text(
        "file;split;group;emotion;x\n01.wav;train;anna;joy;0,5\nanna/02;train;anna;anger;\n"
        "Jürgen.wav;validation;b;;2\n"
    )
    store, notes = filled(folder)
    assert [(t.name, t.split, t.group) for t in store.tracks] == [
        ("anna_01", "train", "anna"),
        ("anna_02", "train", "anna"),
        ("Jürgen", "validation", "b"),
    ]
    assert store.labels["emotion"].names == ("anger", "joy")
    for name, values, mask in (("emotion", [1, 0, 0], [1, 1, 0]), ("x", [0.5, 0, 2], [1, 0, 1])):
        np.testing.assert_array_equal(np.ravel(store.label(name)[0]), values)
        np.testing.assert_array_equal(np.ravel(store.label(name)[1]), mask)
    assert notes == []


def test_splits_that_no_config_reads_unasked_are_noted(folder):
    (folder / "labels.csv").write_text("file,split,x\n01,Train,1\nanna/02,train,2\nJürgen,dev,3\n")
    store, notes = filled(folder)
    assert [t.split for t in store.tracks] == ["train", "Train", "dev"]
    assert notes == [
        f"{folder / 'labels.csv'}: splits that are none of train, validation, test: Train, dev"
    ]


def test_rows_without_a_file_and_files_without_a_row_are_left_out_and_named(folder, tmp_path):
    table = tmp_path / "other.csv"
    table.write_text("file,split,x\nanna/01,train,1\ngone.wav,train,2\n")
    store, notes = filled(folder, labels=str(table))
    assert [track.name for track in store.tracks] == ["anna_01"]
    assert notes == [
        f"{table}: rows without a file, left out: gone.wav",
        f"files without a row of {table}, left out: J\u00fcrgen, anna/02",
    ]


def test_what_else_lies_in_the_folder_is_named(folder):
    (folder / "__MACOSX").mkdir()
    for name in ("__MACOSX/._a.wav", "anna/._01.wav", "film.mp4", "names.csv"):
        (folder / name).write_bytes(b"\0")
    store, notes = filled(folder)
    assert len(store.tracks) == 3
    assert notes[0] == "no labels.csv; a table of labels is named with --labels: names.csv"
    assert "files of a system (__MACOSX, ._* and the like) skipped: 2" in notes[1]
    assert "not read, of no known kind or place: film.mp4, names.csv" in notes[2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,x\nnone.wav,1\n", "no row has a file: none.wav. Files are called Jürgen, anna/01"),
        ("file,x\n03.wav,1\n", ":2: several files are called '03.wav': anna/03, ben/03. Write"),
        ("file,x\nanna/01.wav,1\n01,2\n", ":3: '01' is the file of line 2 too"),
    ],
)
def test_a_table_that_does_not_fit_the_files_is_refused(folder, table, message):
    for name in ("anna", "ben"):
        (folder / name).mkdir(exist_ok=True)
        soundfile.write(folder / name / "03.wav", np.eye(1, 90)[0], 8000)
    (folder / "labels.csv").write_text(table)
    with pytest.raises(UserError, match=re.escape(message)):
        filled(folder)


def test_files_that_would_be_one_track_are_refused(folder):
    soundfile.write(folder / "anna_01.wav", np.eye(1, 90)[0], 8000)
    with pytest.raises(UserError, match="anna/01 and anna_01 would both be anna_01"):
        filled(folder)
    (folder / "anna_01.wav").rename(folder / "anna" / "01.wav")
    shutil.copy(folder / "Jürgen.wav", folder / "Ju\u0308rgen.wav")
    with pytest.raises(UserError, match=r"rgen.wav: beside it .*rgen.wav. Leave one"):
        filled(folder)


def test_files_that_differ_in_their_ending_alone_are_each_a_clip(folder):
    soundfile.write(folder / "anna" / "01.flac", np.eye(1, 900)[0] / 2, 8000)
    shutil.copy(folder / "anna" / "01.flac", folder / "anna" / "01.wav.ogg")  # known by content
    store, notes = filled(folder)
    assert [track.name for track in store.tracks] == [
        "Jürgen",
        "anna_01.flac",
        "anna_01.wav",
        "anna_01.wav.ogg",
        "anna_02",
    ]
    assert [track.rows["audio"][1] for track in store.tracks[1:3]] == [1800, 1600]
    alike = "anna/01.flac, anna/01.wav, anna/01.wav.ogg"
    assert notes == [f"files that differ in their ending alone, each a clip of its own: {alike}"]


def test_a_table_names_files_that_differ_in_their_ending_alone_with_it(folder):
    soundfile.write(folder / "anna" / "01.flac", np.eye(1, 900)[0] / 2, 8000)
    table = folder / "labels.csv"
    table.write_text("file,x\nanna/01.flac,1\n01.wav,2\nanna/02.wav,3\n")
    store, _ = filled(folder)
    assert [(track.name, x) for track, (x,) in zip(store.tracks, store.label("x")[0])] == [
        ("anna_01.flac", 1),
        ("anna_01.wav", 2),
        ("anna_02", 3),  # a table may be older than the format
    ]
    for text in ("01", "anna/01", "01.mp3"):
        table.write_text(f"file,x\n{text},1\n")
        message = f"labels.csv:2: several files are called '{text}': anna/01.flac, anna/01.wav. W"
        with pytest.raises(UserError, match=re.escape(message)):
            filled(folder)


def test_a_name_that_is_not_utf_8_is_one_line(folder, tmp_path, capsys):
    (folder / "Jürgen.wav").rename(str(folder / "J\udcfcrgen.wav"))
    arguments = ["--source=audio", f"--input={folder}", f"--store={tmp_path / 'store'}"]
    assert prepare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert r"'J\udcfcrgen': the name holds '\udcfc'" in line


def test_the_command_takes_labels_columns_and_skips_bad_files(folder, tmp_path, capsys):
    (folder / "anna" / "02.FLAC").write_bytes(b"")
    (folder / "t.csv").write_text("file,x,y\n01,1,2\n02,1,2\n")
    arguments = ["--source=audio", f"--input={folder}", f"--store={tmp_path / 'store'}"]
    table = [f"--labels={folder / 't.csv'}", "--columns=y"]
    assert prepare.main([*arguments, *table]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "02.FLAC: not readable audio (it has 0 bytes)" in line
    assert prepare.main([*arguments, *table, "--skip-bad"]) == 0
    store = Store(tmp_path / "store")
    assert [track.name for track in store.tracks] == ["anna_01"] and list(store.labels) == ["y"]
    capsys.readouterr()
    assert prepare.main([*arguments, "--columns=y"]) == 2
    assert "--columns=y: there is no" in capsys.readouterr().err
    assert prepare.main([*arguments[:1], f"--input={tmp_path}/empty", arguments[2]]) == 2


def test_a_folder_without_audio_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no audio file \(\*.wav, \*.flac"):
        audio.fill(tmp_path, tmp_path / "store")
