"""From the prepared model to a torch module whose trace becomes the file.

fake quantizer -> the operator ``grid``; unit -> the operator ``layer`` of the reals of its codes;
movement -> movement, ``grid``; everything else stays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from deployq.affine import dequantize
from deployq.graph.channel_factors import UNSCALED, has_factors
from deployq.graph.fake_quantize import FakeQuantize, is_quantizer
from deployq.graph.integers import grid_of, is_constant, is_on_grid
from deployq.graph.operators import aten, is_movement
from deployq.graph.preparation import PreparedModel
from deployq.graph.rewrites.rule import argument, calls
from deployq.graph.selections import planned_chain
from deployq.graph.sites import moved_from
from deployq.graph.tensors import attach, read_tensor
from deployq.graph.units import QuantizedLinear
from deployq.qparams import QParams
from deployq_exporters.float_attention import attention
from deployq_exporters.integer_ops import geometry_numbers
from deployq_exporters.stored_layers import StoredLayer

MOVED = "moved_constants"
"""Path of the constants that are stored moved."""

LAYERS = "stored_layers"
"""Path of the layers' reals, where no parameter of the network is, which a float operator may read.
"""


def integer_module(prepared: PreparedModel, layers: Mapping[str, StoredLayer]) -> fx.GraphModule:
    """The traceable form of a calibrated model; it computes what the file computes.

    Args:
        layers: the model's own, :func:`deployq_exporters.stored_layers.stored_layers`, and what
            selects codes in place of movements.
    """
    return _Builder(prepared, layers).build()


class _Builder:
    """One walk over the prepared graph, making a new graph over new constants."""

    def __init__(self, prepared: PreparedModel, layers: Mapping[str, StoredLayer]) -> None:
        self.source = prepared.module
        self.layers = layers
        self.selections = {plan.name: plan for plan in prepared.plan.selections}
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.made: dict[fx.Node, Any] = {}
        self.constants: dict[str, fx.Node] = {}

    def build(self) -> fx.GraphModule:
        for node in self.source.graph.nodes:
            self.made[node] = self._convert(node)
        self.graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph, class_name="Integers").eval()

    def _convert(self, node: fx.Node) -> Any:
        name = str(node.meta.get("name"))
        if node.op == "get_attr":
            return None
        if node.op == "call_module":
            module = self.source.get_submodule(str(node.target))
            if isinstance(module, FakeQuantize):
                return self._quantized(node, name, module.qparams())
            if isinstance(module, QuantizedLinear):
                return self._layer(node.all_input_nodes[0], name)
            if isinstance(module, nn.Dropout):
                return self._arg(node.args[0])
            return self._float_module(node, module)
        if name in self.selections and name in self.layers:
            return self._selected(node, name)
        if self._is_moved_constant(node):
            return self._moved_constant(node, name)
        copied = self._copied(node)
        if is_movement(self.source, node) and is_on_grid(self.source, node):
            return self._grid(copied, name, grid_of(self.source, node))
        if has_factors(node):
            return self._named(copied, name + UNSCALED)
        return self._named(copied, name) if self._is_real_sum(node) else copied

    def _is_real_sum(self, node: fx.Node) -> bool:
        """A sum in float that no quantizer reads: nothing else would name it."""
        quantized = any(is_quantizer(self.source, user) for user in node.users)
        return calls(node, aten.add.Tensor) and not quantized

    def _named(self, x: fx.Node, name: str) -> fx.Node:
        return self.graph.call_function(torch.ops.deployq.named.default, (x, name))

    def _quantized(self, node: fx.Node, name: str, qparams: QParams) -> fx.Node:
        """A tensor on its grid; a constant once, however many operators read it."""
        if not is_constant(node):
            return self._grid(self._arg(node.args[0]), name, qparams)
        if name not in self.constants:
            self.constants[name] = self._grid(self._arg(node.args[0]), name, qparams)
        return self.constants[name]

    def _is_moved_constant(self, node: fx.Node) -> bool:
        if not is_movement(self.source, node) or not is_on_grid(self.source, node):
            return False
        return is_constant(moved_from(self.source, node))

    def _moved_constant(self, node: fx.Node, name: str) -> fx.Node:
        """A constant is stored as its reader has it: no runtime moves it again."""
        value = self._constant(f"{MOVED}.{name}", self._value(node))
        return self._grid(value, name, grid_of(self.source, node))

    def _value(self, node: fx.Node) -> Tensor:
        """The reals of a constant, moved, before they are on a grid."""
        if node.op == "get_attr":
            return read_tensor(self.source, node).detach()
        if node.op == "call_module":  # a quantizer
            return self._value(node.all_input_nodes[0])
        operands = {operand: self._value(operand) for operand in node.all_input_nodes}
        args = fx.map_arg(node.args, operands.__getitem__)
        value: Tensor = node.target(*args, **node.kwargs)  # type: ignore[operator] # an overload
        return value.contiguous()

    def _copied(self, node: fx.Node) -> fx.Node:
        """The same call; a whole map's average as a mean, an attention as what it stands for.

        The ONNX exporter of torch 2.13 writes that pool as a Gather where channels come last.
        """
        whole = calls(node, aten.scaled_dot_product_attention.default)
        if whole and not argument(node, 4, "dropout_p", 0.0):
            args, kwargs = fx.map_arg((node.args, node.kwargs), self._arg)
            return self.graph.call_function(attention, args, kwargs)
        if calls(node, aten.adaptive_avg_pool2d.default) and node.args[1] == [1, 1]:
            return self.graph.call_function(aten.mean.dim, (self._arg(node.args[0]), [2, 3], True))
        return self.graph.node_copy(node, self._arg)

    def _float_module(self, node: fx.Node, module: nn.Module) -> fx.Node:
        """BatchNorm of a layer in float, at a path where no tensor's parameters are."""
        path = f"float_layers.{node.target}"
        if not _holds(self.root, path):
            attach(self.root, path, copy.deepcopy(module))
        return self.graph.call_module(path, (self._arg(node.args[0]),))

    def _arg(self, node: Any) -> Any:
        if isinstance(node, fx.Node) and node.op == "get_attr" and self.made[node] is None:
            path, _, leaf = str(node.target).rpartition(".")
            self.made[node] = self._constant(
                str(node.target), getattr(self.source.get_submodule(path), leaf).detach()
            )
        return self.made[node] if isinstance(node, fx.Node) else node

    def _constant(self, name: str, value: Any) -> fx.Node:
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(value)
        attach(self.root, name, tensor)
        return self.graph.get_attr(name)

    def _grid(self, x: fx.Node, name: str, qparams: QParams) -> fx.Node:
        """A computed tensor on its grid."""
        qtype, numbers = qparams.qtype, (float(qparams.scale), int(qparams.zero_point))
        return self.graph.call_function(
            torch.ops.deployq.grid.default,
            (x, *numbers, qtype.qmin, qtype.qmax, name, qtype.name),
        )

    def _selected(self, node: fx.Node, name: str) -> fx.Node:
        """The convolution that stands for a chain of movements, of what the chain reads."""
        _, source = planned_chain(self.source, self.selections[name])
        return self._grid(self._layer(source, name), name, grid_of(self.source, node))

    def _layer(self, source: fx.Node, name: str) -> fx.Node:
        """One call with the reals that the codes stand for."""
        layer = self.layers[name]
        weight = dequantize(layer.weight, layer.weight_params)
        bias = dequantize(layer.bias, layer.bias_params)
        operands = (
            self._constant(f"{LAYERS}.{name}.weight", weight),
            self._constant(f"{LAYERS}.{name}.bias", bias),
        )
        facts = (layer.op_type, geometry_numbers(layer.geometry), name)
        return self.graph.call_function(
            torch.ops.deployq.layer.default, (self._arg(source), *operands, *facts)
        )


def _holds(root: nn.Module, name: str) -> bool:
    path, _, leaf = name.rpartition(".")
    try:
        return hasattr(root.get_submodule(path), leaf)
    except AttributeError:
        return False
