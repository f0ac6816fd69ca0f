"""Top-1 accuracy: float, fake-quant, reference on codes, and the runtime's file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils import _pytree as pytree

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.codes import Evaluation, evaluate_steps
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.verifier.evidence import Evidence
from deployq.verifier.parity import Progress, tensors_of
from deployq_exporters.runtimes.onnxruntime import Session

OFF = "quantizers off"
"""The float network; after training on the grid, what became of it."""


def top1(
    evidence: Evidence, session: Session, batches: Iterable[Dataset], progress: Progress
) -> dict[str, float]:
    """Share of labelled samples whose best class is the label, in [0, 1], by evaluator.

    A tie goes to the first of the best classes. Empty when the data has no labels.

    Raises:
        InputError: labels for a network whose first output is not (N, classes), or out of range.
    """
    right = {OFF: 0, "fake-quant": 0, "reference": 0, "runtime": 0}
    seen = 0
    for batch in batches:
        if batch.labels is None:
            return {}
        for name, scores in _scores(evidence, session, batch).items():
            _check_labels(batch.labels, scores)
            right[name] += int((scores.argmax(1) == batch.labels).sum())
        seen += len(batch)
        progress("accuracy")
    return {name: count / max(seen, 1) for name, count in right.items()}


def _scores(evidence: Evidence, session: Session, batch: Dataset) -> dict[str, npt.NDArray[Any]]:
    prepared = evidence.prepared
    inputs = tensors_of(prepared, batch)
    outputs, _ = session.run(batch.inputs)
    evaluated = evaluate_steps(prepared, evidence.contract, *inputs, names=())
    return {
        OFF: _module_output(prepared, inputs, quantized=False),
        "fake-quant": _module_output(prepared, inputs, quantized=True),
        "reference": _reference_output(evaluated),
        "runtime": outputs[evidence.runtime_graph.outputs[0]],
    }


def _reference_output(evaluated: Evaluation) -> npt.NDArray[Any]:
    """First output of the reference: codes, or reals of an operator in float."""
    first = evaluated.outputs[0]
    return (first if isinstance(first, torch.Tensor) else first.data).numpy()


def _check_labels(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
    classes = scores.shape[1] if scores.ndim == 2 else 0
    if classes < 2 or labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            "labels",
            "labels are class numbers of the first output, (N, classes)",
            found=f"{labels.min()}..{labels.max()} for an output of shape {scores.shape}",
            allowed=f"0..{classes - 1}" if classes else "no labels for this network",
            next_step="correct y in the data, or leave it out",
        )


def _module_output(
    prepared: PreparedModel, inputs: list[torch.Tensor], *, quantized: bool
) -> npt.NDArray[Any]:
    """First output of the torch module, with its quantizers on or off."""
    disable_quantizers(prepared.module, not quantized)
    try:
        with torch.no_grad():
            output = prepared.module(*inputs)
    finally:
        disable_quantizers(prepared.module, False)
    return np.asarray(pytree.tree_leaves(output)[0])
