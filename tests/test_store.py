import json
import pathlib
import pickle
from fractions import Fraction

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipelines import verify
from data_pipelines.chunks import chunks, flat
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from tests.toy_store import LABELS, PATHS, add, writer


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
    assert store.features["clip"].rate == Fraction(1, 2)


def test_rows_are_those_of_the_track_on_every_axis(path):
    features = {"face": dict(size=1), "audio": dict(shape=(), axis="rate", rate_hz=2)}
    features["words"] = dict(size=1, axis="table")
    with writer(path, features, {}) as into:
        for track, frames, words in (("a", 2, 3), ("b", 3, 0), ("c", 1, 1)):
            x = {"face": np.ones(frames), "audio": np.zeros(2 * frames), "words": np.ones(words)}
            spans = {"words": np.sort(np.arange(2 * words)).reshape(-1, 2)}
            into.add(track=track, split="train", features=x, spans=spans)
    store = Store(path)
    assert {name: [store.rows(name, i) for i in range(3)] for name in features} == {
        "face": [slice(0, 2), slice(2, 5), slice(5, 6)],
        "audio": [slice(0, 4), slice(4, 10), slice(10, 12)],
        "words": [slice(0, 3), slice(3, 3), slice(3, 4)],
    }
    assert store.spans("words").tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]]
    assert (store.feature("audio").shape, store.feature("words").shape) == ((12,), (4, 1))
    for name, axis in (("face", "frame"), ("audio", "rate")):
        with pytest.raises(UserError, match=f"feature '{name}' on the axis '{axis}' has no spans"):
            store.spans(name)
    for call in (store.spans, lambda name: store.rows(name, 0)):
        with pytest.raises(UserError, match="no feature 'word'. Did you mean 'words'"):
            call("word")


def test_a_table_of_before_spans_opens_without_them(path):
    with writer(path, {"words": dict(size=2, axis="table")}, {}) as into:
        into.add(track="a", split="train", frames=[1, 2], features={"words": np.ones((3, 2))},
                 spans={"words": [[0, 1]] * 3})  # fmt: skip
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["features"]["words"].pop("spans") is True
    (path / "features" / "words.spans.npy").unlink()
    (path / "manifest.json").write_text(json.dumps(manifest))
    store = Store(path)
    assert store.feature("words").sum() == 6 and store.rows("words", 0) == slice(0, 3)
    with pytest.raises(UserError, match="feature 'words' on the axis 'table' has no spans"):
        store.spans("words")
    assert verify.check(store).problems == []


def test_provenance_is_kept(path):
    with writer(path, {"face": dict(size=4, trained_on=("train",))}, edition=4) as into:
        add(into)
    store = Store(path)
    assert store.manifest["edition"] == 4 and store.features["face"].trained_on == ("train",)


@pytest.mark.parametrize("size", [1, 40, 1 << 20])
def test_chunks_are_the_rows_of_maps_of_views_and_of_arrays(path, monkeypatch, size):
    monkeypatch.setattr("data_pipelines.chunks.CHUNK_BYTES", size)
    with writer(path) as into:
        add(into, rows=7)
    x = Store(path).feature("face")
    for array in (x, x[2:], x[:, 1:], np.array(x)):
        pieces = list(chunks(array, array[:, 0]))
        assert [start for start, *_ in pieces] == sorted({start for start, *_ in pieces})
        np.testing.assert_array_equal(np.concatenate([a for _, a, _ in pieces]), array)
        np.testing.assert_array_equal(np.concatenate([b for *_, b in pieces]), array[:, 0])


@pytest.mark.parametrize("size", [1, 8, 1 << 20])
def test_the_numbers_of_large_items_come_in_pieces_too(path, monkeypatch, size):
    with writer(path) as into:
        add(into, rows=7)
    monkeypatch.setattr("data_pipelines.chunks.CHUNK_BYTES", size)
    x = Store(path).feature("face")
    for array in (x, x[2:], np.array(x), x[:0]):
        pieces = [piece for _, piece in chunks(flat(array))]
        assert all(piece.nbytes <= max(size, 4) for piece in pieces)
        np.testing.assert_array_equal(np.concatenate([[], *pieces]), np.ravel(array))


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


def test_a_store_that_a_killed_process_had_moved_aside_is_found(path):
    with writer(path) as into:
        add(into)
    aside = path.with_name("store.writing-12345")
    aside.mkdir()
    path.rename(aside / "old")
    assert Store(path).frames_total == 5
    assert [p.name for p in path.parent.iterdir()] == ["store"]


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
        lambda m: m["tracks"][0].update(frames=10**18),
        lambda m: m["tracks"][0].update(frames=True),
        lambda m: m["tracks"][0].update(fps=0),
        lambda m: m["tracks"][0].update(fps=float("inf")),
        lambda m: m["tracks"][0].update(rows={"voice": 3}),
        lambda m: m["tracks"][0].update(split="a+b"),
        lambda m: m["labels"]["au"].update(names=["x"]),
        lambda m: m["labels"]["au"].update(names=["x", "x"]),
        lambda m: m["features"]["face"].update(axis="time"),
        lambda m: m["features"]["face"].update(extractor=[]),
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


@pytest.mark.parametrize("name", PATHS)
def test_names_that_are_paths_are_refused_when_a_store_is_opened(path, name):
    with writer(path) as into:
        add(into)
    whole = json.loads((path / "manifest.json").read_text())
    for part in ("features", "labels"):
        damaged = json.loads(json.dumps(whole))
        damaged[part][name] = dict(whole[part].popitem()[1])
        (path / "manifest.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=f"{part[:-1]} .*the name"):
            Store(path)
    for key, what in (("name", "track"), ("split", "split"), ("group", "group")):
        damaged = json.loads(json.dumps(whole))
        damaged["tracks"][0][key] = name
        (path / "manifest.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=f"{what} .*the name") as caught:
            Store(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        assert verify.main([f"--store={path}"]) == 2


def test_the_cases_of_others_are_refused(shared):
    for case in ("abaw3_traversal", "split_traversal"):
        with pytest.raises(UserError, match=r"\.\./evil_\w+': the name holds '/'"):
            Store(shared / "cases" / case / "store")


@pytest.mark.parametrize("case, shown", [("nan", "nan"), ("inf", "inf")])
def test_a_label_that_is_no_number_is_named_at_its_first_use(shared, capsys, case, shown):
    store = Store(shared / "cases" / "label_nan" / case)
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"valence\.npy: \[.*at track 'v\d+', row \d+ \(image"
        ) as c:
            store.label("valence")
        assert shown in str(c.value)
    assert verify.main([f"--store={store.path}"]) == 1
    assert "valence.npy: [" in capsys.readouterr().out


def test_a_split_that_is_a_number_is_refused(path):
    with writer(path) as into:
        add(into)
    manifest = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(manifest.replace('"split": "train"', '"split": 3'))
    with pytest.raises(UserError, match="split 3: int, expected a name"):
        Store(path)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A store whose manifest is overwritten, and the bytes it had."""
    path = tmp_path_factory.mktemp("damaged") / "store"
    with writer(path) as into:
        add(into, fps=25)
    return path, (path / "manifest.json").read_bytes()


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(data=st.data())
def test_a_damaged_manifest_is_read_or_refused_in_one_line(damaged, data):
    path, text = damaged[0], bytearray(damaged[1])
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    (path / "manifest.json").write_bytes(text)
    try:
        verify.check(Store(path))
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path))


@pytest.mark.parametrize("file", ["manifest.json", "references.json"])
def test_json_nested_without_end_is_a_user_error(path, file):
    with writer(path) as into:
        add(into)
    (path / file).write_text("[" * 100_000)
    with pytest.raises(UserError, match=rf"{file}: not .*\(nested too deeply\)"):
        Store(path)


def test_a_manifest_without_permission_is_not_called_missing(path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    with writer(path) as into:
        add(into)
    monkeypatch.setattr(pathlib.Path, "read_text", refused)
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read: Permission denied\."):
        Store(path)


@pytest.mark.parametrize("name", ["c" * 5000, "x\udcff", "\0"])
def test_a_path_that_no_file_can_have_is_one_line(tmp_path, capsys, name):
    assert verify.main([f"--store={tmp_path / name}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")


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
    with pytest.raises(
        UserError, match=r"face\.npy: not a readable array file .* Prepare it again"
    ):
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
    "text",
    [
        "{",
        "[]",
        '{"train": {"oracle": 0.9}}',
        '{"a": {"b": {"c": []}}}',
        '{"a": {"b": {"c": NaN}}}',
        '{"a": {"b": {"c": 1' + "0" * 400 + "}}}",
    ],
)
def test_damaged_references_are_refused_when_the_store_is_opened(path, text):
    with writer(path) as into:
        add(into)
    (path / "references.json").write_text(text)
    with pytest.raises(UserError, match=r"references\.json: not \{split.* Mend or delete it"):
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
        with pytest.raises(UserError, match=r"expression\.npy: 3 at track 'b', row 2 \(image 3\)"):
            store.label("expression")
