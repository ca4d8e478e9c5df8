"""The report of a run: its pictures and its card."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from affect_jax import config as configs
from affect_jax import main, report, scoring
from affect_jax.prediction_files import Predictions, read_split, write_split
from affect_jax.report import card as report_card
from affect_jax.report import plots, style
from affect_jax.run import Run
from affect_jax.tasks import Task, tasks_from_config
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.drawn import EXPRESSIONS, REFERENCES, UNITS, evaluations, smooth


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Run, Store]:
    """A finished multi-task run: 12 tracks of 2 to 1800 frames, two a video."""
    folder, rng = tmp_path_factory.mktemp("report"), np.random.default_rng(3)
    config = configs.load("configs/mtl.py:transformer")
    config.data.root, config.seed = str(folder / "store"), 7
    tasks = tasks_from_config(config)
    with StoreWriter(
        folder / "store",
        name="toy",
        features={
            "mae": dict(size=3, extractor="a net", trained_on=("train",)),
            "fau": dict(size=2),
        },
        labels={t.name: dict(kind=t.kind, size=t.size, names=t.names) for t in tasks},
        licence="made up for a test",
        notes=["prepared from `two` lists"],
    ) as writer:
        for i, frames in enumerate((1800, 2, 700, 90, 35, 260, 120, 640, 50, 410, 77, 300)):
            va = np.clip(0.4 * smooth(rng, frames, 2), -1, 1)
            whole = np.full((frames, 1), i != 5)
            writer.add(
                track=f"{i // 2}-30-1280x720_{'left' if i % 2 else 'right'}",
                group=str(i // 2),
                split="train" if i > 11 else "validation",
                features={},
                labels={
                    "valence": (va[:, :1], whole & (rng.random((frames, 1)) < 0.8)),
                    "arousal": (va[:, 1:], whole),
                    "expression": (smooth(rng, frames, 8) + np.linspace(1, -1, 8)).argmax(1),
                    "au": (smooth(rng, frames, 12) > np.linspace(-0.2, 1.5, 12)).astype(np.int8),
                },
                frames=np.cumsum(rng.integers(1, 6, frames)),
            )
        writer.add(track="t", split="train", features={}, labels={"au": np.zeros((9, 12), int)})
    (folder / "store" / "references.json").write_text(json.dumps({"validation": REFERENCES}))
    store, run = Store(folder / "store"), Run(folder / "runs" / "mtl")
    run.create()
    configs.save(config, run.config_file)
    run.write_tasks(tasks)
    for record in evaluations(40):
        run.append(record)

    def tracks():
        for index in store.split("validation"):
            track = store.tracks[index]
            rows, raw = track.span, {}
            for task in tasks:
                y = np.asarray(store.label(task.name)[0][rows])
                y = np.eye(8)[y] if task.kind == "classes" else y
                noise = rng.normal(size=y.shape)
                shift = 0 if task.kind == "values" else 0.5
                raw[task.name] = (0.6 * (y - shift) + 0.2 * noise).astype(np.float32)
            yield int(index), raw

    out = run.predictions / "validation"
    written = write_split(out, tasks, store, store.split("validation"), tracks())
    scores = scoring.score(tasks, store, written)
    (out / "scores.json").write_text(json.dumps(scoring.Total.of(config).added_to(scores)))
    return run, store


@pytest.fixture(scope="module")
def pictures(run) -> list[pathlib.Path]:
    references = {"validation": run[1].references("validation")}
    return report.write_all(run[0].folder, references=references)


def test_all_pictures_of_a_run_are_readable_in_size_and_below_200_kb(run, pictures):
    assert sorted(file.name for file in pictures) == [
        "confusion_validation_expression.png",
        "curves.png",
        "f1_validation_au.png",
        "f1_validation_expression.png",
        "traces_validation.png",
    ]
    for file in pictures:
        assert file.parent == run[0].folder / "plots" and 5_000 < file.stat().st_size < 200_000
        with Image.open(file) as picture:
            assert 600 < picture.width < 1700 and 300 < picture.height < 1200
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_one_binary_label_gets_a_matrix_of_two_rows(tmp_path, run, monkeypatch):
    task = Task("smile", "labels", 1, ("smile",), "bce", ("f1_binary",), "threshold")
    other = Run(tmp_path)
    configs.save(configs.read(run[0].config_file), other.config_file)
    other.write_tasks((task,))
    (other.predictions / "test").mkdir(parents=True)
    raw = np.array([[1.0], [1], [-1], [-1], [-1], [2]], np.float32)
    label = np.array([[1], [0], [0], [1], [0], [0]], np.int8)
    mask = np.array([[1], [1], [1], [1], [1], [0]], bool)
    rows = dict(tracks=np.array(["a"]), track=np.zeros(6, np.int32), frame=np.arange(1, 7))
    np.savez(
        other.predictions / "test" / "smile.npz", raw=raw, label=label, label_mask=mask, **rows
    )
    drawn = []
    monkeypatch.setattr(plots, "draw_confusion", lambda *a, **k: drawn.append(a) or _empty())
    (file,) = plots.write_all(tmp_path)
    assert file.name == "confusion_test_smile.png"
    np.testing.assert_array_equal(drawn[0][0], [[2, 1], [1, 1]])
    assert drawn[0][1] == ("not smile", "smile")


def test_the_mean_of_the_bars_is_the_score_of_the_task(run, monkeypatch):
    tasks, shown = run[0].read_tasks(), {}
    scores = json.loads((run[0].predictions / "validation" / "scores.json").read_text())
    draw = lambda values, names, **k: shown.update({len(names): values}) or _empty()  # noqa: E731
    monkeypatch.setattr(plots, "draw_f1_bars", draw)
    loaded = read_split(run[0].predictions / "validation", tasks)
    for task in (task for task in loaded if task.name in ("expression", "au")):
        plots._f1(task, loaded[task], "validation", {})
    assert np.nanmean(shown[8]) == pytest.approx(scores["expression/f1"], rel=1e-12)
    assert np.nanmean(shown[12]) == pytest.approx(scores["au/f1_binary"], rel=1e-12)

    absent = Predictions(
        tracks=np.array(["a"]),
        track=np.zeros(2, np.int32),
        frame=np.arange(1, 3),
        raw=np.eye(3, dtype=np.float32)[:2],
        label=np.array([0, 0], np.int32),
        label_mask=np.ones(2, bool),
    )
    plots._f1(Task("e", "classes", 3), absent, "validation", {})
    np.testing.assert_allclose(shown[3], [2 / 3, 0.0, np.nan])


def _empty():
    return style.new_figure(1, 1, "")


def test_predictions_that_cannot_be_read_name_the_file(tmp_path):
    file = tmp_path / "valence.npz"
    file.write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"valence\.npz: not a file of predictions"):
        Predictions.read(file)
    np.savez(file, raw=np.zeros(3))
    with pytest.raises(UserError, match=r"valence\.npz: not a file of predictions"):
        Predictions.read(file)


def test_a_picture_that_cannot_be_drawn_is_a_line_and_the_others_are_drawn(
    run, tmp_path, monkeypatch, caplog
):
    def broken(*args, **options):
        raise ValueError("no such\nfont")

    monkeypatch.setattr(plots, "draw_traces", broken)
    places = {"validation": run[0].predictions / "validation"}
    written = report.write_all(run[0].folder, splits=places, out=tmp_path)
    assert len(written) == 3 and not (tmp_path / "plots" / "traces_validation.png").exists()
    (line,) = caplog.messages
    assert line.endswith("traces_validation.png: not written (ValueError: no such font)")


def test_damaged_predictions_of_a_split_stop_neither_pictures_nor_card(run, tmp_path, caplog):
    other = Run(shutil.copytree(run[0].folder, tmp_path / "run"))
    shutil.copytree(other.predictions / "validation", other.predictions / "damaged")
    (other.predictions / "damaged" / "au.npz").write_bytes(b"PK")
    assert len(report.write_all(other.folder)) == 5
    assert "au.npz: not a file of predictions" in caplog.text
    text = report.write_card(other.folder, run[1], step=1, parameters=1).read_text()
    assert "### damaged\n\nCannot be shown. " in text and "### validation\n\n| score |" in text


@pytest.fixture(scope="module")
def card(run, pictures) -> str:
    return report.write_card(run[0].folder, run[1], step=2910, parameters=1234567).read_text()


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ")[0]


def row_of(text: str, first: str) -> list[str]:
    """Cells of the only table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_card_has_every_plain_score_beside_its_references(run, card):
    scores = json.loads((run[0].predictions / "validation" / "scores.json").read_text())
    plain = {k: v for k, v in scores.items() if isinstance(v, float)}
    assert len(plain) == 14
    text = section(card, "Scores")
    assert row_of(text, "score") == ["score", "ours", "95 % interval", "oracle", "linear baseline"]
    for name, value in plain.items():
        row = row_of(text, name)
        assert row[1] == f"{value:.3f}"
        low, high = map(float, row[2].split(" to "))
        assert low - 5e-4 <= value <= high + 5e-4
        assert row[3:] == [f"{r[name]:.3f}" if name in r else "" for r in REFERENCES.values()]


def test_the_card_compares_tasks_that_read_others_on_predictions_and_labels(run, card, tmp_path):
    assert "on predictions" not in card
    other = Run(shutil.copytree(run[0].folder, tmp_path / "run"))
    file = other.predictions / "validation" / "scores.json"
    scores = json.loads(file.read_text()) | {"taught/arousal/ccc": 0.9876}
    file.write_text(json.dumps(scores))
    text = report.write_card(other.folder, run[1], step=2910, parameters=1).read_text()
    heads, rows = "| score | on predictions | on labels |", section(text, "Scores").split("\n\n")
    (found,) = [part for part in rows if part.startswith(heads)]
    assert found.splitlines()[2:] == [f"| arousal/ccc | {scores['arousal/ccc']:.3f} | 0.988 |"]
    assert text.replace(found, "").count("0.988") == 0


def test_the_card_says_what_was_trained(card):
    text = section(card, "Model")
    assert row_of(text, "config")[1] == "`configs/mtl.py:transformer`"
    assert row_of(text, "parameters")[1] == "1,234,567"
    assert row_of(text, "seed")[1] == "7"
    assert row_of(text, "checkpoint")[1] == "step 2910 (`best`)"
    assert row_of(text, "expression")[:3] == ["expression", "classes", ", ".join(EXPRESSIONS)]
    assert row_of(text, "au")[2] == ", ".join(UNITS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dict(clips=True, seconds=0.0), "whole clips"),
        (dict(clips=True, seconds=2.0), "clips, 2 seconds of each"),
        (dict(clips=False, seconds=0.7), "0.7 seconds at once"),
        (dict(clips=False, seconds=0.0, length=64), "up to 64 frames at once"),
    ],
)
def test_the_card_says_what_is_fed_at_once(run, data, said):
    config = configs.read(run[0].config_file)
    config.data.update(data)
    text = report_card._model(run[0], config, run[0].read_tasks(), 4, 7)
    assert f"{said}, normalisation `" in text and "`supervised`" in text


def test_the_card_says_on_what_data_and_where_it_is_from(run, card):
    text = section(card, "Data")
    valence = f"{run[1].label('valence')[1].sum():,}"  # the training split has none
    frames = ["4,484", valence, "4,224", "4,484", "4,484"]
    assert row_of(text, "validation") == ["validation", "evaluation", "12", "6", *frames]
    assert row_of(text, "train") == ["train", "training", "1", "1", "9", "0", "0", "0", "9"]
    assert row_of(text, "mae") == ["mae", "3", "a net", "train", "yes"]
    assert row_of(text, "fau") == ["fau", "2", "not stated", "not stated", "yes"]
    assert row_of(text, "licence")[1] == "made up for a test"
    hashes = run[1].features["mae"].sha256, run[1].manifest["sha256"]["frames.npy"]
    assert row_of(text, "`features/mae.npy`")[1] == f"`{hashes[0][:12]}`"
    assert row_of(text, "`frames.npy`")[1] == f"`{hashes[1][:12]}`"
    assert "- prepared from `two` lists" in text and "{" not in text


def test_the_card_has_the_best_epoch_of_every_monitored_score(run, card):
    monitored = configs.read(run[0].config_file).monitor
    assert len(monitored) == 5
    for name in monitored:
        assert row_of(section(card, "Best epochs"), name)[2:] == ["30", str(30 * 97)]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_card_says_that_the_checkpoint_was_chosen_by_a_score_where_it_was(
    run, tmp_path, checkpoint
):
    other = Run(shutil.copytree(run[0].folder, tmp_path / "run"))
    config = configs.read(other.config_file)
    config.checkpoint, config.data.split = checkpoint, "train"
    config.data.train_split = "validation"
    configs.save(config, other.config_file)
    text = report.write_card(other.folder, run[1], step=2910, parameters=1).read_text()
    limits = " ".join(section(text, "Intended use and limits").split())
    assert ("The checkpoint was chosen on" in limits) == (checkpoint == "best")
    assert text.index("| validation | training") < text.index("| train | evaluation")


def test_no_field_of_the_card_is_empty_or_a_python_value(card):
    assert not re.search(r"\b(None|nan|array|ConfigDict|PosixPath)\b|\{\}|\(\)", card)
    for title in ("Model", "Best epochs", "Data", "Files"):
        rows = [line for line in section(card, title).splitlines() if line.startswith("| ")]
        rows = [row for row in rows if not row.startswith(("|  |", "| provenance |"))]
        assert rows and all(cell.strip() for row in rows for cell in row.strip("|").split("|"))


def test_the_commands_of_the_card_are_understood(card):
    commands = re.findall(r"^python -m affect_jax\.main (.*)$", card, re.MULTILINE)
    assert len(commands) == 3
    modes = [main.parse(command.split())[0].mode for command in commands]
    assert modes == ["train", "evaluate", "predict"]


def test_the_pictures_and_files_that_the_card_names_are_there(run, card):
    named = re.findall(r"!\[.*\]\((.*)\)", card)
    assert len(named) == 5 and all((run[0].folder / name).is_file() for name in named)
    files = re.findall(r"^\| `([\w.]+)` \|", section(card, "Files"), re.MULTILINE)
    assert files == ["config.json", "tasks.json", "metrics.jsonl", "predictions", "plots"]


def test_the_card_of_the_same_run_is_the_same_text(run, card):
    again = report.write_card(run[0].folder, run[1], step=2910, parameters=1234567)
    assert again.read_text() == card
