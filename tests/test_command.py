"""Answers of every program: exit codes in place of tracebacks, and paths as users write them."""

import logging
import os
import pathlib
import signal

import pytest

from data_pipelines.command import exit_code
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.paths import user_path


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (None, 0, ""),
        (UserError("--a=b: wrong."), 2, "error: --a=b: wrong.\n"),
        (UserError("a\r\nb.png: wrong."), 2, "error: a\\r\\nb.png: wrong.\n"),
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/" + "c" * 256, "longer than the name of a file can be"),
        ("/".join(["folder"] * 1000), "longer than the name of a file can be"),
        ("\u00e4" * 200, "longer than the name of a file can be"),
        ("runs/\udcff", "not UTF-8"),
        ("a\0b", "holds a null byte"),
    ],
)
def test_a_name_that_no_file_can_have_is_one_line(name, message):
    with pytest.raises(UserError, match=message) as caught:
        user_path(name)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300 and text.isprintable()


def test_a_line_is_short_however_many_names_there_are():
    names = [f"data_set_{i}" for i in range(3000)]
    assert listed(names).endswith("data_set_11, ... (3,000 in all)") and listed("ab") == "a, b"
    assert len(nearest("data_set_7" * 1000, ["x" * 5000, *names])) < 1500
    assert len(shown("x" * 9999)) == 100 and shown(10**5000) == "<int>"


def test_a_warning_is_its_text_alone_whatever_a_library_has_logged(monkeypatch, capsys):
    def run(_):
        logging.warning("of a library")
        logging.getLogger("affect_jax.some").warning("of ours")

    monkeypatch.setattr(logging.root, "handlers", [])
    assert exit_code(run, []) == 0
    assert capsys.readouterr().err == "of a library\nof ours\n"


@pytest.mark.parametrize("name", ["DWA", "Dwa", "dwaa"])
def test_a_name_in_capitals_is_near_the_one_that_is_meant(name):
    assert nearest(name, ["fixed", "dwa"]) == "Did you mean 'dwa'? Known: fixed, dwa."


def test_memory_that_cannot_be_had_is_one_line(capsys):
    def run(_):
        raise MemoryError("Unable to allocate 8 TiB")

    assert exit_code(run, []) == 2
    assert capsys.readouterr().err == "error: not enough memory (Unable to allocate 8 TiB).\n"
