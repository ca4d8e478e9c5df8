"""Names of expressions, groups of identical pictures, and parts cut off by group and class."""

import argparse
import collections

import numpy as np
import pytest

from data_pipelines import faces
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS, expression
from data_pipelines.faces import Face
from data_pipelines.report import Report
from data_pipelines.store import Store
from data_pipelines.verify import check
from tests import pictures


def face(name, label, group, picture=None):
    return Face(name, "train", label, picture, group=group)


def rows(counts, same=1):
    """`counts[c]` faces of class c in random order; every fifth group is of `same` pictures."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    groups = (f"g{i}" for i in range(len(labels)) for _ in range(same if i % 5 == 0 else 1))
    return [face(f"p{i}", c, group) for i, (c, group) in enumerate(zip(labels.tolist(), groups))]


def test_every_usual_spelling_is_one_of_the_seven():
    words = ("Angry", "disgusted", "FEAR", "happy", " sad", "6 surprised", "0_neutral")
    assert [expression(word) for word in words] == list(range(7))
    assert [expression(word) for word in EXPRESSIONS] == list(range(7))
    assert expression("contempt") is None and expression("") is None


def test_the_part_has_the_share_rounded_up_and_each_class_in_it():
    found = rows((1290, 281, 717, 4772))
    chosen = faces.cut(found, 0.2, 0, "validation")
    part = [f for f in found if f.group in chosen]
    assert len(part) == 1412
    share = collections.Counter(f.label for f in part)
    assert [share[c] for c in range(4)] == [258, 56, 144, 954]  # of 258, 56.2, 143.4 and 954.4
    assert faces.cut(found, 0.2, 0, "validation") == chosen
    assert faces.cut(found, 0.2, 1, "validation") != chosen
    assert faces.cut(found, 0, 0, "validation") == set()


def test_a_number_is_met_exactly_though_groups_are_whole():
    found = rows((60, 40, 100), same=3)
    sizes = collections.Counter(f.group for f in found)
    assert max(sizes.values()) == 3
    chosen = faces.cut(found, 40, 5, "validation")
    assert sum(sizes[g] for g in chosen) == 40
    large = [g for g, size in sizes.items() if size > 1]
    assert 0 < len(set(large) & chosen) < len(large)


def test_all_pictures_cannot_be_cut_off():
    with pytest.raises(UserError, match=r"validation: 10 pictures cannot be cut from 10\. One or"):
        faces.cut(rows((5, 5)), 10, 0, "validation")
    assert faces.cut([], 0.2, 0, "validation") == set()


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "nan", "inf", "1e10"])
def test_a_share_is_below_one_or_a_whole_number(text):
    assert [faces.share(t) for t in ("0", "0.25", "400", "1")] == [0, 0.25, 400, 1]
    with pytest.raises(argparse.ArgumentTypeError, match="expected a share from 0 to 1, or a"):
        faces.share(text)


def test_identical_pictures_are_one_group_and_counted_with_blank_ones(tmp_path):
    one, other = pictures.pixels(0), pictures.pixels(1)
    red = np.full((48, 48, 3), (200, 10, 10), np.uint8)
    paths = [
        pictures.save(tmp_path / f"{i}.png", array)
        for i, array in enumerate((one, other, one, one, red, other))
    ]
    labels = (0, 1, 0, 3, 2, None)
    report = Report()
    found = faces.with_groups(
        [face(p.stem, label, "", p) for p, label in zip(paths, labels)],
        report,
        48,
        grey=False,
        skip_bad=False,
    )
    groups = [f.group for f in found]
    assert groups[0] == groups[2] == groups[3] and groups[1] == groups[5]
    assert len(set(groups)) == 3 and all(len(group) == 20 for group in groups)
    assert report.notes == [
        "blank pictures, of one grey: 1",
        "groups of identical pictures: 2, of 5 pictures; with different labels: 1 groups",
    ]
    assert faces.pixel_hash(one.reshape(-1, 3)) != faces.pixel_hash(one)


def test_identical_pictures_in_several_splits_are_counted_and_are_no_problem(tmp_path):
    one, other = pictures.pixels(0)[..., 0], pictures.pixels(1)[..., 0]
    found = [Face(f"p{i}", "train", i % 7, x) for i, x in enumerate((one, other))]
    found += [Face("p2", "test", 1, one), Face("p3", "test", 2, one)]
    how = dict(source="folders", size=16, grey=True, skip_bad=False)
    faces.write(tmp_path / "s", found, Report(), **how)
    store = Store(tmp_path / "s")
    assert [track.group for track in store.tracks][2:] == [store.tracks[0].group] * 2
    findings = check(store)
    assert not findings.problems
    assert [note for note in findings.notes if "splits" in note] == [
        f"groups in several splits: 1 ({faces.REPEATED})"
    ]
