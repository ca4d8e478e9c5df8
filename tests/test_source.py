import copy
import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from data_pipelines import statistics
from data_pipelines.errors import UserError
from data_pipelines.plan import FILLING
from data_pipelines.rows import clips, in_seconds, segments, windows
from data_pipelines.source import Source, draws
from data_pipelines.statistics import Statistics
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from data_pipelines.stream import stream
from tests.stores import LABELS, small_store
from tests.streams import FEATURES, clips_store, tracks_store

TASKS = tuple(LABELS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s", gaps=True)


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    return tracks_store(tmp_path_factory.mktemp("store") / "t")


@pytest.fixture(scope="module")
def clip_store(tmp_path_factory):
    return clips_store(tmp_path_factory.mktemp("store") / "c")


def rows_of(store, length=5):
    return segments([t.frames for t in store.tracks], length)


def batch_of(source, rows, ids=None, starts=None, *, moved=False):
    ids = np.arange(len(rows), dtype=np.int32) if ids is None else np.array(ids, np.int32)
    return source.batch(rows, source.shape(rows, moved=moved), ids, starts)


def test_a_batch_holds_its_rows_and_zeros_elsewhere(store):
    rows = rows_of(store)
    batch = batch_of(Source(store, ("a", "b"), TASKS), rows, [2, FILLING, 5])
    assert batch["inputs"]["a"].shape == (3, 5, 5) and batch["labels"]["au"].shape == (3, 5, 12)
    assert batch["row"].tolist() == [2, FILLING, 5] and "moments" not in batch
    for b, row in ((0, 2), (2, 5)):
        track, n = store.tracks[rows.track[row]], rows.sizes[row]
        where = track.offset + rows.frames(row)
        np.testing.assert_array_equal(batch["inputs"]["a"][b, :n], store.feature("a")[where])
        np.testing.assert_array_equal(batch["label_mask"]["au"][b, :n], store.label("au")[1][where])
        assert batch["mask"][b].tolist() == [True] * n + [False] * (5 - n)
        assert not batch["inputs"]["a"][b, n:].any() and not batch["label_mask"]["au"][b, n:].any()
        assert batch["start"][b] == rows.first[row]
    assert not batch["mask"][1].any() and not batch["inputs"]["a"][1].any()


def test_only_frame_wise_features_with_gaps_have_a_mask(store):
    batch = batch_of(Source(store, ("a", "b")), rows_of(store))
    assert list(batch["inputs_mask"]) == ["b"]
    gap = batch["mask"] & ~batch["inputs_mask"]["b"]
    assert gap.any() and not batch["inputs"]["b"][gap].any()


def rule(name, store):
    lengths = [t.frames for t in store.tracks]
    if name == "seconds":
        return in_seconds(store, Fraction(1, 3), Fraction(1, 7))
    return segments(lengths, 5) if name == "segments" else windows(lengths, 6, 4)


@pytest.mark.parametrize("name", ["segments", "windows", "seconds"])
def test_a_row_takes_what_falls_into_its_time_of_every_stream(streams, name):
    rows = rule(name, streams)
    batch = batch_of(Source(streams, tuple(FEATURES)), rows)
    for row in range(len(rows)):
        index = int(rows.track[row])
        fps = streams.tracks[index].fps
        images = streams.frames[streams.tracks[index].span][rows.frames(row)]
        begin, end = Fraction(int(images[0]) - 1) / fps, Fraction(int(images[-1])) / fps
        if name == "seconds":
            begin = Fraction(*rows.begin[row].tolist())
            end = begin + rows.seconds
        for stream_name in ("audio", "film", "quiet"):
            own = streams.rows(stream_name, index)
            rate = streams.features[stream_name].rate
            inside = [k for k in range(own.stop - own.start) if begin <= k / rate < end]
            mask = streams.feature_mask(stream_name)
            exists = np.ones(len(inside), bool) if mask is None else mask[own][inside]
            expected = streams.feature(stream_name)[own][inside]
            got, got_mask = (batch[part][stream_name][row] for part in ("inputs", "inputs_mask"))
            assert got_mask[: len(inside)].tolist() == exists.tolist()
            assert not got_mask[len(inside) :].any() and not got[len(inside) :].any()
            np.testing.assert_array_equal(got[: len(inside)], expected)
        own = streams.rows("words", index)
        spans = streams.spans("words")[own]
        overlap = [k for k, (a, b) in enumerate(spans) if b > begin * fps and a < end * fps]
        got, got_mask = (batch[part]["words"][row] for part in ("inputs", "inputs_mask"))
        assert got_mask.sum() == len(overlap) and got_mask[: len(overlap)].all()
        expected = streams.feature("words")[own][overlap]
        np.testing.assert_array_equal(got[: len(overlap)], expected)


def test_samples_of_rows_that_begin_at_long_fractions_are_counted_exactly(streams):
    seconds = Fraction("0.123456789")
    rows = in_seconds(streams, seconds, Fraction("0.1"))
    batch = batch_of(Source(streams, ("audio",)), rows)
    for row in range(len(rows)):
        begin, own = (
            Fraction(*rows.begin[row].tolist()),
            streams.rows("audio", int(rows.track[row])),
        )
        inside = [
            k for k in range(own.stop - own.start) if begin <= Fraction(k, 100) < begin + seconds
        ]
        expected = streams.feature("audio")[own][inside]
        assert batch["inputs_mask"]["audio"][row].sum() == len(inside)
        np.testing.assert_array_equal(batch["inputs"]["audio"][row, : len(inside)], expected)


def test_the_shape_of_a_batch_is_that_of_the_longest_row_of_all_tracks(streams):
    source, rows = Source(streams, tuple(FEATURES)), rows_of(streams)
    whole, part = source.shape(rows), rows.of_tracks(np.array([1]))
    batch = source.batch(part, whole, np.array([0], np.int32))
    full = batch_of(source, rows)
    for name in ("audio", "film", "words"):
        size = whole.rates[name]
        assert batch["inputs"][name].shape[1] == size == full["inputs_mask"][name].sum(1).max()


@pytest.mark.parametrize("how", ["nearest", "mean"])
@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_a_table_is_spread_over_the_frames(streams, how, delay):
    gap = 0.1 if how == "nearest" else 0.0
    source = Source(streams, ("words",), delay=delay, spread={"words": how}, gap=gap)
    batch, rows = batch_of(source, rows_of(streams)), rows_of(streams)
    reached = 0
    for row in range(len(rows)):
        index = int(rows.track[row])
        own, fps = streams.rows("words", index), float(streams.tracks[index].fps)
        spans, values = streams.spans("words")[own], streams.feature("words")[own]
        images = streams.frames[streams.tracks[index].span][rows.frames(row)]
        for t, image in enumerate(images):
            at = image - 1 - delay * fps
            covers = [k for k, (a, b) in enumerate(spans) if a <= at < b]
            if how == "nearest":
                far = [
                    (max(a - at, at - (b - 1), 0), abs(at - (a + b - 1) / 2), k)
                    for k, (a, b) in enumerate(spans)
                ]
                inside = min(((m, k) for d, m, k in far if k in covers), default=None)
                outside = min(((d, k) for d, _, k in far if d <= gap * fps), default=None)
                reached += not covers and outside is not None
                one = inside or outside
                covers = [one[1]] if one else []
            assert batch["inputs_mask"]["words"][row, t] == bool(covers)
            expected = values[covers].mean(0) if covers else np.zeros(2)
            np.testing.assert_allclose(batch["inputs"]["words"][row, t], expected, atol=1e-6)
    assert reached or how == "mean"


def test_a_row_that_does_not_exist_is_nearest_to_no_frame(tmp_path):
    features = {"words": dict(size=1, axis="table")}
    with StoreWriter(tmp_path / "s", name="s", features=features, labels={}) as writer:
        writer.add(
            track="a",
            split="train",
            features={"words": [[1.0], [2.0], [3.0]]},
            feature_masks={"words": [True, False, True]},
            spans={"words": [[0, 2], [2, 4], [4, 6]]},
            frames=np.arange(1, 7),
            fps=1,
        )
    source = Source(Store(tmp_path / "s"), ("words",), spread={"words": "nearest"}, gap=1.0)
    batch = batch_of(source, segments([6], 6))
    assert batch["inputs"]["words"][0, :, 0].tolist() == [1, 1, 1, 3, 3, 3]
    source = dataclasses.replace(source, spread={"words": "mean"}, gap=0.0)
    batch = batch_of(source, segments([6], 6))
    assert batch["inputs_mask"]["words"][0].tolist() == [True, True, False, False, True, True]


def test_spans_that_are_not_in_time_order_are_refused(streams):
    other = copy.copy(streams)
    spans = np.array(streams.spans("words"))
    spans[2, 1] = 99
    other.spans = lambda name: spans
    with pytest.raises(UserError, match=r"'words' of track 't0', row 3: span .* time order"):
        Source(other, ("words",))


def test_what_is_spread_is_a_table_that_is_fed(streams):
    with pytest.raises(UserError, match=r"config.data.spread: 'x' is no table.* words"):
        Source(streams, ("x", "words"), spread={"x": "mean"})
    with pytest.raises(UserError, match=r"spread_gap = 0.5: no table is spread by nearest"):
        Source(streams, ("words",), spread={"words": "mean"}, gap=0.5)
    with pytest.raises(UserError, match=r"words:men\. .*mean"):
        Source(streams, ("words",), spread={"words": "men"})


def test_a_clip_has_no_time_axis_and_its_streams_are_whole(clip_store):
    rows = clips([1] * 7)
    source = Source(clip_store, tuple(FEATURES), ("valence", "kind"))
    batch = batch_of(source, rows)
    assert batch["mask"].shape == (7,) and batch["labels"]["kind"].shape == (7,)
    assert batch["labels"]["valence"].shape == (7, 1) and batch["inputs"]["face"].shape[1:] == (
        4,
        3,
        1,
    )
    for row in range(7):
        own = clip_store.rows("audio", row)
        n = own.stop - own.start
        assert batch["inputs_mask"]["audio"][row].sum() == n
        np.testing.assert_array_equal(
            batch["inputs"]["audio"][row, :n], clip_store.feature("audio")[own]
        )


def test_clips_begin_together_in_all_streams_where_they_are_moved(clip_store):
    seconds = Fraction(1, 5)
    rows, starts = clips([1] * 7, seconds), draws(0, 4, 7)
    source = Source(clip_store, ("audio", "film"))
    batch = batch_of(source, rows, starts=starts)
    assert batch["inputs"]["audio"].shape[1] == 20 and batch["inputs"]["film"].shape[1] == 6
    places = set()
    for row in range(7):
        own = clip_store.rows("audio", row)
        audio, n = clip_store.feature("audio")[own], own.stop - own.start
        first = math.floor(starts[row] * (n - 20 + 1))
        np.testing.assert_array_equal(batch["inputs"]["audio"][row], audio[first : first + 20])
        film = clip_store.feature("film")[clip_store.rows("film", row)]
        rate = Fraction(30000, 1001)
        begin = math.ceil(Fraction(first, 100) * rate)
        part = film[begin : begin + 6]
        np.testing.assert_array_equal(batch["inputs"]["film"][row, : len(part)], part)
        places.add(first)
    assert len(places) > 3
    first_of_all = batch_of(source, rows)
    own = clip_store.rows("audio", 0)
    expected = clip_store.feature("audio")[own][:20]
    np.testing.assert_array_equal(first_of_all["inputs"]["audio"][0], expected)


def test_rows_that_are_moved_stay_in_their_track_and_reach_all_of_it(streams):
    rows = rows_of(streams)
    source = Source(streams, ("x", "audio"))
    seen = [set() for _ in streams.tracks]
    for epoch in range(40):
        starts = draws(1, epoch, len(rows))
        at = source.places(rows, np.arange(len(rows)), starts)
        first, count = at["frames"]
        for row in range(len(rows)):
            track = streams.tracks[rows.track[row]]
            begin = first[row] - track.offset
            assert begin >= 0 and begin + count[row] <= track.frames
            assert count[row] == rows.sizes[row]
            seen[rows.track[row]].add(int(begin))
    assert [max(part) for part in seen] >= [18, 4, 9] and all(0 in part for part in seen)
    batch_of(source, rows, starts=draws(1, 0, len(rows)), moved=True)


def test_a_row_keeps_its_draw_whatever_rows_are_fed_beside_it(streams):
    rows, starts = rows_of(streams), draws(1, 2, len(rows_of(streams)))
    source = Source(streams, ("x",))
    together = batch_of(source, rows, starts=starts)
    alone = batch_of(source, rows, [4], starts)
    np.testing.assert_array_equal(alone["inputs"]["x"][0], together["inputs"]["x"][4])


def test_training_statistics_equal_those_of_the_joined_frames(store):
    tracks = store.split("train")
    moments = Statistics.of(store, ["a", "b"], tracks)
    mask = store.feature_mask("b")
    rows = np.concatenate([np.arange(len(mask))[store.tracks[i].span] for i in tracks])
    b = np.float64(store.feature("b")[rows])[mask[rows]]
    np.testing.assert_allclose(moments.mean["b"], b.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.std["b"], b.std(0), rtol=1e-6)


def test_statistics_are_of_floats_in_rows_of_their_own_too(streams):
    moments = Statistics.of(streams, tuple(FEATURES), streams.split("train"))
    assert set(moments.mean) == {"x", "gaps", "words", "quiet"}
    own = [streams.rows("quiet", i) for i in streams.split("train")]
    x = np.concatenate([streams.feature("quiet")[r][streams.feature_mask("quiet")[r]] for r in own])
    np.testing.assert_allclose(moments.mean["quiet"], x.mean(), rtol=1e-5)
    assert moments.std["quiet"].shape == ()


def test_statistics_are_the_same_where_tracks_are_read_in_pieces(store, streams, monkeypatch):
    for of, names in ((store, ("a", "b")), (streams, tuple(FEATURES))):
        whole = Statistics.of(of, names, of.split("train"))
        with monkeypatch.context() as patch:
            patch.setattr(statistics, "PIECE_BYTES", 50)  # six numbers
            pieces = Statistics.of(of, names, of.split("train"))
        for kind in ("mean", "std"):
            for name, x in getattr(whole, kind).items():
                np.testing.assert_allclose(getattr(pieces, kind)[name], x, rtol=1e-6)


def test_each_track_comes_with_its_own_moments(store):
    source, rows = Source(store, ("a", "b"), by_track=True), rows_of(store)
    batch = batch_of(source, rows)
    for row in (0, 3, len(rows) - 1):
        own = Statistics.of(store, ["a", "b"], [int(rows.track[row])])
        for name in ("a", "b"):
            moments = batch["moments"][name]
            np.testing.assert_array_equal(moments["mean"][row], own.mean[name])
            np.testing.assert_array_equal(moments["std"][row], own.std[name])


def test_frames_have_the_time_of_their_middle_from_the_beginning_of_the_row(streams):
    source = Source(streams, ("x", "audio"), times=True)
    for rows in (rows_of(streams), in_seconds(streams, Fraction("0.4"), Fraction("0.3"))):
        times, seen = batch_of(source, rows)["times"], batch_of(source, rows)["mask"]
        assert times.dtype == np.float32 and not times[~seen].any()
        for row in range(len(rows)):
            track = streams.tracks[rows.track[row]]
            shown = streams.frames[track.span][rows.frames(row)]
            middles = [Fraction(int(2 * number - 1), 2) / track.fps for number in shown]
            begin = Fraction(int(shown[0] - 1)) / track.fps
            if rows.begin is not None:
                begin = Fraction(*rows.begin[row].tolist())
            expected = [float(middle - begin) for middle in middles]
            np.testing.assert_allclose(times[row, : len(shown)], expected, atol=1e-6)
            assert rows.begin is None or (expected[0] > 0 and expected[-1] < 0.4 + 1 / 30)


def test_times_of_frames_need_a_rate(tmp_path):
    store = tracks_store(tmp_path / "still", fps=None)
    with pytest.raises(UserError, match="times of frames are needed, but track 't0' has no frames"):
        batch_of(Source(store, ("x",), times=True), segments([t.frames for t in store.tracks], 4))


def test_a_delay_reads_features_earlier_and_the_first_frame_before_the_start(store):
    index = next(i for i, t in enumerate(store.tracks) if t.fps)
    track = store.tracks[index]
    number = store.frames[track.span]
    rows = segments([t.frames for t in store.tracks], 30).of_tracks(np.array([index]))
    batch = batch_of(Source(store, ("a", "b"), delay=3 / float(track.fps)), rows)
    for i, own in enumerate(number):
        earlier = [j for j in range(track.frames) if number[j] <= own - 3] or [0]
        place = track.offset + earlier[-1]
        np.testing.assert_array_equal(batch["inputs"]["a"][0, i], store.feature("a")[place])
        assert batch["inputs_mask"]["b"][0, i] == store.feature_mask("b")[place]


def test_a_delay_in_seconds_needs_a_rate_and_features_of_frames(store, streams):
    slow = dataclasses.replace(store.tracks[0], fps=None)
    other = copy.copy(store)
    other.tracks = [slow, *store.tracks[1:]]
    with pytest.raises(UserError, match=f"{slow.name!r} has no frames per second"):
        Source(other, ("a",), delay=0.5)
    with pytest.raises(UserError, match="label_delay moves features of frames; 'audio' has rows"):
        Source(streams, ("x", "audio"), delay=0.5)


@pytest.mark.parametrize(
    "file", ["frames", "features/a", "features/b", "features/b.mask", "labels/au", "labels/au.mask"]
)
def test_a_damaged_file_is_found_before_the_first_batch(tmp_path, file):
    path = small_store(tmp_path / "s", gaps=True).path / f"{file}.npy"
    np.save(path, np.load(path)[1:])
    with pytest.raises(UserError, match=rf"{file}\.npy: .* expected "):
        Source(Store(tmp_path / "s"), ("a", "b"), TASKS)


def test_nothing_is_normalised_by_a_row_that_is_not_finite(tmp_path):
    store = small_store(tmp_path / "s", gaps=True)
    mask, x = store.feature_mask("b"), np.load(store.path / "features" / "b.npy")
    gap = int(np.argmin(mask))
    x[gap] = np.nan  # not there, so it does not matter
    np.save(store.path / "features" / "b.npy", x)
    tracks = store.split("train")
    Statistics.of(Store(store.path), ["b"], tracks)
    track = store.tracks[tracks[-1]]
    bad = track.offset + int(np.flatnonzero(mask[track.offset :])[1])
    x[bad, 1] = np.inf
    np.save(store.path / "features" / "b.npy", x)
    image = store.frames[bad]
    with pytest.raises(UserError, match=f"'b' of track '{track.name}', image {image}: not finite"):
        Statistics.of(Store(store.path), ["b"], tracks)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_streamed_batches_are_the_sources_own_in_order(store, workers):
    rows, table = rows_of(store), np.array([[3, 1], [0, FILLING], [7, 5]], np.int32)
    source = Source(store, ("a", "b"), TASKS, by_track=True)
    batches = list(stream(source, rows, source.shape(rows), table, workers=workers))
    assert len(batches) == 3
    for ids, got in zip(table, batches, strict=True):
        expected = batch_of(source, rows, ids)
        for kind in ("inputs", "labels", "label_mask", "inputs_mask"):
            for name in expected[kind]:
                np.testing.assert_array_equal(got[kind][name], expected[kind][name])
        np.testing.assert_array_equal(got["row"], ids)
