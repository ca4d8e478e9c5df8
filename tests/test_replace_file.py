"""Files that are replaced as a whole, and their JSON."""

import json

import pytest

from data_pipelines.replace_file import replace_file, replace_json, replace_text, to_json


def test_a_score_that_is_no_number_is_null():
    scores = {"b": [1.0, float("nan")], "a": float("inf"), "n": 2}
    assert json.loads(to_json(scores)) == {"a": None, "b": [1.0, None], "n": 2}


def test_a_file_is_replaced_when_its_block_ends_and_not_before(tmp_path):
    file = tmp_path / "a.txt"
    replace_text(file, "old")
    with replace_file(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_an_exception_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "a.txt"
    replace_text(file, "old")
    with pytest.raises(ValueError), replace_file(file) as partial:
        partial.write_text("half")
        raise ValueError("stopped")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_json_file_holds_null_where_there_is_no_number(tmp_path):
    replace_json(tmp_path / "a.json", {"b": (1, float("nan")), "a": None})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": None, "b": [1, None]}
    assert text.index("a") < text.index("b") and text.endswith("}\n")
