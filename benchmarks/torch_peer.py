"""The peer of the temporal suite: the same model and training as a PyTorch user writes them.

A Dataset over a memory-mapped .npy file, a DataLoader with workers, nn.TransformerEncoder, nn.LSTM
or nn.GRU, Adam, clip_grad_norm_ for every net, scikit-learn metrics. Eager on a CPU, torch.compile
on a GPU (recurrent models stay eager there: cuDNN runs them whole).
"""

from __future__ import annotations

import time

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional as F

from benchmarks.temporal import ENCODERS, HEADS, INPUTS, Shape
from data_pipelines.store import Store


class Segments(torch.utils.data.Dataset):
    """One segment a track."""

    def __init__(self, store: Store):
        self.store, self.tracks = store, store.tracks

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, i: int):
        track = self.tracks[i]
        rows = track.span
        item = {"x": np.array(self.store.feature("f")[rows])}
        for name in ("valence", "arousal", "expression", "au"):
            values, mask = self.store.label(name)
            item[name], item[f"{name} mask"] = np.array(values[rows]), np.array(mask[rows])
        return item


def head(width: int, size: int) -> nn.Sequential:
    """Dropout, then Linear-ReLU-Dropout blocks, then the output."""
    layers = [nn.Dropout(0.3)]
    for hidden in HEADS:
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.3)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, size))


class Transformer(nn.Module):
    """Projection, positions, layers."""

    def __init__(self, length: int, hidden: int, layers: int, heads: int, ffn: int, dropout: float):
        super().__init__()
        self.affine = nn.Linear(INPUTS, hidden)
        layer = nn.TransformerEncoderLayer(hidden, heads, ffn, dropout, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers)
        self.register_buffer("positions", torch.randn(length, hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.affine(x) + self.positions)


class Recurrent(nn.Module):
    """nn.LSTM or nn.GRU, dropout after every layer. Tracks are one segment: nothing is carried."""

    def __init__(self, kind: str, hidden: int, layers: int, dropout: float = 0.0):
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.rnn = make(INPUTS, hidden, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.rnn(x)[0])


class Model(nn.Module):
    """An encoder with a head a task."""

    def __init__(self, shape: Shape):
        super().__init__()
        sizes = {k: v for k, v in ENCODERS[shape.model].items() if k not in ("name", "positions")}
        if shape.model == "transformer":
            self.encoder: nn.Module = Transformer(shape.length, **sizes)
        else:
            self.encoder = Recurrent(shape.model, **sizes)
        outputs = {"valence": 1, "arousal": 1, "expression": 8, "au": 12}
        self.heads = nn.ModuleDict({k: head(sizes["hidden"], n) for k, n in outputs.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.encoder(x)
        return {name: net(h) for name, net in self.heads.items()}


def losses(out: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Masked MSE, cross entropy and binary cross entropy, summed."""
    total = 0.0
    for name in ("valence", "arousal"):
        mask = batch[f"{name} mask"]
        total = total + ((out[name] - batch[name])[mask] ** 2).mean()
    mask = batch["expression mask"]
    total = total + F.cross_entropy(out["expression"][mask], batch["expression"][mask].long())
    mask = batch["au mask"]
    return total + F.binary_cross_entropy_with_logits(out["au"][mask], batch["au"][mask].float())


class Peer:
    """Epochs of the PyTorch side."""

    def __init__(self, store: Store, shape: Shape):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # float32 products on both sides; jax on a GPU uses TF32 for float32 by default.
        torch.set_float32_matmul_precision("high")
        self.shape = shape
        self.model = Model(shape).to(self.device)
        self.nets = [self.model.encoder, *self.model.heads.values()]
        compiled = self.device.type == "cuda" and shape.model == "transformer"
        self.forward = torch.compile(self.model) if compiled else self.model
        self.adam = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.loader = torch.utils.data.DataLoader(
            Segments(store),
            shape.batch,
            shuffle=True,
            num_workers=2,
            persistent_workers=True,
            multiprocessing_context="spawn",  # a fork of a process with JAX's threads may hang
            pin_memory=self.device.type == "cuda",
        )
        ready = next(iter(self.loader))
        self.ready = {k: v.to(self.device) for k, v in ready.items()}

    def _out(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.shape.bf16):
            return self.forward(batch["x"])

    def _step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss = losses({k: v.float() for k, v in self._out(batch).items()}, batch)
        self.adam.zero_grad()
        loss.backward()
        for net in self.nets:
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        self.adam.step()
        return loss.detach()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def chunk(self) -> float:
        """Seconds a step on a batch that is on the device."""
        self.model.train()
        self._wait()
        start = time.perf_counter()
        for _ in range(self.shape.steps):
            self._step(self.ready)
        self._wait()
        return (time.perf_counter() - start) / self.shape.steps

    def epoch(self) -> float:
        """Seconds a step of an epoch: loading, steps, then prediction and metrics of the split."""
        start = time.perf_counter()
        self.model.train()
        for batch in self.loader:
            self._step({k: v.to(self.device, non_blocking=True) for k, v in batch.items()}).item()
        self._evaluate()
        return (time.perf_counter() - start) / self.shape.steps

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        self.model.eval()
        out, target = {}, {}
        for batch in self.loader:
            predicted = self._out({"x": batch["x"].to(self.device)})
            for name, value in predicted.items():
                out.setdefault(name, []).append(value.float().cpu().flatten(0, 1).numpy())
                target.setdefault(name, []).append(batch[name].flatten(0, 1).numpy())
        out = {k: np.concatenate(v) for k, v in out.items()}
        target = {k: np.concatenate(v) for k, v in target.items()}
        scores = {}
        for name in ("valence", "arousal"):
            p, t = np.float64(out[name][:, 0]), np.float64(target[name][:, 0])
            covariance = np.mean((p - p.mean()) * (t - t.mean()))
            scores[name] = 2 * covariance / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
        predicted = out["expression"].argmax(-1)
        scores["expression"] = f1_score(target["expression"], predicted, average="macro")
        scores["au"] = f1_score(target["au"], out["au"] >= 0, average="macro")
        return scores
