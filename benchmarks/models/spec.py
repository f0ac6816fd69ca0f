"""What a benchmark needs to know of one trained network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.data import DATA
from benchmarks.models.metrics import Metric
from deployq.data import Dataset

INPUT = "x"
"""The name of the one input of every network here."""


@dataclass(frozen=True)
class ModelSpec:
    """A network, its weights, and disjoint samples to calibrate, to choose and to report.

    Args:
        name: of the weight file, without its ending.
        build: the network with random weights.
        shape: of one input.
        calibration: samples that set scales.
        choosing: samples that may choose settings.
        reporting: samples that figures are reported on; nothing is chosen on them.
        metric: what is reported.
        reference: the samples of ``<name>.ref.npz``.
        stated: the float network's figure on the file that the data folder's README names, and
            those samples; None where it states none.
        dtype: of the input.
        attends: it is a transformer.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    calibration: Callable[[], Dataset]
    choosing: Callable[[], Dataset]
    reporting: Callable[[], Dataset]
    metric: Metric
    reference: Callable[[], Dataset] | None
    stated: tuple[float, Callable[[], Dataset]] | None
    dtype: torch.dtype = torch.float32
    attends: bool = False

    def load(self) -> nn.Module:
        """The network with its trained weights, in evaluation mode."""
        model = self.build()
        weights = torch.load(DATA / f"models/{self.name}.pt", weights_only=True)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        odd = [name for name in missing if not name.endswith("num_batches_tracked")]
        assert not odd and not unexpected, (odd, unexpected)
        return model.eval()

    def example(self, batch: int = 2) -> Tensor:
        """Zeros of the input's shape."""
        return torch.zeros(batch, *self.shape, dtype=self.dtype)
