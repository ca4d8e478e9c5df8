"""The twin of RAF-DB: its layout, faces whose parts tell the expression, noise by choice."""

import dataclasses
import filecmp

import numpy as np
import pytest
from PIL import Image

from data_pipelines import noise, twins, verify
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.noise import CORNERS, crop
from data_pipelines.plan import generator
from data_pipelines.prepare import main as prepare
from data_pipelines.store import Store
from data_pipelines.twins import faces
from data_pipelines.twins.__main__ import main as write_by_hand
from data_pipelines.twins.faces_latent import HOMES, MOVES, Face, make_faces
from data_pipelines.twins.faces_picture import picture

TINY = {"train": 5, "test": 2}
LIST = "EmoLabel/list_patition_label.txt"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces") / "files"
    faces.write("rafdb", folder, TINY, seed=0)
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return tmp_path_factory.mktemp("twins")


@pytest.fixture(scope="module")
def store(stores) -> Store:
    return Store(twins.resolve("twin:rafdb?size=small", stores))


def labels(store: Store, name: str = "expression") -> np.ndarray:
    return np.asarray(store.label(name)[0])


def test_list_and_pictures_are_in_the_form_of_the_data_set(files):
    lines = [line.split(" ") for line in (files / LIST).read_text().splitlines()]
    assert [name for name, _ in lines] == [f"train_{i:05d}.jpg" for i in range(1, 6)] + [
        "test_00001.jpg",
        "test_00002.jpg",
    ]
    assert {number for _, number in lines} <= set("1234567")
    aligned = sorted(p.name for p in (files / "Image" / "aligned").iterdir())
    assert aligned == sorted(name.replace(".jpg", "_aligned.jpg") for name, _ in lines)
    for name in aligned:
        with Image.open(files / "Image" / "aligned" / name) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (100, 100))


def test_the_same_seed_gives_the_same_bytes_and_the_test_split_changes_nothing(files, tmp_path):
    faces.write("rafdb", tmp_path / "again", TINY, seed=0)
    faces.write("rafdb", tmp_path / "without", TINY | {"test": 0}, seed=0)
    faces.write("rafdb", tmp_path / "other", TINY, seed=1)
    names = [str(p.relative_to(files)) for p in files.rglob("*.*")]
    assert len(names) == 8
    assert filecmp.cmpfiles(files, tmp_path / "again", names, shallow=False)[0] == names
    pictures = [name for name in names if "train_" in name]
    assert filecmp.cmpfiles(files, tmp_path / "without", pictures, shallow=False)[0] == pictures
    assert filecmp.cmpfiles(files, tmp_path / "other", pictures, shallow=False)[1] == pictures


def test_written_by_hand_and_prepared_by_the_command_it_is_the_same_store(store, tmp_path, capsys):
    folder = tmp_path / "twin_rafdb"
    assert write_by_hand(["--name=rafdb", f"--output={folder}", "--size=small"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "prepare" in x).split()[3:]
    assert prepare([*line[:-1], f"--store={tmp_path / 'store'}"]) == 0
    assert Store(tmp_path / "store").manifest == store.manifest


def test_the_store_has_small_pictures_in_three_splits_and_no_complaint(store):
    assert {s: len(store.split(s)) for s in store.splits} == {
        "train": 150,
        "validation": 40,
        "test": 40,
    }
    assert store.features["face"].shape == (48, 48, 3) and store.labels["expression"].size == 7
    assert verify.check(store).problems == []


def test_the_default_size_has_four_hundred_pictures_of_validation():
    size, share = faces.SIZES["default"], faces.FLAGS["rafdb"]["validation"]
    assert np.ceil(share * size["train"] - 1e-6) == 400 and size["test"] == 400


def test_expressions_have_the_stated_shares_and_raters_mostly_agree():
    assert tuple(HOMES) == EXPRESSIONS
    shares = np.array([share for share, _ in HOMES.values()])
    assert shares.sum() == pytest.approx(1)
    made = make_faces({"train": 4000}, 0)
    truth, label = (np.array([getattr(f, of) for f in made]) for of in ("truth", "label"))
    np.testing.assert_allclose(np.bincount(truth) / 4000, shares, atol=0.02)
    assert 0.98 < (truth == label).mean() < 0.995


def test_an_expression_moves_mouth_and_brows_and_leaves_the_corners_as_they_are():
    rest = Face("train_00001", "train", 6, 6, np.zeros(len(MOVES)))
    still = picture(rest, generator(0, "face")).astype(int)
    changed = np.zeros((100, 100), bool)
    for name, (_, moves) in HOMES.items():
        face = dataclasses.replace(rest, moves=np.array(moves))
        other = picture(face, generator(0, "face")).astype(int)
        different = np.abs(other - still).max(-1) > 0
        assert different.any() == (name != "neutral")
        changed |= different
        for part in CORNERS:
            np.testing.assert_array_equal(
                crop(other.astype(np.uint8), part), crop(still.astype(np.uint8), part)
            )
    assert changed[25:45, 25:75].any() and changed[68:92, 30:70].any()
    assert changed.mean() < 0.35


def test_noise_by_choice_is_that_of_the_program_and_the_oracle_tells_the_share_of_right_labels(
    stores, store, tmp_path
):
    noisy = Store(twins.resolve("twin:rafdb?size=small&noise=uniform&share=0.2", stores))
    noise.add(store.path, tmp_path / "noisy", kind="uniform", share=0.2)
    assert noisy.manifest == Store(tmp_path / "noisy").manifest
    wrong = labels(noisy, "kind") == 1
    assert wrong.sum() == 30
    before, after = (s.references("train")["oracle"]["expression/accuracy"] for s in (store, noisy))
    assert 0.9 < before <= 1 and after == pytest.approx(before - 0.2, abs=0.02)
    assert store.references("test")["oracle"] == noisy.references("test")["oracle"]


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("twin:rafdb?noise=crop", "kind of noise 'crop'. Did you mean 'crops'?"),
        ("twin:rafdb?noise=flip&share=2", "share '2': expected a number from 0 to 1"),
        ("twin:rafdb?share=.2", "share=.2, but no noise=, of crops, uniform, flip"),
        ("twin:rafdb?nose=flip", "unknown 'nose'. Did you mean 'noise'?"),
        ("twin:rafdb?label=expression", "label=expression, but no noise=, of crops, uniform, flip"),
        ("twin:va?size=small&noise=flip", "twin 'va': no label of classes"),
    ],
)
def test_noise_that_cannot_be_is_refused_in_a_line(stores, root, said):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        twins.resolve(root, stores)
    assert said.replace("\\", "") in str(error.value)


@pytest.mark.slow
def test_frames_of_the_multi_task_twin_can_have_wrong_expressions(stores):
    roots = ("twin:mtl?size=small", "twin:mtl?size=small&noise=uniform")
    clean, noisy = (Store(twins.resolve(root, stores)) for root in roots)
    before, after = (s.references("train")["oracle"] for s in (clean, noisy))
    assert after["expression/f1"] < before["expression/f1"] - 0.1
    assert after["valence/ccc"] == before["valence/ccc"]
    for who in ("oracle", "linear baseline"):
        before, after = (s.references("validation")[who] for s in (clean, noisy))
        assert after.keys() == before.keys() and after["valence/ccc"] == before["valence/ccc"]


@pytest.mark.slow
def test_pictures_tell_more_than_their_linear_baseline_and_corners_nothing(stores):
    from sklearn.linear_model import LogisticRegression

    store = Store(twins.resolve("twin:rafdb", stores))
    y, train, test = labels(store), store.split("train"), store.split("test")
    found = store.references("test")
    assert found["oracle"]["expression/accuracy"] > 0.96
    assert 0.45 < found["linear baseline"]["expression/accuracy"] < 0.7
    rng = np.random.default_rng(0)
    cut = [crop(p, CORNERS[rng.integers(4)])[2::4, 2::4] for p in store.feature("face")]
    x = np.stack(cut).reshape(len(y), -1) / 255
    model = LogisticRegression(max_iter=300, C=0.01).fit(x[train], y[train])
    assert model.score(x[test], y[test]) < np.bincount(y[test]).max() / len(test) + 0.04
