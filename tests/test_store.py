import json
import pickle

import numpy as np
import pytest

from data_pipelines import verify
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

LABELS = {
    "valence": dict(kind="values", size=1),
    "expression": dict(kind="classes", size=3, names=("a", "b", "c")),
    "au": dict(kind="labels", size=2, names=("x", "y")),
}


def writer(path, features=None, labels=LABELS, **provenance):
    features = {"face": dict(size=4)} if features is None else features
    return StoreWriter(path, name="toy", features=features, labels=labels, **provenance)


def add(into, track="a", rows=5, split="train", **more):
    """A track of ones with every label; returns what it added."""
    given = dict(
        features={"face": np.arange(rows * 4).reshape(rows, 4) + 0.5},
        labels={
            "valence": np.linspace(-1, 1, rows),
            "expression": np.arange(rows) % 3,
            "au": np.ones((rows, 2), int),
        },
    )
    given.update(more)
    into.add(track=track, split=split, **given)
    return given


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


def test_a_store_gives_back_what_was_written(path):
    with writer(path) as into:
        given = add(into)
        add(into, "b", 3, "test", group="video", fps=25.0, frames=np.array([2, 5, 9]))
    store = Store(path)
    np.testing.assert_array_equal(store.feature("face")[:5], given["features"]["face"])
    np.testing.assert_array_equal(store.label("expression")[0][5:], [0, 1, 2])
    np.testing.assert_allclose(store.label("valence")[0][:5, 0], given["labels"]["valence"])
    assert store.frames.tolist() == [1, 2, 3, 4, 5, 2, 5, 9]
    assert store.splits == ("train", "test") and store.split("train+test").tolist() == [0, 1]
    a, b = store.tracks
    assert (a.group, a.offset, a.fps) == ("a", 0, None)
    assert (b.group, b.offset, b.fps, b.frames) == ("video", 5, 25.0, 3)
    assert store.labels["expression"].names == ("a", "b", "c")


def test_arrays_have_the_documented_types_and_are_read_from_disk(path):
    with writer(path) as into:
        add(into)
    store = Store(path)
    arrays = {name: store.label(name)[0] for name in LABELS}
    assert {n: a.dtype for n, a in arrays.items()} == {
        "valence": np.float32,
        "expression": np.int32,
        "au": np.int8,
    }
    assert store.feature("face").dtype == np.float32
    assert all(isinstance(a, np.memmap) for a in (*arrays.values(), store.feature("face")))
    assert arrays["valence"].shape == (5, 1) and arrays["expression"].shape == (5,)


def test_nan_is_a_missing_label_stored_as_zero(path):
    with writer(path) as into:
        add(into, labels={"valence": np.array([0.5, np.nan, -0.5, np.nan, 1.0])})
    values, mask = Store(path).label("valence")
    assert mask[:, 0].tolist() == [True, False, True, False, True]
    assert values[:, 0].tolist() == [0.5, 0.0, -0.5, 0.0, 1.0]


def test_a_label_left_out_is_missing_in_every_frame(path):
    with writer(path) as into:
        add(into, labels={"expression": (np.array([0, 9, 2, -1, 1]), np.arange(5) % 2 == 0)})
    store = Store(path)
    assert not store.label("au")[1].any() and not store.label("valence")[1].any()
    assert store.label("expression")[0].tolist() == [0, 0, 2, 0, 1]


def test_a_feature_left_out_is_a_gap_of_zeros(path):
    with writer(path, {"face": dict(size=4), "voice": dict(size=2)}) as into:
        add(into)
        add(into, "b", feature_masks={"face": np.arange(5) > 1}, features={
            "face": np.ones((5, 4)), "voice": np.ones((5, 2))})  # fmt: skip
    store = Store(path)
    assert store.feature_mask("face").tolist() == [True] * 5 + [False] * 2 + [True] * 3
    assert store.feature("face")[5:].sum(axis=1).tolist() == [0, 0, 4, 4, 4]
    assert store.feature_mask("voice").tolist() == [False] * 5 + [True] * 5
    assert not store.feature("voice")[:5].any()


def test_a_feature_without_gaps_has_no_mask(path):
    with writer(path) as into:
        add(into)
    assert Store(path).feature_mask("face") is None
    assert not (path / "features" / "face.mask.npy").exists()


def test_a_table_feature_has_rows_of_its_own(path):
    with writer(path, {"clip": dict(size=2, axis="table", rate_hz=0.5)}, {}) as into:
        for track, rows in (("a", 3), ("b", 0), ("c", 2)):
            into.add(track=track, split="train", frames=np.arange(1, 8),
                     features={"clip": np.full((rows, 2), rows)} if rows else {})  # fmt: skip
    store = Store(path)
    assert [t.rows["clip"] for t in store.tracks] == [(0, 3), (3, 0), (3, 2)]
    assert store.feature("clip").tolist() == [[3, 3]] * 3 + [[2, 2]] * 2
    assert store.features["clip"].rate_hz == 0.5


def test_provenance_is_kept(path):
    with writer(path, {"face": dict(size=4, trained_on=("train",))}, edition=4) as into:
        add(into)
    store = Store(path)
    assert store.manifest["edition"] == 4 and store.features["face"].trained_on == ("train",)


def test_plain_values_stand_for_texts_and_lists_of_one(path):
    with writer(path, {"face": dict(size=4, trained_on="train")}, notes="by hand") as into:
        add(into, 7, group=3)
    store = Store(path)
    assert store.features["face"].trained_on == ("train",)
    assert (store.tracks[0].name, store.tracks[0].group) == ("7", "3")
    assert verify.check(store).notes == ["from the preparation: by hand"]


def test_a_store_without_tracks_opens(path):
    with writer(path):
        pass
    assert Store(path).frames_total == 0 and Store(path).feature("face").shape == (0, 4)


def test_an_open_store_pickles_without_its_arrays(path):
    with writer(path) as into:
        add(into)
    store = Store(path)
    assert store.frames.size == 5 and store.feature("face").size == 20
    again = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(again)) < 5000
    np.testing.assert_array_equal(again.feature("face"), store.feature("face"))


def test_an_exception_leaves_the_old_store_and_nothing_else(path):
    with writer(path) as into:
        add(into)
    with pytest.raises(KeyError), writer(path) as into:
        add(into, "other")
        raise KeyError("stop")
    assert [t.name for t in Store(path).tracks] == ["a"]
    assert [p.name for p in path.parent.iterdir()] == ["store"]


def test_a_complete_store_replaces_the_old_one(path):
    for name in ("old", "new"):
        with writer(path) as into:
            add(into, name)
    assert [t.name for t in Store(path).tracks] == ["new"]
    assert [p.name for p in path.parent.iterdir()] == ["store"]


def test_what_a_killed_process_of_the_same_number_left_is_overwritten(path):
    into = writer(path)
    into._folder.mkdir()
    (into._folder / "frames.npy").write_text("half")
    with into:
        add(into)
    assert Store(path).frames_total == 5


def test_a_folder_that_is_no_store_is_not_overwritten(path):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="exists and is no store"):
        writer(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (dict(labels={"valance": np.zeros(5)}), "unknown label 'valance'.*'valence'"),
        (dict(features={"fase": np.zeros((5, 4))}), "unknown feature 'fase'.*'face'"),
        (dict(feature_masks={"fase": np.ones(5, bool)}), "of a mask.*'fase'.*'face'"),
        (dict(feature_masks={"face": np.ones(4, bool)}), r"mask of feature 'face': shape \(4,\)"),
        (dict(features={"face": np.zeros((6, 4))}), r"\(6, 4\), expected \(5, 4\)"),
        (dict(labels={"au": np.zeros((5, 3), int)}), r"\(5, 3\).*expected \(5, 2\)"),
        (dict(frames=np.array([1, 2, 2, 3, 4])), "5 ascending numbers"),
        (dict(frames=np.arange(5)), "5 ascending numbers"),
        (dict(labels={"expression": np.array([0, 1, 3, 0, 0])}), "row 2: 3, expected 0 to 2"),
        (dict(labels={"expression": np.array([0, 1.5, 2, 0, 0])}), "row 1: 1.5, expected 0 to 2"),
        (dict(labels={"au": np.full((5, 2), 256)}), "row 0: 256, expected 0 to 1"),
        (dict(labels={"valence": np.full(5, np.inf)}), "row 0: inf, expected a finite number"),
        (dict(split="a+b"), "a \\+ joins splits"),
        (dict(features={}, labels={}), "no frames, labels or frame-wise features"),
        (dict(features={}, labels={"valence": np.zeros(0)}), "has no frames"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(path, more, message):
    with pytest.raises(UserError, match=message), writer(path) as into:
        add(into, **more)


def test_a_track_name_comes_once(path):
    with pytest.raises(UserError, match="'a' comes twice"), writer(path) as into:
        add(into)
        add(into)


def test_an_unknown_kind_of_label_is_refused(path):
    with pytest.raises(UserError, match=r"kind 'class'\. Did you mean 'classes'"):
        writer(path, labels={"x": dict(kind="class", size=2)})


def test_names_that_are_not_there_get_the_nearest(path):
    with writer(path) as into:
        add(into)
    store = Store(path)
    for call, hint in (
        (lambda: store.feature("fce"), "'face'"),
        (lambda: store.label("aus"), "'au'"),
        (lambda: store.split("trian"), "'train'"),
    ):
        with pytest.raises(UserError, match=hint):
            call()


def test_a_folder_without_manifest_says_how_to_fill_one(tmp_path):
    with pytest.raises(UserError, match=r"data_pipelines\.prepare"):
        Store(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.update(format=99),
        lambda m: m.pop("features"),
        lambda m: m["labels"]["au"].update(kind="fuzzy"),
        lambda m: m["tracks"][0].update(frames="many"),
        lambda m: m["tracks"][0].update(frames=-5),
        lambda m: m["tracks"][0].update(split=3),
        lambda m: m["tracks"].append(m["tracks"][0]),
        lambda m: m.update(tracks=["a"]),
        lambda m: m.update(features=[]),
        lambda m: m["features"]["face"].pop("size"),
        lambda m: m["features"]["face"].update(size="wide"),
        lambda m: m["features"]["face"].update(trained_on=3),
    ],
)
def test_a_manifest_of_another_form_is_a_user_error(path, damage):
    with writer(path) as into:
        add(into)
    manifest = json.loads((path / "manifest.json").read_text())
    damage(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="not a store manifest"):
        Store(path)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_manifest_that_is_no_object_is_a_user_error(path, text):
    with writer(path) as into:
        add(into)
    (path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="not a store manifest"):
        Store(path)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-8], lambda b: b"", lambda b: b.replace(b"}", b"("), lambda b: b"PK" + b[2:]],
)
def test_a_damaged_array_is_a_user_error(path, damage):
    with writer(path) as into:
        add(into)
    file = path / "features" / "face.npy"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"face\.npy: cannot be read"):
        Store(path).feature("face")


def test_an_array_that_is_not_as_long_as_the_manifest_says_is_a_user_error(path):
    with writer(path) as into:
        add(into)
    np.save(path / "features" / "face.npy", np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match=r"\(4, 4\), expected float32 \(5, 4\)"):
        Store(path).feature("face")


def test_references_are_read_where_there_are_any(path):
    with writer(path) as into:
        add(into)
    assert Store(path).references("train") == {}
    (path / "references.json").write_text('{"train": {"oracle": {"valence/ccc": 0.9}}}')
    assert Store(path).references("train") == {"oracle": {"valence/ccc": 0.9}}
    assert Store(path).references("test") == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"train": {"oracle": 0.9}}', '{"a": {"b": {"c": []}}}']
)
def test_damaged_references_are_refused_when_the_store_is_opened(path, text):
    with writer(path) as into:
        add(into)
    (path / "references.json").write_text(text)
    with pytest.raises(UserError, match=r"references\.json: expected .* Mend or delete it"):
        Store(path)


def test_labels_outside_their_classes_are_refused_as_often_as_they_are_asked_for(path):
    with writer(path) as into:
        add(into, rows=4)
        add(into, "b")
    values = np.load(path / "labels" / "expression.npy")
    values[6] = 3
    np.save(path / "labels" / "expression.npy", values)
    store = Store(path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"expression\.npy: 3 at track 'b', row 2, expected 0 "):
            store.label("expression")
