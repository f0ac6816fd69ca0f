"""Top-1 accuracy of the float network, the reference on codes and the runtime's file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.arithmetic.contract import Contract
from deployq.data import Dataset
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.verifier.parity import Progress, tensors_of
from deployq_exporters.runtimes.onnxruntime import Session

OFF = "quantizers off"
"""The float network; after training on the grid, what became of it."""


def top1(
    prepared: PreparedModel,
    contract: Contract,
    output: str,
    session: Session,
    batches: Iterable[Dataset],
    progress: Progress,
) -> dict[str, float]:
    """Share of labelled samples whose best class is the label, in [0, 1], by evaluator.

    A tie goes to the first of the best classes. Empty when the data has no labels.
    """
    right = {OFF: 0, "reference": 0, "runtime": 0}
    seen = 0
    for batch in batches:
        if batch.labels is None:
            return {}
        inputs = tensors_of(prepared, batch)
        outputs, _ = session.run(batch.inputs)
        classes = {
            OFF: _float_output(prepared, inputs),
            "reference": evaluate_codes(prepared, contract, *inputs)[output].numpy(),
            "runtime": next(iter(outputs.values())),
        }
        for name, scores in classes.items():
            right[name] += int((scores.argmax(-1) == batch.labels).sum())
        seen += len(batch)
        progress("accuracy")
    return {name: count / max(seen, 1) for name, count in right.items()}


def _float_output(prepared: PreparedModel, inputs: list[torch.Tensor]) -> npt.NDArray[Any]:
    """The network with its quantizers and weight rounding off."""
    disable_quantizers(prepared.module)
    try:
        with torch.no_grad():
            output = prepared.module(*inputs)
    finally:
        disable_quantizers(prepared.module, False)
    first = output[0] if isinstance(output, (tuple, list)) else output
    return np.asarray(first)
