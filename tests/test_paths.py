"""Names from data: what may become part of a path, and what may not."""

import pytest

from data_pipelines.errors import UserError
from data_pipelines.paths import require_name

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
