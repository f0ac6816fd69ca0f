"""What quantizing each tensor alone costs: the network's output, with one quantizer on at a time.

The usual per-layer sensitivity analysis (Krishnamoorthi 2018, arXiv 1806.08342; Wu et al. 2020,
arXiv 2004.09602, section 6). Costs do not add up: rounding errors of two layers may cancel or grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.finished import check_calibrated
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel, disable_quantizers

Labelled: TypeAlias = tuple[Sequence[Tensor], Tensor | None]
"""One batch: a tensor for each input, and class numbers, integer (N,), or None."""


@dataclass(frozen=True)
class Cost:
    """What one quantizer costs when it is the only one that is on.

    Args:
        name: of the layer whose weight it is, or of the first tensor on the grid.
        kind: ``weight`` or ``activation``.
        bits: width of the codes.
        sqnr_db: ``10 log10(sum(float^2) / sum((float - output)^2))`` over all float outputs of the
            network and all samples; infinite where nothing differs.
        top1_change: top-1 less that of the float network, in [-1, 1]; None without labels.
    """

    name: str
    kind: str
    bits: int
    sqnr_db: float
    top1_change: float | None


@dataclass(frozen=True)
class Sensitivity:
    """All costs, the worst first; equal ones in the order of the plan.

    Args:
        costs: one for each weight and each activation grid.
        samples: how many were looked at.
        float_top1: of the network with every quantizer off, in [0, 1]; None without labels.
    """

    costs: tuple[Cost, ...]
    samples: int
    float_top1: float | None


@dataclass
class _Meter:
    """Sums over batches for one setting of the quantizers."""

    signal: float = 0.0
    noise: float = 0.0
    right: int = 0

    def add(self, floats: list[Tensor], outputs: list[Tensor], labels: Tensor | None) -> None:
        for wanted, found in zip(floats, outputs, strict=True):
            self.signal += float(wanted.double().square().sum())
            self.noise += float((wanted.double() - found.double()).square().sum())
        if labels is not None:
            self.right += int((outputs[0].argmax(1) == labels).sum())

    def sqnr_db(self) -> float:
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf


def sensitivity_steps(prepared: PreparedModel) -> int:
    """Evaluations of the network for one batch: the float one, and one for each quantizer."""
    return 1 + len(prepared.plan.layers) + len(prepared.plan.tensors)


def rank_sensitivity(
    prepared: PreparedModel,
    batches: Iterable[Labelled],
    *,
    progress: Callable[[str], None] = lambda step: None,
) -> Sensitivity:
    """Measure each quantizer alone and rank them, the most harmful first.

    Modes and quantizers are put back as they were found on (all on).

    Args:
        prepared: calibrated or trained. "Float" is its network with every quantizer off.
        batches: gone through once; labels are used where the first output is (N, classes) and all
            of them are class numbers of it.
        progress: told of each evaluation; see :func:`sensitivity_steps`.

    Raises:
        InputError: no batch, a quantizer that is not calibrated, or outputs that are not finite.
    """
    quantizers = _quantizers(prepared)
    for (_, name), quantizer in quantizers.items():
        check_calibrated(name, quantizer)
    meters = {key: _Meter() for key in quantizers}
    base, seen, labelled = _Meter(), 0, True
    with _only_floats(prepared):
        for inputs, given in batches:
            floats = _outputs(prepared, inputs)
            labels = given if _are_classes(given, floats) else None
            labelled, seen = labelled and labels is not None, seen + len(inputs[0])
            base.add(floats, floats, labels)
            progress("sensitivity")
            for key, quantizer in quantizers.items():
                with _enabled(quantizer):
                    meters[key].add(floats, _outputs(prepared, inputs), labels)
                progress("sensitivity")
    if not seen:
        raise InputError(
            "sensitivity", "costs are measured on samples", found="none", next_step="give samples"
        )
    change = {key: (meter.right - base.right) / seen for key, meter in meters.items()}
    costs = (
        Cost(
            name,
            kind,
            quantizers[kind, name].qtype.bits,
            meters[kind, name].sqnr_db(),
            change[kind, name] if labelled else None,
        )
        for kind, name in quantizers
    )
    ranked = sorted(costs, key=lambda cost: cost.sqnr_db)  # stable: equal ones keep their order
    return Sensitivity(tuple(ranked), seen, base.right / seen if labelled else None)


def _quantizers(prepared: PreparedModel) -> dict[tuple[str, str], FakeQuantize]:
    """Kind and name to quantizer."""
    weights = {("weight", n): unit.weight_quantizer for n, unit in prepared.units().items()}
    return weights | {("activation", n): q for n, q in prepared.quantizers().items()}


@contextmanager
def _only_floats(prepared: PreparedModel) -> Iterator[None]:
    disable_quantizers(prepared.module)
    try:
        with evaluation_mode(prepared.module), torch.no_grad():
            yield
    finally:
        disable_quantizers(prepared.module, False)


@contextmanager
def _enabled(quantizer: FakeQuantize) -> Iterator[None]:
    quantizer.enabled = True
    try:
        yield
    finally:
        quantizer.enabled = False


def _outputs(prepared: PreparedModel, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The float outputs of the network.

    Raises:
        InputError: NaN or infinity among them.
    """
    leaves = pytree.tree_leaves(prepared.module(*inputs))
    outputs = [leaf for leaf in leaves if leaf.is_floating_point()]
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise InputError(
            "sensitivity",
            "costs are measured on finite outputs",
            found="NaN or infinity in an output of the network",
            next_step="check the calibration data and the float model's outputs on it",
        )
    return outputs


def _are_classes(labels: Tensor | None, outputs: list[Tensor]) -> bool:
    if labels is None or labels.ndim != 1 or not outputs or outputs[0].ndim != 2:
        return False
    return bool(((labels >= 0) & (labels < outputs[0].shape[1])).all())
