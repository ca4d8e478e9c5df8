"""How good is a config inside the training tracks? Out-of-fold CCC, for choosing its values.

    python -m benchmarks.folds --root=STORE [--config=configs/va.py:mouth] [--config.KEY=VALUE ...]

Cuts the groups (videos) of the split `train` into five folds, trains on four, predicts the fifth
with the last step, and prints CCC and Pearson's r of each task of values over all folds joined.
The evaluation split is never read.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

from affect_jax.config import load, override
from affect_jax.compilation import compilation_cache
from affect_jax.metrics import METRICS
from affect_jax.predict import Predictor
from affect_jax.run import Run
from affect_jax.system import Supervised
from affect_jax.train import train

FOLDS = 5


def folded(root: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The store with the splits fold0 to fold4 in place of train: a manifest beside its arrays."""
    manifest = json.loads((root / "manifest.json").read_text())
    groups = sorted({t["group"] for t in manifest["tracks"] if t["split"] == "train"})
    order = np.random.default_rng(0).permutation(len(groups))
    fold = {groups[g]: i % FOLDS for i, g in enumerate(order)}
    for track in manifest["tracks"]:
        if track["split"] == "train":
            track["split"] = f"fold{fold[track['group']]}"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name in ("frames.npy", "features", "labels"):
        (folder / name).symlink_to(root.resolve() / name)
    return folder


def main() -> int:
    """Train the folds and print the pooled scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--root", required=True, help="store with a split `train`")
    parser.add_argument("--config", default="configs/va.py:mouth")
    flags, rest = parser.parse_known_args()
    changes = [tuple(word.removeprefix("--config.").split("=", 1)) for word in rest]
    compilation_cache()
    states: dict[tuple[str, str], object] = {}
    with tempfile.TemporaryDirectory() as name:
        root = folded(pathlib.Path(flags.root), pathlib.Path(name) / "store")
        for k in range(FOLDS):
            config = load(flags.config)
            override(config, changes)
            config.data.root, config.data.split = str(root), ""
            config.data.train_split = "+".join(f"fold{i}" for i in range(FOLDS) if i != k)
            system = Supervised(config)
            state = train(system, Run(pathlib.Path(name) / f"run{k}"))
            for index, raw in Predictor(system, f"fold{k}").tracks(state.variables()):
                track = system.store.tracks[index]
                rows = slice(track.offset, track.offset + track.frames)
                for task in (t for t in system.tasks if t.kind == "values"):
                    label, mask = (np.asarray(a[rows]) for a in system.store.label(task.name))
                    for metric in ("ccc", "pearson"):
                        key, rule = (task.name, metric), METRICS[metric]
                        before = states.get(key, rule.init(task))
                        states[key] = rule.update(before, raw[task.name], label, mask)
    for (task, metric), state in states.items():
        print(f"{task}/{metric} {METRICS[metric].compute(state):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
