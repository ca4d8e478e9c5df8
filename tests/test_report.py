"""The report of a run: figures from realistic data, the card, intervals by group."""

import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from affect_jax import config as configs
from affect_jax import main, progress, report, scoring
from affect_jax.metrics import METRICS
from affect_jax.prediction_files import Predictions, read_split, write_split
from affect_jax.report import card as report_card
from affect_jax.report import markdown, plots, style
from affect_jax.report.figure_classes import draw_confusion, draw_f1_bars
from affect_jax.report.figure_curves import draw_curves
from affect_jax.report.figure_members import Panel, draw_members
from affect_jax.report.figure_traces import POINTS, draw_traces, thinned
from affect_jax.report.predictions import choose_tracks
from affect_jax.report.records import best, headline_scores
from affect_jax.run import Run
from affect_jax.shown import decimals
from affect_jax.tasks import Task, tasks_from_config
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
UNITS = tuple(f"AU{i}" for i in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
REFERENCES = {
    "oracle": {"P_MTL": 1.9, "valence/ccc": 0.82, "expression/f1": 0.71, "au/f1_binary": 0.7},
    "linear baseline": {"P_MTL": 1.0, "valence/ccc": 0.37, "expression/f1": 0.25},
}


def evaluations(count: int) -> list[dict]:
    """Lines of metrics.jsonl of a run that is best at three quarters of its epochs."""
    rng, lines = np.random.default_rng(0), []
    for epoch in range(1, count + 1):
        rise = 1 - abs(epoch / count - 0.75)
        scores = {
            "valence/ccc": 0.55 * rise,
            "valence/rmse": 0.4 - 0.1 * rise,
            "arousal/ccc": 0.48 * rise,
            "expression/f1": 0.38 * rise,
            "au/f1_binary": 0.52 * rise,
            "P_MTL": 1.4 * rise,
        }
        loss = {k: w * np.exp(-epoch / 20) for k, w in (("au", 0.4), ("expression", 1.9))}
        loss["total"] = sum(loss.values()) + 0.01 * rng.random()
        lines.append(
            {
                "step": 97 * epoch,
                "epoch": epoch,
                "lr": 1e-4 / epoch,
                "loss": loss,
                "scores": {"validation": scores},
            }
        )
    return lines


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def smooth(rng, frames: int, size: int, width: int = 41) -> np.ndarray:
    kernel = np.hanning(width + 2)
    columns = [
        np.convolve(rng.normal(size=frames + width + 1), kernel, "valid") for _ in range(size)
    ]
    return np.stack(columns, 1)[:frames] / np.sqrt((kernel**2).sum())


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


# --- style ---------------------------------------------------------------------------------------


def test_labels_that_would_touch_are_moved_apart_and_stay_in_the_panel():
    centres, sizes = [0.98, 0.5, 0.51, 0.02], [0.2, 0.1, 0.1, 0.2]
    placed = style.spread(centres, sizes)
    assert np.argsort(placed).tolist() == np.argsort(centres).tolist()
    order = np.argsort(placed)
    edges = [(placed[i] - sizes[i] / 2, placed[i] + sizes[i] / 2) for i in order]
    assert edges[0][0] >= 0 and edges[-1][1] <= 1 + 1e-12
    assert all(a[1] <= b[0] + 1e-12 for a, b in itertools.pairwise(edges))


def test_a_label_with_room_stays_at_its_own_place():
    assert style.spread([0.2, 0.7], [0.1, 0.1]) == [0.2, 0.7]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    figures = [draw_f1_bars([0.5, 0.7], "ab") for _ in range(2)]
    files = [style.save(figure, tmp_path / f"{i}" / "f1.png") for i, figure in enumerate(figures)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_drawing_needs_no_pyplot_and_importing_the_report_no_matplotlib(tmp_path):
    code = (
        "import sys; from affect_jax import report; from affect_jax.report import style\n"
        "assert 'matplotlib' not in sys.modules\n"
        "style.save(style.new_figure(1, 1, 'x'), sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["$x", "$\\foo$ $", "a\udcff\0b", "日本 العربية 👩‍👩‍👧", "x" * 5000]
)
def test_a_name_of_any_letters_is_drawn(name, tmp_path):
    figures = [
        draw_traces([a_track(name=name)], title=name),
        draw_confusion(np.eye(2), [name, "b"], title=name),
        draw_f1_bars([0.1, 0.2], [name, "b"], references={name: 0.5}, title=name),
        draw_curves(evaluations(2), references={name: {"P_MTL": 1.0}}, title=name),
        draw_members([Panel("s", [(name, 0.5, 0.5)], {name: 0.1})], title=name),
    ]
    for i, figure in enumerate(figures):
        style.save(figure, tmp_path / f"{i}.png")


def test_members_are_drawn_with_their_weights_named():
    axes = draw_members([Panel("s", [("gru", 0.5, 0.25)], {"ensemble": 0.1})]).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["gru, weight 0.25"]


def test_zero_has_no_sign():
    assert markdown.score(-0.0001) == style.score_text(-0.0001) == decimals(-0.0001) == "0.000"
    assert (
        markdown.score(np.nan) == ""
        and style.score_text(np.nan) == "–"
        and decimals(np.nan) == "nan"
    )
    text = progress.table({"a": -1e-9}, {"b": {"a": -1e-9}}, "ours", {"a": (-1e-9, -0.1)})
    assert "0.000 to -0.100" in text and "-0.000" not in text


# --- records -------------------------------------------------------------------------------------


def test_the_best_evaluation_is_the_first_highest_or_lowest_by_the_kind_of_score():
    records = evaluations(8)
    assert best(records, "valence/ccc", "validation").epoch == 6
    assert best(records, "valence/rmse", "validation").epoch == 6
    assert best(records, "valence/rmse", "validation").value == pytest.approx(0.3)
    assert best(records, "loss/total", "validation").step == 8 * 97
    assert best([records[0]] * 3 + records[1:2], "P_MTL", "validation").epoch == 2
    assert best(records, "valence/uar", "validation") is None


def test_a_score_that_is_not_finite_is_never_the_best():
    records = evaluations(4)
    records[2]["scores"]["validation"]["P_MTL"] = float("nan")
    records[3]["scores"]["validation"]["P_MTL"] = None
    assert best(records, "P_MTL", "validation").epoch == 2


def test_headline_scores_are_the_totals_and_the_first_number_of_each_task():
    records = evaluations(2)
    records[0]["scores"]["validation"]["expression/a_list"] = [1.0]
    names = headline_scores(records)
    assert names == ["P_MTL", "valence/ccc", "arousal/ccc", "expression/f1", "au/f1_binary"]


# --- curves --------------------------------------------------------------------------------------


def test_curves_have_a_panel_for_losses_each_score_and_the_changing_rate():
    figure = draw_curves(evaluations(60), references=REFERENCES, title="a run")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    scores = ["P_MTL", "valence/ccc", "arousal/ccc", "expression/f1", "au/f1_binary"]
    assert titles == ["training loss", *scores, "learning rate"]
    constant = [record | {"lr": 1e-3} for record in evaluations(60)]
    assert len(draw_curves(constant).axes) == 6


def test_a_score_panel_marks_the_best_epoch_and_names_the_references():
    figure = draw_curves(evaluations(60), references=REFERENCES)
    panel = figure.axes[1]
    assert panel.get_title(loc="right") == "best 1.400 at 45"
    marks = [line for line in panel.lines if line.get_marker() == "o"]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [(45, pytest.approx(1.4))]
    assert texts(panel) == ["oracle\n1.900", "linear\nbaseline\n1.000"]
    heights = {line.get_ydata()[0] for line in panel.lines if line.get_linestyle() in ("--", ":")}
    assert heights == {1.9, 1.0}
    low, high = panel.get_ylim()
    assert low < 1.0 and high > 1.9


def test_a_missing_score_leaves_a_gap_in_its_curve():
    records = evaluations(5)
    records[2]["scores"]["validation"]["P_MTL"] = None
    (curve,) = [line for line in draw_curves(records).axes[1].lines if len(line.get_xdata()) == 5]
    assert np.isnan(curve.get_ydata()).tolist() == [False, False, True, False, False]


def test_loss_lines_are_named_beside_their_ends():
    panel = draw_curves(evaluations(30)).axes[0]
    assert sorted(texts(panel)) == ["au", "expression", "total"]


def test_curves_of_a_training_without_evaluation_split_are_drawn():
    records = [{k: v for k, v in record.items() if k != "scores"} for record in evaluations(2)]
    assert len(draw_curves(records).axes) == 2


# --- traces --------------------------------------------------------------------------------------


def a_track(frames=200, **changes):
    rng = np.random.default_rng(1)
    label = np.clip(smooth(rng, frames, 1)[:, 0] * 0.4, -1, 1)
    track = {
        "name": "a",
        "frame": np.arange(1, frames + 1),
        "pred": {"valence": label + 0.1},
        "label": {"valence": label},
    }
    return track | changes


def test_the_title_of_a_trace_has_the_ccc_of_the_labelled_frames():
    track = a_track()
    track["label"]["valence"][50:90] = np.nan
    there = np.isfinite(track["label"]["valence"])
    metric, task = METRICS["ccc"], Task("valence", "values", 1)
    pred, label = (track[k]["valence"][:, None] for k in ("pred", "label"))
    ccc = metric.compute(metric.update(metric.init(task), pred, label, there[:, None]))
    panel = draw_traces([track]).axes[0]
    assert panel.get_title(loc="left") == "a: valence"
    assert panel.get_title(loc="right") == f"CCC {ccc:.3f}"


def test_the_label_line_has_a_gap_where_there_is_no_label():
    track = a_track()
    track["label"]["valence"][50:90] = np.nan
    lines = {line.get_label(): line for line in draw_traces([track]).axes[0].lines}
    assert np.isnan(lines["label"].get_ydata()[50:90]).all()
    assert np.isfinite(lines["prediction"].get_ydata()).all()


def test_frames_far_apart_are_not_joined():
    frame = np.append(np.arange(1, 101), np.arange(1001, 1101))
    lines = draw_traces([a_track(frame=frame)]).axes[0].lines
    for line in (line for line in lines if line.get_label() in ("label", "prediction")):
        assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [100]


def test_a_track_without_labels_says_so_and_is_drawn_in_its_own_range():
    track = a_track()
    del track["label"]
    track["pred"]["valence"] = 10 + track["pred"]["valence"]
    panel = draw_traces([track], limits=None).axes[0]
    assert panel.get_title(loc="right") == "no label"
    assert panel.get_ylim()[0] > 8


def test_long_tracks_are_thinned_to_means_with_a_band_of_what_they_stand_for():
    frame, y = np.arange(1, 18001), np.random.default_rng(0).normal(size=18000)
    y[9000:9100] = np.nan
    x, middle, low, high = thinned(frame, y, POINTS)
    assert len(x) == POINTS and (np.diff(x) > 0).all()
    there = np.isfinite(middle)
    assert 2 <= (~there).sum() <= 3  # 36 frames a point
    assert (low[there] <= middle[there]).all() and (middle[there] <= high[there]).all()
    assert low[there].min() == np.nanmin(y) and high[there].max() == np.nanmax(y)
    np.testing.assert_allclose(middle[0], y[:36].mean())


def test_shown_tracks_go_from_the_best_to_the_worst():
    tracks = [a_track(name=str(i)) for i in range(20)]
    for i, track in enumerate(tracks):
        track["pred"]["valence"] = track["label"]["valence"] + 0.05 * i
    chosen, order = choose_tracks(tracks[::-1], 5)
    assert [track["name"] for track in chosen] == ["0", "5", "10", "14", "19"]
    assert order == "from highest to lowest CCC"


def test_a_row_of_several_dimensions_shows_the_mean_that_it_is_sorted_by():
    track = a_track()
    for part in ("pred", "label"):
        track[part]["arousal"] = track[part]["valence"] ** (3 if part == "pred" else 1)
    assert choose_tracks([track], 1)[1] == "from highest to lowest mean CCC"
    first, last = (axes.get_title(loc="right") for axes in draw_traces([track]).axes)
    ccc, mean = last.removeprefix("CCC ").split("   mean of the row ")
    assert float(mean) == pytest.approx(
        (float(first.removeprefix("CCC ")) + float(ccc)) / 2, abs=1e-3
    )


def test_no_line_goes_across_a_gap_of_a_long_track():
    frame = np.r_[np.arange(1, 5001), np.arange(5012, 9001)]  # 11 images are missing, 18 a point
    x, middle, _, high = thinned(frame, np.ones(len(frame)), POINTS)
    (at,) = np.flatnonzero(np.isnan(middle))
    assert np.isnan(high[at]) and x[at - 1] < 5001 and x[at + 1] >= 5012


@pytest.mark.parametrize(("noise", "named"), [(0.5, True), (0.001, False)])
def test_a_band_is_named_where_it_is_wide_enough_to_be_seen(noise, named):
    frame, rng = np.arange(1, 6001), np.random.default_rng(0)
    y = np.sin(frame / 900)
    track = a_track(frame=frame, pred={"v": y + noise * rng.normal(size=6000)}, label={"v": y})
    (legend,) = draw_traces([track]).legends
    assert named == any("range" in text.get_text() for text in legend.get_texts())


# --- classes -------------------------------------------------------------------------------------


def test_a_confusion_matrix_shows_shares_of_its_rows_and_counts():
    matrix = np.array([[30, 10, 0], [0, 0, 0], [1, 2, 1]])
    axes = draw_confusion(matrix, ["a", "b", "c"]).axes[0]
    shown = texts(axes)
    assert shown[:6] == ["75 %", "30", "25 %", "10", "0 %", "0"]
    assert len(shown) == 12  # nothing in the row without labels
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a\n40", "b\nnone", "c\n4"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a\n31", "b\n12", "c\n1"]


def test_f1_bars_keep_the_order_of_the_task_and_say_how_many_frames_each_has():
    values = np.linspace(0.9, 0.1, 12)
    figure = draw_f1_bars(values, UNITS, support=range(12000, 0, -1000), total=40000)
    axes = figure.axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], values)
    ticks = [tick.get_text().split("\n") for tick in axes.get_xticklabels()]
    assert [tick[0] for tick in ticks] == list(UNITS)
    assert ticks[0] == ["AU1", "0.900", "12\u202f000", "30.0 %"]
    assert "mean\n0.500" in texts(axes)


def test_f1_references_are_a_line_for_a_mean_and_marks_for_one_each():
    references = {"oracle": np.full(3, 0.8), "linear baseline": 0.3}
    axes = draw_f1_bars([0.5, np.nan, 0.7], "abc", references=references).axes[0]
    (marks,) = axes.collections
    assert [segment[0, 1] for segment in marks.get_segments()] == [0.8, 0.8, 0.8]
    assert "linear\nbaseline\n0.300" in texts(axes) and "mean\n0.600" in texts(axes)


# --- a run folder --------------------------------------------------------------------------------


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


# --- the card ------------------------------------------------------------------------------------


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
