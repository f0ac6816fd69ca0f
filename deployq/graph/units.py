"""QuantizedLinear: a convolution or fully connected layer with its BatchNorm, as one graph node.

The unit is functional: weight, bias and BatchNorm tensors arrive as arguments from ``get_attr``
nodes, so parameters keep the user's names and the graph says what the layer reads. It owns one
child, the weight quantizer, and answers with its integers on request.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deployq.arithmetic.form_names import form_name
from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry
from deployq.arithmetic.weight_layout import outputs_first
from deployq.graph.batch_norm import BatchNormTensors, LinearCodes, absorb, along_first_axis
from deployq.graph.bias_type import BiasType
from deployq.graph.bounded import bounded
from deployq.graph.fake_quantize import FakeQuantize
from deployq.qparams import PerChannel, PerTensor, QParams

BIAS_TYPE = BiasType()


def channel_axis(op_type: str) -> int:
    """Axis of the output channels in the weight of an operator, as ONNX and torch hold it.

    Of a transposed convolution with groups, (C, O / g, kh, kw), the axis has the channels of one
    group only.
    """
    return int(op_type == "ConvTranspose")


class QuantizedLinear(nn.Module):
    """``bn(op(x, weight_quantizer(weight), bias))``.

    Args:
        op_type: ``Conv``, ``ConvTranspose`` or ``Gemm``.
        weight_quantizer: sees the weight as the user has it; its per-channel axis is that of the
            output channels, :func:`channel_axis`.
        geometry: of the convolution, a ConvTransposeGeometry for ``ConvTranspose``; unused by
            ``Gemm``.
        batch_norm: ``none``; ``absorb``, the BatchNorm follows and its factor later moves into the
            per-channel scale, codes unchanged; ``fold``, the factor is in the weight before it is
            quantized, with running statistics, on grids that cannot take a factor (law 2).
        eps, momentum: of the BatchNorm.
        bias_type: what the target takes as bias codes.

    In training mode a BatchNorm of either kind normalizes by the statistics of the batch, and its
    running ones learn; with ``frozen_statistics`` it takes the running ones there too, as in
    evaluation mode, and they stay.

    ``perturbation``, a tensor of the weight's shape, is added to the quantized weight in training
    mode; sharpness-aware training owns it, and no file holds it.
    """

    def __init__(
        self,
        op_type: str,
        weight_quantizer: FakeQuantize,
        *,
        geometry: ConvGeometry | None = None,
        batch_norm: str = "none",
        eps: float = 1e-5,
        momentum: float = 0.1,
        bias_type: BiasType = BIAS_TYPE,
    ) -> None:
        super().__init__()
        self.op_type = op_type
        self.weight_quantizer = weight_quantizer
        self.geometry = geometry or ConvGeometry()
        self.batch_norm = batch_norm
        self.eps = eps
        self.momentum = momentum
        self.bias_type = bias_type
        self.frozen_statistics = False
        self.perturbation: Tensor | None = None

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *batch_norm: Tensor | None
    ) -> Tensor:
        """Float fake-quant result, (N, C, H, W) or (..., C).

        Args:
            x: input on its grid.
            weight: float parameter, (O, C/g, kh, kw), transposed (C, O/g, kh, kw), or (O, C).
            bias: (O,) or None.
            batch_norm: the fields of :class:`BatchNormTensors`, or nothing.
        """
        norm = BatchNormTensors.of(*batch_norm)
        on_grid = self.weight_quantizer(self.scaled_weight(weight, norm))
        if self.perturbation is not None and self.training:
            on_grid = on_grid + self.perturbation
        return self.forward_on_grid(x, on_grid, bias, *batch_norm)

    def forward_on_grid(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *batch_norm: Tensor | None
    ) -> Tensor:
        """:meth:`forward` with a weight that the weight quantizer has nothing left to do to.

        Args:
            weight: (O, ...), with gamma / sigma in it where that is folded.
            x, bias, batch_norm: as in :meth:`forward`.
        """
        norm = BatchNormTensors.of(*batch_norm)
        if norm is None:
            return product(self.op_type, self.geometry, x, weight, bias)
        learns = self.training and not self.frozen_statistics
        if self.batch_norm == "fold":
            if not learns:
                folded = norm.folded_bias(bias, self.eps)
                return product(self.op_type, self.geometry, x, weight, folded)
            return self._normalized_again(x, weight, bias, norm)
        y = product(self.op_type, self.geometry, x, weight, bias)
        gamma = None if norm.gamma is None else bounded(norm.gamma, 0.0)
        return functional.batch_norm(
            y, norm.mean, norm.variance, gamma, norm.beta, learns, self.momentum, self.eps
        )

    def _normalized_again(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, norm: BatchNormTensors
    ) -> Tensor:
        """With the factor in the weight, normalized by the batch as if it were not.

        The quantized weight keeps the running factor, as in evaluation mode; taken off behind the
        product, it leaves what the BatchNorm would have seen (Krishnamoorthi 2018,
        arXiv 1806.08342, section 3.2.2, with one product).
        """
        y = product(self.op_type, self.geometry, x, weight, None)
        factor = norm.factor(self.eps).detach()
        factor = torch.where(factor == 0, 1.0, factor).reshape(-1, *[1] * (y.ndim - 2))
        y = y / factor
        if bias is not None:
            y = y + bias.reshape(factor.shape)
        return functional.batch_norm(
            y, norm.mean, norm.variance, norm.gamma, norm.beta, True, self.momentum, self.eps
        )

    def scaled_weight(self, weight: Tensor, norm: BatchNormTensors | None) -> Tensor:
        """What the weight quantizer sees: the weight, times gamma / sigma where it is folded."""
        if norm is None or self.batch_norm != "fold":
            return weight
        return weight * self.along_outputs(norm.factor(self.eps), weight)

    def form_name(self, weight: Tensor) -> str:
        """Which entry of a contract states the arithmetic of the unit; see ``form_names``."""
        return form_name(self.op_type, tuple(weight.shape), self.geometry)

    def along_outputs(self, values: Tensor, weight: Tensor) -> Tensor:
        """(O,) values in a shape that broadcasts to the weight, along its output channels."""
        groups = self.geometry.groups
        if self.op_type != "ConvTranspose":
            return along_first_axis(values, weight)
        inputs = weight.shape[0] // groups
        return values.reshape(groups, -1).repeat_interleave(inputs, 0)[:, :, None, None]

    def integers(
        self,
        input_scale: np.float32,
        weight: Tensor,
        bias: Tensor | None = None,
        *batch_norm: Tensor | None,
    ) -> LinearCodes:
        """The codes of weight and bias with the BatchNorm absorbed, output channels first.

        Args:
            input_scale: float32 scale of the layer's input.
            weight, bias, batch_norm: as in :meth:`forward`.
        """
        norm = BatchNormTensors.of(*batch_norm)
        with torch.no_grad():
            codes = self.weight_quantizer.codes(self.scaled_weight(weight, norm))
            factor, real_bias = self._factor_and_bias(weight, bias, norm)
        found = codes.cpu().numpy().astype(np.int64)
        if self.op_type == "ConvTranspose":
            found = outputs_first(found, self.geometry.groups)
        return absorb(
            found,
            self.weight_quantizer.qparams().scale,
            factor.cpu().numpy(),
            real_bias.cpu().numpy(),
            np.float32(input_scale),
            self.bias_type,
        )

    def real_bias(
        self, weight: Tensor, bias: Tensor | None = None, *batch_norm: Tensor | None
    ) -> Tensor:
        """(C,) float64: what the bias codes stand for, with the BatchNorm absorbed."""
        with torch.no_grad():
            return self._factor_and_bias(weight, bias, BatchNormTensors.of(*batch_norm))[1]

    def _factor_and_bias(
        self, weight: Tensor, bias: Tensor | None, norm: BatchNormTensors | None
    ) -> tuple[Tensor, Tensor]:
        """Factor that moves into the scale, and the real bias after the BatchNorm, in float64."""
        one = torch.ones((), dtype=torch.float64)
        real_bias = weight.new_zeros(self.outputs(weight)) if bias is None else bias
        if norm is None:
            return one, real_bias.double()
        norm = norm.double()
        if self.batch_norm == "absorb" and norm.gamma is not None:
            norm = norm._replace(gamma=norm.gamma.clamp(min=0.0))
        factor = norm.factor(self.eps)
        moved = factor if self.batch_norm == "absorb" else one
        return moved, norm.folded_bias(real_bias.double(), self.eps)

    def outputs(self, weight: Tensor) -> int:
        """Output channels of a layer with this weight."""
        transposed = self.op_type == "ConvTranspose"
        return int(weight.shape[1] * self.geometry.groups if transposed else weight.shape[0])

    def weight_qparams(self, integers: LinearCodes) -> QParams:
        """Parameters of the absorbed weight codes, whose output channels are axis 0."""
        quantizer = self.weight_quantizer
        zero_point = quantizer.zero_point.cpu().numpy()
        granularity = PerChannel(0) if integers.scale.ndim else PerTensor()
        return QParams(quantizer.qtype, integers.scale, zero_point, granularity)

    def config(self) -> dict[str, Any]:
        """Everything but the tensors, for the prepared model on disk."""
        return {
            "op_type": self.op_type,
            "weight_quantizer": self.weight_quantizer.config(),
            "geometry": asdict(self.geometry),
            "batch_norm": self.batch_norm,
            "eps": self.eps,
            "momentum": self.momentum,
            "bias": self.bias_type.config(),
            "frozen_statistics": self.frozen_statistics,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizedLinear:
        """The unit that ``config`` describes."""
        kind = ConvTransposeGeometry if config["op_type"] == "ConvTranspose" else ConvGeometry
        facts = config["geometry"].items()
        geometry: dict[str, Any] = {k: tuple(v) if k != "groups" else v for k, v in facts}
        unit = cls(
            config["op_type"],
            FakeQuantize.from_config(config["weight_quantizer"]),
            geometry=kind(**geometry),
            batch_norm=config["batch_norm"],
            eps=config["eps"],
            momentum=config["momentum"],
            bias_type=BiasType(**config["bias"]),
        )
        unit.frozen_statistics = bool(config["frozen_statistics"])
        return unit


def product(
    op_type: str, geometry: ConvGeometry, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """What a ``Conv``, ``ConvTranspose`` or ``Gemm`` computes, in torch.

    Args:
        geometry: of a convolution; its pads may differ by side.
        x, weight, bias: as :meth:`QuantizedLinear.forward` takes them.
    """
    if op_type == "Gemm":
        return functional.linear(x, weight, bias)
    if isinstance(geometry, ConvTransposeGeometry):
        return _transposed(x, weight, bias, geometry)
    top, left, bottom, right = geometry.pads
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    return functional.conv2d(
        x, weight, bias, geometry.strides, (top, left), geometry.dilations, geometry.groups
    )


def _transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvTransposeGeometry
) -> Tensor:
    """Float transposed convolution; captured ones have equal pads on opposite sides."""
    top, left, _, _ = geometry.pads
    return functional.conv_transpose2d(
        x, weight, bias, geometry.strides, (top, left), geometry.output_padding,
        geometry.groups, geometry.dilations,
    )  # fmt: skip
