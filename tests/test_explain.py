"""Explain: importance against gradients by hand, its files, what is chosen, pictures, mistakes."""

import csv

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

from affect_jax import systems
from affect_jax.explain import write
from affect_jax.explainer import Explainer, outputs
from affect_jax.main import cli
from affect_jax.models import Output
from affect_jax.report import figure_explain
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import Task
from data_pipelines.store_writer import StoreWriter
from tests.conftest import ROOT
from tests.given_model import given
from tests.stores import small_store
from tests.tiny import prepared, tiny_config, tiny_system
from tests.toys import stores
from tests.toys.clips_config import get_config


def table(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("explain") / "store", gaps=True)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """(folder of a finished run on valence and expression, its store)."""
    folder = tmp_path_factory.mktemp("run")
    flags = [f"--config.data.root={store.path}", "--config.model.features=a,b"]
    flags += ["--config.data.length=6", "--config.tasks=valence,expression"]
    flags += ["--config.total.terms=(('valence/ccc', 1.0),)"]
    assert cli(["--config=configs/mtl.py:smoke", f"--workdir={folder / 'run'}", *flags]) == 0
    return folder / "run", store


@pytest.mark.slow
def test_a_run_is_explained_in_tables_and_pictures(run, capsys):
    folder, store = run
    flags = ["--config.explain.targets=2", "--config.explain.tracks=validation1"]
    assert cli(["--mode=explain", f"--workdir={folder}", *flags]) == 0
    place = folder / "explain" / "validation"
    assert str(place) in capsys.readouterr().out
    lines = table(place / "importance.csv")
    track = next(t for t in store.tracks if t.name == "validation1")
    images = store.frames[track.span].tolist()
    # Of 14 frames in rows of six the first and the last: a row of six and one of two.
    outputs = {(line["target"], line["output"]) for line in lines}
    assert {target for target, _ in outputs} == {str(images[0]), str(images[-1])}
    assert [int(x["frame"]) for x in lines if x["output"] == "valence"] == images[:6] + images[12:]
    assert max(float(line["a"]) for line in lines) == pytest.approx(1, abs=1e-3)
    assert all(0 <= float(line["importance"]) <= 1 for line in lines)
    assert "" in {line["label"] for line in lines}  # frames without a label
    features = table(place / "features.csv")
    assert len(features) == 2 * (5 + 3) and {x["output"] for x in features} == {
        "valence",
        "expression",
    }
    for name in ("summary", f"validation1_{images[0]}", f"validation1_{images[-1]}"):
        assert Image.open(place / f"{name}.png").size[0] > 100
    assert not (place / "maps.csv").exists()


@pytest.mark.slow
def test_a_frame_can_be_named_and_another_command_replaces_the_files(run):
    folder, store = run
    assert cli(["--mode=explain", f"--workdir={folder}", "--config.explain.frame=9"]) == 0
    names = {p.name for p in (folder / "explain" / "validation").glob("validation*.png")}
    nearest = {}
    for track in store.tracks:
        images = store.frames[track.span]
        nearest[track.name] = images[np.abs(images - 9).argmin()]
    assert names == {f"{t}_{n}.png" for t, n in nearest.items() if t.startswith("validation")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.explain.tracks=validation7"], "no track 'validation7'. Did you mean"),
        (["--config.data.split="], "config.data.split is empty: name the split to explain"),
        (["--config.explain.targets=0"], "config.explain.targets = 0: expected a number from 1"),
        (["--config.explain.target=2"], "Did you mean 'explain.targets'"),
        (["--output=elsewhere"], "only --mode=evaluate and --mode=predict write elsewhere"),
    ],
)
def test_a_mistake_is_one_line(run, flags, message, capsys):
    assert cli(["--mode=explain", f"--workdir={run[0]}", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_importance_is_the_gradient_of_one_number_by_each_frame(store):
    system = tiny_system(store.path, tasks="valence")
    variables = system.init().variables()
    track = int(store.split("train")[2])
    (one,) = Explainer(system, variables, "train").explained(track, 5)  # in the second row of four
    rows = system.data.rows("train")
    row = int(np.flatnonzero((rows.track == track) & (rows.start == 4))[0])
    batch = prepared(system, rows, [row])

    def value(inputs):
        output = system.model.apply(variables, batch | {"inputs": inputs})
        return output.predictions["valence"][0, 1, 0]

    gradient = jax.jit(jax.grad(value))(batch["inputs"])
    by_frame = np.abs(np.concatenate([gradient["a"][0], gradient["b"][0]], -1)).mean(1)
    np.testing.assert_allclose(one.importance, by_frame / by_frame.max(), atol=2e-2)
    np.testing.assert_allclose(one.of_feature["b"], np.abs(gradient["b"][0]).mean(0), rtol=1e-4)
    assert one.at == 1 and one.frame == store.frames[store.tracks[track].span][5]
    assert one.prediction[1] == pytest.approx(float(value(batch["inputs"])), abs=1e-6)


def test_the_row_in_whose_middle_the_target_is_explains_it(store):
    system, variables = given(store, data__length=6, data__hop=3)
    explainer = Explainer(system, variables, "train")
    track = int(store.split("train")[2])
    (one,) = explainer.explained(track, 7)  # rows 3 to 8 and 6 to 11 have it
    images = store.frames[store.tracks[track].span]
    assert one.at == 4 and one.frames.tolist() == images[3:9].tolist()
    # The model is the sum of a frame's features, all with the weight 1.
    np.testing.assert_allclose(one.importance, [0, 0, 0, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(one.of_feature["a"], np.full(5, 1 / 6))
    row = store.tracks[track].span.start + 7
    assert one.prediction[4] == pytest.approx(store.feature("a")[row].sum(), abs=1e-4)
    label, mask = (x[row] for x in store.label("valence"))
    np.testing.assert_array_equal(one.label[4], label[0] if mask[0] else np.nan)


def test_of_classes_and_labels_the_likeliest_is_explained_and_of_values_each():
    tasks = (
        Task("kind", "classes", 3, names=("a", "b", "c")),
        Task("au", "labels", 2),
        Task("va", "values", 2, names=("valence", "arousal")),
    )
    raw = {"kind": np.float32([[0, 0, 0], [0, 2, 0]]), "au": np.float32([[9, 9], [1, -1]])}
    raw["va"] = np.float32([[0.1, 0.2], [0.3, 0.4]])
    found = list(outputs(tasks, raw, 1))
    assert [x.name for x in found] == ["kind b", "au 1", "va valence", "va arousal"]
    assert [x.common for x in found] == ["kind", "au", "va valence", "va arousal"]
    assert [int(x.weights.argmax()) for x in found] == [1, 3, 5, 6]
    want = [np.e**2 / (2 + np.e**2), 1 / (1 + np.exp(-1)), 0.3, 0.4]
    np.testing.assert_allclose([x.prediction[1] for x in found], want, rtol=1e-6)


def test_rows_of_a_table_give_their_importance_to_the_frames_they_lie_on(tmp_path):
    features = {"text": dict(size=2, axis="table"), "sound": dict(shape=(), axis="rate", rate_hz=4)}
    labels = {"valence": dict(kind="values", size=1)}
    with StoreWriter(tmp_path / "s", name="s", features=features, labels=labels) as writer:
        writer.add(
            track="t",
            split="train",
            features={"text": np.ones((2, 2)), "sound": np.ones(8, np.float32)},
            spans={"text": [[0, 2], [1, 4]]},
            labels={"valence": np.zeros(4)},
            fps=2.0,
        )
    config = tiny_config(tmp_path / "s", tasks="valence", data__normalise="none")
    config.model.features, config.data.split = ("text", "sound"), "train"
    system = systems_of(config)
    (one,) = Explainer(system, {}, "train").explained(0, 2)
    # d/dx of 3 x the first row of text + 1 x the second, and of the mean of the sound.
    np.testing.assert_allclose(one.of_stream["text"], np.array([1.5, 1.5 + 1 / 3, 1 / 3, 1 / 3]) / (
        1.5 + 1 / 3), rtol=1e-5)  # fmt: skip
    np.testing.assert_allclose(one.of_stream["sound"], np.full(4, 2 / 8) / (1.5 + 1 / 3), rtol=1e-5)
    np.testing.assert_allclose(one.of_feature["text"], [2, 2], rtol=1e-6)


def systems_of(config):
    """A system whose model weighs rows of text and of sound."""

    class Weighed(nn.Module):
        @nn.compact
        def __call__(self, batch, carry=None, train=False, progress=0.0):
            text, sound = batch["inputs"]["text"].sum(-1), batch["inputs"]["sound"].mean(1)
            value = (text * np.float32([3, 1])[: text.shape[1]]).sum(1) + sound
            return Output({"valence": (value[:, None] + 0 * batch["mask"])[..., None]})

    class System(Supervised):
        def make_model(self):
            return Weighed()

    return System(config)


def test_of_sound_the_parts_of_a_clip_stand_in_the_place_of_frames(tmp_path):
    path = stores.sound(tmp_path / "s", train=2, validation=1)
    config = get_config()
    config.data.root = str(path)
    system = systems.build(config)
    track = int(system.data.store.split("validation")[0])
    tone, loudness = Explainer(system, system.init().variables(), "validation").explained(track, 0)
    assert tone.output in ("tone 1", "tone 2")
    assert (tone.common, loudness.output) == ("tone", "loudness")
    assert tone.importance.shape == tone.of_stream["audio"].shape == (100,)
    assert tone.importance.max() == pytest.approx(1, abs=1e-3) and tone.frames[-1] == 100
    assert tone.label[0] == (tone.output == "tone 1") and 0 < loudness.label[0] < 1
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", [tone, loudness], 3)
    names = ["importance.csv", "validation0_1.png"]  # one feature: there is none to compare it with
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    assert len(table(tmp_path / "out" / "importance.csv")) == 200


@pytest.mark.slow
def test_maps_of_single_pictures_are_drawn_with_their_classes(tmp_path):
    with StoreWriter(
        tmp_path / "s",
        name="faces",
        features={"face": dict(shape=(16, 16), dtype="uint8")},
        labels={"expression": dict(kind="classes", size=7)},
    ) as writer:
        rng = np.random.default_rng(0)
        for i in range(5):
            face = rng.integers(0, 256, (1, 16, 16))
            split = "train" if i < 3 else "validation"
            writer.add(
                track=f"p{i}", split=split, features={"face": face}, labels={"expression": [i]}
            )
    flags = [
        "--config.folds.cut=",
        "--config.data.train_split=train",
        "--config.data.split=validation",
    ]
    flags += [f"--config.data.root={tmp_path / 's'}", "--config.task.expression.names=()"]
    workdir = f"--workdir={tmp_path / 'run'}"
    assert cli(["--config=configs/fer2013.py:smoke", workdir, *flags]) == 0
    assert cli(["--mode=explain", workdir]) == 0
    place = tmp_path / "run" / "explain" / "validation"
    lines = table(place / "maps.csv")
    assert [line["track"] for line in lines] == ["p3", "p4"]
    for line in lines:
        assert line["map"] == "dynamic" and line["output"].startswith("expression ")
        assert Image.open(place / line["file"]).size == (16, 16)
    assert sorted(p.name for p in place.iterdir()) == ["maps", "maps.csv", "pictures.png"]


def test_pictures_in_time_have_static_dynamic_and_joint_maps(tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(
        tmp_path / "s",
        name="faces",
        features={"face": dict(shape=(8, 8, 3), dtype="uint8")},
        labels={"valence": dict(kind="values", size=1)},
    ) as writer:
        face = rng.integers(0, 256, (5, 8, 8, 3))
        writer.add(
            track="t", split="train", features={"face": face}, labels={"valence": np.zeros(5)}
        )
    config = tiny_config(tmp_path / "s", tasks="valence", data__length=8)
    config.system = str(ROOT / "tests" / "toys" / "reader.py")
    config.model.features, config.data.normalise = ("face",), "none"
    system = systems.build(config)
    (one,) = Explainer(system, system.init().variables(), "train").explained(0, 3)
    np.testing.assert_array_equal(one.pictures, face)
    assert {name: x.shape for name, x in one.maps.items()} == dict.fromkeys(
        ("static", "dynamic", "joint"), (5, 8, 8)
    )
    # The picture of the target counts itself and in the mean, the others in the mean alone; the
    # places that ReLU lets through are not equally many.
    np.testing.assert_allclose(one.importance, [1 / 6, 1 / 6, 1 / 6, 1, 1 / 6], atol=0.02)
    np.testing.assert_allclose(
        one.maps["joint"], one.importance[:, None, None] * one.maps["dynamic"], atol=1e-6
    )
    assert [bool(x.any()) for x in one.maps["static"]] == [False, False, False, True, False]
    figure = figure_explain.draw_maps(one, np.array([0, 3, 4]))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["1", "4 (target)", "5"] and len(titles) == 9
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", [one], 3)  # of which the target is one of the two most important
    lines = table(tmp_path / "out" / "maps.csv")
    assert {line["frame"] for line in lines} == {"4", str(1 + shown_other(one))}
    assert all(Image.open(tmp_path / "out" / line["file"]).size == (8, 8) for line in lines)
    names = ["importance.csv", "maps", "maps.csv", "t_4.png", "t_4_valence.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names


def shown_other(one):
    """The most important position beside the target's."""
    return int(np.delete(np.arange(5), one.at)[np.delete(one.importance, one.at).argmax()])


def test_an_overlay_shows_the_picture_and_where_the_map_is():
    picture = np.full((8, 8, 3), 200, np.uint8)
    places = np.zeros((2, 2), np.float32)
    places[0, 0] = 1
    over = figure_explain.overlay(picture, places).astype(int)
    assert over.shape == (8, 8, 3) and over[0, 0].sum() > over[7, 7].sum() + 100
