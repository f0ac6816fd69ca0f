"""Pairs of linear layers whose channels can be scaled against each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from deployq.graph.batch_norm import BatchNormTensors
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.layer_placement import count_reads
from deployq.graph.operators import clamp_bounds
from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear
from deployq_calibration.corrections.blocks import linear_nodes

RELU = 0.0, float("inf")


@dataclass(frozen=True)
class Layer:
    """One linear layer with its tensors.

    Args:
        name: of the layer.
        unit: the module.
        weight: (O, C/g, ...).
        bias: (O,) or None.
        norm: of the BatchNorm after it, if any.
    """

    name: str
    unit: QuantizedLinear
    weight: Tensor
    bias: Tensor | None
    norm: BatchNormTensors | None

    @classmethod
    def of(cls, module: fx.GraphModule, node: fx.Node) -> Layer:
        """The layer that a node calls."""
        unit = module.get_submodule(str(node.target))
        assert isinstance(unit, QuantizedLinear)
        tensors = [None if arg is None else read_tensor(module, arg) for arg in node.args[1:]]
        weight, bias, *norm = tensors
        assert weight is not None
        return cls(str(node.meta["name"]), unit, weight, bias, BatchNormTensors.of(*norm))

    def folded_weight(self) -> Tensor:
        """The weight with gamma / sigma in it."""
        if self.norm is None:
            return self.weight.detach()
        factor = self.norm.factor(self.unit.eps).detach()
        return self.weight.detach() * self.unit.along_outputs(factor, self.weight)

    def output_tensors(self) -> list[Tensor]:
        """What is multiplied to scale the output channels, (O, ...) each."""
        pair = (self.weight, self.bias) if self.norm is None else (self.norm.gamma, self.norm.beta)
        return [tensor for tensor in pair if tensor is not None]


@dataclass(frozen=True)
class Pair:
    """``second(f(first(x)))`` with a positively homogeneous ``f``."""

    first: Layer
    second: Layer

    @property
    def name(self) -> str:
        return f"{self.first.name} -> {self.second.name}"

    def ranges(self) -> tuple[Tensor, Tensor]:
        """Largest magnitude of each channel between them in either weight, (C,) each."""
        groups = self.second.unit.geometry.groups if self.second.unit.op_type == "Conv" else 1
        weight = self.second.folded_weight()
        by_group = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
        first = self.first.folded_weight().abs().flatten(1).amax(1)
        return first, by_group.abs().amax((1, 3)).flatten()

    def octaves(self) -> float:
        """How far apart the two ranges of a channel are at most, as a power of two."""
        first, second = self.ranges()
        both = (first > 0) & (second > 0)
        return float((first[both] / second[both]).log2().abs().max()) if both.any() else 0.0

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Divide the channels of the first layer by ``factors``, multiply those of the second."""
        for tensor in self.first.output_tensors():
            tensor.div_(factors.reshape(-1, *[1] * (tensor.ndim - 1)))
        weight = self.second.weight
        groups = self.second.unit.geometry.groups if self.second.unit.op_type == "Conv" else 1
        rows = factors.reshape(groups, 1, weight.shape[1], 1)
        by_group = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
        weight.copy_((by_group * rows).reshape(weight.shape))


def find_pairs(module: fx.GraphModule) -> tuple[list[Pair], dict[str, str]]:
    """The pairs of a prepared graph, in order, and why other neighbours are none, by name."""
    reads = count_reads(module)
    pairs: list[Pair] = []
    skipped: dict[str, str] = {}
    for node in linear_nodes(module, list(module.graph.nodes)):
        second, reason = _follower(module, node)
        if second is None:
            continue
        pair = Pair(Layer.of(module, node), Layer.of(module, second))
        changed = [*pair.first.output_tensors(), pair.second.weight]
        if any(reads[id(tensor)] > 1 for tensor in changed):
            reason = "a tensor is read twice"
        elif pair.first.norm is not None and pair.first.norm.gamma is None:
            reason = "the BatchNorm between them has no gamma"
        elif "ConvTranspose" in (pair.first.unit.op_type, pair.second.unit.op_type):
            reason = "a transposed convolution holds its channels the other way round"
        if reason:
            skipped[pair.name] = reason
        else:
            pairs.append(pair)
    return pairs, skipped


def _follower(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node | None, str]:
    """The only layer that reads this one's output, and what bounds the tensor between them."""
    reason = ""
    while True:
        users = list(node.users)
        if len(users) != 1:
            return None, ""
        source, node = node, users[0]
        if linear_nodes(module, [node]):
            return (node, reason) if node.args[0] is source else (None, "")
        between = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(between, FakeQuantize):
            bounded = between.scale_limit is not None or between.fixed_scale is not None
            reason = reason or ("the range between them is bounded" if bounded else "")
        elif clamp_bounds(node) is None:
            return None, ""
        elif clamp_bounds(node) != RELU:
            reason = "the range between them is bounded"
