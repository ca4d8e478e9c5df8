"""The report of a selection of rows: tables of the card, and pictures."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from affect_jax import config as configs
from affect_jax import report
from affect_jax.report import selection
from affect_jax.report.figure_selection import CURVES, draw_turns
from affect_jax.report.selection import Selection
from affect_jax.run import Run
from affect_jax.tasks import tasks_from_config
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

ROWS, TURNS = 210, 8
KINDS = ("full", "half", "none")


def write_csv(file, columns):
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@pytest.fixture(scope="module")
def columns():
    """A selection that retains most full faces and few of the others."""
    rng = np.random.default_rng(0)
    kind = np.arange(ROWS) // 7 % 3
    p = np.array([0.8, 0.55, 0.2])[kind] + 0.19 * rng.uniform(-1, 1, ROWS)
    label = [EXPRESSIONS[i % 7] for i in range(ROWS)]
    return {
        "track": [f"train{i}" for i in range(ROWS)],
        "label": label,
        "p_retain": [f"{x:.6f}" for x in p],
        "retained": (p >= 0.5).astype(int).tolist(),
        "prediction": [EXPRESSIONS[(i + (i % 5 == 0)) % 7] for i in range(ROWS)],
        "clean": label,
        "kind": [KINDS[k] for k in kind],
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, columns):
    """A run folder with a selection of training pictures and one of its validation split."""
    folder, rng = tmp_path_factory.mktemp("selection"), np.random.default_rng(0)
    features = {"face": dict(shape=(12, 12), dtype="uint8")}
    labels = {"expression": dict(kind="classes", size=7, names=EXPRESSIONS)}
    with StoreWriter(folder / "store", name="faces", features=features, labels=labels) as writer:
        for i in range(ROWS):
            face = rng.integers(0, 256, (1, 12, 12), np.uint8)
            given = {"expression": [i % 7]}
            writer.add(track=f"train{i}", split="train", features={"face": face}, labels=given)
    config = configs.load("configs/fer2013.py:smoke")
    config.data.root, config.folds.cut = str(folder / "store"), ""
    config.data.train_split = "train"
    run = Run(folder / "runs" / "rlps")
    run.create()
    configs.save(config, run.config_file)
    run.write_tasks(tasks_from_config(config))
    write_csv(run.folder / "selection" / "selection.csv", columns)
    curves = {name: rng.random(TURNS).astype(np.float32) for name in CURVES}
    curves["score"][:] = np.nan
    rewards = rng.normal(size=(TURNS, 30)).astype(np.float32)
    alone = np.arange(TURNS) < 3
    np.savez(run.folder / "selection" / "history.npz", alone=alone, rewards=rewards, **curves)
    of_split = {name: column[:40] for name, column in columns.items()}
    of_split["kind"] = [""] * 40  # noise is added to training splits
    write_csv(run.predictions / "validation" / "selection.csv", of_split)
    return run


def test_pictures_of_turns_rows_and_faces_are_drawn_and_small(run):
    written = report.write_all(run.folder)
    assert [file.name for file in written] == [
        "selection_turns.png",
        "selection_rows.png",
        "selection_faces.png",
        "selection_validation.png",
    ]
    for file in written:
        assert 5_000 < file.stat().st_size < 300_000
        with Image.open(file) as picture:
            assert 400 < picture.width < 1700 and 300 < picture.height < 1200


def test_the_card_says_how_many_are_right_by_kind_and_class(run, columns):
    card = report.write_card(
        run.folder, Store(run.folder.parents[1] / "store"), step=1, parameters=1
    )
    text = card.read_text()
    kind, retained = np.array(columns["kind"]), np.array(columns["retained"], bool)
    p = np.array(columns["p_retain"], float)
    right = kind == "full"
    precision, recall = (right & retained).sum() / [retained.sum(), right.sum()]
    assert f"{retained.sum()} of {ROWS} training rows are retained" in text
    assert f"Of the retained rows {precision:.3f} are right (precision)" in text
    assert f"Of the right rows {recall:.3f} are retained (recall)" in text
    assert f"of all rows {right.mean():.3f} are" in text.replace("\n", " ")
    for name in KINDS:
        mean, share = p[kind == name].mean(), retained[kind == name].mean()
        assert f"| {name} | {ROWS // 3} | {mean:.3f} | {share:.3f} |" in text
    assert f"| rows | {' | '.join(EXPRESSIONS)} |" in text
    wrong = [retained[(np.array(columns["label"]) == e) & ~right].mean() for e in EXPRESSIONS]
    assert "| wrong | " + " | ".join(f"{share:.3f} of 20" for share in wrong) + " |" in text
    assert "--of=" in text and "![selection faces](plots/selection_faces.png)" in text


def test_without_noise_there_is_neither_precision_nor_a_kind(run, columns, tmp_path):
    plain = {k: v for k, v in columns.items() if k not in ("clean", "kind")}
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    write_csv(other.folder / "selection" / "selection.csv", plain)
    assert list(Selection.read(other.folder / "selection" / "selection.csv").groups()) == ["all"]
    text = selection.section(other)
    assert "precision" not in text and "| wrong |" not in text and "| all | 210 |" in text
    drawn = [draw() for name, draw in selection.pictures(other) if name == "selection_rows.png"]
    assert len(drawn[0].axes) == 2


def test_of_a_selection_of_nothing_the_card_says_so(run, columns, tmp_path):
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    write_csv(other.folder / "selection" / "selection.csv", columns | {"retained": [0] * ROWS})
    text = selection.section(other)
    assert "None of 210 training rows is retained" in text and "keep.txt is empty" in text
    assert "precision" not in text


def test_of_label_noise_right_is_the_label_before(tmp_path, columns):
    kind = ["wrong" if i % 3 == 0 else "right" for i in range(ROWS)]
    clean = [EXPRESSIONS[(i + (i % 3 == 0)) % 7] for i in range(ROWS)]
    write_csv(tmp_path / "selection.csv", columns | {"kind": kind, "clean": clean})
    read = Selection.read(tmp_path / "selection.csv")
    np.testing.assert_array_equal(read.right, np.arange(ROWS) % 3 != 0)
    assert list(read.groups()) == ["right", "wrong", "all"]
    del columns["kind"]
    write_csv(tmp_path / "selection.csv", columns | {"clean": clean})
    again = Selection.read(tmp_path / "selection.csv")
    np.testing.assert_array_equal(again.right, read.right)
    assert list(again.groups()) == ["right", "wrong", "all"]


def test_pictures_that_are_shown_are_the_surest_of_each_label(run, monkeypatch, columns):
    drawn = {}
    monkeypatch.setattr(selection, "draw_faces", lambda columns, *a, **k: drawn.update(columns))
    selected = selection.of_training(run)
    selection._faces(run, selected, "")
    assert tuple(drawn) == EXPRESSIONS
    pixels = Store(run.folder.parents[1] / "store").feature("face")
    for c, (kept, removed) in enumerate(drawn.values()):
        own = np.arange(c, ROWS, 7)
        best = own[np.argmax(selected.p_retain[own])]
        worst = own[np.argmin(selected.p_retain[own])]
        assert len(kept) == len(removed) == selection.SHOWN
        for face, row in ((kept[0], best), (removed[0], worst)):
            np.testing.assert_array_equal(face.pixels, pixels[row])
            assert face.proposed == columns["prediction"][row]
            assert face.right == selected.right[row]


def test_frames_are_found_by_their_image_number(tmp_path):
    features = {"face": dict(shape=(4, 4, 3), dtype="uint8")}
    labels = {"expression": dict(kind="classes", size=2, names=("joy", "fear"))}
    with StoreWriter(tmp_path / "s", name="frames", features=features, labels=labels) as writer:
        for name, images in (("a", [1, 4, 9]), ("b", [2, 3])):
            shade = 10 * np.array(images)[:, None, None, None] + (name == "b")
            face = np.broadcast_to(shade, (len(images), 4, 4, 3)).astype(np.uint8)
            label = {"expression": np.zeros(len(images), int)}
            writer.add(
                track=name, split="train", features={"face": face}, labels=label, frames=images
            )
    config = configs.load("configs/fer2013.py:smoke")
    config.data.root = str(tmp_path / "s")
    config.task.expression.size, config.task.expression.names = 2, ("joy", "fear")
    run = Run(tmp_path / "run")
    run.create()
    configs.save(config, run.config_file)
    run.write_tasks(tasks_from_config(config))
    columns = {
        "track": ["a", "a", "b"],
        "frame": [4, 9, 3],
        "label": ["joy"] * 3,
        "p_retain": [0.9, 0.2, 0.1],
        "retained": [1, 0, 0],
        "prediction": ["joy", "fear", "fear"],
    }
    write_csv(run.folder / "selection" / "selection.csv", columns)
    shown = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "draw_faces", lambda columns, *a, **k: shown.update(columns))
        selection._faces(run, selection.of_training(run), "")
    kept, removed = shown["joy"]
    assert [int(face.pixels[0, 0, 0]) for face in (*kept, *removed)] == [40, 31, 90]


def test_curves_without_a_number_get_no_panel():
    history = {"keep_rate": np.array([0.5, 0.6]), "score": np.full(2, np.nan)}
    history |= {"alone": np.array([True, False]), "rewards": np.zeros((2, 3))}
    figure = draw_turns(history)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles[:2] == ["share of rows retained", "rewards of 3 rows"]


def test_a_damaged_selection_is_a_line_and_the_rest_of_the_card_is_there(run, tmp_path, caplog):
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    (other.folder / "selection" / "selection.csv").write_text("track,label\na,joy\n")
    store = Store(run.folder.parents[1] / "store")
    text = report.write_card(other.folder, store, step=1, parameters=1).read_text()
    assert "## Selection\n\nCannot be shown." in text and "## Files" in text
    assert "selection.csv: not a selection as a run writes it" in text
    assert "selection_validation.png" in {file.name for file in report.write_all(other.folder)}
    assert "selection.csv: not a selection as a run writes it" in caplog.text
