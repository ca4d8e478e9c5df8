"""The source records: streams like an export's, from pickles of others; and records of a store."""

import pickle

import numpy as np
import pytest

from data_pipelines import records, verify
from data_pipelines.errors import UserError
from data_pipelines.prepare import main as prepare
from data_pipelines.report import Report
from data_pipelines.sources import records as source
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from data_pipelines.trained_on import seen
from tests.test_records import record, save, window

F = np.float32


@pytest.fixture
def folder(tmp_path):
    """Frames of a face, behaviour of fewer frames, and windows of sound."""
    root = tmp_path / "records"
    for name in ("face", "behaviour", "audio"):
        (root / name).mkdir(parents=True)
    save(root / "face" / "train.pkl", {f"a/{i:05d}.jpg": record(i) for i in (1, 2, 3, 7)})
    save(root / "face" / "val.pkl", {f"v_left/{i:05d}.jpg": record(i, (-5, -5)) for i in (2, 1)})
    behaviour = {f"a/{i:05d}.jpg": record(50 + i, size=4) for i in (2, 5)}
    save(root / "behaviour" / "train.pkl", behaviour)
    save(root / "audio" / "train.pkl", {"k": window("a", 0, 8), "l": window("a", 4, 12)})
    save(root / "audio" / "test.pkl", {"k": window("t", 0, 5)})
    (root / "videos_fps.csv").write_text("video_name,fps\na.mp4,29.97\nv.mp4,30\n")
    return root


def made(folder, **flags):
    report = Report()
    source.fill(folder, folder.parent / "store", report, **flags)
    return Store(folder.parent / "store")


def test_streams_are_those_of_an_export_with_gaps_where_a_modality_has_no_record(folder):
    store = made(folder)
    assert {t.name: (t.split, t.frames, str(t.fps), t.group) for t in store.tracks} == {
        "a": ("train", 5, "30000/1001", "a"),
        "v_left": ("validation", 2, "30", "v"),
        "t": ("test", 5, "None", "t"),
    }
    assert np.asarray(store.frames)[:5].tolist() == [1, 2, 3, 5, 7]
    for name in ("face", "behaviour", "audio"):
        valence = store.features[f"{name}/valence"]
        assert (valence.run, valence.columns, valence.size) == (name, ("valence",), 1)
        assert seen(store, [f"{name}/arousal"], "train", ["arousal"])
        assert not seen(store, [f"{name}/arousal"], "validation", ["arousal"])
    assert np.asarray(store.feature_mask("face/embedding"))[:5].tolist() == [1, 1, 1, 0, 1]
    assert np.asarray(store.feature_mask("behaviour/valence"))[:5].tolist() == [0, 1, 0, 1, 0]
    embedding = np.asarray(store.feature("behaviour/embedding"))
    np.testing.assert_array_equal(embedding[1], record(52, size=4)["embedding"])
    arousal = np.asarray(store.feature("face/arousal"))[:, 0]
    np.testing.assert_array_equal(arousal[4], record(7)["prediction"][1])
    values, mask = store.label("valence")
    assert np.asarray(mask)[:, 0].tolist() == [True] * 5 + [False] * 7
    assert np.asarray(values)[:5, 0].tolist() == [0.5] * 5
    assert not verify.check(store).problems


def test_windows_are_tables_with_a_row_a_step(folder):
    store = made(folder)
    assert store.features["audio/embedding"].axis == "table"
    spans = np.asarray(store.spans("audio/valence"))
    starts = [0, 2, 4, 4, 6, 6, 8, 10]
    assert spans[:8, 0].tolist() == starts and (spans[:8, 1] - spans[:8, 0] == 2).all()
    assert len(spans) == 12


def test_records_without_embeddings_are_one_line_that_says_what_to_take(folder, capsys):
    table = {f"a/{i:05d}.jpg": {**record(i), "embedding": None} for i in (1, 2)}
    save(folder / "face" / "train.pkl", table)
    (folder / "face" / "val.pkl").unlink()
    command = ["--source=records", f"--input={folder}", f"--store={folder.parent / 's'}"]
    assert prepare(command) == 2
    error = capsys.readouterr().err
    assert "face: records without embeddings. Take the rest: --take=prediction." in error
    assert prepare([*command, "--take=prediction", "--trained-on="]) == 0
    store = Store(folder.parent / "s")
    assert "face/embedding" not in store.features
    assert not store.features["face/valence"].trained_on


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: save(f / "face" / "test.pkl", {"a/1.jpg": record(0)}), "'a' is in train too"),
        (
            lambda f: save(f / "behaviour" / "train.pkl", {"a/2.jpg": record(0, (0.5, 0.5))}),
            "image 2: the label of",
        ),
        (
            lambda f: save(f / "face" / "test.pkl", {"t/1.jpg": record(0, size=9)}),
            "of 3, 9 numbers",
        ),
        (lambda f: save(f / "audio" / "val.pkl", {"v/1.jpg": record(0)}), "of windows in another"),
        (lambda f: save(f / "face" / "train.pkl", pickle.loads), "names '_pickle.loads'"),
        (lambda f: save(f / "face" / "validation.pkl", {"x/1.jpg": record(0)}), "Leave one"),
    ],
)
def test_what_does_not_fit_together_is_one_line(change, message, folder):
    change(folder)
    with pytest.raises(UserError) as error:
        made(folder)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_records_and_a_misspelt_part_are_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no <modality>/train.pkl"):
        made(tmp_path / "empty")
    with pytest.raises(UserError, match="Did you mean 'embedding'"):
        made(folder, take="embeding")


@pytest.fixture
def exported(tmp_path):
    """Data with labels, and the export of a run `face` beside it."""
    frames, rng = np.array([1, 2, 4]), np.random.default_rng(0)
    value = dict(kind="values", size=1)
    with StoreWriter(
        tmp_path / "data", name="data", features={}, labels=dict(valence=value, arousal=value)
    ) as data:
        label = np.array([0.5, np.nan, -0.5])[:, None]
        both = {"valence": label, "arousal": label / 2}
        data.add(track="v", split="validation", features={}, labels=both, frames=frames)
        data.add(track="t", split="test", features={}, frames=frames)
    run = dict(run="face", size=1)
    features = {
        "face/valence": run,
        "face/arousal": run,
        "face/embedding": dict(run="face", size=6),
    }
    with StoreWriter(tmp_path / "out", name="face", features=features, labels={}) as out:
        for track, split in (("v", "validation"), ("t", "test")):
            x = {n: rng.standard_normal((3, f["size"])) for n, f in features.items()}
            mask = {"face/valence": np.array([True, True, track == "t"])}
            out.add(track=track, split=split, features=x, frames=frames, feature_masks=mask)
    return f"{tmp_path / 'data'},{tmp_path / 'out'}"


def test_a_joined_export_is_written_as_records_and_read_back(exported, tmp_path, capsys):
    assert records.main([exported, f"--out={tmp_path / 'r'}"]) == 0
    assert sorted(p.name for p in (tmp_path / "r" / "face").iterdir()) == ["test.pkl", "val.pkl"]
    table = pickle.loads((tmp_path / "r" / "face" / "val.pkl").read_bytes())
    assert list(table) == ["v/00001.jpg", "v/00002.jpg"]  # image 4 has no prediction
    np.testing.assert_array_equal(table["v/00001.jpg"]["label"], np.array([0.5, 0.25], F))
    assert np.isnan(table["v/00002.jpg"]["label"]).all()
    test = pickle.loads((tmp_path / "r" / "face" / "test.pkl").read_bytes())
    assert len(test) == 3 and all(np.isnan(one["label"]).all() for one in test.values())
    store, before = made(tmp_path / "r"), Store(exported.split(",")[1])
    for name in ("face/valence", "face/arousal", "face/embedding"):
        got = np.asarray(store.feature(name))
        expected = np.asarray(before.feature(name))
        np.testing.assert_array_equal(got, expected[[0, 1, 3, 4, 5]])


def test_a_store_without_predictions_or_such_a_run_is_one_line(exported, tmp_path, capsys):
    data = exported.split(",")[0]
    assert records.main([data, f"--out={tmp_path / 'r'}"]) == 2
    assert "no predictions of valence and arousal by a run." in capsys.readouterr().err
    assert records.main([exported, f"--out={tmp_path / 'r'}", "--runs=fase"]) == 2
    assert "Did you mean 'face'?" in capsys.readouterr().err
