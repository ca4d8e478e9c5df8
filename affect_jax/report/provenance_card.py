"""The report of a provenance: the proof, a table of the stages, their picture."""

from __future__ import annotations

import pathlib
from typing import Any

from affect_jax.report import style
from affect_jax.report.best_effort import optional
from affect_jax.report.figure_chain import Box, draw_chain
from affect_jax.report.markdown import table
from data_pipelines.replace_file import replace_text

HEADS = (
    *("stage", "kind", "reads", "trained on labels of", "tracks"),
    *("scored tracks among them", "known to its outputs", "checkpoint or settings chosen by"),
)


def write(folder: pathlib.Path, name: str, proof: Any) -> None:
    """README.md and chain.png.

    Args:
        folder: of the report alone.
        name: of the run.
        proof: affect_jax.provenance.Proof.
    """
    title = f"{name}, scored on {proof.split}: stages and the labels that they have seen"
    with optional(folder / "chain.png"):
        style.save(draw_chain(_boxes(proof), title), folder / "chain.png")
    parts = [
        f"# {title}",
        *(f"**{line}**" for line in proof.verdict),
        *(f"Mark: {line}." for line in proof.marks),
        *(f"Not known: {line}." for line in proof.doubts),
        "![chain of stages](chain.png)",
        f"## Stages\n\n{table(HEADS, _rows(proof))}",
        "A track counts as seen where any track of its group (video) was trained on. Known to the "
        "outputs of a stage: what it says of the track is by a run that was trained on it; of "
        "folds it is by the run that was not.",
    ]
    replace_text(folder / "README.md", "\n\n".join(parts) + "\n")


def summary(proof: Any) -> str:
    """Text that the command prints: a line a stage, and the proof."""
    boxes = _boxes(proof).values()
    lines = [f"{box.lines[0]:<24} {'; '.join(box.lines[1:])}".rstrip() for box in boxes]
    lines += [f"mark: {line}" for line in proof.marks]
    lines += [f"not known: {line}" for line in proof.doubts]
    return "\n".join([*lines, *proof.verdict])


def _rows(proof: Any) -> list[tuple[Any, ...]]:
    names = {key: f"{f.stage.kind} {f.stage.name}" for key, f in proof.findings.items()}
    rows = []
    for finding in proof.findings.values():
        stage = finding.stage
        tracks = {track for training in stage.trainings for track in training.tracks}
        known = bool(stage.trainings or stage.store)  # or else nothing is said by the numbers
        numbers = (
            [len(x) for x in (finding.saw, finding.knew, finding.chose)] if known else [""] * 3
        )
        reads = ", ".join(names[key] for key in stage.reads)
        rows.append((stage.name, stage.kind, reads, stage.labels, len(tracks) or "", *numbers))
    return rows


def _boxes(proof: Any) -> dict[str, Box]:
    return {
        key: Box(
            [f"{f.stage.kind}: {f.stage.name}", *_words(f)],
            f.stage.reads,
            bool(f.knew),
            bool(f.stage.trainings or f.stage.labels),
        )
        for key, f in proof.findings.items()
    }


def _words(finding: Any) -> list[str]:
    """Lines of a box below its name."""
    stage = finding.stage
    lines = [f"labels of {stage.labels}"] if stage.labels else []
    if finding.knew:
        lines.append(f"knew {len(finding.knew):,} scored tracks")
    elif finding.saw:
        lines.append("scored tracks out of fold")
    elif stage.trainings:
        lines.append("no scored track")
    return lines + (["not known in full"] if stage.doubts else [])
