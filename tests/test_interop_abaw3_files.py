"""The files of the ABAW3 original: names, texts, and what is read back."""

import json

import numpy as np
import pytest

from affect_jax.interop import abaw3_files
from data_pipelines.errors import UserError

RAW = {"b": np.array([1.5, 0.1, -0.2], np.float32), "a": np.array([0.3], np.float32)}
LABEL = {"b": np.array([1.0, np.nan, -0.1]), "a": np.array([0.5])}


def test_validation_files_hold_raw_clipped_and_smoothed_numbers_and_their_scores(tmp_path):
    cccs = abaw3_files.write_validation(tmp_path, "valence", RAW, LABEL, window=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "val_pred_valence_nosmooth.json",
        "val_pred_valence_nosmooth_ori.json",
        "val_pred_valence_result.txt",
        "val_pred_valence_smooth.json",
    ]
    written = json.loads((tmp_path / "val_pred_valence_nosmooth_ori.json").read_text())
    assert list(written) == ["b", "a"]
    assert written["b"] == {
        "video_id": "b",
        "pred": [1.5, float(np.float32(0.1)), float(np.float32(-0.2))],
        "label": [1.0, -5.0, float(np.float32(-0.1))],
    }
    clipped, label = abaw3_files.read(tmp_path / "val_pred_valence_nosmooth.json")["b"]
    np.testing.assert_array_equal(clipped, np.float32([1, 0.1, -0.2]))
    np.testing.assert_array_equal(label, np.float32([1, np.nan, -0.1]))
    # Smoothed before it is clipped: 1.5 and 0.1 have the mean 0.8, not 0.55.
    smoothed, _ = abaw3_files.read(tmp_path / "val_pred_valence_smooth.json")["b"]
    np.testing.assert_allclose(smoothed, [0.8, 1.4 / 3, -0.05], rtol=1e-6)
    text = (tmp_path / "val_pred_valence_result.txt").read_text()
    assert text == (
        f"nosmooth_ori_ccc:\t{cccs['nosmooth_ori']}\nnosmooth_ccc:\t{cccs['nosmooth']}\n"
        f"smoothed_ccc:\t{cccs['smooth']}\nsetting window:\t1"
    )
    p, t = np.array([1.5, -0.2, 0.3]), np.array([1, -0.1, 0.5])
    cov = np.mean((p - p.mean()) * (t - t.mean()))
    expected = 2 * cov / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    assert cccs["nosmooth_ori"] == pytest.approx(expected, rel=1e-6)


def test_test_files_have_no_labels_and_texts_a_header(tmp_path):
    abaw3_files.write_test(tmp_path, "arousal", RAW, window=0)
    for name in ("nosmooth", "smooth"):
        pred, label = abaw3_files.read(tmp_path / f"tst_pred_arousal_{name}.json")["b"]
        assert label is None and pred[0] == 1
    abaw3_files.write_texts(tmp_path, "arousal", {"b": np.array([0.5, -0.25])})
    assert (tmp_path / "arousal" / "b.txt").read_text() == "arousal\n0.5\n-0.25\n"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": {"video_id": "a"}}', '{"a": {"pred": [1, 2], "label": [1]}}']
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="not a prediction file of the ABAW3 original"):
        abaw3_files.read(tmp_path / "x.json")
