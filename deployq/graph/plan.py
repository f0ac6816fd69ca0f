"""The plan of a preparation: every decision as plain data, made before a graph is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deployq.qtypes import QType


@dataclass(frozen=True)
class TensorPlan:
    """One activation quantizer and the tensors that share it.

    Args:
        name: of the quantizer, the first tensor's.
        tensors: names of the tensors on this grid.
        bits, signed, narrow_range: type of the codes.
        symmetric: the zero point is 0.
        zero_point: pinned code, or None to calibrate it.
        scale_limit: highest scale that keeps a removed clamp redundant.
        scale: pinned scale, or None to calibrate it.
        constants: those of the tensors that are no computed ones, but the model's own.
    """

    name: str
    tensors: tuple[str, ...]
    bits: int
    signed: bool
    narrow_range: bool
    symmetric: bool
    zero_point: int | None
    scale_limit: float | None
    scale: float | None
    constants: tuple[str, ...] = ()

    @property
    def computed(self) -> tuple[str, ...]:
        """The tensors whose codes differ from sample to sample."""
        return tuple(name for name in self.tensors if name not in self.constants)

    @property
    def qtype(self) -> QType:
        """Integer type of the codes."""
        return QType(self.bits, self.signed, self.narrow_range)


@dataclass(frozen=True)
class LayerPlan:
    """One linear layer.

    Args:
        name: of the layer; its output tensor has the same name.
        op_type: ``Conv``, ``ConvTranspose`` or ``Gemm``.
        weight: name of the weight parameter.
        bits, signed, narrow_range: type of the weight codes.
        per_channel: a scale for each output channel.
        batch_norm: ``none``, ``absorb`` or ``fold`` (law 2).
        activation: what became of the clamp after it: ``none``, ``removed`` or ``kept``.
        macs: multiply-accumulates for one sample.
    """

    name: str
    op_type: str
    weight: str
    bits: int
    signed: bool
    narrow_range: bool
    per_channel: bool
    batch_norm: str
    activation: str
    macs: int

    @property
    def qtype(self) -> QType:
        """Integer type of the weight codes."""
        return QType(self.bits, self.signed, self.narrow_range)


@dataclass(frozen=True)
class SelectionPlan:
    """Movements that the file has as a 1x1 convolution of zeros and ones.

    Args:
        name: of the last tensor, which the convolution makes.
        tensors, operators: of the chain, first to last.
        strides: rows, columns.
        inputs: channels that are read.
        channels: input channel of each output channel, -1 for a channel of zeros.
        bits, signed, narrow_range: type of the weight codes, whose scale is 1.
        per_channel: that scale is written for each output channel.
    """

    name: str
    tensors: tuple[str, ...]
    operators: tuple[str, ...]
    strides: tuple[int, int]
    inputs: int
    channels: tuple[int, ...]
    bits: int
    signed: bool
    narrow_range: bool
    per_channel: bool

    @property
    def qtype(self) -> QType:
        """Integer type of the weight codes."""
        return QType(self.bits, self.signed, self.narrow_range)


@dataclass(frozen=True)
class Plan:
    """All decisions of one preparation.

    Args:
        target: name of the profile.
        tensors, layers: quantizers, in graph order.
        floats: nodes that stay in float, each with the reason (law 3).
        float_macs: multiply-accumulates for one sample of the linear layers among them, by name.
        notes: what else a person should know, one sentence each.
        selections: movements that the file has as convolutions.
    """

    target: str
    tensors: tuple[TensorPlan, ...]
    layers: tuple[LayerPlan, ...]
    floats: tuple[str, ...] = ()
    float_macs: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    selections: tuple[SelectionPlan, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the prepared model on disk and for reports."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Plan:
        """Inverse of :meth:`to_json`."""
        tensors = (
            TensorPlan(**t | {k: tuple(t.get(k, ())) for k in ("tensors", "constants")})
            for t in facts["tensors"]
        )
        layers = (LayerPlan(**layer) for layer in facts["layers"])
        floats, notes = tuple(facts["floats"]), tuple(facts.get("notes", ()))
        macs = facts.get("float_macs", {})  # plans of before had no linear layers in float
        selections = tuple(map(_selection, facts.get("selections", ())))
        return cls(facts["target"], tuple(tensors), tuple(layers), floats, macs, notes, selections)

    def lines(self) -> list[str]:
        """The plan as text, one decision a line."""
        text = [f"plan for {self.target}: {len(self.layers)} layers, {len(self.tensors)} grids"]
        for layer in self.layers:
            scales = "per channel" if layer.per_channel else "per tensor"
            text.append(
                f"  {layer.name}: {layer.op_type} weight {layer.qtype.name} {scales}, "
                f"BatchNorm {layer.batch_norm}, clamp {layer.activation}"
            )
        for selection in self.selections:
            text.append(
                f"  {selection.name}: {', '.join(selection.operators)} become a 1x1 Conv of 0 and "
                f"1, weight {selection.qtype.name}, codes unchanged"
            )
        for tensor in self.tensors:
            zero_point = "free" if tensor.zero_point is None else str(tensor.zero_point)
            scale = "" if tensor.scale is None else f", scale {tensor.scale}"
            shared = f", shared by {', '.join(tensor.tensors)}" if len(tensor.tensors) > 1 else ""
            text.append(f"  {tensor.name}: {tensor.qtype} zero point {zero_point}{scale}{shared}")
        return text + [f"  {line}" for line in (*self.floats, *self.notes)]


def _selection(facts: dict[str, Any]) -> SelectionPlan:
    lists = {key: tuple(facts[key]) for key in ("tensors", "operators", "strides", "channels")}
    return SelectionPlan(**facts | lists)
