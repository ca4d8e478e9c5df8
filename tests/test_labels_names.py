"""Names of tracks say which belong to one video."""

import json

import pytest

from data_pipelines import labels


@pytest.mark.parametrize(
    ("track", "group"),
    [
        ("314", "314"),
        ("video69", "video69"),
        ("10-60-1280x720", "10-60-1280x720"),
        ("10-60-1280x720_right", "10-60-1280x720"),
        ("video59_right", "video59"),
        ("video10_1_left", "video10"),
        ("video86_3", "video86"),
        ("122-60-1920x1080-2", "122-60-1920x1080-2"),
        ("my_left_hand", "my_left_hand"),
        ("speaker_1", "speaker_1"),
    ],
)
def test_people_and_parts_of_one_video_are_one_group(track, group):
    assert labels.group_of(track) == group


def test_groups_equal_those_listed_with_the_real_tracks(shared):
    file = shared / "data" / "affwild2_va" / "manifest.json"
    entries = [e for split in json.loads(file.read_text())["tracks"].values() for e in split]
    assert len(entries) == 151
    for entry in entries:
        assert labels.group_of(entry["track"]) == entry["video_group"]
