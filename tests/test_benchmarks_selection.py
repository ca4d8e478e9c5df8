"""The noise bench: equal steps, and what stands in its table."""

import re
import types

import numpy as np
import pytest

from affect_jax import config as configs
from affect_jax.prediction_files import Predictions
from affect_jax.report.interval import DrawnScores
from affect_jax.selection.quality import Quality
from affect_jax.tasks import Task
from benchmarks import selection, selection_case
from benchmarks.selection_case import Case, same_steps
from benchmarks.selection_table import GAINS, SCORES, Result, Row, table
from data_pipelines.command import exit_code
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter

CLIPS = 60


def scores(wrong: int) -> DrawnScores:
    """Of clips of two classes, so many of the first of which are taken for the second."""
    label = np.arange(CLIPS) % 2
    predicted = np.where((label == 0) & (np.arange(CLIPS) < 2 * wrong), 1, label)
    names = np.array([f"clip{i}" for i in range(CLIPS)])
    task = Task("kind", "classes", 2, ("a", "b"), "ce", ("confusion", *SCORES), "argmax")
    raw, one = np.eye(2, dtype=np.float32)[predicted], np.ones(CLIPS, np.int32)
    p = Predictions(names, np.arange(CLIPS), one, raw, label.astype(np.int32), one > 0)
    return DrawnScores({task: p}, {str(name): str(name) for name in names})


def cells(text: str) -> dict[str, dict[str, str]]:
    """{row: {head: cell}} of a table in Markdown."""
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    heads = lines[0]
    return {line[0]: dict(zip(heads, line)) for line in lines[2:]}


def test_fewer_rows_are_seen_in_more_epochs_of_as_many_steps():
    assert same_steps(30, 1500, 1500, 128) == 30
    assert same_steps(30, 1500, 750, 128) == 60  # 12 batches, 6 batches
    assert same_steps(30, 1500, 1, 128) == 360
    assert same_steps(1, 10, 1000, 128) == 1


def test_other_data_in_a_folder_of_the_bench_are_refused(tmp_path):
    for name in ("one", "other"):
        labels = {"expression": dict(kind="classes", size=2)}
        features = {"a": dict(size=1)}
        with StoreWriter(tmp_path / name, name="s", features=features, labels=labels) as writer:
            for i in range(4):
                given = dict(features={"a": [[0.0]]}, labels={"expression": [i % 2]})
                writer.add(track=f"{name}{i}", split="train", **given)

    def root(name):
        given = dict(workdir=tmp_path / "runs", config="configs/rlps.py", root=str(tmp_path / name))
        return Case(types.SimpleNamespace(**given), "flip:0.5", 0)._root

    assert root("one") == root("one") == str(tmp_path / "runs" / "flip-0.5" / "seed0" / "store")
    with pytest.raises(UserError, match="store: is of other data than .*other. Give another --wor"):
        root("other")


def test_gains_are_differences_seed_by_seed():
    none = [Result(scores(w), 1.0) for w in (12, 6)]
    better = [Result(scores(w), 0.5, Quality(0.8, 0.7)) for w in (6, 0)]
    control = [Result(scores(w), 0.5) for w in (18, 12)]
    rows = {
        "none": [Row(r) for r in none],
        "rlps": [Row(*three) for three in zip(better, none, control)],
    }
    found = cells(table(rows))
    average = SCORES["recall_fixed"]
    # Of 30 clips of the first class 12 or 6 are wrong: recalls of (.6, 1) and (.8, 1).
    assert found["none"][average].startswith("0.850 ± 0.071 (")
    assert found["rlps"][average].startswith("0.950 ± 0.071 (")
    assert found["rlps"][GAINS["all"]].startswith("+0.100 ± 0.000 (+")
    assert found["rlps"][GAINS["random"]].startswith("+0.200 ± 0.000 (+")
    assert not found["none"][GAINS["all"]] and not found["none"][GAINS["random"]]
    assert found["rlps"]["share kept"] == "0.500" and found["rlps"]["precision"] == "0.800"
    low, high = map(float, re.findall(r"[-+][.\d]+", found["rlps"][GAINS["all"]])[1:])
    assert 0.02 < low < 0.1 < high < 0.2


def test_kinds_of_noise_stand_in_the_order_of_the_store_and_selectors_have_p_retain():
    kinds = {"full": 0.9, "half": 0.5, "none": 0.25}
    rows = {
        "none": [Row(Result(scores(1), 1.0, None, dict.fromkeys(kinds, 1.0)))],
        "rlps": [Row(Result(scores(1), 0.6, None, kinds, {k: x / 2 for k, x in kinds.items()}))],
    }
    found = cells(table(rows))
    assert found["rlps"]["kept of full / half / none"] == "0.900 / 0.500 / 0.250"
    assert found["rlps"]["P(retain) of full / half / none"] == "0.450 / 0.250 / 0.125"
    assert found["none"]["P(retain) of full / half / none"] == ""


def test_a_method_that_keeps_no_row_in_a_seed_has_no_scores():
    none = Row(Result(scores(3), 1.0))
    rows = {"none": [none] * 2, "sigmoid": [Row(Result(None, 0.0), none.ours), Row(none.ours)]}
    found = cells(table(rows))
    assert found["sigmoid"]["accuracy"] == "no row in 1 of 2 seeds"
    assert found["sigmoid"]["share kept"] == "0.500"
    assert not found["sigmoid"][SCORES["recall_fixed"]] and not found["sigmoid"][GAINS["all"]]
    assert found["none"]["accuracy"].startswith("0.950")


def test_equal_sets_are_trained_on_once_and_what_removes_nothing_has_no_control(
    tmp_path, monkeypatch
):
    trained = []

    class Stub(Case):
        _candidates = types.SimpleNamespace(
            labels=np.zeros(10),
            labelled=np.arange(10),
            kind=None,
            right=None,
            store=None,
            rows=None,
        )
        _before = 1

        def _scores(self, name, config):
            trained.append(name)
            return scores(0)

        def _kept(self, method):
            return np.arange(10) < {"oracle": 4, "random": 4}.get(method, 10)

        def _classifier(self, epochs, keep=""):
            return None

        def _base(self, variant=""):
            return configs.load("configs/rlps.py:smoke")

    monkeypatch.setattr(selection_case, "write_kept", lambda *a: None)
    flags = types.SimpleNamespace(workdir=tmp_path, methods=("none", "oracle", "random"))
    flags.removed = ("small_loss", "oracle")
    (tmp_path / "crops" / "seed0").mkdir(parents=True)
    rows = dict(Stub(flags, "crops", 0).rows())
    names = ("none", "oracle", "random-4", "oracle-removed", "random-6")
    assert list(dict.fromkeys(trained)) == [f"fresh/{name}" for name in names]
    assert "as many as removed by small_loss" not in rows
    assert rows["as many as removed by oracle"].ours.share == 0.6
    assert rows["random"].random.share == rows["oracle"].random.share == 0.4
    assert rows["removed by small_loss"].ours.scores is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "required: --workdir"),
        (["--workdir=x", "--noises=crop"], "--noises: 'crop': Did you mean 'crops'?"),
        (["--workdir=x", "--noises=uniform:2"], "expected a number from 0 to 1"),
        (["--workdir=x", "--methods=rpls"], "--methods: 'rpls': Did you mean 'rlps'?"),
        (["--workdir=x", "--removed=small"], "--removed: 'small': Did you mean 'small_loss'?"),
        (["--workdir=x", "--seeds=0"], "expected a whole number from 1"),
        (["--workdir=x", "--config=configs/mtl.py"], "has no keys of a selector, config.rlps"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(flags, message, capsys):
    assert exit_code(selection.main, flags) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and not out


CONFIG = """
from configs import rlps


def get_config(variants=""):
    c = rlps.get_config(",".join(filter(None, (variants, "smoke"))))
    c.rlps.first_rate = 0.51
    c.rlps.lr = 1e-6  # all that tells rows apart is the first policy
    return c
"""


@pytest.mark.slow
def test_all_is_trained_once_and_the_same_command_prints_the_same_table(tmp_path, capsys):
    (tmp_path / "config.py").write_text(CONFIG)
    command = [
        f"--workdir={tmp_path / 'bench'}",
        f"--config={tmp_path / 'config.py'}",
        "--root=twin:rafdb?size=small",
        "--seeds=1",
        "--noises=uniform:0.4",
        "--methods=none,f1",
        "--removed=f1",
    ]
    assert exit_code(selection.main, command) == 0
    out, err = capsys.readouterr()
    found = cells(out.partition("\n\n")[2].strip())
    assert list(found) == ["none", "f1", "f1, jointly", "removed by f1"]
    assert found["none"]["precision"] == "0.600" and found["none"]["share kept"] == "1.000"
    # All rows, those that F1 is measured on too.
    assert found["f1"]["share kept"] == found["f1, jointly"]["share kept"] == "1.000"
    assert found["f1"]["recall"] == "1.000"
    assert found["f1"]["kept of right / wrong"] and found["f1"]["P(retain) of right / wrong"]
    assert found["removed by f1"]["accuracy"] == "no row in 1 of 1 seeds"
    assert "compiling the training step" in err
    assert exit_code(selection.main, command) == 0
    again, err = capsys.readouterr()
    assert again == out and "compiling the training step" not in err
