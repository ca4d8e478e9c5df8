"""Weights of a run as a file that the original's program loads."""

from __future__ import annotations

from affect_jax.config import read
from affect_jax.interop.families import family_of
from affect_jax.interop.files import save_safetensors
from affect_jax.restore import choose_step, variables_of
from affect_jax.run import Run
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path


def export(folder: str, out: str, which: str) -> str:
    """Write a checkpoint under the original's names; returns what to print.

    Args:
        folder: of the run; its store is not needed.
        out: a .safetensors file; one that is there is replaced.
        which: as in `choose_step`.

    Raises:
        UserError: no such run or checkpoint, or the original has no such model.
    """
    path, run = user_path(out), Run(folder)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: weights are written as safetensors; name it OUT.safetensors.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}. Make it, or name another.")
    run.require()
    config = read(run.config_file)
    tasks = [task.name for task in run.read_tasks()]
    family = family_of(config.model.name)
    step, raw = choose_step(run, which)
    try:
        state_dict = family.to_original(config.model, tasks, variables_of(raw))
    except UserError as error:
        raise UserError(f"{run.folder}: {error}") from None
    save_safetensors(path, state_dict)
    line = f"{len(state_dict)} tensors of step {step} of {run.folder} are in {path}"
    if config.data.normalise != "none":
        line += f"; their features are normalised (data.normalise = {config.data.normalise!r})"
    return line
