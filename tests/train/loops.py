"""A small network on the grid, a batch for it and what its loss is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.preparation import PreparedModel
from tests.graph.networks import Net, calibrated, conv, images, residual_for

CLASSES = 5


def learning(target: str = "int4-npu") -> PreparedModel:
    """The residual network in training mode, without Dropout, everything but scales learning."""
    prepared = residual_for(target)
    prepared.module.train()
    for module in prepared.module.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name, parameter in prepared.module.named_parameters():
        parameter.requires_grad_(not name.startswith("deployq."))
    return prepared


def smooth() -> PreparedModel:
    """Two layers without BatchNorm, whose activations stay real: its loss is smooth in Q(w)."""
    torch.manual_seed(0)
    net = Net(_conv_and_head, conv=conv(3, 4, bias=True), head=nn.Linear(4, 5))
    prepared = calibrated(net, "int4-npu")
    for quantizer in prepared.quantizers().values():
        quantizer.enabled = False
    for name, parameter in prepared.module.named_parameters():
        parameter.requires_grad_(not name.startswith("deployq."))
    prepared.module.train()
    return prepared


def _conv_and_head(net: Any, x: Tensor) -> Tensor:
    scores: Tensor = net.head(net.conv(x).mean((2, 3)))
    return scores


def sgd(prepared: PreparedModel, rate: float = 0.05) -> torch.optim.Optimizer:
    learned = [p for p in prepared.module.parameters() if p.requires_grad]
    return torch.optim.SGD(learned, rate, momentum=0.9)


def batch(count: int = 8) -> tuple[Tensor, Tensor]:
    return images(count), torch.arange(count) % CLASSES


def closure(
    module: nn.Module, x: Tensor, y: Tensor, losses: list[float] | None = None
) -> Callable[[], Tensor]:
    """Forward, loss, backward; ``losses`` hears of each."""

    def run() -> Tensor:
        loss = functional.cross_entropy(module(x), y)
        loss.backward()
        if losses is not None:
            losses.append(float(loss.detach()))
        return loss

    return run


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def weight_quantizers(prepared: PreparedModel) -> dict[str, FakeQuantize]:
    return {name: unit.weight_quantizer for name, unit in prepared.units().items()}
