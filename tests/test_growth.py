"""The table of the growth benchmark, and what its flags refuse."""

import runpy
import sys

import pytest

from benchmarks import growth


def test_growth_is_that_of_the_data_whatever_starting_costs():
    scales, starting = (1, 4, 16), 10
    linear = [growth.Cost(starting + scale, 100) for scale in scales]
    quadratic = [growth.Cost(starting + scale**2, 100 * scale) for scale in scales]
    still = [growth.Cost(starting, 100) for _ in scales]
    costs = [
        {"a": a, "b": b, "c": c} for a, b, c in zip(linear, quadratic, still)
    ]  # a dict a scale
    lines = growth.report(scales, costs).splitlines()
    assert lines[1].split() == ["a", "11.0", "14.0", "26.0", "5.0", "100", "100", "100"]
    assert lines[2].split()[4] == "17.0" and lines[2].split()[5:] == ["100", "400", "1600"]
    assert lines[3].split()[4] == "-" and "growth: 5.0 is linear" in lines[4]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--scales=1", "expected two or more"),
        ("--scales=4,1", "rising from 1"),
        ("--scales=0,1", "rising from 1"),
        ("--scales=", "expected numbers joined by commas"),
        ("--scales=1,9999999", "expected numbers joined by commas"),
        ("--tracks=100", "1,600 tracks at 16x, expected 2 to 500"),
        ("--tracks=0", "expected 2 to 500"),
        ("--tracks=x", "invalid int value"),
        ("--rows=1", "expected 12 to 100,000"),
        ("--folder=/dev/null/x", "Not a directory"),
        ("--shapes=8x8", "unknown argument"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(capsys, flag, message):
    assert growth.main([flag]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count("\n") == 0


@pytest.mark.parametrize("suite", [["--suite=growth"], ["--suite", "growth"]])
def test_it_is_a_suite_of_the_benchmarks(monkeypatch, capsys, suite):
    monkeypatch.setattr("sys.argv", ["benchmarks.run", "--rows=1", *suite])
    monkeypatch.delitem(sys.modules, "benchmarks.run", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("benchmarks.run", run_name="__main__")
    assert ended.value.code == 2 and "--rows=1: expected 12" in capsys.readouterr().err
