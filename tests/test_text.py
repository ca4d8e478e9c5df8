"""The text encoder's command: a tiny encoder, what it writes, and what is refused."""

import numpy as np
import pytest

from affect_jax.text import cli

TABLE = "video_name,text,start_frame,end_frame\n"
ROWS = 'a___0_120_0000.mp4,A calm face.,0,120\na___60_180_0001.mp4,"The mouth opens, wide",60,180\n'


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "segments.csv"
    path.write_text(TABLE + ROWS)
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pooling=max"], "--pooling=max: "),
        (["--out=x.npz"], "--out=x.npz: expected a file that ends in .pkl"),
        (["--max-length=1"], "expected a whole number from 2"),
        (["--encodr=x"], "Did you mean --encoder?"),
    ],
)
def test_a_wrong_flag_is_one_line(table, tmp_path, flags, message, capsys):
    out = [] if flags[0].startswith("--out") else [f"--out={tmp_path / 'x.pkl'}"]
    assert cli([str(table), "--encoder=nowhere", *out, *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_without_transformers_it_is_said_how_to_get_them(table, tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli([str(table), "--encoder=nowhere", f"--out={tmp_path / 'x.pkl'}"]) == 2
    assert 'torch is not installed, which encodes texts: pip install "affect_jax[torch]"' in (
        capsys.readouterr().err
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Folder of a BERT of width 8 with random weights."""
    transformers = pytest.importorskip("transformers", reason="the extra [torch] is not installed")
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "calm", "face", ".", "the", "mouth"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    config = transformers.BertConfig(vocab_size=len(words), **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_each_segment_gets_a_vector_of_its_text(encoder, table, tmp_path, pooling):
    import torch
    import transformers

    from data_pipelines import array_pickles

    out = tmp_path / "train.pkl"
    flags = [f"--encoder={encoder}", f"--out={out}", f"--pooling={pooling}", "--batch=2"]
    assert cli([str(table), *flags]) == 0
    pack = array_pickles.load(out)
    assert list(pack) == ["a___0_120_0000.mp4", "a___60_180_0001.mp4"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    model = transformers.AutoModel.from_pretrained(encoder).eval()
    for entry in pack.values():
        with torch.inference_mode():  # alone, so without any padding
            hidden = model(**tokenizer(entry["text"], return_tensors="pt")).last_hidden_state[0]
        want = hidden.mean(0) if pooling == "mean" else hidden[0]
        np.testing.assert_allclose(entry["embeddings"]["hf_text"][pooling], want.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("b___0_120_0000.mp4, ,0,120\n", "1 of 3 segments have no text: b___0_120_0000.mp4"),
        ("a___0_120_0000.mp4,Twice.,0,120\n", "'a___0_120_0000.mp4' comes twice"),
        ("b___0_120_0000.mp4,Text.,0\n", "segments.csv:4: 3 fields, expected 4"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(table, tmp_path, rows, message, capsys):
    table.write_text(TABLE + ROWS + rows)
    out = tmp_path / "x.pkl"
    assert cli([str(table), "--encoder=nowhere", f"--out={out}"]) == 2
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.slow
def test_a_folder_that_is_no_encoder_is_one_line(encoder, table, tmp_path, capsys):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    assert cli([str(table), f"--encoder={folder}", f"--out={tmp_path / 'x.pkl'}"]) == 2
    assert "transformers reads no encoder from" in capsys.readouterr().err.splitlines()[-1]
