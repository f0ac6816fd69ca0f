"""The integers of a prepared model: what lowering writes and the reference computes with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor, fx

from deployq.arithmetic.requant_words import BiasOrder
from deployq.errors import UnsupportedError
from deployq.graph.batch_norm import BatchNormTensors, LinearCodes
from deployq.graph.fake_quantize import FakeQuantize, is_quantizer
from deployq.graph.finished import check_calibrated, check_finite, check_finite_layer
from deployq.graph.late_bias import with_late_bias
from deployq.graph.preparation import PreparedModel
from deployq.graph.scale_forms import check_scale_form
from deployq.graph.sites import moved_from
from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear
from deployq.qparams import QParams
from deployq.qtypes import QType

REALS = QParams(QType(32, True), np.ones((), np.float32))


@dataclass(frozen=True)
class LinearCall:
    """One linear layer with the tensors that its call reads.

    Args:
        name: of the layer.
        unit: the module that is called.
        source: node of the input.
        weight: float parameter in the layout of its operator.
        rest: bias and BatchNorm tensors, as :meth:`QuantizedLinear.forward` takes them.
    """

    name: str
    unit: QuantizedLinear
    source: fx.Node
    weight: Tensor
    rest: tuple[Tensor | None, ...]

    @property
    def norm(self) -> BatchNormTensors | None:
        """Tensors of the layer's BatchNorm."""
        return BatchNormTensors.of(*self.rest[1:])

    def seen_weight(self) -> Tensor:
        """What the weight quantizer sees, without gradient: with gamma / sigma where it folds."""
        return self.unit.scaled_weight(self.weight, self.norm).detach()


def linear_calls(prepared: PreparedModel) -> Iterator[LinearCall]:
    """Every linear layer, in graph order."""
    module = prepared.module
    for node in module.graph.nodes:
        unit = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(unit, QuantizedLinear):
            source, weight, *rest = node.args
            tensors = tuple(None if arg is None else read_tensor(module, arg) for arg in rest)
            name = str(node.meta["name"])
            yield LinearCall(name, unit, source, read_tensor(module, weight), tensors)


@dataclass(frozen=True)
class LayerIntegers:
    """One linear layer ready for an integer runtime.

    Args:
        codes: weight and bias codes with the BatchNorm absorbed, output channels first.
        input: parameters of the input's grid.
        weight: parameters of the weight codes after absorption.
    """

    codes: LinearCodes
    input: QParams
    weight: QParams


def layer_integers(
    prepared: PreparedModel, layers: Collection[str] | None = None
) -> dict[str, LayerIntegers]:
    """The integers of every linear layer, by layer name, in graph order.

    Args:
        layers: names of those that are wanted; None is all.

    Raises:
        InputError: a quantizer without parameters, a tensor that is not finite, or a scale that
            is not of the profile's ``scale_form``.
        UnsupportedError: a layer reads a tensor that is on no grid, or its weights leave
            ``weight.sum_abs_max``.
    """
    for name, quantizer in prepared.quantizers().items():
        check_calibrated(name, quantizer)
        check_scale_form(name, quantizer.qparams().scale, prepared.profile.activation)
    found = {}
    for call in linear_calls(prepared):
        if layers is not None and call.name not in layers:
            continue
        grid = grid_of(prepared.module, call.source)
        check_calibrated(f"{call.name}.weight", call.unit.weight_quantizer)
        check_finite_layer(call.name, call.unit, call.weight, call.rest)
        codes = call.unit.integers(np.float32(grid.scale), call.weight, *call.rest)
        if prepared.profile.bias.order is BiasOrder.AFTER_SCALE:
            codes = _late(prepared, call, codes, np.float32(grid.scale))
        check_finite(f"{call.name}.weight", "scale after the BatchNorm", codes.scale)
        check_scale_form(f"{call.name}.weight", codes.scale, prepared.profile.weight)
        _check_sums(call.name, codes, prepared.profile.weight.sum_abs_max.get(grid.qtype.bits))
        found[call.name] = LayerIntegers(codes, grid, call.unit.weight_qparams(codes))
    return found


def _late(
    prepared: PreparedModel, call: LinearCall, codes: LinearCodes, input_scale: np.float32
) -> LinearCodes:
    profile, bias = prepared.profile, call.unit.real_bias(call.weight, *call.rest)
    out = np.float32(output_params(output_quantizer(prepared, call.name)).scale)
    form, bits = profile.contract().form(call.unit.form_name(call.weight)), profile.bias.bits
    return with_late_bias(call.name, codes, bias.cpu().numpy(), input_scale, out, form, bits)


def output_quantizer(prepared: PreparedModel, layer: str) -> FakeQuantize | None:
    """The quantizer of a layer's output; None of a layer that returns reals."""
    quantizers = prepared.quantizers()
    found = (quantizers[g.name] for g in prepared.plan.tensors if layer in g.tensors)
    return next(found, None)


def output_params(quantizer: FakeQuantize | None) -> QParams:
    """Parameters of a layer's output; reals count in units of 1."""
    return REALS if quantizer is None else quantizer.qparams()


def rescued_channels(integers: Mapping[str, LayerIntegers]) -> dict[str, tuple[int, ...]]:
    """The exceptions of law 2 by layer name: channels that became zero codes and their bias.

    Where all channels of a layer share one scale, the bias codes of these channels are saturated.
    Layers without such a channel are left out.
    """
    return {name: layer.codes.rescued for name, layer in integers.items() if layer.codes.rescued}


def _check_sums(name: str, codes: LinearCodes, limit: int | None) -> None:
    """Refuse a channel whose codes sum to more than the target's adder tree holds."""
    if limit is None:
        return
    sums = np.abs(codes.codes.reshape(len(codes.codes), -1)).sum(1)
    channel = int(sums.argmax())
    if sums[channel] > limit:
        raise UnsupportedError(
            f"{name}.weight, output channel {channel}",
            "the sum of |code| over an output channel stays within weight.sum_abs_max",
            found=str(sums[channel]),
            allowed=f"up to {limit}",
            next_step="split the layer, or give it fewer bits",
        )


def is_constant(node: fx.Node) -> bool:
    """True for the call of a quantizer on a tensor of the model, the same for every sample."""
    source = node.args[0] if node.args else None
    return isinstance(source, fx.Node) and source.op == "get_attr"


def is_on_grid(module: fx.GraphModule, node: fx.Node) -> bool:
    """False for the values of operators in float."""
    return is_quantizer(module, moved_from(module, node))


def grid_of(module: fx.GraphModule, node: fx.Node) -> QParams:
    """Parameters of the grid that a node's values are on.

    Raises:
        InputError: the grid has no parameters yet.
        UnsupportedError: they are on none.
    """
    source = moved_from(module, node)
    if is_on_grid(module, node):
        quantizer = cast(FakeQuantize, module.get_submodule(str(source.target)))
        check_calibrated(str(source.meta.get("name", source.name)), quantizer)
        return quantizer.qparams()
    raise UnsupportedError(
        str(node.meta.get("name", node.name)),
        "an integer operator reads codes",
        found=f"the float output of {source.name}",
        next_step="prepare the model again",
    )
