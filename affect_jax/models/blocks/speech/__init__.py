"""Speech transformers over raw sound: wav2vec 2.0, HuBERT and WavLM as one Linen family.

    config = SpeechConfig.from_json(json.loads(path.read_text()), path)
    output = SpeechTransformer(config).apply(variables, audio_bs, mask_bs)
    output.last, output.hidden[6]

Weights under their original names: affect_jax.interop.speech.
"""

from affect_jax.models.blocks.speech.config import SpeechConfig, frames_of
from affect_jax.models.blocks.speech.transformer import SpeechOutput, SpeechTransformer

__all__ = ["SpeechConfig", "SpeechOutput", "SpeechTransformer", "frames_of"]
