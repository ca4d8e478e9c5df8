"""A small Aff-Wild2 folder, and what a source makes of one: a store and notes, or one line."""

import pytest

from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import affwild2
from data_pipelines.store import Store
from tests.test_prepare import VA, features, save, write

UNITS = ",".join("01" * 6)
APART, COMPOSED = "u\u0308ber", "\xfcber"  # one name on the screen
TRAIN = "annotations/VA_Estimation_Challenge/Train_Set"


def small_folder(root):
    """Writes Aff-Wild2 with two tracks of two frames, a and b, and one feature."""
    for track in "ab":
        write(root / TRAIN / f"{track}.txt", VA, "0.1,0.2", "0.3,0.4")
        save(root / "features" / "face" / f"{track}.npy", features(2))
    return root


def fill(root, source=affwild2, **flags):
    """(store, notes) of a source's fill."""
    report = Report()
    source.fill(root, root.parent / "store", report, **flags)
    store = Store(root.parent / "store")
    assert store.manifest["notes"] == report.notes
    return store, [note.replace(f"{root}: ", "") for note in report.notes]


def refused(root, source=affwild2, **flags):
    """The one line of a fill that is refused; no store is left."""
    with pytest.raises(UserError) as error:
        source.fill(root, root.parent / "store", **flags)
    assert not (root.parent / "store").exists() and "\n" not in str(error.value)
    return str(error.value)
