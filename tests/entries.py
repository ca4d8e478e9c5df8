"""Official lists and valid entries, written here without the code that is tested."""

import dataclasses
import pathlib

import numpy as np

EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
UNITS = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
# (track, edition): header, and what a row holds behind the image: v a value, c a class, u 0 or 1.
FORMS = {
    ("mtl", 4): ("image,valence,arousal,expression,aus", "vvc" + 12 * "u"),
    ("va", 5): ("image_location,valence,arousal", "vv"),
    ("expr", 5): (f"image_location,{EXPRESSIONS}", "c"),
    ("au", 10): (f"image_location,{UNITS}", 12 * "u"),
    ("va", 1): ("valence,arousal", "vv"),
    ("expr", 2): (EXPRESSIONS.removesuffix(",Other"), "c"),
    ("expr", 3): (EXPRESSIONS, "c"),
    ("au", 1): ("AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", 8 * "u"),
    ("au", 3): (UNITS, 12 * "u"),
}
ONE_FILE = [key for key in FORMS if key[0] == "mtl" or key[1] >= 5]
TEXTS = [key for key in FORMS if key not in ONE_FILE]
NAMES = ("video2_left", "314", "video2", "10-60-1280x720_right", "video10_1_left", "video59")


@dataclasses.dataclass
class Entry:
    """A valid entry of a few videos.

    Attributes:
        list: path of its official list.
        path: where `write` puts it: a file, or a folder of texts.
        lines: {file name ("" for the one file): header and rows}.
        flags: of both commands.
    """

    list: pathlib.Path
    path: pathlib.Path
    lines: dict[str, list[str]]
    flags: list[str]

    def write(self) -> list[str]:
        """Writes the files; returns the arguments of their check."""
        for name, lines in self.lines.items():
            (self.path / name if name else self.path).write_text("".join(f"{x}\n" for x in lines))
        return ["check", *self.flags, str(self.path)]


def make_entry(
    folder: pathlib.Path, track: str, edition: int, lengths=(4, 1, 6), seed: int = 0
) -> Entry:
    """An entry with random predictions; its list holds images, or names in early editions."""
    rng = np.random.default_rng(seed)
    header, kinds = FORMS[track, edition]
    one_file = (track, edition) in ONE_FILE
    classes = header.count(",") + 1 if track == "expr" and not one_file else 8
    names = rng.permutation(NAMES)[: len(lengths)]
    frames = {
        str(n): np.cumsum(rng.integers(1, 4, t)) if one_file else np.arange(1, t + 1)
        for n, t in zip(names, lengths)
    }
    images = {v: [f"{v}/{k:05d}.jpg" for k in numbers] for v, numbers in frames.items()}

    def cell(kind: str) -> str:
        value = np.clip(rng.normal(), -1, 1)
        forms = (f"{value:.6f}", repr(float(value)), f"{value:.3e}", f"{round(value)}")
        choices = {"c": str(rng.integers(classes)), "u": str(rng.integers(2))}
        return choices.get(kind, forms[rng.integers(len(forms))])

    rows = {v: [",".join(map(cell, kinds)) for _ in images[v]] for v in images}
    if one_file:
        listed = [header.split(",")[0], *(i for v in images for i in images[v])]
        named = [f"{i},{r}" for v in images for i, r in zip(images[v], rows[v])]
        lines = {"": [header, *named]}
    else:
        listed = list(images)
        lines = {f"{v}.txt": [header, *rows[v]] for v in images}
        (folder / "entry").mkdir()
    path = folder / "list.txt"
    path.write_text("".join(f"{line}\n" for line in listed))
    flags = [f"--track={track}", f"--edition={edition}", f"--list={path}"]
    return Entry(path, folder / "entry", lines, flags)
