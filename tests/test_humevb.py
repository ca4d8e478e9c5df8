"""The HUME-VB source: the organisers' and prepared tables, and clips that belong to them."""

import csv
import pathlib
import wave

import numpy as np
import pytest

from data_pipelines import verify
from data_pipelines.bursts import COLUMNS, COUNTRIES, CULTURE, EMOTIONS, TYPES, file_id
from data_pipelines.errors import UserError
from data_pipelines.labels.bursts import read_folder
from data_pipelines.prepare import main as prepare
from data_pipelines.report import Report
from data_pipelines.sources import humevb
from data_pipelines.store import Store

SPLIT_OF = {"00012": "Train", "12": "Train", "00007": "Val", "50000": "Test"}
FILES = {"Train": "train.csv", "Val": "val.csv", "Test": "test.csv"}


def values_of(seed: int = 0) -> dict[str, dict[str, str]]:
    """{clip: {column: cell}}; nothing is known of the test clip."""
    rng, cells = np.random.default_rng(seed), {}
    for clip, split in SPLIT_OF.items():
        row = {c: f"{x:.9f}" for c, x in zip(COLUMNS, rng.random(len(COLUMNS)))}
        row |= {"Voc_Type": str(rng.choice(TYPES)), "Country": str(rng.choice(COUNTRIES))}
        cells[clip] = dict.fromkeys(row, "") if split == "Test" else row
    return cells


def write(path: pathlib.Path, header, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def raw(folder: pathlib.Path, values, kinds=("Voc_Type",)) -> None:
    """data_info.csv and type_info.csv, their columns and rows in orders of their own."""
    rest = [c for c in reversed(COLUMNS) if c not in kinds]
    data = [[*(row[c] for c in rest), f"[{clip}]", SPLIT_OF[clip]] for clip, row in values.items()]
    write(folder / "labels" / "data_info.csv", [*rest, "File_ID", "Split"], data)
    rows = [[f"[{c}]", SPLIT_OF[c], *(row[k] for k in kinds)] for c, row in values.items()]
    write(folder / "labels" / "type_info.csv", ["File_ID", "Split", *kinds], reversed(rows))


def prepared(folder: pathlib.Path, values, header=COLUMNS) -> None:
    """train.csv, val.csv and test.csv."""
    for split, name in FILES.items():
        rows = [
            [clip, *(_rounded(row[c]) for c in COLUMNS)]
            for clip, row in values.items()
            if SPLIT_OF[clip] == split
        ]
        write(folder / name, ["File_ID", *header], rows)


def _rounded(cell: str) -> str:
    """As pandas does it, which made the prepared tables."""
    return repr(float(np.round(float(cell), 6))) if cell[:1].isdecimal() else cell


def sounds(folder: pathlib.Path, clips=tuple(SPLIT_OF)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, clip in enumerate(clips):
        with wave.open(str(folder / f"{clip}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((np.arange(80 + i, dtype="<i2") * 10).tobytes())


def fill(folder: pathlib.Path, name="store", **flags) -> tuple[Store, str]:
    report = Report()
    humevb.fill(folder, folder.parent / name, report, **flags)
    return Store(folder.parent / name), "\n".join(report.notes)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    sounds(tmp_path / "avb" / "wav")
    return tmp_path / "avb"


def test_a_clip_is_a_track_of_one_frame_with_all_labels_and_its_sound(folder):
    values = values_of()
    raw(folder, values)
    store, notes = fill(folder)
    assert [(t.name, t.split, t.group, t.frames) for t in store.tracks] == [
        ("00012", "train", "00012", 1),
        ("12", "train", "12", 1),
        ("00007", "validation", "00007", 1),
        ("50000", "test", "50000", 1),
    ]
    assert store.features["audio"].rate == 16000 and store.features["audio"].dtype == "int16"
    for i, track in enumerate(store.tracks):
        samples = store.feature("audio")[store.rows("audio", i)]
        assert samples.tolist() == [10 * k for k in range(80 + list(SPLIT_OF).index(track.name))]
        for label, columns in (("two", ("Valence", "Arousal")), ("culture", CULTURE)):
            row, mask = (x[track.offset] for x in store.label(label))
            assert mask.all() == (track.split != "test") and mask.any() == mask.all()
            if mask.any():
                want = [round(float(values[track.name][c]), 6) for c in columns]
                np.testing.assert_allclose(row, np.float32(want), rtol=0, atol=0)
        kind, country = (store.label(n)[0][track.offset] for n in ("type", "country"))
        if track.split != "test":
            assert TYPES[kind] == values[track.name]["Voc_Type"]
            assert COUNTRIES[country] == values[track.name]["Country"]
    assert not notes and not verify.check(store).problems


def test_raw_and_prepared_tables_and_both_together_give_the_same_store(folder, tmp_path):
    values = values_of()
    raw(folder, values)
    hashes = {name: label.sha256 for name, label in fill(folder)[0].labels.items()}
    prepared(folder, values)
    both, _ = fill(folder, "both")
    for name in ("data_info.csv", "type_info.csv"):
        (folder / "labels" / name).unlink()
    alone, _ = fill(folder, "alone")
    for store in (both, alone):
        assert {name: label.sha256 for name, label in store.labels.items()} == hashes
        assert [t.name for t in store.tracks] == ["00012", "12", "00007", "50000"]


def test_both_spellings_of_south_africa_are_the_same_columns(folder, tmp_path):
    values = values_of()
    prepared(folder, values)
    first, _ = fill(folder)
    for odd in (lambda c: c.replace("South Africa", "SouthAfrica"), _official):
        prepared(folder, values, header=[odd(c) for c in COLUMNS])
        again, notes = fill(folder, "again")
        assert again.labels == first.labels and not notes


def _official(column: str) -> str:
    return "SouthAfrica_Sadness" if column == "South Africa_Sadness" else column


@pytest.mark.parametrize(
    "text, name",
    [("[00012]", "00012"), (" 00012", "00012"), ("[ 7 ]", "7"), ("[7", "[7"), ("", "")],
)
def test_brackets_are_no_part_of_a_name_and_zeros_are(text, name):
    assert file_id(text) == name


def test_missing_cells_and_columns_are_masked_and_said(folder):
    values = values_of()
    values["12"] |= {"Valence": "", "Awe": "nan", "Voc_Type": "", "Country": "NaN"}
    rest = [c for c in COLUMNS if c not in ("Venezuela_Fear", "Surprise")]
    rows = [[clip, *(row[c] for c in rest)] for clip, row in values.items() if clip != "50000"]
    write(folder / "train.csv", ["File_ID", *rest], rows)
    store, notes = fill(folder)
    at = next(i for i, t in enumerate(store.tracks) if t.name == "12")
    masks = {name: np.asarray(store.label(name)[1]) for name in store.labels}
    assert not masks["type"][at] and not masks["country"][at]
    assert masks["two"][at].tolist() == [False, True] and masks["two"][:at].all()
    assert not masks["high"][:, EMOTIONS.index("Surprise")].any() and not masks["high"][at, 0]
    assert not masks["culture"][:, CULTURE.index("Venezuela_Fear")].any()
    assert masks["culture"].sum() == 39 * len(store.tracks)
    assert "columns that no table has, labels that are masked: Surprise, Venezuela_Fear" in notes
    assert "splits that are not there: validation, test" in notes


def test_what_belongs_to_nothing_is_named_and_left_out(folder):
    raw(folder, values_of())
    (folder / "wav" / "12.wav").unlink()
    sounds(folder / "more", ["99"])
    (folder / "wav" / "._00012.wav").write_bytes(b"mac")
    (folder / "A-VB-Two_us_1.csv").write_text("File_ID,Valence,Arousal\n[50000],.5,.5\n")
    store, notes = fill(folder)
    assert [t.name for t in store.tracks] == ["00012", "00007", "50000"]
    assert "clips without a file, left out: 12" in notes
    assert "files of sound that no table has, left out: 99" in notes
    assert "A-VB-Two_us_1.csv" in notes and "skipped: 1" in notes
    assert not store.label("two")[1][2].any()  # not what somebody has predicted


def test_suffixes_line_ends_blank_lines_and_accents_of_other_systems_change_nothing(folder):
    values = values_of()
    values["é"] = values.pop("12")
    splits = SPLIT_OF | {"é": "Train"}
    rows = [[f"[{c}]", splits[c], *(row[k] for k in COLUMNS)] for c, row in values.items()]
    write(folder / "Data_Info.CSV", ["File_ID", "Split", *COLUMNS], rows)
    text = (folder / "Data_Info.CSV").read_text()
    odd = "\ufeff" + text.replace("\n", "\r\n") + "  \r\n"
    (folder / "Data_Info.CSV").write_bytes(odd.encode())
    (folder / "wav" / "12.wav").rename(folder / "wav" / "e\u0301.WAV")  # as a Mac writes it
    store, notes = fill(folder)
    assert [t.name for t in store.tracks] == ["00012", "é", "00007", "50000"] and not notes


def test_a_broken_clip_is_named_and_left_out_only_where_that_is_asked_for(folder, capsys):
    raw(folder, values_of())
    (folder / "wav" / "12.wav").write_text("no sound")
    command = ["--source=humevb", f"--input={folder}", f"--store={folder.parent / 'store'}"]
    assert prepare(command) == 2
    error = capsys.readouterr().err
    assert "12.wav" in error and "--skip-bad" in error and error.count("\n") == 1
    assert not (folder.parent / "store").exists()
    assert prepare([*command, "--skip-bad"]) == 0
    assert "12.wav" in capsys.readouterr().out
    assert [t.name for t in Store(folder.parent / "store").tracks] == ["00012", "00007", "50000"]


@pytest.mark.parametrize(
    "old, new, parts",
    [
        ("File_ID,", "FileID,", ("type_info.csv:1: no column File_ID. Did you mean 'FileID'",)),
        ("File_ID,Split,Voc_Type", "File_ID;Split;Voc_Type", (":1:", "separated by semicolons")),
        ("Voc_Type", "Split", (":1: the column 'Split' comes twice",)),
        ("Train", "Trian", ("Split is 'Trian', expected Train, Val or Test",)),
        ("[00007],Val", "[00007],Test", ("00007 is in split 'test', but in 'validation'",)),
        ("[00007],Val", "[../7],Val", ("File_ID '../7'", "holds '/'")),
        ("[00007],Val", "[00007],Val,Laugh", (":3: 4 fields, expected 3",)),
        ("[00007],Val", '"[00007],Val', ("not a row of a csv file",)),
        ("[00007],Val", "\n[00007],Val", (":3: 0 fields, expected 3",)),
    ],
)
def test_a_table_that_cannot_be_is_one_line(folder, old, new, parts):
    raw(folder, values_of())
    path = folder / "labels" / "type_info.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        fill(folder)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value) and not (folder.parent / "store").exists()


@pytest.mark.parametrize(
    "column, cell, words",
    [
        ("Voc_Type", "laugh", "Voc_Type is 'laugh'. Did you mean 'Laugh'?"),
        ("Country", "USA", "Country is 'USA'. Known: China"),
        ("Awe", "1.01", "Awe is '1.01', expected a number from 0 to 1"),
        ("Awe", "-5", "Awe is '-5', expected"),
        ("Fear", ".1_0", "Fear is '.1_0', expected"),
        ("Fear", "inf", "Fear is 'inf', expected"),
    ],
)
def test_a_cell_that_cannot_be_is_named_by_line_and_column(folder, column, cell, words):
    values = values_of()
    values["12"][column] = cell
    prepared(folder, values)
    with pytest.raises(UserError, match="train.csv:3: ") as caught:
        fill(folder)
    assert words in str(caught.value)


def test_tables_that_contradict_each_other_are_refused_with_both_places(folder):
    values = values_of()
    raw(folder, values)
    values["12"]["Awe"] = f"{(float(values['12']['Awe']) + 0.3) % 1:.6f}"
    prepared(folder, values)
    with pytest.raises(UserError, match=r"data_info.csv:3: Awe of 12 is .*, but .*train.csv:3\."):
        fill(folder)


def test_a_row_that_comes_twice_is_taken_once_if_it_is_the_same(folder):
    raw(folder, values_of())
    path = folder / "labels" / "type_info.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1].replace("[", "").replace("]", "")]) + "\n")
    store, notes = fill(folder)
    assert len(store.tracks) == 4 and "clips that come twice, taken once: 50000" in notes
    path.write_text("\n".join([*lines, "[50000],Test,Laugh"]) + "\n")
    with pytest.raises(UserError, match=":6: 50000 again, other than in line 2"):
        fill(folder, "other")


def test_clips_that_one_table_lacks_are_named_and_their_labels_masked(folder):
    raw(folder, values_of())
    path = folder / "labels" / "type_info.csv"
    path.write_text("".join(x for x in path.read_text().splitlines(True) if "[12]" not in x))
    clips = read_folder(folder, report := Report())
    assert "type_info.csv: clips of other tables that it does not have: 12" in report.notes[0]
    labels = clips.labels(clips.ids.index("12"))
    assert not labels["type"][1].any() and labels["culture"][1].all()


def test_a_folder_without_tables_or_clips_says_what_is_expected(tmp_path):
    (tmp_path / "avb").mkdir()
    with pytest.raises(UserError, match=r"no table in it.*train.csv, .*data_info.csv"):
        fill(tmp_path / "avb")
    raw(tmp_path / "avb", values_of())
    with pytest.raises(UserError, match=r"none of the 4 clips .*00007.*that are there: none"):
        fill(tmp_path / "avb")
    sounds(tmp_path / "avb" / "wav", ["012", "7"])
    with pytest.raises(UserError, match=r"that are there: 012, 7"):
        fill(tmp_path / "avb")
