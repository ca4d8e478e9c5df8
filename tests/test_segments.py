from fractions import Fraction

import numpy as np
import pytest

from data_pipelines import segments
from data_pipelines.errors import UserError
from data_pipelines.keep import kept_rows
from data_pipelines.labels.segments import read_segments
from data_pipelines.rows import in_seconds
from data_pipelines.segments import Clip
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.test_video import make


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def folder(tmp_path):
    """Texts of 5 s at 10 frames a second (two persons), 3 s at 29.97 and a test list of 4.5 s."""
    for track, rows in (("a_left", 50), ("a_right", 50)):
        lines = "".join(f"{i / 100},-0.5\n" for i in range(rows))
        put(tmp_path / "texts" / "Train_Set" / f"{track}.txt", f"valence,arousal\n{lines}")
    put(tmp_path / "texts" / "Validation_Set" / "b.txt", "valence,arousal\n" + "-5,-5\n" * 90)
    images = "".join(f"c/{i:05}.jpg\n" for i in range(1, 46))
    put(tmp_path / "test.txt", f"image_location\n{images}")
    put(tmp_path / "fps.csv", "video_name,fps\na.mp4,10\nb.avi,29.97\nc.mp4,10.0\n")
    for track, rows in (("a_left", 50), ("a_right", 50), ("b", 90), ("c", 0)):
        is_open = "0" if track == "a_right" else "1"
        lines = "".join(f"{i},{i + 1:05},0.01,{is_open}\n" for i in range(rows))
        put(tmp_path / "mouth" / f"{track}.csv", f",frame,surface_area_mouth,mouth_open\n{lines}")
    return tmp_path


def run(folder, *more, code=0):
    arguments = [f"--annotations={folder / 'texts'}", f"--out={folder / 'out'}", *more]
    assert segments.main(arguments) == code


def table(folder, name):
    return read_segments(folder / "out" / name, warn=pytest.fail)


def test_the_command_writes_the_tables_of_every_split(folder, capsys):
    fps, mouth = f"--fps={folder / 'fps.csv'}", f"--mouth={folder / 'mouth'}"
    (folder / "texts" / "Train_Set" / "gone.txt").symlink_to("nowhere.txt")
    run(folder, fps, mouth, f"--test-list={folder / 'test.txt'}")
    train = table(folder, "train_audio_segment.csv")
    assert [one.name for one in train] == [
        f"a_{side}___{place}.mp4"
        for side in ("left", "right")
        for place in ("0_40_0000", "20_50_0001")
    ]
    np.testing.assert_allclose(train[1].labels, [0.345, -0.5])
    np.testing.assert_allclose(train[1].steps[:3, 0], [0.245, 0.345, 0.445])
    assert np.isnan(train[1].steps[3]).all()
    assert [one.speech.use for one in train] == [True, True, False, False]
    assert train[1].speech.open_seconds == 3 and train[1].speech.coverage == 1
    (whole,) = table(folder, "val_audio_segment.csv")
    assert whole.video == "b.avi" and whole.window.stop == 90 and np.isnan(whole.labels).all()
    assert whole.speech.fps == Fraction(30000, 1001)
    assert (
        "-5.0,-5.0,3.003,1.0,True,29.97" in (folder / "out" / "val_audio_segment.csv").read_text()
    )
    test = (folder / "out" / "test_segment.csv").read_text().splitlines()
    assert test[2] == "c.mp4,c___20_45_0001.mp4,,20,45,2.0,4.5,,,,,,,,,,"
    assert all(one.speech is None for one in table(folder, "train_segment.csv"))
    said = capsys.readouterr().out
    assert "2 of 4 windows hold speech" in said
    assert "without what they stand for: Train_Set/gone.txt\n" in said


def test_rates_and_lengths_are_those_of_the_videos_where_they_are_there(folder, capsys):
    for name, frames in (("a.mp4", 48), ("b.avi", 30)):
        make(folder / "videos" / name, fps=10, frames=frames, sound=False)
    run(folder, f"--videos={folder / 'videos'}", "--steps=2")
    said = capsys.readouterr().out
    assert "rows of their annotations differ: a_left (48 and 50), a_right (48 and 50), b" in said
    assert (folder / "out" / "videos_fps.csv").read_text().splitlines()[1] == "a.mp4,10.0"
    train = table(folder, "train_segment.csv")
    assert train[1].window.stop == 48 and train[1].steps.shape == (2, 2)


@pytest.mark.parametrize(
    ("flags", "change", "said"),
    [
        ([], "", "Give --fps=videos_fps.csv or --videos=FOLDER"),
        (["--fps=fps.csv"], "a.mp4,10\n", "fps.csv: no video of track 'b'."),
        (["--fps=fps.csv"], "a.mp4,10\nb.avi,\n", "fps.csv: the fps of 'b.avi' is not known."),
        (["--fps=fps.csv", "--mouth=texts"], "", "texts: no <track>.csv in it."),
        (["--fps=fps.csv", "--keep=k"], "", "--keep: not together with --annotations"),
        (["--fps=fps.csv", "--rule=ours"], "", "invalid choice: 'ours'"),
        (["--fps=fps.csv", "--test-list=names.txt"], "", "names no images of c"),
        (["--fps=gone.csv"], "", "gone.csv: cannot be read"),
    ],
)
def test_what_is_wrong_in_the_command_is_one_line(folder, monkeypatch, capsys, flags, change, said):
    monkeypatch.chdir(folder)
    put(folder / "names.txt", "c\n")
    if change:
        put(folder / "fps.csv", f"video_name,fps\n{change}")
    run(folder, *flags, code=2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list((folder / "out").glob("*_segment.csv"))


def test_a_track_without_a_table_of_mouths_is_named(folder, capsys):
    (folder / "mouth" / "a_right.csv").unlink()
    run(folder, f"--fps={folder / 'fps.csv'}", f"--mouth={folder / 'mouth'}", code=2)
    assert "no a_right.csv. Known: a_left, b, c." in capsys.readouterr().err


def test_the_rule_of_the_script_takes_a_share_of_a_short_window_and_frames_that_touch_a_step():
    flags = np.arange(60) < 25  # open for 0.83 s of 2 s
    values = np.arange(120.0).reshape(60, 2) / 120
    clip = Clip("a", "a.mp4", Fraction(30000, 1001), 60, values, values < 2, (flags | True, flags))
    (shipped,), (script,) = (segments.segments(clip, rule=rule) for rule in ("shipped", "script"))
    assert script.speech.use and not shipped.speech.use
    assert shipped.steps[1, 0] == values[30:60, 0].mean()
    assert script.steps[1, 0] == values[29:60, 0].mean()


@pytest.fixture
def store(tmp_path):
    """Tracks of 7 s at 10 frames a second: open in the first 2 s, "b" and "d" without a face."""
    features = {"mouth_open": dict(size=1, dtype="uint8"), "wide": dict(size=2)}
    with StoreWriter(tmp_path / "s", name="s", features=features, labels={}) as writer:
        splits = {"a": "train", "b": "train", "c": "test", "d": "validation"}
        for name, split in splits.items():
            writer.add(
                track=name,
                split=split,
                fps=10,
                features={"mouth_open": np.arange(70)[:, None] < 20, "wide": np.zeros((70, 2))},
                feature_masks={"mouth_open": np.full(70, name in "ac")},
            )
    return Store(tmp_path / "s")


def test_rows_of_a_store_with_an_open_mouth_and_a_face_are_listed_and_read_back(
    store, tmp_path, capsys
):
    arguments = [f"--store={store.path}", f"--keep={tmp_path / 'keep.txt'}"]
    assert segments.main(arguments) == 0
    assert (tmp_path / "keep.txt").read_text() == "a,1,40\n"
    assert "train: 1 of 6 rows hold speech" in capsys.readouterr().out
    rows = in_seconds(store, Fraction(4), Fraction(2)).of_tracks(store.split("train"))
    assert kept_rows(str(tmp_path / "keep.txt"), store, rows).tolist() == [0]
    # Rows begin after 0, 1, 2 and 3 s: the second holds the last second of the open mouth.
    assert segments.main([*arguments, "--split=test", "--hop-seconds=1"]) == 0
    assert (tmp_path / "keep.txt").read_text() == "c,1,40\nc,11,50\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--split=tset"], "Did you mean 'test'?"),
        (["--seconds=0"], "--seconds=0: expected seconds above 0."),
        (["--hop-seconds=5"], "--hop-seconds=5 is longer than a row"),
        (["--seconds=1"], "--hop-seconds=2 is longer than a row"),
        (["--split=validation"], "no row of validation holds speech; nothing to keep."),
        (["--fps=x"], "--fps: not together with --store."),
    ],
)
def test_what_is_wrong_for_a_store_is_one_line(store, tmp_path, capsys, flags, said):
    assert segments.main([f"--store={store.path}", f"--keep={tmp_path / 'keep.txt'}", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "keep.txt").exists()


def test_a_feature_that_is_no_flag_of_a_frame_is_refused(store):
    rows = in_seconds(store, Fraction(4))
    with pytest.raises(
        UserError, match=r"feature 'wide' is \[2\] on the axis 'frame', expected one"
    ):
        segments.speaking(store, rows, mouth="wide")
