"""Kinds of members, a file each, and how a command line names them.

RUN                  a run at its config's checkpoint; predicts the data that are named, or gives
                     its stored predictions
RUN@17, RUN@10-19    a run at the end of these epochs
FOLDS                the folder of a cross-validation: all its runs
folds:FOLDS          a cross-validation as one member: on the split that was cut each track is
                     predicted by the run that has not seen it, elsewhere it is the runs' mean;
                     both at `folds.checkpoint` of its config
FITTED               an ensemble, applied to the data
FOLDER               a folder of predictions, <task>.npz; for another split its neighbour
feature:NAME         a feature of the store that is itself a prediction: its columns have the
                     names of labels; feature:RUN all such that affect_jax.export made of a run;
                     feature:* all there are, those of a run together
records:FOLDER       pickles of RAS, train.pkl, val.pkl and test.pkl: {"<track>/00001.jpg":
                     {"prediction": [valence, arousal], "label": ...}}; or one such file
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence

from affect_jax.ensemble.member import Member, kind_of
from affect_jax.ensemble.members import feature, folds, records
from affect_jax.ensemble.members.ensemble import EnsembleMember
from affect_jax.ensemble.members.feature import FeatureMember
from affect_jax.ensemble.members.folds import FoldsMember
from affect_jax.ensemble.members.predictions import PredictionsMember
from affect_jax.ensemble.members.records import RecordsMember
from affect_jax.ensemble.members.run import RunMember
from affect_jax.members import expand
from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore


def parse(texts: Sequence[str], store: AnyStore | None) -> list[Member]:
    """The members that a command line names, in order.

    Raises:
        UserError: one that is none of the kinds above, or comes twice.
    """
    members: dict[object, Member] = {}
    for text in texts:
        for member in _named(text, store):
            if member.key in members:
                raise UserError(f"member {member.name} is named twice.")
            members[member.key] = member
    return [*members.values()]


def _named(text: str, store: AnyStore | None) -> Iterator[Member]:
    if text.startswith(feature.PREFIX):
        yield from FeatureMember.named(text, store)
        return
    if text.startswith(folds.PREFIX):
        yield FoldsMember.named(text)
        return
    if text.startswith(records.PREFIX):
        yield RecordsMember.named(text)
        return
    for folder, checkpoint in expand(text):
        kind = kind_of(folder) or _predictions(folder)
        if checkpoint and kind is not RunMember:
            raise UserError(f"{text}: only a run has epochs, {folder} holds {kind.kind}.")
        yield RunMember(str(folder), checkpoint) if checkpoint else kind(str(folder))


def _predictions(folder: pathlib.Path) -> type[Member]:
    # A run that has lost its config still has its statistics.
    if any(file.stem != "statistics" for file in folder.glob("*.npz")):
        return PredictionsMember
    raise UserError(
        f"{folder}: no run ({RunMember.marker}), no ensemble ({EnsembleMember.marker}) and no "
        "folder of predictions (<task>.npz)."
    )
