"""Tables of labels of clips: a csv with a row a file and a column a label."""

import re

import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.labels.clip_table import read_table


def read(tmp_path, text, columns=(), warn=None):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    notes = []
    table = read_table(path, columns, warn=notes.append)
    return (table, notes) if warn else table


TABLE = """file,split,group,emotion,two:valence,two:arousal,age
anna/01.wav,train,anna,joy,0.4,0.7,31
anna/02.wav,train,anna,,0.1,,
ben/01.wav,test,ben,anger,-1e-1,NaN,44
"""


def test_numbers_are_values_words_are_classes_and_empty_cells_are_missing(tmp_path):
    table = read(tmp_path, TABLE)
    assert table.definitions == {
        "emotion": dict(kind="classes", size=2, names=("anger", "joy")),
        "two": dict(kind="values", size=2, names=("valence", "arousal")),
        "age": dict(kind="values", size=1, names=()),
    }
    np.testing.assert_array_equal(table.values["emotion"], [1, np.nan, 0])
    np.testing.assert_array_equal(table.values["two"], [[0.4, 0.7], [0.1, np.nan], [-0.1, np.nan]])
    assert {name: (c.line, c.split, c.group) for name, c in table.clips.items()} == {
        "anna/01.wav": (2, "train", "anna"),
        "anna/02.wav": (3, "train", "anna"),
        "ben/01.wav": (4, "test", "ben"),
    }
    labels = table.labels(table.clips["ben/01.wav"])
    assert {name: x.shape for name, x in labels.items()} == {
        "emotion": (1,),
        "two": (1, 2),
        "age": (1, 1),
    }


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace(",", ";"),
        TABLE.replace(",", ";").replace("0.", "0,"),
        TABLE.replace(",", "\t"),
        TABLE.replace(",", "\t").replace("0.", "0,"),
        TABLE.replace("\n", "\r\n"),
        "\ufeff" + TABLE.replace("file", "File_ID").replace("split", " Split "),
        TABLE.replace("anna/01", r".\anna\01").replace("joy", '" joy "'),
        TABLE.replace("age", "age,").replace("\n", ",\n").replace("age,,", "age,") + ",,,,,,,\n\n",
    ],
)
def test_what_spreadsheets_write_is_the_same_table(tmp_path, text):
    plain, table = read(tmp_path, TABLE), read(tmp_path, text)
    assert table.definitions == plain.definitions and table.clips == plain.clips
    for name, values in plain.values.items():
        np.testing.assert_array_equal(table.values[name], values)


def test_without_columns_of_split_and_group_all_are_train_each_by_itself(tmp_path):
    table, notes = read(tmp_path, "file,x\na,1\nb,2\n", warn=True)
    assert [(c.split, c.group) for c in table.clips.values()] == [("train", "")] * 2
    assert notes == [f"{table.path}: no column split, all clips are the split train"]


def test_labels_without_a_value_are_left_out_and_only_those_asked_for_are_taken(tmp_path):
    text = "file,split,note,x\na,train,,1\nb,train,nan,2\n"
    table, notes = read(tmp_path, text, warn=True)
    assert list(table.definitions) == ["x"]
    assert notes == [f"{table.path}: labels without a value, left out: note"]
    assert list(read(tmp_path, TABLE, ["two"]).definitions) == ["two"]
    with pytest.raises(UserError, match="no column of a label 'emotoin'. Did you mean 'emotion'"):
        read(tmp_path, TABLE, ["emotoin"])


MANY = "file,x\n" + "".join(f"{i},word {i}\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (b"file,x\n\xff,1\n", ":2: byte 0xff is not UTF-8"),
        ("a.wav,joy\nb.wav,anger\n", ":1: 'a.wav,joy': no column file or file_id"),
        ("file|x\na|1\n", "separated by commas, semicolons or tabs"),
        ("file,x\n", "a header and no rows"),
        ("file,x\na,1,2\n", ":2: 3 fields, the header has 2"),
        ("file,x,x\na,1,2\n", "the column 'x' comes twice"),
        ("file,File,x\na,a,2\n", "the column 'file' comes twice"),
        ("file,File_ID,x\na,a,2\n", "the column 'file_id' comes twice"),
        ("file,\na,1\n", ":2: a field of a column without a name"),
        ("file,x\na,1\n\n./a,2\n", ":4: 'a' comes twice, first in line 2"),
        ("file,x\n,1\n", ":2: names no file"),
        ("file,x,split\na,1,\n", ":2: split '': the name is empty"),
        ("file,x,group\na,1,b/c\n", ":2: group 'b/c': the name holds '/'"),
        ("file,x\na,1\nb,high\n", ":3: x is 'high', where other rows have numbers"),
        ("file,x\na,1\nb,inf\n", ":3: x is 'inf'"),
        ('file,x\na,"0,7"\nb,"0,5"\n', ":2: x is '0,7'. Where fields are separated by commas"),
        ('file,x\na,"b\n', "not a row of a csv file"),
        ("file,a/b\na,1\n", "label 'a/b': the name holds '/'"),
        ("file,two,two:b\na,1,2\n", "'two' and 'two:b' are one label"),
        ("file,two:a,two:b\na,1,joy\n", "column 'two:b' holds words"),
        (MANY, "column 'x' has 30 words in 30 rows, which are no classes"),
    ],
)
def test_what_a_table_cannot_be_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
