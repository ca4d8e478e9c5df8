"""Files in the folder of an ensemble that the command did not make."""

from __future__ import annotations

import pathlib
import shutil

from affect_jax.ensemble.fitted import MADE


def others(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files and folders that others put there; none where there is no folder."""
    inside = folder.iterdir() if folder.is_dir() else ()
    # Earlier versions left the predictions of members when they were killed.
    return [p for p in inside if p.name not in MADE and not p.name.startswith(".members-")]


def keep_others(folder: pathlib.Path, new: pathlib.Path) -> None:
    """Copies them to the folder that will take its place."""
    for path in others(folder):
        if (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)
