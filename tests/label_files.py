"""Annotation files of Aff-Wild2, written by hand."""

from data_pipelines import labels

EXPR_HEADER = ",".join(labels.EXPRESSIONS)
AU_HEADER = ",".join(labels.ACTION_UNITS)
AUS = ",".join("01" * 6)
NO_AUS = ",".join(["-1"] * 12)


def write(path, *lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(lines) + end).encode())
    return path


def row(image, valence=0.1, arousal=0.2, expression=3, aus=AUS):
    return f"{image},{valence},{arousal},{expression},{aus}"
