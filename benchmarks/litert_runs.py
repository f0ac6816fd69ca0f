"""A ``.tflite`` file in LiteRT beside the simulator, layer by layer and end to end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from deployq.arithmetic.contract import Contract, Form, Rounding
from deployq.arithmetic.requant_words import Addition
from deployq.qgraph import IntegerGraph
from deployq.simulator import run_graph
from deployq_exporters.runtimes.litert import Kernels, Session
from deployq_exporters.tflite import write_tflite
from deployq_exporters.tflite.row_norms import row_norms
from deployq_exporters.tflite.signed import signed_graph
from deployq_targets import TargetProfile

Array = npt.NDArray[Any]
IN_FLOAT = "LayerNorm in float"
"""Codes behind one: its steps in float32 are not those of the simulation, and ties decide."""


@dataclass(frozen=True)
class Tally:
    """The codes of one operator, each layer of the simulation fed what LiteRT computed before it.

    Args:
        operator: TFLite's name.
        layers: tensors that it wrote.
        codes: compared.
        distinct: different codes in the layer that has the most.
        different: codes that are not those of the simulation under the kernel set's own profile.
        scalar: of these, codes of the same forms as a set computes what fills no vector of its
            own (see :func:`scalar_contract`).
        delegated: layers that XNNPACK computed.
    """

    operator: str
    layers: int
    codes: int
    distinct: int
    different: int
    scalar: int
    delegated: int

    def plus(self, other: Tally, *, same_layer: bool = False) -> Tally:
        """Both together: two layers, or two batches of one."""
        each = () if same_layer else ("layers", "delegated")
        summed = ("codes", "different", "scalar", *each)
        sums = {key: getattr(self, key) + getattr(other, key) for key in summed}
        return replace(self, distinct=max(self.distinct, other.distinct), **sums)


@dataclass(frozen=True)
class Comparison:
    """LiteRT and the simulator over one graph.

    Args:
        tallies: one for each operator.
        end_to_end: codes of all tensors that differ where both are fed the input alone, and those
            of outputs that differ between LiteRT with and without its inner tensors kept.
    """

    tallies: tuple[Tally, ...]
    end_to_end: int


def kernels_of(profile: TargetProfile) -> Kernels:
    """The kernel set that a profile is the contract of."""
    return Kernels(profile.verify.options["kernels"])


def scalar_contract(contract: Contract) -> Contract:
    """The arithmetic of LiteRT's optimised kernels where they compute one by one.

    They do so in grouped convolutions, in channels that fill no vector of 8 (DEPTHWISE_CONV_2D) or
    16 (MEAN), and in elements that fill none of 16 (ADD). Both roundings of gemmlowp are then as in
    the reference kernels. Other contracts come back as they are.
    """
    forms = {name: _scalar(form) for name, form in contract.by_op.items()}
    default = _scalar(contract.default)
    if (default, forms) == (contract.default, dict(contract.by_op)):
        return contract
    return replace(contract, default=default, by_op=forms)


def _scalar(form: Form) -> Form:
    if form.addition is Addition.RESCALED_ONCE:
        form = replace(form, addition=Addition.RESCALED)
    half_up = form.rounding is Rounding.DOUBLE_HALF_UP
    return replace(form, rounding=Rounding.DOUBLE) if half_up else form


def compare(
    graph: IntegerGraph,
    content: bytes,
    profile: TargetProfile,
    batches: Iterable[Mapping[str, Array]],
) -> Comparison:
    """Run a file and the graph that it was written from.

    Args:
        batches: graph input to reals or codes, (N, ...).
    """
    kernels, layers, end_to_end = kernels_of(profile), dict[str, Tally](), 0
    probed, plain = (Session(content, kernels, probes=probes) for probes in (True, False))
    for inputs in batches:
        tallies, different = _compare(signed_graph(graph), probed, plain, profile, inputs)
        end_to_end += different
        for name, tally in tallies.items():
            before = layers.get(name)
            layers[name] = tally if before is None else before.plus(tally, same_layer=True)
    return Comparison(merged(layers.values()), end_to_end)


def compare_alone(
    graph: IntegerGraph, profile: TargetProfile, inputs: Mapping[str, Array]
) -> Comparison:
    """As :func:`compare`, of a graph that is written here; its inputs are codes."""
    codes = run_graph(graph, profile.contract(), inputs).codes
    shapes = {name: (1, *tensor.shape[1:]) for name, tensor in codes.items()}
    return compare(graph, write_tflite(graph, shapes), profile, [inputs])


def merged(tallies: Iterable[Tally]) -> tuple[Tally, ...]:
    """One for each operator, in the order of their first."""
    found = dict[str, Tally]()
    for tally in tallies:
        before = found.get(tally.operator)
        found[tally.operator] = tally if before is None else before.plus(tally)
    return tuple(found.values())


def _compare(
    graph: IntegerGraph,
    probed: Session,
    plain: Session,
    profile: TargetProfile,
    inputs: Mapping[str, Array],
) -> tuple[dict[str, Tally], int]:
    """Tensors by name, and what :class:`Comparison` counts end to end."""
    contract = profile.contract()
    free = run_graph(graph, contract, inputs).codes
    qparams = graph.qparams
    fed = {n: free[n].numpy().astype(qparams[n].qtype.dtype) for n in probed.inputs}
    outputs, found = probed.run(fed)
    forced = {name: torch.from_numpy(codes) for name, codes in found.items() if name in free}
    own = run_graph(graph, contract, inputs, forced=forced).codes
    second = scalar_contract(contract)
    scalar = own
    if second != contract:
        scalar = run_graph(graph, second, inputs, forced=forced).codes
    operators, delegated = probed.operators(), probed.delegated()
    operators |= dict.fromkeys(row_norms(graph), IN_FLOAT)
    tallies = {
        name: _tally(operators[name], codes, own[name], scalar[name], name in delegated)
        for name, codes in forced.items()
    }
    different = sum(int((free[name] != codes).sum()) for name, codes in forced.items())
    again = plain.run(fed)[0]
    different += sum(int((again[name] != codes).sum()) for name, codes in outputs.items())
    return tallies, different


def _tally(operator: str, found: Tensor, own: Tensor, scalar: Tensor, delegated: bool) -> Tally:
    wrong = found != own
    return Tally(
        operator,
        layers=1,
        codes=found.numel(),
        distinct=len(found.unique()),
        different=int(wrong.sum()),
        scalar=int((wrong & (found == scalar)).sum()),
        delegated=int(delegated),
    )
