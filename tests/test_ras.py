"""The source ras: the team's layouts, read by track; what is missing is a gap and named."""

import pickle
import shutil
import wave

import numpy as np
import pytest

from data_pipelines import ras_files
from data_pipelines.errors import UserError
from data_pipelines.prepare import main as prepare
from data_pipelines.report import Report
from data_pipelines.sources import ras
from data_pipelines.store import Store

FRAMES = {"a": 40, "b_left": 30, "b_right": 20, "v": 25}
TEXTS = {"Train_Set": ("a", "b_left", "b_right"), "Validation_Set": ("v",)}
F = np.float32


def wav(path, samples, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", ""))
        file.writeframes(np.asarray(samples, "<i2").tobytes())


def noise(seed, length):
    return np.random.default_rng(seed).integers(-9000, 9000, length).astype(np.int16)


def pack(names, dim=3):
    """Embeddings that tell their place: segment i, branch and statistic."""
    return {
        name: {
            "video_name": name,
            "text": "t.",
            "embeddings": {
                branch: {
                    stat: np.full(dim, i + k + 0.5, np.float16) for k, stat in enumerate(STATS)
                }
                for branch in ("multimodal", "text")
            },
        }
        for i, name in enumerate(names)
    }


STATS = ("mean", "std", "last")
SEGMENTS = {"a": [(20, 40), (0, 24)], "v": [(0, 25)], "gone": [(0, 9)]}


@pytest.fixture
def folder(tmp_path):
    """Every part: b has no rows of behaviour, b_right no face, a a face from image 11 on."""
    root = tmp_path / "data"
    for name, tracks in TEXTS.items():
        (root / "annotations" / name).mkdir(parents=True)
        for track in tracks:
            rows = [f"0.{i % 10},-0.{i % 7}" for i in range(FRAMES[track])]
            text = "\n".join(["valence,arousal", *rows]) + "\n"
            (root / "annotations" / name / f"{track}.txt").write_text(text)
    for split, track, there in (
        ("train", "a", range(11, 41)),
        ("train", "b_left", (3, 4, 20, 31)),
        ("val", "v", range(1, 26)),
    ):
        path = root / "face" / split / f"{track}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = np.array(there, np.int32)
        features = np.stack([frames, -frames], 1).astype(F)
        np.savez(path, frames=frames, features=features, va_pred=np.zeros((len(frames), 2), F))
    wav(root / "wav" / "train" / "a.wav", noise(0, 20000))
    wav(root / "wav" / "train" / "b.wav", noise(1, 16000))
    (root / "behaviour").mkdir()
    names = {
        t: [f"{t}___{s}_{e}_{i:04d}.mp4" for i, (s, e) in enumerate(x)] for t, x in SEGMENTS.items()
    }
    lines = ["video_name,start_frame,end_frame,text"]
    for track, spans in SEGMENTS.items():
        lines += [f"{n},{s},{e},t." for n, (s, e) in zip(names[track], spans)]
    (root / "behaviour" / "train.csv").write_text("\n".join(lines) + "\n")
    everything = [name for of in names.values() for name in of]
    write_pack(root, pack([*everything, "spare___0_1_0000.mp4"]))
    (root / "openmouth").mkdir()
    (root / "openmouth" / "a.csv").write_text(
        ",frame,surface_area_mouth,mouth_open\n0,00002,0.01,1\n1,00003,0.001,0\n2,00099,0.01,1\n"
    )
    (root / "videos_fps.csv").write_text("video_name,fps\na.mp4,10\nb.avi,29.97\nv.mp4,\n")
    return root


def write_pack(root, value):
    (root / "behaviour" / "train.pkl").write_bytes(pickle.dumps(value, 5))


def made(folder, **flags):
    report = Report()
    ras.fill(folder, folder.parent / "store", report, **flags)
    store = Store(folder.parent / "store")
    return store, {track.name: i for i, track in enumerate(store.tracks)}, report.notes


def of(store, at, name, track):
    return np.asarray(store.feature(name)[store.rows(name, at[track])])


def test_every_part_becomes_a_stream_and_what_is_missing_a_gap(folder):
    store, at, notes = made(folder)
    assert {n: (f.axis, f.shape) for n, f in store.features.items()} == {
        "face": ("frame", (2,)),
        "sound": ("rate", ()),
        "behaviour": ("table", (3,)),
        "mouth_open": ("frame", (1,)),
    }
    assert [t.split for t in store.tracks] == ["train"] * 3 + ["validation"]
    assert {t.name: t.group for t in store.tracks} == {
        "a": "a",
        "b_left": "b",
        "b_right": "b",
        "v": "v",
    }
    assert [str(t.fps) for t in store.tracks] == ["10", "30000/1001", "30000/1001", "None"]
    mask = np.asarray(store.feature_mask("face"))
    assert mask[store.tracks[at["a"]].span].tolist() == [False] * 10 + [True] * 30
    assert of(store, at, "face", "a")[10].tolist() == [11, -11]
    assert np.flatnonzero(mask[store.tracks[at["b_left"]].span]).tolist() == [2, 3, 19]
    assert not mask[store.tracks[at["b_right"]].span].any()
    np.testing.assert_array_equal(of(store, at, "sound", "a"), noise(0, 20000))
    for track in ("b_left", "b_right"):
        np.testing.assert_array_equal(of(store, at, "sound", track), noise(1, 16000))
    assert len(of(store, at, "sound", "v")) == 0
    spans = np.asarray(store.spans("behaviour")[store.rows("behaviour", at["a"])])
    assert spans.tolist() == [[0, 24], [20, 40]]
    assert of(store, at, "behaviour", "a")[:, 0].tolist() == [3.5, 2.5]  # "last", in time order
    assert len(of(store, at, "behaviour", "b_left")) == 0
    opened = np.asarray(store.feature_mask("mouth_open"))[store.tracks[at["a"]].span]
    assert np.flatnonzero(opened).tolist() == [1, 2]
    assert of(store, at, "mouth_open", "a")[1:3, 0].tolist() == [1, 0]
    text = "\n".join(notes)
    for part in (
        "face/: tracks it does not have, gaps in the store: b_right",
        "behaviour/: tracks without annotations, left out: gone",
        "wav/: tracks it does not have, no sound in the store: v",
        "face/: rows of images that have no annotation, left out: b_left (1)",
        "tracks whose frames a second are in no videos_fps.csv: v",
        "splits that are not there: test",
    ):
        assert part in text


def test_a_gap_takes_the_nearest_frame_up_to_its_seconds_of_two_the_earlier(folder):
    (folder / "videos_fps.csv").write_text("video_name,fps\na.mp4,10\nb.mp4,10\nv.mp4,10\n")
    store, at, _ = made(folder, gap="0.3")
    mask = np.asarray(store.feature_mask("face"))
    assert np.flatnonzero(~mask[store.tracks[at["a"]].span]).tolist() == list(range(7))
    shown = mask[store.tracks[at["b_left"]].span]
    assert np.flatnonzero(shown).tolist() == [*range(0, 7), *range(16, 23), 27, 28, 29]
    store, at, _ = made(folder, gap="inf")
    near = of(store, at, "face", "b_left")[:, 0]
    assert near.tolist() == [3] * 3 + [4] * 9 + [20] * 13 + [31] * 5  # image 12 is as near to both


def test_windows_of_sound_are_put_together_at_their_times(folder):
    (folder / "wav" / "train" / "a.wav").unlink()
    (folder / "videos_fps.csv").write_text("video_name,fps\na.mp4,29.97\n")
    sound = noise(3, 5 * 16000)
    for i, (start, first) in enumerate(((0, 0), (2, 60))):  # 2 s are 59.94 frames
        part = sound[start * 16000 : (start + 3) * 16000]
        wav(folder / "wav" / "train" / "a" / f"a___{first}_{first + 90}_{i:04d}.wav", part)
    store, at, _ = made(folder)
    np.testing.assert_array_equal(of(store, at, "sound", "a"), sound)
    (folder / "videos_fps.csv").unlink()
    with pytest.raises(UserError, match="put together by the frames a second of 'a'"):
        made(folder)


def test_the_branch_and_the_statistic_of_behaviour_are_chosen_by_flags(folder):
    store, at, _ = made(folder, behaviour_branch="text", behaviour_pool="mean")
    assert of(store, at, "behaviour", "a")[:, 0].tolist() == [1.5, 0.5]
    assert store.features["behaviour"].extractor == "text, mean"
    (folder / "behaviour.json").write_text('{"extractor": "a net", "trained_on": ["MELD"]}')
    about = made(folder)[0].features["behaviour"]
    assert (about.extractor, about.trained_on) == ("a net, multimodal, last", ("MELD",))
    with pytest.raises(UserError, match="--behaviour-pool=men: .*'mean'"):
        made(folder, behaviour_pool="men")


def test_packs_of_one_segment_a_file_are_read_as_those_of_all(folder):
    everything = pickle.loads((folder / "behaviour" / "train.pkl").read_bytes())
    store, at, _ = made(folder)
    before = of(store, at, "behaviour", "a")
    (folder / "behaviour" / "train.pkl").unlink()
    for name, entry in everything.items():
        (folder / "behaviour" / f"{name[:-4]}.pkl").write_bytes(pickle.dumps(entry))
    store, at, _ = made(folder)
    np.testing.assert_array_equal(of(store, at, "behaviour", "a"), before)


def test_segments_that_tables_repeat_are_taken_once_whichever_way_their_accents_are_written(folder):
    folder_of = folder / "behaviour"
    table = (folder_of / "train.csv").read_text().replace("v___", "a\u0308___")
    (folder_of / "train.csv").write_text(table)
    (folder_of / "train_segment.csv").write_text(table)
    for path in (folder / "annotations/Validation_Set/v.txt", folder / "face/val/v.npz"):
        path.rename(path.with_stem("\xe4"))
    everything = pickle.loads((folder_of / "train.pkl").read_bytes())
    write_pack(folder, {name.replace("v___", "\xe4___"): x for name, x in everything.items()})
    (folder / "videos_fps.csv").write_text("video_name,fps\na\u0308.mp4,25\n")
    store, at, notes = made(folder)
    assert of(store, at, "behaviour", "a")[:, 0].tolist() == [3.5, 2.5]
    assert of(store, at, "behaviour", "\xe4")[:, 0].tolist() == [4.5]
    assert store.tracks[at["\xe4"]].fps == 25
    assert any(
        note.startswith("behaviour/: segments that come twice, taken once: a_") for note in notes
    )


def test_a_test_split_is_a_list_or_texts_of_fillers_and_has_no_labels(folder):
    shutil.rmtree(folder / "behaviour")
    (folder / "annotations" / "Test_Set").mkdir()
    filler = "valence,arousal\n" + "0.5,-0.5\n" * 9
    (folder / "annotations" / "Test_Set" / "t.txt").write_text(filler)
    images = "".join(f"u/{i:05d}.jpg,0,0\n" for i in range(1, 8))
    path = folder / "annotations" / "CVPR_10th_ABAW_VA_test_set_example.txt"
    path.write_text("image_location,valence,arousal\n" + images)
    store, at, _ = made(folder)
    assert {t.name: t.frames for t in store.tracks if t.split == "test"} == {"t": 9, "u": 7}
    for track in ("t", "u"):
        assert not store.label("valence")[1][store.tracks[at[track]].span].any()


def test_a_test_track_that_is_only_named_is_as_long_as_its_streams_tell(folder):
    path = folder / "annotations" / "CVPR_5th_ABAW_VA_test_set_release.txt"
    path.write_text("gone\nu\nnothing\n")
    save(folder, name="u", frames=np.array([2, 30]))
    store, _, notes = made(folder)
    assert {t.name: t.frames for t in store.tracks if t.split == "test"} == {"gone": 9, "u": 30}
    assert "test tracks of which no frame is known, left out: nothing" in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: [shutil.rmtree(f / p) for p in ras.PARTS], "no folder of a stream"),
        (
            lambda f: shutil.copytree(f / "annotations/Train_Set", f / "annotations/val"),
            "Leave one",
        ),
        (
            lambda f: shutil.copytree(f / "annotations/Train_Set", f / "annotations/test"),
            "track 'a' is in train and in test",
        ),
        (lambda f: (f / "behaviour" / "train.pkl").unlink(), "no pickle of embeddings"),
        (
            lambda f: write_pack(f, pack(["a___20_40_0000.mp4"])),
            "3 of 4 segments of the tables have",
        ),
        (lambda f: write_pack(f, {"a___20_40_0000.mp4": {"text": "t."}}), "a dict with embeddings"),
        (lambda f: write_pack(f, other_sizes()), "has 4 numbers, others 3"),
        (lambda f: write_pack(f, shutil.rmtree), "names 'shutil.rmtree', and only numpy arrays"),
        (lambda f: save(f, frames=np.array([1, 1])), "frames do not ascend from 1"),
        (lambda f: save(f, features=np.zeros((3, 2), F)), "expected [3]"),
        (lambda f: save(f, features=np.full((2, 2), np.nan)), "features of frame 1 are not finite"),
        (lambda f: save(f, features=np.zeros((2, 5), F)), "expected [2, 2]"),
        (lambda f: (f / "face" / "train" / "a.npz").write_bytes(b"x"), "not a readable npz"),
        (lambda f: (f / "wav" / "train" / "a.wav").write_bytes(b"x"), "not readable audio"),
        (lambda f: save(f, frames=np.array([1, 10**12])), "(to 10000000 at most)"),
        (
            lambda f: wav(f / "wav" / "a" / "a___900000000_900000120_0001.wav", noise(0, 9)),
            "begins with frame 900000000, expected 10000000 at most",
        ),
        (
            lambda f: (f / "behaviour" / "more.csv").write_text(
                "video_name,start_frame,end_frame\na___20_40_0000.mp4,21,40\n"
            ),
            "'a___20_40_0000.mp4' is frames 20 to 40, 21 to 40 in another row",
        ),
        (
            lambda f: (f / "behaviour" / "more.csv").write_text(
                "video_name,start_frame,end_frame\nv___5_9_0000.mp4,5,9\n"
            ),
            "'v___5_9_0000.mp4' lies inside of 'v___0_25_0000.mp4'",
        ),
    ],
)
def test_what_is_wrong_ends_in_one_line_with_the_file(change, message, folder, capsys):
    change(folder)
    assert prepare(["--source=ras", f"--input={folder}", f"--store={folder.parent / 's'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and "Traceback" not in error
    assert not (folder.parent / "s").exists()


def other_sizes():
    return pack(["a___20_40_0000.mp4"]) | pack(["a___0_24_0001.mp4"], dim=4)


def save(folder, name="v", **arrays):
    arrays = {"frames": np.array([1, 2]), "features": np.zeros((2, 2), F)} | arrays
    np.savez(folder / "face" / "val" / f"{name}.npz", **arrays)


def test_a_gap_in_seconds_needs_the_rate(folder):
    with pytest.raises(UserError, match="the frames a second of 'v' are not known"):
        made(folder, gap="1")
    for gap in ("-1", "x", "nan"):
        with pytest.raises(UserError, match="expected seconds from 0, or inf"):
            made(folder, gap=gap)


def test_a_sound_file_that_is_bad_is_left_out_where_that_is_asked_for(folder):
    (folder / "wav" / "train" / "a.wav").write_bytes(b"x")
    store, at, notes = made(folder, skip_bad=True)
    assert len(of(store, at, "sound", "a")) == 0 and len(of(store, at, "sound", "b_left")) == 16000
    assert any("bad files, left out" in note for note in notes)


def test_an_empty_file_of_features_is_a_gap(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, frames=np.zeros(0, np.int32), features=np.zeros((0, 4), F))
    features, mask, spare = ras_files.face(path, np.arange(1, 6), 4, float("inf"))
    assert features.shape == (5, 4) and not mask.any() and spare == 0
