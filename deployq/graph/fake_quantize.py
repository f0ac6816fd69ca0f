"""Fake quantization in torch: law 1 to the bit, with straight-through and learned-step gradients.

The forward pass is an opaque operator (``torch.library``), so neither autocast, nor torch.compile
with its reciprocal multiplications, nor a CUDA scalar division can change a code. Compiled code
for a CPU divides as it is told to, and there fusing is worth half a training step:
:mod:`deployq.graph.fused_quantize`.

Gradients: straight-through inside the range and zero outside (Bengio et al. 2013,
arXiv 1308.3432); for the scale, learned step size quantization (Esser et al. 2020,
arXiv 1902.08153, eq. 3): ``round(x/s) - x/s`` inside, the clipped code less its zero point outside.
Where a target's scales are powers of two, the exponent learns (``deployq.graph.power_of_two``).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from deployq.graph.bounded import bounded
from deployq.graph.fused_quantize import fused_fake_quantize, fuses
from deployq.graph.power_of_two import power_of_two
from deployq.graph.quantize_kernels import fake_quantized, gradients, unsaturated
from deployq.graph.scales.lattice import ScaleLattice
from deployq.qparams import (
    Granularity,
    PerChannel,
    PerTensor,
    QParams,
    granularity_from_json,
    granularity_to_json,
)
from deployq.qtypes import QType


@torch.library.custom_op("deployq::fake_quantize", mutates_args=())
def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    """``(saturate(round_half_even(x / scale) + zero_point) - zero_point) * scale`` in float32.

    Args:
        x: float, any shape; computed in float32.
        scale: float32 on the device of ``x``, broadcastable to it.
        zero_point: integers, broadcastable to ``x``.
        qmin, qmax: code range.
    """
    return fake_quantized(x, scale, zero_point, qmin, qmax)


@fake_quantize.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, zero_point, ctx.qmin, ctx.qmax = inputs
    ctx.save_for_backward(x, scale, zero_point)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
    x, scale, zero_point = ctx.saved_tensors
    of_scale = ctx.needs_input_grad[1]
    grad_x, grad_scale = torch.ops.deployq.fake_quantize_backward(
        grad, x, scale, zero_point, ctx.qmin, ctx.qmax, of_scale
    )
    return grad_x, grad_scale if of_scale else None, None, None, None


@torch.library.custom_op("deployq::fake_quantize_backward", mutates_args=())
def fake_quantize_backward(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    of_scale: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``x`` and ``scale``; opaque like the way forwards, so compiled steps are equal.

    The second one is empty unless ``of_scale``.
    """
    limits = (qmin, qmax)
    grad_x, grad_scale = gradients(grad, x, scale, zero_point, limits, of_scale=of_scale)
    return grad_x, scale.new_empty(0) if grad_scale is None else grad_scale


@fake_quantize_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    qmin: int,
    qmax: int,
    of_scale: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, dtype=grad.dtype), torch.empty_like(scale) if of_scale else (
        scale.new_empty(0)
    )


def _save_again(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, x, scale, zero_point, ctx.qmin, ctx.qmax, ctx.of_scale = inputs
    ctx.save_for_backward(x, scale, zero_point)


def _backward_again(ctx: Any, of_x: Tensor, of_scale: Tensor) -> tuple[Tensor | None, ...]:
    """Second derivatives: both gradients are linear in ``grad``, and nothing else bends.

    The slope of the scale is ``(Q(x) - m x) / s`` with the mask ``m`` of the straight-through one.
    """
    x, scale, zero_point = ctx.saved_tensors
    limits = ctx.qmin, ctx.qmax

    def masked(grad: Tensor) -> Tensor:
        back = torch.ops.deployq.fake_quantize_backward
        return cast(Tensor, back(grad, x, scale, zero_point, *limits, False)[0])

    again = masked(of_x)
    if ctx.of_scale:
        on_grid = torch.ops.deployq.fake_quantize(x, scale, zero_point, *limits)
        again = again + (on_grid - masked(x)) / scale * of_scale
    return again, None, None, None, None, None, None


fake_quantize.register_autograd(_backward, setup_context=_save)
fake_quantize_backward.register_autograd(_backward_again, setup_context=_save_again)
fake_quantize.register_autocast("cpu", torch.float32)
fake_quantize.register_autocast("cuda", torch.float32)


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor (LSQ, section 2.2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


class FakeQuantize(nn.Module):
    """The quantizer of one tensor, weight or activation.

    Args:
        qtype: integer type of the codes.
        granularity: which elements share a scale.
        shape: shape of scale and zero point (rank 0 per tensor).
        symmetric: the zero point stays 0.
        fixed_zero_point: the zero point is pinned to this code (a removed ReLU needs qmin).
        scale_limit: highest scale; keeps a removed ReLU6 redundant while the scale is learned.
        fixed_scale: the scale is pinned; neither calibration nor training moves it.
        calibrated: the scale is a chosen one, no placeholder; a pinned scale always is.
        lattice: the powers of two that the scale may be; None: any scale.
        batched: axis 0 of what it sees counts samples; the gradient factor is of one sample.

    ``scale`` is a parameter without gradient: ``learn_scale(True)`` turns LSQ on. On a lattice,
    ``exponent``, log2 of the scale, learns in its place and is there only while it does.
    ``enabled = False`` evaluates in float: only the clamp that the grid replaced is applied.
    """

    def __init__(
        self,
        qtype: QType,
        granularity: Granularity,
        shape: tuple[int, ...] = (),
        *,
        symmetric: bool = False,
        fixed_zero_point: int | None = None,
        scale_limit: float | None = None,
        fixed_scale: float | None = None,
        calibrated: bool = False,
        lattice: ScaleLattice | None = None,
        batched: bool = False,
    ) -> None:
        super().__init__()
        self.qtype = qtype
        self.granularity = granularity
        self.symmetric = symmetric
        self.fixed_zero_point = fixed_zero_point
        self.scale_limit = scale_limit
        self.fixed_scale = fixed_scale
        self.calibrated = calibrated or fixed_scale is not None
        self.lattice = lattice
        self.batched = batched
        self.enabled = True
        initial = torch.full(shape, 1.0 if fixed_scale is None else fixed_scale)
        self.scale = nn.Parameter(initial, requires_grad=False)
        self.exponent: nn.Parameter | None
        self.register_parameter("exponent", None)
        self.zero_point: Tensor
        zero_point = 0 if fixed_zero_point is None else fixed_zero_point
        self.register_buffer("zero_point", torch.full(shape, zero_point, dtype=self._code_dtype))

    @property
    def _code_dtype(self) -> torch.dtype:
        return torch.int32 if self.qtype.qmax < 1 << 31 else torch.int64

    @property
    def step(self) -> nn.Parameter:
        """What an optimizer is given: the scale, or its exponent while that learns."""
        return self.scale if self.exponent is None else self.exponent

    @property
    def codes_above_zero(self) -> int:
        """``Q_P`` of LSQ: codes above the one that stands for 0.0, a pinned one; at least 1."""
        return max(self.qtype.qmax - (self.fixed_zero_point or 0), 1)

    def learn_scale(self, learn: bool = True) -> None:
        """Turn the learned-step gradient on or off; a pinned scale has none.

        On a lattice, turning it off leaves the power of two that is in force as the scale.
        """
        learn = learn and self.fixed_scale is None
        if self.lattice is None:
            self.scale.requires_grad_(learn)
        elif not learn:
            self._write_scale()
            self.exponent = None
        elif self.exponent is None:
            self.exponent = nn.Parameter(torch.log2(self.scale.detach()))
        else:
            self.exponent.requires_grad_()

    def effective_scale(self) -> Tensor:
        """The scale in force: positive, at most ``scale_limit``, a power of two if one learns."""
        if self.exponent is not None:
            return self._power(self.exponent)
        limit = float("inf") if self.scale_limit is None else self.scale_limit
        return bounded(self.scale, torch.finfo(torch.float32).tiny, limit)

    def nearest_scale(self, scale: Tensor) -> Tensor:
        """The scale of the lattice that is nearest in the log domain; any scale without one."""
        return scale if self.lattice is None else self._power(torch.log2(scale))

    def _power(self, exponent: Tensor) -> Tensor:
        assert self.lattice is not None
        lattice = self.lattice.under(self.scale_limit)
        return power_of_two(exponent, lattice.low, lattice.high)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return self._real_clamp(x)
        scale = self.effective_scale()
        if self.scale.requires_grad:
            factor = self.gradient_factor(x)
            scale = _ScaleGradient.apply(scale, factor)  # type: ignore[no-untyped-call] # torch leaves apply untyped
        scale, zero_point = self.expand(scale, x), self.expand(self.zero_point, x)
        quantize = fused_fake_quantize if fuses(x) else torch.ops.deployq.fake_quantize
        return cast(Tensor, quantize(x, scale, zero_point, self.qtype.qmin, self.qtype.qmax))

    def gradient_factor(self, x: Tensor) -> float:
        """``1 / sqrt(N Q_P)`` (LSQ, section 2.2), N: values of ``x`` that share a scale.

        Of activations, N counts one sample: the factor is the same for every split of a batch.
        """
        samples = max(len(x), 1) if self.batched else 1
        shared = x.numel() / (samples * self.scale.numel())
        return float((max(shared, 1.0) * self.codes_above_zero) ** -0.5)

    def _real_clamp(self, x: Tensor) -> Tensor:
        """The ReLU (lowest code pinned to 0.0) or ReLU6 (scale limited) that this grid replaced."""
        if self.fixed_zero_point != self.qtype.qmin:
            return x
        if self.scale_limit is None:
            return x.clamp(min=0.0)
        return x.clamp(0.0, self.scale_limit * (self.qtype.qmax - self.qtype.qmin))

    def codes(self, x: Tensor) -> Tensor:
        """The integers behind the forward pass, int32 (int64 for u32), same shape as ``x``."""
        scale = self.expand(self.effective_scale(), x)
        zero_point = self.expand(self.zero_point, x)
        low, high = self.qtype.qmin, self.qtype.qmax
        return unsaturated(x, scale, zero_point, low, high).clamp(low, high).to(self._code_dtype)

    def passes(self, x: Tensor) -> Tensor:
        """Where the straight-through gradient of ``x`` passes: its codes are not saturated."""
        scale = self.expand(self.effective_scale(), x)
        code = unsaturated(
            x, scale, self.expand(self.zero_point, x), self.qtype.qmin, self.qtype.qmax
        )
        return (code >= self.qtype.qmin) & (code <= self.qtype.qmax)

    def qparams(self) -> QParams:
        """The parameters in force, as a value object."""
        scale = self.effective_scale().detach().cpu().numpy()
        return QParams(self.qtype, scale, self.zero_point.cpu().numpy(), self.granularity)

    def qparams_scale(self) -> Tensor:
        """The scale in force, float32 on the processor, without gradient."""
        return self.effective_scale().detach().cpu().clone()

    def set_qparams(self, scale: Tensor, zero_point: Tensor) -> None:
        """Write scale and zero point; what is pinned or symmetric stays as it is."""
        with torch.no_grad():
            if self.fixed_scale is None:
                self.scale.copy_(scale)
                if self.exponent is not None:
                    self.exponent.copy_(torch.log2(self.scale))
            if self.fixed_zero_point is None and not self.symmetric:
                self.zero_point.copy_(zero_point)
        self.calibrated = True

    def expand(self, params: Tensor, x: Tensor) -> Tensor:
        """Scales, or what else has their shape, broadcastable to ``x``."""
        granularity = self.granularity
        if isinstance(granularity, PerTensor):
            return params
        if isinstance(granularity, PerChannel):
            shape = [1] * x.ndim
            shape[granularity.axis] = -1
            return params.reshape(shape)
        repeated = params.repeat_interleave(granularity.block_size, dim=granularity.axis)
        return repeated.narrow(granularity.axis, 0, x.shape[granularity.axis])

    @torch.no_grad()
    def _write_scale(self) -> None:
        if self.exponent is not None:
            self.scale.copy_(self.effective_scale())

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """``scale`` in a state is the one in force, whatever learns."""
        self._write_scale()
        super()._save_to_state_dict(*args, **kwargs)

    def config(self) -> dict[str, Any]:
        """Everything but the tensors, for the prepared model on disk."""
        return {
            "bits": self.qtype.bits,
            "signed": self.qtype.signed,
            "narrow_range": self.qtype.narrow_range,
            "granularity": granularity_to_json(self.granularity),
            "shape": list(self.scale.shape),
            "symmetric": self.symmetric,
            "fixed_zero_point": self.fixed_zero_point,
            "scale_limit": self.scale_limit,
            "fixed_scale": self.fixed_scale,
            "calibrated": self.calibrated,
            "lattice": self.lattice and asdict(self.lattice),
            "batched": self.batched,
            "learns_exponent": self.exponent is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FakeQuantize:
        """The module that ``config`` describes, with scales of one."""
        lattice = config["lattice"]
        found = cls(
            QType(config["bits"], config["signed"], config["narrow_range"]),
            granularity_from_json(config["granularity"]),
            tuple(config["shape"]),
            symmetric=config["symmetric"],
            fixed_zero_point=config["fixed_zero_point"],
            scale_limit=config["scale_limit"],
            fixed_scale=config["fixed_scale"],
            calibrated=bool(config["calibrated"]),
            lattice=lattice and ScaleLattice(int(lattice["low"]), int(lattice["high"])),
            batched=bool(config["batched"]),
        )
        if config["learns_exponent"]:
            found.learn_scale()
        return found


def is_quantizer(module: fx.GraphModule, node: fx.Node) -> bool:
    """True for the call of a :class:`FakeQuantize`."""
    if node.op != "call_module":
        return False
    return isinstance(module.get_submodule(str(node.target)), FakeQuantize)
