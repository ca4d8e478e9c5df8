"""Names from data: what may become part of a path, and what may not."""

import pytest

from data_pipelines.errors import UserError
from data_pipelines.paths import is_repository, require_name

BAD = ["", " ", ".", "..", "/", "../x", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[31m", "a\x7f"]
BAD += ["a\u2028b", "a\udc80", "x" * 241, "ü" * 121, 7, None, b"a", ["a"]]


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_name_that_is_a_path_or_nothing_is_refused_in_one_line(name):
    with pytest.raises(UserError) as error:
        require_name(name, "store: track")
    message = str(error.value)
    assert message.startswith("store: track ") and message.isprintable() and len(message) < 200


@pytest.mark.parametrize("name", ["a", "10-60-1280x720_right", "überraschung", "a b", "..a", "映"])
def test_name_that_a_file_can_have_is_taken_as_it_is(name):
    assert require_name(name, "track") is name


def test_the_name_of_a_repository_is_no_path_into_a_folder_that_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    assert is_repository("facebook/wav2vec2-base")
    for path in ("nets/12", "/facebook/wav2vec2", "facebook", "a/b/c", "~/x", "../x", ""):
        assert not is_repository(path)
