"""Provenance of a run: which labels every stage before it has seen, and whether any is scored.

    python -m affect_jax.provenance RUN [--split=SPLIT] [--config.data.root=STORE]

RUN is a run or a cross-validation, FOLDER or folds:FOLDER; SPLIT is of its data, by default the one
that it is evaluated on, or all folds. It may also be an ensemble, SPLIT one that it was applied to,
and STORE the data whose features are members of it.
RUN/provenance/ gets README.md, a table of the stages with the proof, and chain.png, their picture.
Where the outputs of some stage for a scored track are by a model that was trained on its video,
that stage is named and the exit code is 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence

from affect_jax.chain import Groups, Stage, chain, scored_tracks, tasks_of
from affect_jax.ensemble import chain as of_ensemble
from affect_jax.ensemble.fitted import FITTED_FILE
from affect_jax.export import FOLDS
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.join import open_store
from data_pipelines.paths import user_path
from data_pipelines.replace_folder import replace_folder
from data_pipelines.trained_on import seen


@dataclasses.dataclass(frozen=True)
class Finding:
    """One stage and the tracks that are scored.

    Attributes:
        saw: those that it, or a run of its folds, was trained on.
        knew: those of which its outputs are by a run that was trained on them.
        chose: those whose scores chose its checkpoint or settings.
    """

    stage: Stage
    saw: frozenset[str]
    knew: frozenset[str]
    chose: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Proof:
    """The chain of a run beside the tracks that it is scored on.

    Attributes:
        split: that is scored, in words.
        tracks: that are scored.
        findings: {key: of each stage}, what is read before what reads it.
        marks: what is no leak and makes scores better than they should be.
        doubts: what cannot be known.
    """

    split: str
    tracks: Groups
    findings: Mapping[str, Finding]
    marks: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def offending(self) -> list[Finding]:
        """The stages that give away labels of scored tracks."""
        return [finding for finding in self.findings.values() if finding.knew]

    @property
    def verdict(self) -> list[str]:
        """The proof, in sentences."""
        groups = len(set(self.tracks.values()))
        size = f"{_count(len(self.tracks), 'track')} of {_count(groups, 'group')} (by video)"
        if self.offending:
            return [
                f"{f.stage.kind} {f.stage.name!r} was trained on {len(f.knew):,} of the {size} "
                f"that are scored ({self.split}), {sorted(f.knew)[0]!r} the first, and what it "
                "says of them is used: scores are too good."
                for f in self.offending
            ]
        trained = [f for f in self.findings.values() if f.stage.trainings or f.stage.labels]
        others = [f.stage.name for f in trained if f.saw]
        text = (
            f"None of the {size} that are scored ({self.split}) is among those that any of "
            f"{_count(len(trained), 'stage')} was trained on"
        )
        if others:
            text += (
                f", but for the folds of {', '.join(map(repr, others))}: what these say of a "
                "scored track is by the run of their folds that was not trained on its group"
            )
        return [f"{text}." if not self.doubts else f"{text}, as far as is known."]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def prove(stages: Mapping[str, Stage], split: str, tracks: Groups, tasks: Sequence[str]) -> Proof:
    """The proof that no stage knew the labels of the tracks, or what speaks against it.

    Args:
        stages: as `chain` gives them.
        split: what the tracks are called.
        tasks: that are scored.
    """
    findings = {key: _finding(stage, tracks, tasks) for key, stage in stages.items()}
    marks = [*_chosen(findings.values(), split), *_in_sample(stages)]
    doubts = [
        f"{stage.kind} {stage.name!r}: {doubt}"
        for stage in stages.values()
        for doubt in stage.doubts
    ]
    return Proof(split, tracks, findings, tuple(marks), tuple(doubts))


def _finding(stage: Stage, tracks: Groups, tasks: Sequence[str]) -> Finding:
    if stage.store is None:
        parts = (frozenset(of(tracks)) for of in (stage.saw, stage.knew, stage.chose))
        return Finding(stage, *parts)
    groups = set(tracks.values())
    inside = [t for t in stage.store.tracks if t.name in tracks or t.group in groups]
    splits = "+".join(dict.fromkeys(track.split for track in inside))
    if not (splits and seen(stage.store, stage.features, splits, tasks)):
        return Finding(stage, frozenset(), frozenset(), frozenset())
    known = frozenset(
        track.name
        for track in inside
        if track.name in tracks and seen(stage.store, stage.features, track.split, tasks)
    )
    return Finding(stage, known, known, frozenset())


def _chosen(findings: Iterator[Finding], split: str) -> Iterator[str]:
    for finding in findings:
        if finding.chose:
            yield (
                f"the checkpoint or settings of {finding.stage.kind} {finding.stage.name!r} are "
                f"those that scored best on {len(finding.chose):,} of the scored tracks ({split})"
            )


def _in_sample(stages: Mapping[str, Stage]) -> Iterator[str]:
    """A line where a run was trained on outputs for tracks that their own run was trained on."""
    for stage in stages.values():
        own = {t: g for training in stage.trainings for t, g in training.tracks.items()}
        for export in (stages[key] for key in stage.reads):
            for source in (stages[key] for key in export.reads):
                if export.kind == "export" and (known := source.knew(own)):
                    yield (
                        f"{stage.kind} {stage.name!r} was trained on outputs of {source.kind} "
                        f"{source.name!r} for {len(known):,} tracks that this was trained on too "
                        "(in-sample): they look better there than on new tracks"
                    )


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.provenance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run, folds of one, or an ensemble")
    parser.add_argument("--split", default="", help="of its data (default: what it is scored on)")
    parser.add_argument(
        "--config.data.root",
        dest="root",
        default="",
        metavar="STORE",
        help="of an ensemble: the data whose features are its members",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command; returns 1 where a stage has seen what is scored."""
    flags = _parser().parse_all(argv)
    from affect_jax.report import provenance_card

    folder = user_path(flags.run.removeprefix(FOLDS)).resolve()
    if (folder / FITTED_FILE).is_file():
        store = open_store(flags.root) if flags.root else None
        stages, tasks = of_ensemble.chain(folder, store), of_ensemble.tasks_of(folder)
        split, tracks = of_ensemble.scored_tracks(folder, flags.split)
    elif flags.root:
        raise UserError(f"--config.data.root: {folder} is no ensemble; a run names its own data.")
    else:
        stages, tasks = chain(folder), tasks_of(folder)
        split, tracks = scored_tracks(folder, flags.split)
    proof = prove(stages, split, tracks, tasks)
    with replace_folder(folder / "provenance") as new:
        provenance_card.write(new, folder.name, proof)
    print(provenance_card.summary(proof))
    print(f"report: {folder / 'provenance' / 'README.md'}")
    return int(bool(proof.offending))


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv)


if __name__ == "__main__":
    sys.exit(cli())
