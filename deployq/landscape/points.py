"""A quantized network as a point: its quantized weights and all other float parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from deployq.graph.finished import check_finite
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear
from deployq.landscape.given_weights import quantized_weights
from deployq.train.frozen_norms import BatchNorm

STATISTICS = ("mean", "variance")
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Point:
    """Coordinates of a network, by name; each tensor float, in its own shape.

    Args:
        weights: layer to ``Q(w)``.
        floats: every other parameter: biases, gains, activation scales, weights left in float.
        statistics: running statistics of BatchNorms; carried along, no coordinates.
    """

    weights: Mapping[str, Tensor]
    floats: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each coordinate tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self._coordinates()}

    def flat(self) -> Tensor:
        """(P,) float64: all coordinates in one vector."""
        return torch.cat([tensor.double().flatten() for _, tensor in self._coordinates()])

    def _coordinates(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((f"{name} (quantized)", weight) for name, weight in self.weights.items())
        yield from self.floats.items()


def point_of(prepared: PreparedModel) -> Point:
    """Where a calibrated or trained network stands; the tensors are copies.

    Raises:
        InputError: no quantized weights, a quantizer that is not calibrated, or a tensor that is
            not finite.
    """
    floats, statistics = float_parameters(prepared), running_statistics(prepared)
    found = Point(quantized_weights(prepared), _copies(floats), _copies(statistics))
    for named in (found.weights, found.floats, found.statistics):
        for name, tensor in named.items():
            check_finite(name, "coordinates of a point", tensor)
    return found


def combined(points: Sequence[Point], shares: Sequence[float]) -> Point:
    """``sum(share * point)``, summed in float64; shares of 0 and 1 give the points themselves.

    Args:
        points: of the same names and shapes.
        shares: one a point.
    """

    def mixed(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: _mixed([part[name] for part in parts], shares) for name in parts[0]}

    return Point(
        mixed([point.weights for point in points]),
        mixed([point.floats for point in points]),
        mixed([point.statistics for point in points]),
    )


def _mixed(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor, share in zip(tensors, shares, strict=True):
        total += share * tensor.double()
    return total.to(tensors[0].dtype)


@torch.no_grad()
def move_floats(prepared: PreparedModel, point: Point) -> None:
    """Write all of a point but its weights, in place; see ``given_weights`` for those."""
    tensors = {**float_parameters(prepared), **running_statistics(prepared)}
    for name, value in {**point.floats, **point.statistics}.items():
        tensors[name].copy_(value)


def float_parameters(prepared: PreparedModel) -> dict[str, Tensor]:
    """Parameters that are neither behind a weight quantizer nor of one."""
    hidden = _only_quantized(prepared)
    for call in linear_calls(prepared):
        hidden |= {id(parameter) for parameter in call.unit.weight_quantizer.parameters()}
    named = prepared.module.named_parameters()
    return {name: parameter for name, parameter in named if id(parameter) not in hidden}


def running_statistics(prepared: PreparedModel) -> dict[str, Tensor]:
    """Means and variances of every BatchNorm, in linear units and on their own."""
    inside = {
        id(getattr(call.norm, field))
        for call in linear_calls(prepared)
        if call.norm is not None
        for field in STATISTICS
    }
    for module in prepared.module.modules():
        if isinstance(module, BatchNorm):
            inside |= {id(buffer) for name, buffer in module.named_buffers() if name != COUNTER}
    return {name: b for name, b in prepared.module.named_buffers() if id(b) in inside}


def _only_quantized(prepared: PreparedModel) -> set[int]:
    """Float weights, by identity, that nothing reads but the layers that quantize them."""
    found = {id(call.weight) for call in linear_calls(prepared)}
    for node in prepared.module.graph.nodes:
        if node.op == "get_attr" and not all(
            _quantizes(prepared, user, node) for user in node.users
        ):
            found.discard(id(read_tensor(prepared.module, node)))
    return found


def _quantizes(prepared: PreparedModel, user: fx.Node, weight: fx.Node) -> bool:
    if user.op != "call_module":
        return False
    unit = prepared.module.get_submodule(str(user.target))
    places = [place for place, argument in enumerate(user.args) if argument is weight]
    return isinstance(unit, QuantizedLinear) and places == [1]


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
