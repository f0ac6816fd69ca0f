"""A decoder on the digits: transposed convolutions, nearest upsampling, shuffles and splits."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq import pipeline
from deployq.data import Dataset
from deployq.verifier.report import Judged, Limits
from deployq_calibration.calibration_settings import CalibrationSettings

LOW_EVIDENCE = Limits(min_images=64, min_codes=700_000, min_distinct=1)
"""A briefly trained network on few digits: enough to find a fault, thin as evidence."""


MINMAX = CalibrationSettings(activations="minmax")
"""The mse observer shrinks ranges by common fractions: a Concat and its part then have scales such
as 97 / 96, whose ties law 12 (b) would count in a run in float."""


class Decoder(nn.Module):
    """Down, up by both ways, a skip; (N, 1, 8, 8) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 3, 2, padding=1, output_padding=1, bias=False)
        self.up_norm = nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(24, 8, 1)
        self.up_again = nn.ConvTranspose2d(8, 8, 2, 2)
        self.shuffle = nn.PixelShuffle(2)
        self.head = nn.Linear(2 * 32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        low = F.relu(self.down(F.relu(self.stem_norm(self.stem(x)))))
        up = F.relu(self.up_norm(self.up(low)))
        wide = torch.cat([up, F.interpolate(low, scale_factor=2)], 1)
        n, c, h, w = wide.shape
        mixed = wide.view(n, 4, c // 4, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        left, right = F.relu(self.mix(mixed)).chunk(2, 1)
        joined = torch.cat([right, left], 1)
        return self.head(self.shuffle(F.relu(self.up_again(joined))).flatten(1))


@pytest.fixture(scope="module")
def decoder(images: Dataset) -> nn.Module:
    """Trained for a moment: statistics and gammas are those of real digits."""
    torch.manual_seed(0)
    net = Decoder().train()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    assert images.labels is not None
    x, y = torch.from_numpy(images.inputs["x"]), torch.from_numpy(images.labels)
    for start in range(0, 960, 64):
        optimizer.zero_grad()
        part = slice(start, start + 64)
        F.cross_entropy(net(x[part]), y[part]).backward()
        optimizer.step()
    return net.eval()


@pytest.mark.parametrize("target", ["int8-npu", "int4-npu", "ort-cpu"])
def test_a_decoder_verifies(
    decoder: nn.Module, calibration: Dataset, unseen: Dataset, tmp_path: Path, target: str
) -> None:
    prepared = pipeline.prepare(decoder, [torch.zeros(2, 1, 8, 8)], target)
    pipeline.calibrate(prepared, calibration, MINMAX)
    layers = {layer.name: layer for layer in prepared.plan.layers}
    assert layers["up"].batch_norm == "absorb" and layers["up"].bits == 8
    assert layers["mix"].bits == (4 if target == "int4-npu" else 8)
    bundle = pipeline.export(prepared, tmp_path / "b", calibration)
    report = pipeline.verify(bundle.path, unseen.take(128), limits=LOW_EVIDENCE, latency_runs=2)
    assert report.misses() == []
    # ONNX Runtime has no integer kernel of ConvTranspose: law 12 (b), and what follows is exact
    assert report.latency.float_nodes == ("up", "up_again")
    assert 0.5 < report.latency.integer_share < 1
    rows = {p.name: p for p in report.parities}
    exact = [rows[n] for n in ("reference = simulator", "runtime = simulator, layer by layer")]
    assert all(p.judged is Judged.EXACT and p.different == 0 for p in exact)
    assert min(p.compared for p in exact) > 700_000
    floats = rows["runtime in float ~ reference, layer by layer"]
    assert [row.tensor for row in floats.layers] == ["up", "up_again"]
    operators = [n.op_type for n in onnx.load(bundle.path / "model.onnx").graph.node]
    assert operators.count("Resize") == 1 and operators.count("ConvTranspose") == 2
    assert not {"Shape", "Split", "DepthToSpace"} & set(operators)
