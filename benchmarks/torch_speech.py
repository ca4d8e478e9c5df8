"""The peer of the audio suite: the same training and inference with transformers.

Eager, as its users run it (time masks are drawn with numpy, which no compiler sees); bfloat16 by
autocast; attention by torch's own choice (sdpa).
"""

from __future__ import annotations

import time

import torch
import transformers
from torch.nn import functional as F

from benchmarks.audio_shape import CLASSES, Shape


class Peer:
    """Steps of the PyTorch side."""

    def __init__(self, shape: Shape):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_float32_matmul_precision("high")
        config = transformers.AutoConfig.for_model(**shape.config)
        self.model = transformers.AutoModel.from_config(config).to(self.device)
        self.head = torch.nn.Linear(config.hidden_size, CLASSES, device=self.device)
        parameters = [*self.model.parameters(), *self.head.parameters()]
        self.adam = torch.optim.AdamW(parameters, 1e-5, weight_decay=0.0)
        self.audio, self.classes = (torch.tensor(x, device=self.device) for x in shape.data())
        self.steps, self.bf16 = shape.steps, shape.bf16

    def training(self) -> float:
        """Seconds a step."""
        self.model.train()
        self._wait()
        start = time.perf_counter()
        for _ in range(self.steps):
            loss = F.cross_entropy(self.head(self._hidden().float().mean(1)), self.classes)
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
        self._wait()
        return (time.perf_counter() - start) / self.steps

    @torch.no_grad()
    def inference(self) -> float:
        """Seconds a batch."""
        self.model.eval()
        self._wait()
        start = time.perf_counter()
        for _ in range(self.steps):
            self._hidden()
        self._wait()
        return (time.perf_counter() - start) / self.steps

    def _hidden(self) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(self.audio).last_hidden_state

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
