"""Quantized models that lie apart, and data for their loss."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.landscape.batches import class_loss, input_batches, labelled_batches
from deployq.landscape.probe import Samples
from tests.graph.networks import Net, calibrated, images, residual_for
from tests.train.loops import CLASSES


def apart(prepared: PreparedModel, seed: int, *, only_weights: bool = False) -> PreparedModel:
    """A copy whose parameters, quantizers' apart, moved by a third of their deviation."""
    generator = torch.Generator().manual_seed(seed)
    weights = {layer.weight for layer in prepared.plan.layers}
    found = replace(prepared, module=copy.deepcopy(prepared.module))
    with torch.no_grad():
        for name, parameter in found.module.named_parameters():
            if name in weights or not (only_weights or name.startswith("deployq.")):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(parameter.std() / 3 * noise)
    return found


@cache
def base(target: str = "int4-npu") -> PreparedModel:
    return residual_for(target)


def three(target: str = "int4-npu", *, only_weights: bool = False) -> dict[str, PreparedModel]:
    names = enumerate(("first", "second", "third"))
    return {name: apart(base(target), seed, only_weights=only_weights) for seed, name in names}


def data(count: int = 12, seed: int = 1) -> Dataset:
    return Dataset({"x": images(count, seed=seed).numpy()}, np.arange(count) % CLASSES)


def samples(prepared: PreparedModel, found: Dataset) -> Samples:
    batches = {"data": labelled_batches("data", prepared, found, None)}
    return Samples(batches, input_batches(prepared, found, None), class_loss)


@cache
def linear() -> PreparedModel:
    """One fully connected layer of 3 inputs and 2 outputs, whose activations stay real."""
    torch.manual_seed(0)
    prepared = calibrated(Net(_head, head=nn.Linear(3, 2)), "int4-npu")
    for quantizer in prepared.quantizers().values():
        quantizer.enabled = False
    return prepared


def _head(net: Any, x: Tensor) -> Tensor:
    scores: Tensor = net.head(x.mean((2, 3)))
    return scores


def means(found: Dataset) -> Tensor:
    """(N, 3) what the layer of :func:`linear` sees."""
    return torch.from_numpy(np.array(found.inputs["x"])).mean((2, 3))


def squares(output: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples of half the squared length of the output."""
    return output.square().sum(1).mean() / 2


def first_score(output: Tensor, labels: Tensor) -> Tensor:
    """Linear in the weights."""
    return output[:, 0].mean()
