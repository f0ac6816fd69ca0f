"""From a graph, a contract and samples to the golden vectors of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deployq.errors import DeployqError, UnsupportedError
from deployq.golden_vectors.designing import design
from deployq.golden_vectors.runs import Bench
from deployq.qgraph.nodes import IntegerGraph, Linear, Node, Quantize
from deployq.qgraph.row_norms import rows_on_codes
from deployq.qgraph.values import located
from deployq.qparams import IntArray
from deployq.simulator import Simulation
from deployq_exporters.golden.packing import Packing
from deployq_exporters.golden.plans import plan
from deployq_exporters.golden.trace import Layer, Source, Trace, Vectors
from deployq_targets import TargetProfile
from deployq_targets.words import WeightPacking

Advance = Callable[[str], None]


def packing_of(profile: TargetProfile) -> Packing:
    """What the profile says of its memory."""
    memory = profile.memory
    return Packing(
        memory.word_bits,
        memory.byte_order,
        memory.code_order,
        planes=memory.weight_packing is WeightPacking.BITSERIAL,
        channels=profile.align.cin or 1,
    )


def integer_nodes(graph: IntegerGraph) -> list[Node]:
    """The nodes that have vectors: all on integers, but the borders to the reals.

    Raises:
        UnsupportedError: there are none, or a sum joins a layer, which the C program has not.
    """
    nodes = [n for n in graph.nodes if n.writes_codes and not isinstance(n, Quantize)]
    joined = next((n for n in nodes if isinstance(n, Linear) and n.addend is not None), None)
    if joined is not None:
        raise UnsupportedError(
            joined.name,
            "golden vectors are of layers that round what they computed themselves",
            found=f"{joined.addend}, which joins the sums before they are rounded",
            allowed="codes on both branches of a sum",
            next_step='export for a target with graph.residual = "q_both"',
        )
    if not nodes:
        raise UnsupportedError(
            "the file",
            "golden vectors are of operators on integers",
            found="no operator with integer tensors",
            next_step="give a QDQ or QOperator file",
        )
    return nodes


def trace_graph(
    graph: IntegerGraph,
    profile: TargetProfile,
    simulation: Simulation,
    *,
    samples: int,
    progress: Advance = lambda stage: None,
) -> Trace:
    """The data vectors of a run, and designed vectors for each layer.

    Args:
        simulation: of the graph under the profile's contract.
        samples: that it ran on.

    Raises:
        UnsupportedError: no integer layer, or one that cannot be written in integers, by name.
    """
    contract = profile.contract()
    graph = rows_on_codes(graph, contract)
    codes = dict(graph.constants)
    codes |= {name: tensor.numpy().astype(np.int64) for name, tensor in simulation.codes.items()}
    in_float, layers = {*simulation.floats, *(node.name for node in graph.in_reals)}, []
    nodes = [node for node in integer_nodes(graph) if node.name not in in_float]
    for node in nodes:
        progress(f"vectors of {node.name}")
        qparams = tuple(graph.qparams[name] for name in node.inputs)
        own = contract.for_codes(*(q.qtype.bits for q in qparams))
        layers.append(_layer(Bench(node, qparams, graph.qparams[node.output], own), codes))
    return Trace(
        target=profile.name,
        accumulator=contract.accumulator,
        packing=packing_of(profile),
        layers=tuple(layers),
        samples=samples,
        floats=tuple(node.name for node in graph.nodes if node.name in in_float),
    )


def _layer(bench: Bench, codes: Mapping[str, IntArray]) -> Layer:
    node = bench.node
    inputs = tuple(codes[name] for name in node.inputs)
    shapes = [c.shape for c in inputs]
    try:
        _check_types(bench)
        made = plan(bench.summed, bench.inputs, bench.out, bench.form, shapes, bench.late)
    except DeployqError as error:
        raise located(error, f"node {node.name} ({node.op_type})") from error
    designed = design(bench, made, shapes)
    data = Vectors(
        source=Source.DATA, inputs=inputs, sums=bench.sums(inputs), output=codes[node.output]
    )
    return Layer(node=bench.summed, inputs=bench.inputs, out=bench.out, plan=made,
                 vectors=(data, *designed.vectors), missed=designed.missed)  # fmt: skip


def _check_types(bench: Bench) -> None:
    for qparams in (*bench.inputs, bench.out):
        if qparams.qtype.bits == 32 and not qparams.qtype.signed:
            raise UnsupportedError(
                "codes",
                "the program in C holds codes in 32 bits with sign",
                found=qparams.qtype.name,
                allowed="up to u31 and s32",
                next_step="quantize to 16 bits or fewer",
            )
