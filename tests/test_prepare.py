"""The command that prepares a store: its sources, its one line, and what a kill leaves."""

import shlex
import subprocess
import sys

import pytest

from data_pipelines import prepare, sources
from data_pipelines.errors import listed
from data_pipelines.report import Report
from tests.conftest import ROOT
from tests.inputs import write


@pytest.mark.parametrize("name", sources.names())
def test_every_source_has_a_description_and_fills(name):
    module = sources.load(name)
    assert module.__doc__.splitlines()[0].endswith(".")
    assert callable(module.fill)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source=affwild", "--input=.", "--store=x"], "Did you mean 'affwild2'?"),
        (["--source=", "--input=.", "--store=x"], "no such source. Known: affwild2"),
        (["--source=mosi", "--input=.", "--store=x", "--edition=3"], "unknown argument '--edition"),
        (["--source=affwild2", "--imput=.", "--store=x"], "Did you mean --input?"),
        (["--source=affwild2", "--store=x"], "required: --input"),
        (["--source=mosi", "--input=.", "--store=x", "--stor=y"], "Did you mean --store?"),
        (["--source=mosi", "--input=nowhere", "--store=x"], "--input=nowhere: no such folder"),
        (["--input=.", "--store=x"], "required: --source"),
        (["--source=affwild2", "--input=.", "--store=x", "--edition=x"], "invalid int value: 'x'"),
        (["--source=affwild2", "--input=.", "--store=x", "--edition=12"], "edition 12: the ABAW"),
        (["--source=affwild2", "--input=.", "--store=x"], "annotations: no such folder"),
        (["--source=affwild2", "--input=.", "--store=/"], "/ exists and is no store"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert prepare.main(arguments) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and message in out.err
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_named_as_one(tmp_path, capsys):
    table = write(tmp_path / "fer2013.csv", "emotion,pixels,Usage\n")
    assert prepare.main(["--source=fer2013", f"--input={table}", f"--store={tmp_path / 's'}"]) == 2
    assert "fer2013.csv: a file, expected the folder that holds it" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_one_line_that_names_it(
    affwild2_folder, tmp_path, capsys
):
    blocker = write(tmp_path / "file", "x")
    code = prepare.main(
        ["--source=affwild2", f"--input={affwild2_folder}", f"--store={blocker}/store"]
    )
    assert code == 2
    assert str(blocker) in capsys.readouterr().err.splitlines()[-1]


def test_the_command_that_comes_next_is_one_for_a_folder_with_spaces_too(
    affwild2_folder, tmp_path, capsys
):
    store = tmp_path / "my store"
    assert (
        prepare.main(["--source=affwild2", f"--input={affwild2_folder}", f"--store={store}"]) == 0
    )
    said = capsys.readouterr()
    last = (said.out + said.err).strip().splitlines()[-1]
    assert shlex.split(last)[1:] == ["-m", "data_pipelines.verify", f"--store={store}"]


ENDED = """
import os, resource, signal, sys
from data_pipelines import prepare, store_writer
how, *arguments = sys.argv[1:]
add = store_writer.StoreWriter.add
def ending(self, **track):
    add(self, **track)
    if how == "disk":  # as a full one: no file may grow
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    elif len(self._tracks) == 2:
        os.kill(os.getpid(), getattr(signal, how))
if how != "nothing":
    store_writer.StoreWriter.add = ending
sys.exit(prepare.main(arguments))
"""


@pytest.mark.parametrize(
    ("how", "code", "last"),
    [
        ("SIGTERM", 143, "stopped"),
        ("SIGHUP", 129, "stopped"),
        ("SIGINT", 130, "stopped"),
        ("disk", 2, "error: "),
        ("SIGKILL", -9, ""),
    ],
)
def test_however_a_preparation_ends_the_old_store_stays_and_the_same_command_goes_on(
    affwild2_folder, store, how, code, last
):
    command = ["--source=affwild2", f"--input={affwild2_folder}", f"--store={store}"]
    assert prepare.main(command) == 0
    before = (store / "manifest.json").read_bytes()

    def run(how):
        return subprocess.run(
            [sys.executable, "-c", ENDED, how, *command], capture_output=True, text=True, cwd=ROOT
        )

    ended = run(how)
    assert ended.returncode == code
    lines = ended.stderr.splitlines()
    assert len(lines) == bool(last) and "".join(lines).startswith(last)
    assert (store / "manifest.json").read_bytes() == before
    beside = {path.name for path in store.parent.iterdir()} - {affwild2_folder.name}
    assert (beside == {store.name}) == (how != "SIGKILL")
    assert run("nothing").returncode == 0
    assert {path.name for path in store.parent.iterdir()} - {affwild2_folder.name} == {store.name}


@pytest.mark.parametrize("module", ["prepare", "verify"])
def test_help_ends_with_0_and_imports_nothing_slow(module):
    code = (
        f"import sys; from data_pipelines import {module}\n"
        f"try: {module}.main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        "print('slow:', sorted({'scipy', 'h5py', 'jax', 'grain'} & set(sys.modules)), code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "--store" in result.stdout and not result.stderr
    assert result.stdout.splitlines()[-1] == "slow: [] 0"


def test_help_about_a_source_shows_its_flags(capsys):
    with pytest.raises(SystemExit) as caught:
        prepare.main(["--source=affwild2", "--help"])
    assert caught.value.code == 0 and "--edition" in capsys.readouterr().out


def test_notes_show_some_names_and_keep_all(capsys):
    report = Report(sys.stdout)
    report.note("gone", [str(i) for i in range(9)])
    assert report.notes == ["gone: 0, 1, 2, 3, 4, 5, 6, 7, 8"]
    assert capsys.readouterr().out == "note: gone: 0, 1, 2, 3, 4, 5, ... (9 in all)\n"
    assert listed("ab") == "a, b"
