"""Parity by law 12: code against code, layer by layer, under one contract at a time.

reference = simulator     the prepared model and the canonical file, target's arithmetic
reference = runtime       the prepared model and the runtime's kernels, their arithmetic
runtime = simulator       the runtime's kernels and its own file, end to end and by layer
runtime in float          what the runtime left in float, against real arithmetic
file un-optimised         the canonical file run in float, against real arithmetic
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq import affine
from deployq.arithmetic.contract import QDQ, Contract
from deployq.data import Dataset
from deployq.graph.codes import Evaluation, evaluate_steps
from deployq.graph.preparation import PreparedModel
from deployq.graph.truths import tensors_of_truths
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import code_tensor, feed
from deployq.qgraph.row_norms import rows_on_codes
from deployq.simulator import run_graph
from deployq.verifier.classes import (
    class_codes,
    class_codes_of_file,
    class_codes_when_fed,
    own_codes,
)
from deployq.verifier.comparison import Comparison
from deployq.verifier.evidence import Evidence, tensor_name
from deployq.verifier.file_session import FileSession
from deployq.verifier.report import Judged, Parity
from deployq.verifier.tally import wanted_distinct
from deployq_exporters.runtimes.placement import float_tensors, only_floats, tensors_from_floats

Array = npt.NDArray[Any]
Codes = Mapping[str, Array]
Progress = Callable[[str], None]


def reference_against_simulator(
    evidence: Evidence, batches: Iterable[Dataset], progress: Progress
) -> tuple[Parity, ...]:
    """The prepared model on codes against the simulation of the canonical file.

    End to end. With operators in float, whose last bits no two libraries share, layer by layer: the
    simulation is fed the reference's codes, and what float operators made is held to law 12 b.
    """
    graph, contract, prepared = evidence.graph, evidence.contract, evidence.prepared
    floats = {tensor_name(n) for n in tensors_from_floats(rows_on_codes(graph, contract))}
    label = "reference = simulator" + (", layer by layer" if floats else "")
    exact = Comparison(label, contract.name, Judged.EXACT)
    near = Comparison("reference ~ simulator, operators in float", QDQ.name, Judged.NEAR, False)
    wanted = _wanted(evidence, graph, contract)
    for batch in batches:
        reference = evaluate_steps(prepared, contract, *tensors_of(prepared, batch), names=floats)
        forced = {code_tensor(graph, name): codes for name, codes in reference.codes.items()}
        fed = feed(graph, batch.inputs)
        simulated = run_graph(graph, contract, fed, forced=forced if floats else None)
        codes = {name: tensor.numpy() for name, tensor in simulated.codes.items()}
        _compare_whole(
            exact, evidence, reference, graph, codes, simulated.outputs, wanted, apart=floats
        )
        for name, steps in reference.steps.items():
            found = codes[code_tensor(graph, name)]
            expected, bits = reference.codes[name].numpy(), evidence.grids[name].qtype.bits
            near.add_near(name, 0, expected, found, steps.numpy(), bits)
        for part in (exact, near):
            part.images += len(batch)
        progress(exact.name)
    return (exact.result(), near.result()) if floats else (exact.result(),)


def _wanted(evidence: Evidence, graph: IntegerGraph, contract: Contract) -> dict[str, int]:
    """Distinct codes that each code tensor should take; of truths there are two, whatever runs."""
    truths = {code_tensor(graph, name) for name in tensors_of_truths(evidence.prepared)}
    wanted = wanted_distinct(graph, contract)
    return {name: min(count, 2) if name in truths else count for name, count in wanted.items()}


def _compare_whole(
    result: Comparison,
    evidence: Evidence,
    reference: Evaluation,
    graph: IntegerGraph,
    codes: Codes,
    outputs: Codes,
    wanted: Mapping[str, int],
    apart: Collection[str] = (),
    substituted: Callable[[], Array | None] | None = None,
) -> None:
    """Every tensor of the reference but those ``apart`` and those that the file is fed, every
    output as the file gives it, reals or codes, the best class.

    Args:
        wanted: distinct codes by tensor of the file, from :func:`_wanted`.
    """
    for tensor, expected in reference.codes.items():
        name = code_tensor(graph, tensor)
        shifted = expected.numpy().astype(np.int64) + evidence.shift(graph, tensor)
        if tensor not in apart and name not in graph.inputs:
            result.add(tensor, wanted[name], shifted, codes[name])
    for name, value in zip(graph.outputs, reference.outputs, strict=True):
        if isinstance(value, torch.Tensor):
            result.add_float_output(name, value.numpy(), outputs[name])
        elif name in graph.qparams:  # an integer edge has the target's own parameters
            result.add(f"output {name}", 0, value.data.numpy(), outputs[name])
        else:
            reals = affine.dequantize(value.data.numpy(), value.qparams)
            result.add_output(name, reals, outputs[name], float(value.qparams.scale))
    found = class_codes_of_file(graph, codes, outputs)
    result.add_classes(class_codes(reference), found, substituted)


def runtime_against_reference(
    evidence: Evidence, session: FileSession, batches: Iterable[Dataset], progress: Progress
) -> Parity:
    """The runtime's file as it runs against the prepared model under the runtime's arithmetic.

    Exact where every operator runs in integers; else only the best class can be asked for. Where
    none does, the runtime's arithmetic is that of reals.
    """
    graph, floats = evidence.runtime_graph, float_tensors(evidence.runtime_graph, session.placement)
    real = only_floats(graph, session.placement)
    contract = QDQ if real else evidence.runtime_contract
    judged = Judged.TOP1 if floats else Judged.EXACT
    result = Comparison("reference = runtime", contract.name, judged)
    wanted = _wanted(evidence, graph, contract)
    for batch in batches:
        outputs, codes = session.run(batch.inputs)
        inputs = tensors_of(evidence.prepared, batch)
        reference = evaluate_steps(evidence.prepared, contract, *inputs, names=())
        explains = partial(_substituted, evidence, contract, session, batch, codes, outputs)
        substituted = explains if floats else None
        _compare_whole(
            result, evidence, reference, graph, codes, outputs, wanted, substituted=substituted
        )
        result.images += len(batch)
        progress(result.name)
    return result.result()


def _substituted(
    evidence: Evidence,
    contract: Contract,
    session: FileSession,
    batch: Dataset,
    codes: Codes,
    outputs: Codes,
) -> Array | None:
    """Class codes of the reference fed what the runtime's file computed before its last layer."""
    graph, prepared = evidence.runtime_graph, evidence.prepared
    own = own_codes(evidence, graph, {**codes, **session.edge_codes(batch.inputs)})
    inputs = tensors_of(prepared, batch)
    fed = evaluate_steps(prepared, contract, *inputs, names=(), forced=own)
    return class_codes_when_fed(fed, own, class_codes_of_file(graph, codes, outputs))


def runtime_against_simulator(
    evidence: Evidence, session: FileSession, batches: Iterable[Dataset], progress: Progress
) -> tuple[Parity, ...]:
    """The runtime's kernels against the simulation of the runtime's own file.

    End to end, and layer by layer with each layer fed the codes that the runtime computed before
    it. Tensors of operators that the runtime left in float are not here but in
    :func:`float_layers_against_reference`; where that is all of them, nothing is compared.
    """
    if only_floats(evidence.runtime_graph, session.placement):
        return ()
    graph, contract = evidence.runtime_graph, evidence.runtime_contract
    floats = float_tensors(graph, session.placement)
    wanted, label = _wanted(evidence, graph, contract), "runtime = simulator"
    end = Comparison(f"{label}, end to end", contract.name, Judged.EXACT)
    layers = Comparison(f"{label}, layer by layer", contract.name, Judged.EXACT, whole=not floats)
    for batch in batches:
        outputs, found = session.run(batch.inputs)
        fed_inputs = feed(graph, batch.inputs)
        simulation = run_graph(graph, contract, fed_inputs)
        simulated = simulation.codes
        same = all(np.array_equal(simulated[n].numpy(), codes) for n, codes in found.items())
        fed = simulated
        if not same:  # with no difference, every layer was fed the runtime's codes already
            fed = run_graph(graph, contract, fed_inputs, forced=_forced(graph, found)).codes
        for name, codes in found.items():
            tensor = tensor_name(name)
            end.add(tensor, wanted[name], simulated[name].numpy(), codes)
            if name not in floats:
                layers.add(tensor, wanted[name], fed[name].numpy(), codes)
        arrays = {name: codes.numpy() for name, codes in simulated.items()}
        end.add_classes(
            class_codes_of_file(graph, arrays, simulation.outputs),
            class_codes_of_file(graph, found, outputs),
        )
        for part in (end, layers):
            part.images += len(batch)
        progress(end.name)
    return (layers.result(),) if floats else (end.result(), layers.result())


def _forced(graph: IntegerGraph, found: Codes) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(codes.astype(graph.qparams[name].qtype.dtype))
        for name, codes in found.items()
    }


def float_layers_against_reference(
    evidence: Evidence, session: FileSession, batches: Iterable[Dataset], progress: Progress
) -> Parity | None:
    """What the runtime left in float, fed the runtime's codes, by law 12 b; None if nothing."""
    graph = evidence.runtime_graph
    floats = {tensor_name(name) for name in float_tensors(graph, session.placement)}
    if not floats:
        return None
    name = "runtime in float ~ reference, layer by layer"
    result = Comparison(name, QDQ.name, Judged.NEAR, whole=False)
    _compare_float(result, evidence, session, graph, batches, progress, floats)
    return result.result()


def float_run_against_reference(
    evidence: Evidence, session: FileSession, batches: Iterable[Dataset], progress: Progress
) -> Parity:
    """The un-optimised canonical file, which computes in float, by law 12 b."""
    name = "file un-optimised ~ reference, layer by layer"
    result = Comparison(name, QDQ.name, Judged.NEAR)
    _compare_float(result, evidence, session, session.graph, batches, progress, None)
    return result.result()


def _compare_float(
    result: Comparison,
    evidence: Evidence,
    session: FileSession,
    graph: IntegerGraph,
    batches: Iterable[Dataset],
    progress: Progress,
    only: set[str] | None,
) -> None:
    """Feed each layer of the reference what the run computed before it; compare with steps.

    The best class is that of the reference fed the input alone, when everything is compared.
    """
    wanted, prepared = _wanted(evidence, graph, QDQ), evidence.prepared
    for batch in batches:
        outputs, found = session.run(batch.inputs)
        known = found | session.edge_codes(batch.inputs)
        names = {tensor: code_tensor(graph, tensor) for tensor in evidence.grids}
        forced = own_codes(evidence, graph, known)
        inputs = tensors_of(prepared, batch)
        fed = evaluate_steps(prepared, QDQ, *inputs, names=only, forced=forced)
        for tensor, steps in fed.steps.items():
            if names[tensor] not in graph.inputs:
                both, bits = (fed.codes, forced), evidence.grids[tensor].qtype.bits
                reference, codes = (side[tensor].numpy() for side in both)
                wish = wanted[names[tensor]]
                result.add_near(tensor, wish, reference, codes, steps.numpy(), bits)
        if only is None:
            free = evaluate_steps(prepared, QDQ, *inputs, names=())
            classes = class_codes_of_file(graph, found, outputs)
            explains = partial(class_codes_when_fed, fed, forced, classes)
            result.add_classes(class_codes(free), classes, explains)
        result.images += len(batch)
        progress(result.name)


def tensors_of(prepared: PreparedModel, batch: Dataset) -> list[torch.Tensor]:
    """A batch as the model's positional inputs."""
    return [torch.from_numpy(np.array(batch.inputs[name])) for name in prepared.inputs]
