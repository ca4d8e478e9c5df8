"""Scores of a run on subsets of its modalities, and the gates that a run logs."""

import csv
import functools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from affect_jax import subsets, systems
from affect_jax.predict import Predictor
from affect_jax.report.figure_gates import draw_gates, gates_of
from affect_jax.report.figure_subsets import draw_subsets
from affect_jax.run import Run
from affect_jax.scoring import Total, score
from affect_jax.train_run import train_run
from configs.fusion_keys import fusion_model
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.stores import small_store
from tests.tiny import tiny_config

STREAMS = {"one": ("a",), "two": ("b",)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("data") / "small", frames=(11, 6), gaps=True)


def config_of(store, fuser, **changes):
    """A fusion of both features of the small store, for valence."""
    c = tiny_config(store.path, tasks="valence", **changes)
    c.model = fusion_model(STREAMS, fuser)
    c.model.hidden, c.model.heads, c.model.head.hidden = 8, 2, 8
    c.total = ConfigDict(dict(name="CCC", terms=(("valence/ccc", 1.0),)))
    c.monitor = ("CCC",)
    return c


def test_subsets_grow_and_many_modalities_are_left_out_one_by_one():
    assert subsets.subsets_of("abc") == [
        *[("a",), ("b",), ("c",)],
        *[("a", "b"), ("a", "c"), ("b", "c")],
        ("a", "b", "c"),
    ]
    many = subsets.subsets_of("abcdefg")
    assert len(many) == 15 and many[7] == tuple("abcdef") and many[-1] == tuple("abcdefg")


def test_a_modality_that_a_split_has_nowhere_is_named(tmp_path):
    x, nowhere = np.zeros((4, 2)), {"b": np.zeros(4, bool)}
    features = {"a": dict(size=2), "b": dict(size=2)}
    with StoreWriter(tmp_path / "s", name="s", features=features, labels={}) as writer:
        for name, masks in (("two", {}), ("three", nowhere)):
            features = {"a": x, "b": x}
            writer.add(track=name, split=f"only{name}", features=features, feature_masks=masks)
    store = Store(tmp_path / "s")
    assert subsets.lacking(store, STREAMS, "onlythree") == ["two"]
    assert subsets.lacking(store, STREAMS, "onlytwo+onlythree") == []


def test_a_hidden_modality_is_as_one_that_the_data_have_nowhere(store, tmp_path):
    system = systems.build(config_of(store, "cross"))
    variables = jax.tree.map(
        lambda x: np.random.default_rng(0).normal(size=x.shape).astype(np.float32),
        system.variable_shapes,
    )
    found = dict(subsets.scores(system, variables, "validation"))
    assert list(found) == [("one",), ("two",), ("one", "two")]
    plain = system.prepare

    def without_two(batch, keys, train):
        batch = plain(batch, keys, train)
        masks = batch["inputs_mask"] | {"b": np.zeros(batch["mask"].shape, bool)}
        return batch | {"inputs_mask": masks}

    def scored():
        tracks = Predictor(system, "validation").tracks(variables)
        values = score(system.tasks, system.data.store, tracks)
        return Total.of(system.config).added_to(values)

    assert found["one", "two"] == pytest.approx(scored())
    system.prepare = without_two
    assert found["one",] == pytest.approx(scored())
    assert found["one",]["CCC"] != found["one", "two"]["CCC"]
    table = subsets.write(tmp_path / "subsets", "validation", found, system)
    assert table.splitlines()[0] == "| modalities | CCC | valence/ccc | CCC beside all |"
    assert table.splitlines()[-1].startswith("| one + two |") and "| 0.000 |" in table
    with open(tmp_path / "subsets" / "validation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["one"], row["two"]) for row in rows] == [("1", "0"), ("0", "1"), ("1", "1")]
    assert float(rows[0]["CCC"]) == found["one",]["CCC"]
    assert Image.open(tmp_path / "subsets" / "validation.png").width > 300


def test_features_of_another_family_are_modalities_each(store):
    system = systems.build(tiny_config(store.path, tasks="valence"))
    assert subsets.modalities_of(system) == {"a": ("a",), "b": ("b",)}


def test_subsets_are_drawn_a_row_each_beside_all():
    scores = {"a": {"x": 0.1}, "b": {"x": 0.4}, "a + b": {"x": 0.5}}
    (axes,) = draw_subsets(scores, ("x",)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(scores)
    dots, line = axes.lines
    assert list(dots.get_xdata()) == [0.1, 0.4, 0.5] and set(line.get_xdata()) == {0.5}


def test_the_weights_that_end_highest_are_drawn_by_epoch():
    def record(epoch):
        gates = {f"gate/m{i}": 0.01 * i * epoch for i in range(20)}
        return {"epoch": epoch, "step": epoch, "scores": {"validation": gates | {"CCC": 0.5}}}

    records = [record(1), record(2)]
    names = gates_of(records)
    assert len(names) == 20 and "CCC" not in names
    (axes,) = draw_gates(records, names, "run").axes
    assert len(axes.lines) == 16
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.19, 0.38])
    assert any(text.get_text() == "m19 0.38" for text in axes.texts)
    assert axes.get_title("right") == "16 of 20 weights"


def command(capsys, *argv):
    code = subsets.cli(list(argv))
    return code, capsys.readouterr()


def test_a_folder_without_a_run_is_one_line(capsys, tmp_path):
    code, said = command(capsys, str(tmp_path))
    assert code == 2 and said.err.count("\n") == 1 and str(tmp_path) in said.err


@pytest.mark.slow
def test_a_run_logs_its_gates_and_is_scored_by_the_command(store, tmp_path, capsys):
    run = Run(tmp_path / "run")
    config = config_of(store, "experts")
    config.aux.balance = 0.01
    train_run(config, run)
    names = [f"gate/{pair}" for pair in ("one-one", "one-two", "two-one", "two-two")]
    for record in run.records():
        gates = record["scores"]["validation"]
        assert sum(gates[name] for name in names) == pytest.approx(1, abs=1e-5)
        assert gates["aux/balance"] >= 1 - 1e-5 and "balance" in record["loss"]
    assert (run.folder / "plots" / "gates.png").is_file()
    fail = functools.partial(command, capsys, str(run.folder))
    assert fail("--split=nowhere")[0] == 2
    code, said = fail()
    assert code == 0 and said.out.splitlines()[-1].startswith("| one + two |")
    assert (run.folder / "subsets" / "validation.md").read_text() == said.out
