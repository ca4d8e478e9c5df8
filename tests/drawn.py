"""Evaluations and tracks to draw, and the texts of a picture."""

import numpy as np

EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
UNITS = tuple(f"AU{i}" for i in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
REFERENCES = {
    "oracle": {"P_MTL": 1.9, "valence/ccc": 0.82, "expression/f1": 0.71, "au/f1_binary": 0.7},
    "linear baseline": {"P_MTL": 1.0, "valence/ccc": 0.37, "expression/f1": 0.25},
}


def evaluations(count: int) -> list[dict]:
    """Lines of metrics.jsonl of a run that is best at three quarters of its epochs."""
    rng, lines = np.random.default_rng(0), []
    for epoch in range(1, count + 1):
        rise = 1 - abs(epoch / count - 0.75)
        scores = {
            "valence/ccc": 0.55 * rise,
            "valence/rmse": 0.4 - 0.1 * rise,
            "arousal/ccc": 0.48 * rise,
            "expression/f1": 0.38 * rise,
            "au/f1_binary": 0.52 * rise,
            "P_MTL": 1.4 * rise,
        }
        loss = {k: w * np.exp(-epoch / 20) for k, w in (("au", 0.4), ("expression", 1.9))}
        loss["total"] = sum(loss.values()) + 0.01 * rng.random()
        lines.append(
            {
                "step": 97 * epoch,
                "epoch": epoch,
                "lr": 1e-4 / epoch,
                "loss": loss,
                "scores": {"validation": scores},
            }
        )
    return lines


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def smooth(rng, frames: int, size: int, width: int = 41) -> np.ndarray:
    kernel = np.hanning(width + 2)
    columns = [
        np.convolve(rng.normal(size=frames + width + 1), kernel, "valid") for _ in range(size)
    ]
    return np.stack(columns, 1)[:frames] / np.sqrt((kernel**2).sum())


def a_track(frames=200, **changes):
    rng = np.random.default_rng(1)
    label = np.clip(smooth(rng, frames, 1)[:, 0] * 0.4, -1, 1)
    track = {
        "name": "a",
        "frame": np.arange(1, frames + 1),
        "pred": {"valence": label + 0.1},
        "label": {"valence": label},
    }
    return track | changes
