"""Phases of a training: which rows are fed to which program."""

from __future__ import annotations

import dataclasses

import numpy as np

from affect_jax.step import Step


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training: a pass over rows of the training split by one program.

    Attributes:
        program: key into `programs`.
        epoch: number of the pass, for the order, random numbers, rates, and the log (from 0).
        evaluate: score the evaluation split when the phase ends.
        rows: numbers of the training rows that are fed; None: all. They follow from what the
            program leaves alone, as a phase that was killed is asked for again.
    """

    program: str
    epoch: int
    evaluate: bool = False
    rows: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Program:
    """The work that is done with every batch of a phase.

    Attributes:
        step: (state, batch, epoch, progress) -> (state, logs), a pure function.
        train: rows are shuffled, fed from random places where `data.random_start` says so, and
            prepared as for training. False: in order, as they are evaluated.
    """

    step: Step
    train: bool = True
