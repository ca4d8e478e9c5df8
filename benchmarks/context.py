"""Is it temporal context? The same model on a store's frames in order, and shuffled in each track.

    python -m benchmarks.context [--seeds=3] [--config=configs/mtl.py] [--root=twin:mtl]

Shuffling moves features and labels of a frame together, so a model that looks at single frames
(or at means over a track) loses nothing. Prints the total score of each seed at its last step, as
the linear models of the store's references, printed first, have no epoch to choose.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from affect_jax import systems
from affect_jax.compilation import compilation_cache
from affect_jax.config import load, save
from affect_jax.predict import Predictor
from affect_jax.restore import choose_step, variables_of
from affect_jax.run import Run
from affect_jax.scoring import Total, score
from affect_jax.train import train
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.join import open_store
from data_pipelines.plan import generator
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter


def shuffled(store: Store, folder: pathlib.Path) -> pathlib.Path:
    """A store with the frames of each track in random order."""
    features = {k: dict(size=f.size) for k, f in store.features.items()}
    labels = {k: dict(kind=x.kind, size=x.size, names=x.names) for k, x in store.labels.items()}
    with StoreWriter(folder, name=f"{store.name}, shuffled", features=features, labels=labels) as w:
        for track in store.tracks:
            order = generator(0, "shuffle", track.name).permutation(track.frames) + track.offset
            masks = {name: store.feature_mask(name) for name in store.features}
            w.add(
                track=track.name,
                split=track.split,
                features={name: store.feature(name)[order] for name in store.features},
                feature_masks={
                    name: mask[order] for name, mask in masks.items() if mask is not None
                },
                labels={
                    name: tuple(np.asarray(a[order]) for a in store.label(name)) for name in labels
                },
                group=track.group,
            )
    return folder


def trained_score(spec: str, root: str, seed: int) -> float:
    """Total score of the evaluation split at the last step of one training."""
    config = load(spec)
    config.data.root, config.seed = root, seed
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder)
        system = systems.build(config)
        train(system, run)
        save(config, run.config_file)
        _, raw = choose_step(run, "last")
        tracks = Predictor(system, config.data.split).tracks(variables_of(raw))
        scores = Total.of(config).added_to(score(system.tasks, system.data.store, tracks))
    return scores[config.total.name]


def main(arguments: Sequence[str]) -> None:
    """Train both, print both."""
    parser = Parser(
        prog="python -m benchmarks.context", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--seeds", type=whole(1, 1000), default=3)
    parser.add_argument("--config", default="configs/mtl.py")
    parser.add_argument("--root", default="twin:mtl")
    flags = parser.parse_all(arguments)
    compilation_cache()
    config = load(flags.config)
    store = open_store(flags.root)
    for name, scores in store.references(config.data.split).items():
        print(f"{name}: {scores.get(config.total.name, float('nan')):.3f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        roots = {
            "in order": flags.root,
            "shuffled": str(shuffled(store, pathlib.Path(folder) / "shuffled")),
        }
        for name, root in roots.items():
            scores = [trained_score(flags.config, root, seed) for seed in range(flags.seeds)]
            spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
            each = " ".join(f"{s:.3f}" for s in scores)
            mean = f"{name}: {config.total.name} {statistics.mean(scores):.3f}"
            print(f"{mean} (deviation over seeds {spread:.3f}: {each})", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
