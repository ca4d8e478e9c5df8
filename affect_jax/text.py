r"""Encode the descriptions of a table of segments, a vector each, for --source=ras.

    python -m affect_jax.text behaviour/train_segment.csv --out=behaviour/train.pkl \
        --encoder=michellejieli/emotion_text_classifier

The encoder is a folder as transformers saves one, or a repository in the Hugging Face cache;
nothing is downloaded. It is not trained, and in evaluation mode. What is written is a pickle
{segment: {"embeddings": {"hf_text": {<pooling>: float32 [D]}}, "text": description}} of arrays and
plain containers alone, as `python -m data_pipelines.prepare --source=ras` reads it beside the
table: rows with the spans of their segments. Needs transformers and torch:
pip install "affect_jax[torch]".

Source: the released code of arXiv 2603.13056 (embeddings.source = "hf_text").
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.descriptions import pooled
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.labels.segments import read_segments
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_file

BRANCH = "hf_text"  # name of these embeddings in a pack
POOLINGS = ("mean", "cls")
_log = logging.getLogger("affect_jax")


class Encoder:
    """A text encoder of transformers.

    Attributes:
        longest: tokens of a text; what is behind them is cut off.
    """

    def __init__(self, source: str, longest: int):
        """UserError where there is no such encoder, or transformers or torch is not installed."""
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging as said
        except ImportError as error:
            raise UserError(
                f"{error.name} is not installed, which encodes texts: "
                'pip install "affect_jax[torch]".'
            ) from None
        from affect_jax.interop.published import find

        folder = find(source).weights.parent
        said.disable_progress_bar()
        said.set_verbosity_error()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32
            ).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(
                f"--encoder={source}: transformers reads no encoder from {folder}: {why}"
            ) from None
        self._torch, self.longest = torch, longest

    def encode(self, texts: Sequence[str], pooling: str) -> np.ndarray:
        """float32 [texts, D]: mean over the tokens of each, or the state of its first ("cls")."""
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        )
        with self._torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state.numpy()
        if pooling == "cls":
            return hidden[:, 0]
        return pooled(hidden, tokens["attention_mask"].numpy())["mean"]


def read_texts(table: pathlib.Path) -> dict[str, str]:
    """{segment: its description} of a table of segments, in its order.

    Raises:
        UserError: no segments, one without text, or one that comes twice.
    """
    segments = read_segments(table, warn=_log.warning)
    if not segments:
        raise UserError(f"{table}: no segments.")
    if without := [one.name for one in segments if not one.text.strip()]:
        count = f"{len(without):,} of {len(segments):,}"
        raise UserError(f"{table}: {count} segments have no text: {listed(without, 3)}.")
    texts: dict[str, str] = {}
    for one in segments:
        if one.name in texts:
            raise UserError(f"{table}: the segment {one.name!r} comes twice.")
        texts[one.name] = one.text
    return texts


def encode_texts(
    texts: Mapping[str, str], encoder: Encoder, pooling: str, batch: int
) -> dict[str, dict[str, Any]]:
    """The pack of some segments: {segment: {"embeddings", "text"}}.

    Args:
        batch: texts that are encoded at once.

    Raises:
        UserError: a vector is not finite.
    """
    pack: dict[str, dict[str, Any]] = {}
    items = list(texts.items())
    for start in tqdm(range(0, len(items), batch), unit="batch", leave=False, disable=None):
        names, chosen = zip(*items[start : start + batch])
        for name, text, vector in zip(names, chosen, encoder.encode(chosen, pooling), strict=True):
            if not np.isfinite(vector).all():
                raise UserError(f"{name}: the encoder gives no finite numbers of its text.")
            embeddings = {BRANCH: {pooling: np.ascontiguousarray(vector, np.float32)}}
            pack[name] = {"embeddings": embeddings, "text": text}
    return pack


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.text",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("table", metavar="CSV", help="table of segments, with video_name and text")
    add("--encoder", required=True, metavar="SOURCE", help="folder, or name in the Hub's cache")
    add("--out", required=True, metavar="FILE.pkl", help="pickle to write")
    add("--pooling", default="mean", metavar="|".join(POOLINGS), help="default: mean")
    add("--max-length", type=whole(2), default=96, metavar="N", help="tokens; default 96")
    add("--batch", type=whole(1), default=32, metavar="N", help="texts at once; default 32")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run one command; raises UserError for the user's mistakes."""
    flags = _parser().parse_all(argv)
    if flags.pooling not in POOLINGS:
        raise UserError(f"--pooling={flags.pooling}: {nearest(flags.pooling, POOLINGS)}")
    table, out = user_path(flags.table), user_path(flags.out)
    if out.suffix not in (".pkl", ".pickle"):
        raise UserError(f"--out={flags.out}: expected a file that ends in .pkl.")
    texts = read_texts(table)
    encoder = Encoder(flags.encoder, flags.max_length)
    pack = encode_texts(texts, encoder, flags.pooling, flags.batch)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(out) as partial, open(partial, "wb") as file:
        pickle.dump(pack, file, protocol=4)
    print(f"{len(pack):,} segments: {out}")


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv)


if __name__ == "__main__":
    sys.exit(cli())
