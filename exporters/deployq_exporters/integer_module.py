"""From the prepared model to a torch module whose parameters are the integers of the file.

fake quantizer -> quantize, dequantize; unit -> dequantize(codes), layer; movement -> movement,
quantize, dequantize; everything else stays.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.arithmetic.weight_layout import inputs_first
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LayerIntegers, grid_of, is_on_grid, layer_integers
from deployq.graph.operators import aten, is_movement
from deployq.graph.preparation import PreparedModel
from deployq.graph.rewrites.rule import calls
from deployq.graph.tensors import attach
from deployq.graph.units import QuantizedLinear, channel_axis
from deployq.qparams import IntArray, PerChannel, QParams
from deployq.qtypes import QType
from deployq_exporters import integer_ops  # noqa: F401 # registers the operators

BIAS_TYPE = QType(32, True)


def integer_module(prepared: PreparedModel) -> fx.GraphModule:
    """The traceable integer form of a calibrated model; it computes what the file computes."""
    return _Builder(prepared).build()


class _Builder:
    """One walk over the prepared graph, making a new graph over new constants."""

    def __init__(self, prepared: PreparedModel) -> None:
        self.source = prepared.module
        self.integers = layer_integers(prepared)
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.made: dict[fx.Node, Any] = {}

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
                return self._grid(self._arg(node.args[0]), name, module.qparams())
            if isinstance(module, QuantizedLinear):
                return self._layer(node, module, self.integers[name])
            if isinstance(module, nn.Dropout):
                return self._arg(node.args[0])
            return self._float_module(node, module)
        copied = self._copied(node)
        if is_movement(self.source, node) and is_on_grid(self.source, node):
            return self._grid(copied, name, grid_of(self.source, node))
        return copied

    def _copied(self, node: fx.Node) -> fx.Node:
        """The same call; a whole map's average as a mean.

        The ONNX exporter of torch 2.13 writes that pool as a Gather where channels come last.
        """
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

    def _constant(self, name: str, value: Tensor | IntArray | Any) -> fx.Node:
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        attach(self.root, name, tensor)
        return self.graph.get_attr(name)

    def _params(self, name: str, qparams: QParams) -> tuple[fx.Node, fx.Node]:
        """Scale and zero point; made once a name, so Q and DQ share them."""
        if not _holds(self.root, f"{name}.scale"):
            self._constant(f"{name}.scale", qparams.scale)
            self._constant(f"{name}.zero_point", qparams.zero_point.astype(np.int32))
        return self.graph.get_attr(f"{name}.scale"), self.graph.get_attr(f"{name}.zero_point")

    def _grid(self, x: fx.Node, name: str, qparams: QParams) -> fx.Node:
        """Quantize and dequantize a computed tensor."""
        scale, zero_point = self._params(name, qparams)
        qtype, ops = qparams.qtype, torch.ops.deployq
        codes = self.graph.call_function(
            ops.quantize_linear.default,
            (x, scale, zero_point, name, qtype.name, qtype.qmin, qtype.qmax),
        )
        return self.graph.call_function(
            ops.dequantize_linear.default, (codes, scale, zero_point, name, qtype.name, 0)
        )

    def _stored(self, name: str, codes: IntArray, qparams: QParams) -> fx.Node:
        """Dequantize a constant."""
        constant = self._constant(f"{name}.codes", codes.astype(np.int32))
        scale, zero_point = self._params(name, qparams)
        axis = qparams.granularity.axis if isinstance(qparams.granularity, PerChannel) else 0
        return self.graph.call_function(
            torch.ops.deployq.dequantize_linear.default,
            (constant, scale, zero_point, name, qparams.qtype.name, axis),
        )

    def _layer(self, node: fx.Node, unit: QuantizedLinear, layer: LayerIntegers) -> fx.Node:
        name, codes = str(node.meta["name"]), layer.codes
        granularity = layer.weight.granularity
        weight = self._weight(f"{name}.weight", unit, layer)
        bias_params = QParams(BIAS_TYPE, codes.bias_scale, granularity=granularity)
        bias = self._stored(f"{name}.bias", codes.bias, bias_params)
        x = self._arg(node.args[0])
        if unit.op_type == "Gemm":
            return self.graph.call_function(aten.linear.default, (x, weight, bias))
        geometry = unit.geometry
        if isinstance(geometry, ConvTransposeGeometry):
            return self._transposed(name, (x, weight, bias), geometry)
        strides, dilations = list(geometry.strides), list(geometry.dilations)
        top, left, bottom, right = geometry.pads
        if (top, left) != (bottom, right):  # `pad_into_conv` brings it back
            x = self.graph.call_function(aten.pad.default, (x, [left, right, top, bottom]))
            top, left = 0, 0
        args = (x, weight, bias, strides, [top, left], dilations, geometry.groups)
        return self.graph.call_function(aten.conv2d.default, args)

    def _weight(self, name: str, unit: QuantizedLinear, layer: LayerIntegers) -> fx.Node:
        """Dequantize the weight in the layout of its operator."""
        codes, qparams = layer.codes.codes, layer.weight
        if unit.op_type == "ConvTranspose":
            codes = inputs_first(codes, unit.geometry.groups)
            if isinstance(qparams.granularity, PerChannel):
                qparams = replace(qparams, granularity=PerChannel(channel_axis(unit.op_type)))
        return self._stored(name, codes, qparams)

    def _transposed(
        self, name: str, operands: tuple[fx.Node, fx.Node, fx.Node], geometry: ConvTransposeGeometry
    ) -> fx.Node:
        pads, extra = list(geometry.pads[:2]), list(geometry.output_padding)
        strides, dilations = list(geometry.strides), list(geometry.dilations)
        args = (*operands, strides, pads, extra, geometry.groups, dilations)
        return self.graph.call_function(aten.conv_transpose2d.input, args)


def _holds(root: nn.Module, name: str) -> bool:
    path, _, leaf = name.rpartition(".")
    try:
        return hasattr(root.get_submodule(path), leaf)
    except AttributeError:
        return False
