"""What every program answers: exit codes in place of tracebacks, and paths as users write them."""

import os
import pathlib
import signal

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


def test_the_exit_code_of_the_program_is_kept():
    assert exit_code(lambda _: 1, []) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_program_as_ctrl_c_does(number, code, capsys):
    cleared = []

    def run(_):
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # another, while it clears up
            cleared.append(True)

    assert exit_code(run, [], stopped="over") == code
    assert cleared and capsys.readouterr().err == "over\n"
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert exit_code(lambda _: os.kill(os.getpid(), signal.SIGHUP), []) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_mistake_of_our_own_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda _: 1 / 0, [])


def test_a_home_is_found_or_named(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/runs") == pathlib.Path("/home/me/runs")
    with pytest.raises(UserError, match=r"^~nosuchuser/x: no such home folder"):
        user_path("~nosuchuser/x")
