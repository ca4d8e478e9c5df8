"""What every program answers: exit codes in place of tracebacks, and paths as users write them."""

import pathlib

import pytest

from data_pipelines.command import exit_code
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (None, 0, ""),
        (UserError("--a=b: wrong."), 2, "error: --a=b: wrong.\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "error: /x: Permission denied.\n"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device.\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_a_program_says_in_one_line_why_it_ends(problem, code, line, capsys):
    def run(arguments):
        assert arguments == ["a"]
        if problem is not None:
            raise problem

    assert exit_code(run, ["a"]) == code
    assert capsys.readouterr().err == line


def test_a_mistake_of_our_own_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda _: 1 / 0, [])


def test_a_home_is_found_or_named(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/runs") == pathlib.Path("/home/me/runs")
    with pytest.raises(UserError, match=r"^~nosuchuser/x: no such home folder"):
        user_path("~nosuchuser/x")
