"""Features of a mouth that opens and closes: five numbers a frame, moving statistics, quantiles."""

from __future__ import annotations

import numpy as np

MOUTH = ("face", "open", "log_area", "area_x100", "change")
CONTEXT = (
    "log_area_mean",
    "log_area_std",
    "area_x100_mean",
    "open_mean",
    "change_mean",
    "face_mean",
)
# Feature and its window in seconds; None: the whole track.
SCALES = {
    "mouth_1s": 1.0,
    "mouth_4s": 4.0,
    "mouth_16s": 16.0,
    "mouth_64s": 64.0,
    "mouth_track": None,
}
QUANTILES = ("log_area_q10", "log_area_q50", "log_area_q90")
QUANTILE_SCALES = {"mouth_1s_quantiles": 1.0, "mouth_4s_quantiles": 4.0}


def mouth_features(area_e6: np.ndarray, state: np.ndarray) -> np.ndarray:
    """float32 [T, 5] in the order of MOUTH: face p, open o, log(area + 1e-3), 100 area, |o' - o|.

    Area and its logarithm are 0 where there is no face; the change in the first frame is 0.
    """
    face = state > 0
    opened = (state == 2).astype(np.float64)
    area = np.where(face, area_e6 * 1e-6, 0.0)
    log_area = np.where(face, np.log(area + 1e-3), 0.0)
    change = np.abs(np.diff(opened, prepend=opened[:1]))
    return np.stack([face, opened, log_area, 100 * area, change], axis=1).astype(np.float32)


def mouth_context(mouth: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """{feature of SCALES: float32 [T, 6]}, the columns in the order of CONTEXT.

    Centred moving means over max(1, round(seconds * fps)) frames, edges repeated. Means of
    log area, its standard deviation, area and open are over frames with a face; all but
    face_mean are 0 where hardly a frame of the window (less than 0.1 %) has one.
    """
    return {name: _context(mouth.astype(np.float64), s, fps) for name, s in SCALES.items()}


def _context(mouth: np.ndarray, seconds: float | None, fps: float) -> np.ndarray:
    # Slow to import, and only needed here.
    from scipy.ndimage import uniform_filter1d

    def mean(x: np.ndarray) -> np.ndarray:
        if seconds is None:
            return np.full_like(x, x.mean())
        return uniform_filter1d(x, max(1, round(seconds * fps)), mode="nearest")

    face, opened, log_area, area, change = mouth.T
    seen = mean(face)
    some = seen >= 1e-3
    of_seen = np.where(some, seen, 1.0)
    log_mean = mean(log_area) / of_seen
    variance = np.maximum(mean(log_area**2) / of_seen - log_mean**2, 0.0)
    columns = [
        log_mean,
        np.sqrt(variance),
        mean(area) / of_seen,
        mean(opened) / of_seen,
        mean(change),
    ]
    columns = [np.where(some, column, 0.0) for column in columns]
    return np.stack([*columns, seen], axis=1).astype(np.float32)


def mouth_quantiles(mouth: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """{feature of QUANTILE_SCALES: float32 [T, 3]}, 10, 50 and 90 % quantiles of log(area + 0.01).

    Centred windows of max(1, round(seconds * fps)) frames, edges repeated; the area is 0 where
    there is no face. The larger offset keeps closed mouths, below 1e-3, from being far apart.
    """
    # Slow to import, and only needed here.
    from scipy.ndimage import percentile_filter

    log_area = np.log(mouth[:, MOUTH.index("area_x100")].astype(np.float64) / 100 + 0.01)

    def quantiles(seconds: float) -> np.ndarray:
        width = max(1, round(seconds * fps))
        columns = [percentile_filter(log_area, q, size=width, mode="nearest") for q in (10, 50, 90)]
        return np.stack(columns, axis=1).astype(np.float32)

    return {name: quantiles(seconds) for name, seconds in QUANTILE_SCALES.items()}
