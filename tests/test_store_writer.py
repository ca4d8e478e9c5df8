"""Writing stores: arrays as users have them, what is refused, and what is on disk at the end."""

import decimal
import json
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import verify
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.conftest import ROOT
from tests.toy_store import LABELS, PATHS, add, writer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


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


def test_plain_values_stand_for_texts_and_lists_of_one(path):
    with writer(path, {"face": dict(size=4, trained_on="train")}, notes="by hand") as into:
        add(into, 7, group=3)
    store = Store(path)
    assert store.features["face"].trained_on == ("train",)
    assert (store.tracks[0].name, store.tracks[0].group) == ("7", "3")
    assert verify.check(store).notes == ["from the preparation: by hand"]


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


def test_what_a_killed_process_left_is_removed(path):
    left = path.with_name("store.writing-12345") / "new"
    left.mkdir(parents=True)
    (left / "frames.npy").write_text("half")
    with writer(path) as into:
        add(into)
    assert Store(path).frames_total == 5
    assert [p.name for p in path.parent.iterdir()] == ["store"]


def test_a_link_to_a_store_stays_a_link(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    for name in ("old", "new"):
        with writer(tmp_path / "link") as into:
            add(into, name)
    assert (tmp_path / "link").is_symlink() and Store(path).tracks[0].name == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "store"]


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
        (dict(frames=np.array([1, 2, 2, 3, 4])), "frames, row 2: 2, expected ascending"),
        (dict(frames=np.arange(5)), "frames, row 0: 0, expected ascending"),
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


@pytest.mark.parametrize("name", PATHS)
def test_names_that_are_paths_are_not_written(path, name):
    for more in (dict(track=name), dict(split=name), dict(group=name)):
        with pytest.raises(UserError, match="the name"), writer(path) as into:
            add(into, **more)
    for more in (dict(features={name: dict(size=4)}), dict(labels={name: LABELS["au"]})):
        with pytest.raises(UserError, match="the name"):
            writer(path, **more)
    assert not list(path.parent.iterdir())


class NAType:
    """As pandas.NA: no number, and no truth either."""

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __eq__ = __ne__ = lambda self, other: self
    __hash__ = None


Y = [0.5, 0.0, -0.5, 0.0, 1.0]
HIDDEN = [False, True, False, True, False]


@pytest.mark.parametrize(
    "valence",
    [
        np.ma.array(Y, mask=HIDDEN),
        np.ma.array(np.array(Y)[:, None], mask=np.array(HIDDEN)[:, None]),
        [np.ma.array([y], mask=[hidden]) for y, hidden in zip(Y, HIDDEN)],
        [np.ma.masked if hidden else y for y, hidden in zip(Y, HIDDEN)],
        [None if hidden else y for y, hidden in zip(Y, HIDDEN)],
        [[None] if hidden else [y] for y, hidden in zip(Y, HIDDEN)],
        np.array([NAType() if hidden else y for y, hidden in zip(Y, HIDDEN)], object),
        np.array([None if hidden else decimal.Decimal(y) for y, hidden in zip(Y, HIDDEN)]),
        (Y, ~np.array(HIDDEN)),
        (Y, [0.0 if hidden else 1.0 for hidden in HIDDEN]),
        (np.array(Y, ">f8"), ~np.array(HIDDEN)[:, None]),
        (np.ma.array(Y, mask=[False, True, False, False, False]), np.arange(5) != 3),
        (np.ma.array(Y), [not hidden for hidden in HIDDEN]),
        tuple(np.nan if hidden else y for y, hidden in zip(Y, HIDDEN)),
    ],
)
def test_labels_of_every_form_are_stored_alike(path, valence):
    with writer(path) as into:
        add(into, labels={"valence": valence})
    values, mask = Store(path).label("valence")
    assert mask[:, 0].tolist() == [not hidden for hidden in HIDDEN]
    assert values[:, 0].tolist() == Y


def test_a_mask_of_a_column_each_or_of_a_row_each_is_that_of_the_labels(path):
    au = np.ma.array(np.ones((5, 2), int), mask=[[True, False]] * 5)
    with writer(path) as into:
        add(into, labels={"au": au})
        add(into, "b", labels={"au": (au, [1, 1, 0, 1, 1])})
        add(into, "c", labels={"expression": (np.ones((5, 1)), np.ones((5, 1)))})
    mask = Store(path).label("au")[1]
    assert mask[:5].tolist() == [[False, True]] * 5
    assert mask[5:10].tolist() == [[False, row != 2] for row in range(5)]
    assert Store(path).label("expression")[1].tolist() == [False] * 10 + [True] * 5


@pytest.mark.parametrize("dtype", [">f4", ">i2", "f2", "O", "?", ">u8"])
def test_numbers_of_every_type_and_byte_order_are_stored_alike(path, dtype):
    x = np.arange(20).reshape(5, 4) % 2
    frames = np.array([1, 2, 4, 8, 9], ">i4")
    with writer(path) as into:
        add(into, features={"face": x.astype(dtype)}, frames=frames)
        add(into, "b", features={"face": x.tolist()}, frames=frames.astype(float))
    store = Store(path)
    np.testing.assert_array_equal(store.feature("face"), np.r_[x, x])
    assert store.frames.tolist() == [1, 2, 4, 8, 9] * 2
    assert verify.check(store).problems == []


def _without(value, row, name):
    return {name: [value if i == row else i % 2 for i in range(5)]}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (dict(labels={"valence": np.array(["0.5"] * 5)}), "label 'valence': text such as '0.5'"),
        (dict(labels=_without("x", 2, "valence")), "label 'valence': text such as '0'"),
        (dict(labels=_without(b"x", 2, "expression")), "label 'expression': bytes"),
        (dict(labels=_without({}, 2, "valence")), r"'valence', row 2: dict \{\}, expected a num"),
        (dict(labels=_without(2j, 2, "valence")), "complex numbers"),
        (dict(labels=_without([1, 2], 2, "valence")), "not an array of numbers .*inhomogeneous"),
        (dict(labels={"valence": 3.0}), r"'valence': shape \(\), expected \(5, 1\)"),
        (dict(labels={"valence": {1, 2}}), r"'valence': set \{1, 2\}, expected a number"),
        (dict(labels={"valence": np.arange(5).astype("M8[s]")}), "'valence': dates"),
        (dict(labels={"valence": [10**400] * 5}), "'valence': not an array of numbers"),
        (dict(labels={"valence": np.full(5, 3e30)}), r"'valence', row 0: \[?3e\+30, expected"),
        (dict(labels={"valence": ([0] * 5, [1, 1, 0.5, 1, 1])}), "of label 'valence': holds 0.5"),
        (dict(labels={"valence": ([0] * 5, [1, 1, np.nan, 1, 1])}), "holds nan, expected True"),
        (dict(labels={"valence": ([0] * 5, [1, 1, None, 1, 1])}), "holds a missing value"),
        (dict(labels={"valence": ([0] * 5, [1, 1, -1, 1, 1])}), "holds -1"),
        (dict(labels={"valence": ([0] * 5, ["True"] * 5)}), "mask of label 'valence': text"),
        (dict(labels={"valence": [[0] * 5, [True] * 5]}), r"label 'valence' has shape \(2, 5\)"),
        (dict(labels=np.zeros(5)), "label: expected {name: array}"),
        (dict(features=np.zeros((5, 4))), "feature: expected {name: array}"),
        (dict(features={"face": np.zeros((5, 4)).astype(str)}), "feature 'face': text"),
        (dict(features={"face": np.zeros((5, 4), complex)}), "feature 'face': complex"),
        (dict(features={"face": np.ma.array(np.ones((5, 4)), mask=np.eye(5, 4))}),
         "feature 'face', row 0: masked, None or NA.*feature_masks"),
        (dict(features={"face": [[1, 2, 3, None]] * 5}), "'face', row 0: masked, None or NA"),
        (dict(features={"face": np.ones(4)}), r"shape \(4,\), expected \(5, 4\)"),
        (dict(frames=[1, 2, 2.5, 3, 4]), "frames, row 2: 2.5, expected ascending whole"),
        (dict(frames=[1, 2, np.nan, 3, 4]), "frames, row 2: nan"),
        (dict(frames=[1, 2, None, 3, 4]), "frames, row 2: missing"),
        (dict(frames=["1", "2", "3", "4", "5"]), "frames: text"),
        (dict(frames=[1, 2, 3, 4, 2**31]), "frames, row 4: 2147483648, expected ascending"),
        (dict(frames=5), r"frames: shape \(\), expected"),
        (dict(frames=np.ones(5, bool)), "frames, row 1"),
        *[(dict(fps=fps), "'a': fps is .*, expected a number above 0")
          for fps in ("30", 0, -1, np.inf, np.nan, True, [])],
        *[({key: wrong}, f"{key} .*expected a name")
          for key in ("track", "split", "group") for wrong in (b"a", 1.5, True, [])],
        (dict(split=None), "split None: NoneType, expected a name"),
    ],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_refused_by_track_argument_and_row(
    path,
    more,
    message,
):
    with pytest.raises(UserError, match=message) as caught, writer(path) as into:
        add(into, **more)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not list(path.parent.iterdir())


def test_names_that_are_numbers_are_their_digits(path):
    with writer(path) as into:
        add(into, 1, split=2, group=np.int64(3))
        with pytest.raises(UserError, match="'1' comes twice"):
            add(into, "1", split="2")
    track = Store(path).tracks[0]
    assert (track.name, track.split, track.group) == ("1", "2", "3")


@pytest.mark.parametrize(
    ("part", "spec", "message"),
    [
        ("labels", {"x": dict(kind="classes")}, "label 'x': no size, of kind, size, names"),
        ("labels", {"x": dict(size=3)}, "label 'x': no kind"),
        ("labels", {"x": dict(kind="classes", size=3, class_=3)}, "unknown key 'class_'"),
        ("labels", {"x": dict(kind="classes", size="3")}, "size is '3', expected a whole number"),
        ("labels", {"x": dict(kind="classes", size=0)}, "size is 0"),
        ("labels", {"x": dict(kind="classes", size=2.0)}, "size is 2.0"),
        ("labels", {"x": dict(kind="classes", size=True)}, "size is True"),
        ("labels", {"x": dict(kind="classes", size=10**18)}, "from 1 to 281474976710656"),
        ("labels", {"x": dict(kind=3, size=1)}, "label 'x': kind 3"),
        ("labels", {"x": dict(kind="classes", size=2, names=("a",))}, "1 names, but size is 2"),
        ("labels", {"x": dict(kind="classes", size=2, names=("a", "a"))}, "'a' comes twice"),
        ("labels", {"x": dict(kind="classes", size=2, names=(1, 2))}, "expected a list of texts"),
        ("labels", {"x": 3}, r"label 'x' is 3, expected \{'size'"),
        ("labels", ["x"], r"labels are \['x'\], expected \{name"),
        ("labels", {3: dict(kind="classes", size=2)}, "label 3: int, expected a name"),
        ("labels", {"x.mask": dict(kind="classes", size=2)}, "'x.mask': files of masks"),
        ("features", {"x.spans": dict(size=4)}, "'x.spans': files of masks and spans"),
        ("features", {"x": dict(size=4, gaps=True)}, "unknown key 'gaps'"),
        ("features", {"x": dict(size=4, axis="rows")}, "axis 'rows'"),
        ("features", {"x": dict(size=4, axis="table", rate_hz="30")}, "rate_hz is '30'"),
        ("features", {"x": dict(size=4, trained_on=[3])}, "trained_on is .* a list of texts"),
        ("features", {"x": dict(size=4, extractor=None)}, "extractor is None, expected a text"),
        ("name", 3, "name is 3, expected a text"),
        ("edition", {1, 2}, "edition cannot be written as JSON"),
        ("tracks", [], "tracks is the manifest's own"),
    ],
)  # fmt: skip
def test_what_is_said_of_features_and_labels_is_checked_first(path, part, spec, message):
    given = dict(name="toy", features={"face": dict(size=4)}, labels=LABELS)
    with pytest.raises(UserError, match=message) as caught:
        StoreWriter(path, **{**given, part: spec})
    assert "\n" not in str(caught.value) and not list(path.parent.iterdir())


def test_a_size_of_numpy_and_a_column_alone_fit(path):
    with writer(path, {"face": dict(size=np.int64(1))}) as into:
        add(into, features={"face": np.arange(5)})
    assert Store(path).feature("face")[:, 0].tolist() == [0, 1, 2, 3, 4]
    json.loads((path / "manifest.json").read_text())


def test_the_labs_cases_end_in_a_store_or_one_line(shared, tmp_path):
    lab = shared / "cases" / "object_labels" / "lab.py"
    result = subprocess.run(
        [sys.executable, str(lab)], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0 and "TRACEBACK" not in result.stdout
    written = {line.split()[0] for line in result.stdout.splitlines() if "WRITTEN" in line}
    assert written == {p.name for p in (tmp_path / "stores").iterdir()}
    assert [p.name for p in tmp_path.iterdir()] == ["stores"]
    for name in written - {"notrack", "featnan", "feathuge", "minus5", "scale9"}:
        assert verify.check(Store(tmp_path / "stores" / name)).problems == [], name
