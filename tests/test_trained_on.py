import numpy as np
import pytest

from affect_jax.ensemble.members.predictions import PredictionsMember
from affect_jax.ensemble.seen import seen as seen_by_members
from affect_jax.folds import _marks
from data_pipelines.join import JoinedStore
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from data_pipelines.trained_on import seen
from tests.tiny import tiny_config

LABELS = {
    "valence": dict(kind="values", size=1),
    "arousal": dict(kind="values", size=1),
    "expression": dict(kind="classes", size=8),
    "au": dict(kind="labels", size=12),
}
ALL = tuple(LABELS)


def make(folder, *trained_on, name="mtl", feature="mae", labels=LABELS, **provenance):
    """A store of a feature with that past, one frame a split."""
    features = {feature: dict(size=1, trained_on=trained_on)}
    with StoreWriter(folder, name=name, features=features, labels=labels, **provenance) as writer:
        for split in ("train", "validation"):
            writer.add(track=split, split=split, features={feature: np.zeros((1, 1))})
    return Store(folder)


@pytest.mark.parametrize(
    ("entry", "splits", "tasks"),
    [
        ("AffectNet", "", ()),
        ("RAF-DB train", "", ()),
        ("AffectNet expression", "", ()),
        ("FER+", "", ()),
        ("train", "train", ALL),
        ("Training", "train", ALL),
        ("train+validation", "train validation", ALL),
        ("au", "train validation", ("au",)),
        ("mtl", "train validation", ALL),
        ("MTL validation", "validation", ALL),
        ("affwild2", "train validation", ALL),
        ("Aff-Wild2", "train validation", ALL),
        ("s-Aff-Wild2", "train validation", ALL),
        ("s-Aff-Wild2 expression", "train validation", ("expression",)),
        ("Aff-Wild2 (AU)", "train validation", ("au",)),
        ("aff wild2 VA, train", "train", ("valence", "arousal")),
        ("the EXPR labels of s_aff_wild2", "train validation", ("expression",)),
        ("Aff-Wild2 test", "", ()),
        ("Aff-Wild", "", ()),
    ],
)
def test_an_entry_means_splits_and_tasks_of_a_data_set(tmp_path, entry, splits, tasks):
    store = make(tmp_path / "s", "Glint360K", entry, source="affwild2")
    for split in ("train", "validation"):
        expected = {"mae": tasks} if split in splits.split() else {}
        assert seen(store, ["mae"], split, ALL) == expected
    assert seen(store, ["mae"], "train+validation", ALL) == ({"mae": tasks} if tasks else {})


def test_only_the_tasks_that_are_asked_for_count(tmp_path):
    store = make(tmp_path / "s", "s-Aff-Wild2 expression", "Aff-Wild2 au", source="affwild2")
    assert seen(store, ["mae"], "train", ["valence"]) == {}
    assert seen(store, ["mae"], "train", ["au", "valence", "expression"]) == {
        "mae": ("au", "expression")
    }


def test_a_task_that_the_store_lacks_is_a_task_all_the_same(tmp_path):
    labels = {"valence": LABELS["valence"]}
    store = make(tmp_path / "s", "Aff-Wild2 expression", labels=labels, source="affwild2")
    assert seen(store, ["mae"], "train", ["valence"]) == {}


def test_a_joined_store_has_the_names_of_all_its_parts(tmp_path):
    mine = make(tmp_path / "a", "Aff-Wild2 AU", "CMU-MOSI train", name="mine", labels={})
    official = make(tmp_path / "b", "mine", feature="fau", name="official", source="affwild2")
    joined = JoinedStore([mine, official])
    assert joined.manifest["source"] == "affwild2"
    assert seen(joined, ["mae", "fau"], "train", ALL) == {"mae": ("au",), "fau": ALL}
    assert seen(mine, ["mae"], "train", ALL) == {}


def test_what_was_predicted_out_of_fold_has_seen_no_label_of_its_track(tmp_path):
    store = make(tmp_path / "s", "mtl train out of fold")
    assert seen(store, ["mae"], "train", ALL) == {}
    more = make(tmp_path / "t", "mtl train out of fold", "mtl au")
    assert seen(more, ["mae"], "train", ALL) == {"mae": ("au",)}


def test_a_source_of_ones_own_needs_no_list_of_names(tmp_path):
    store = make(tmp_path / "s", "Lab videos", name="x", source="lab videos")
    assert seen(store, ["mae"], "validation", ALL) == {"mae": ALL}


def test_what_extractors_have_seen_is_said_once_whatever_features_and_members_it_is_of(tmp_path):
    path, rng = tmp_path / "store", np.random.default_rng(0)
    knows = {"a": ("train",), "b": ("train",), "c": ("train valence",), "d": ("elsewhere",)}
    features = {name: dict(size=1, trained_on=of) for name, of in knows.items()}
    labels = {name: dict(kind="values", size=1) for name in ("valence", "arousal")}
    with StoreWriter(path, name="tiny", features=features, labels=labels) as writer:
        x = rng.normal(size=(2, 1))
        given = {name: x for name in knows}, dict.fromkeys(labels, x)
        writer.add(track="t", split="train", features=given[0], labels=given[1])
    config = tiny_config(path, folds__official=False, model__features=tuple(knows))
    config.tasks = ("valence", "arousal")
    assert _marks(config) == [
        "the extractors of features 'a', 'b' were trained on train: scores of valence, arousal on "
        "train are too good. Leave them out with --config.model.features.",
        "the extractor of feature 'c' was trained on train valence: scores of valence on train are "
        "too good. Leave it out with --config.model.features.",
    ]

    class Knowing(PredictionsMember):
        def knows(self, *_):
            return False, False

        def marks(self):
            return ["one"] if self.where == "a" else ["one", "two"]

    said = seen_by_members([Knowing("a"), Knowing("b")], "train", frozenset())
    assert said.warnings("train") == ["warning: a, b: one", "warning: b: two"]
