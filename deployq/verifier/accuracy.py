"""A metric of every evaluator: float, fake-quant, reference on codes, and the runtime's file."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils import _pytree as pytree

from deployq import affine
from deployq.data import Dataset
from deployq.graph.code_operators import Codes
from deployq.graph.codes import evaluate_steps
from deployq.graph.preparation import disable_quantizers
from deployq.verifier.evidence import Evidence
from deployq.verifier.file_session import FileSession
from deployq.verifier.metrics import Batch, Measured, Metric
from deployq.verifier.parity import Progress, tensors_of

OFF = "quantizers off"
"""The float network; after training on the grid, what became of it."""
EVALUATORS = (OFF, "fake-quant", "reference", "runtime")

Outputs = dict[str, npt.NDArray[Any]]


def measure(
    evidence: Evidence, session: FileSession, dataset: Dataset, metric: Metric, progress: Progress
) -> Measured:
    """The metric over all samples, by evaluator.

    Raises:
        InputError: labels or outputs that the metric cannot take.
    """
    skipped = {OFF} if metric.against_float else set()
    meters = {name: metric.start() for name in EVALUATORS if name not in skipped}
    for batch in dataset.batches(evidence.batch):
        outputs = evaluator_outputs(evidence, batch) | {"runtime": _ran(session, batch)}
        for name, meter in meters.items():
            meter.add(Batch(batch.inputs, batch.labels, outputs[name], outputs[OFF]))
        progress("accuracy")
    found = {name: list(meter.values().items()) for name, meter in meters.items()}
    return Measured(
        metric.name,
        metric.higher_is_better,
        {name: figures[0][1] for name, figures in found.items()},
        {name: dict(figures[1:]) for name, figures in found.items() if figures[1:]},
    )


def evaluator_outputs(evidence: Evidence, batch: Dataset) -> dict[str, Outputs]:
    """Real outputs of one batch, by evaluator; of all but the runtime."""
    return {
        OFF: module_outputs(evidence, batch, quantized=False),
        "fake-quant": module_outputs(evidence, batch, quantized=True),
        "reference": reference_outputs(evidence, batch),
    }


def reference_outputs(evidence: Evidence, batch: Dataset) -> Outputs:
    """Real outputs of the reference on codes, under the target's own arithmetic."""
    inputs = tensors_of(evidence.prepared, batch)
    evaluated = evaluate_steps(evidence.prepared, evidence.contract, *inputs, names=()).outputs
    return _named(evidence, [_reals(value) for value in evaluated])


def _ran(session: FileSession, batch: Dataset) -> Outputs:
    return session.reals(session.run(batch.inputs)[0])


def _reals(value: Codes | torch.Tensor) -> npt.NDArray[Any]:
    """An output of the reference: dequantized codes, or reals of an operator in float."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    return affine.dequantize(value.data.numpy(), value.qparams)


def module_outputs(evidence: Evidence, batch: Dataset, *, quantized: bool) -> Outputs:
    """Outputs of the torch module, with its quantizers on or off."""
    module = evidence.prepared.module
    inputs = tensors_of(evidence.prepared, batch)
    disable_quantizers(module, not quantized)
    try:
        with torch.no_grad():
            returned = module(*inputs)
    finally:
        disable_quantizers(module, False)
    return _named(evidence, [np.asarray(output) for output in pytree.tree_leaves(returned)])


def _named(evidence: Evidence, arrays: list[npt.NDArray[Any]]) -> Outputs:
    return dict(zip(evidence.graph.outputs, arrays, strict=True))
