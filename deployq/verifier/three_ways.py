"""One pass over a prepared network that computes every tensor in three ways.

float    quantizers off: the float network, with the clamps that grids replaced
fed      each layer reads the float network's tensors, put on their grids: its own loss alone
whole    fake-quantized from the input on: the losses of all layers before it added up
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import is_constant
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear


@dataclass(frozen=True)
class Ways:
    """One value of the graph in the three ways; tensors of one shape."""

    float: Any
    fed: Any
    whole: Any


Seen = Callable[[str, FakeQuantize, Ways], None]
"""Told of each tensor with a grid: its name, its quantizer and what left it."""


def run_three_ways(prepared: PreparedModel, inputs: list[Tensor], seen: Seen) -> None:
    """Run the network once; tensors are dropped as soon as no node reads them.

    Args:
        prepared: in evaluation mode.
        inputs: float32, as the model takes them, (N, ...).
        seen: called for each quantized tensor, in graph order.
    """
    with torch.no_grad():
        _ThreeWays(prepared.module, seen).run(*inputs)


class _ThreeWays(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, seen: Seen) -> None:
        super().__init__(module)
        self.seen = seen

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("get_attr", "output"):
            return super().run_node(n)
        if n.op == "placeholder":
            value = super().run_node(n)
            return Ways(value, value, value)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        call: Any = n.target if n.op == "call_function" else self.fetch_attr(str(n.target))
        if isinstance(call, FakeQuantize) and is_constant(n):
            return Ways(args[0], *2 * (call(args[0]),))
        if isinstance(call, FakeQuantize):
            return self._quantize(str(n.meta["name"]), call, args[0])
        with _off(call):
            real = call(*_pick("float", args), **_pick("float", kwargs))
        fed, whole = (call(*_pick(way, args), **_pick(way, kwargs)) for way in ("fed", "whole"))
        return Ways(real, fed, whole)

    def _quantize(self, name: str, quantizer: FakeQuantize, x: Ways) -> Ways:
        with _off(quantizer):
            real = quantizer(x.float)
        whole = quantizer(x.whole)
        self.seen(name, quantizer, Ways(real, quantizer(x.fed), whole))
        return Ways(real, quantizer(x.float), whole)


def _pick(way: str, arguments: Any) -> Any:
    """Arguments of a call in one way; lists of tensors (Concat) included."""
    return fx.node.map_aggregate(
        arguments, lambda value: getattr(value, way) if isinstance(value, Ways) else value
    )


@contextmanager
def _off(module: object) -> Iterator[None]:
    """The quantizer that ``module`` is or has evaluates in float for the block."""
    quantizer = module.weight_quantizer if isinstance(module, QuantizedLinear) else module
    if not isinstance(quantizer, FakeQuantize):
        yield
        return
    before, quantizer.enabled = quantizer.enabled, False
    try:
        yield
    finally:
        quantizer.enabled = before
