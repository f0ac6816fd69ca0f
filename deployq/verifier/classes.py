"""The codes that a network's classes are read from, of the reference and of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.graph.codes import Evaluation
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import code_tensor
from deployq.verifier.comparison import TINY
from deployq.verifier.evidence import Evidence, output_codes

Array = npt.NDArray[Any]
Codes = Mapping[str, Array]


def class_codes(reference: Evaluation) -> Array:
    """Codes of the first output; reals count in steps of a 255th of their range."""
    first = reference.outputs[0]
    return _steps_of_reals(first.numpy()) if isinstance(first, torch.Tensor) else first.data.numpy()


def class_codes_of_file(graph: IntegerGraph, codes: Codes, outputs: Codes) -> Array:
    """As :func:`class_codes`, of what a file computed."""
    name = output_codes(graph)[0]
    return codes[name] if name in codes else _steps_of_reals(outputs[graph.outputs[0]])


def _steps_of_reals(reals: Array) -> Array:
    return np.rint(reals * (255 / max(float(np.ptp(reals)), TINY))).astype(np.int64)


def own_codes(evidence: Evidence, graph: IntegerGraph, known: Codes) -> dict[str, torch.Tensor]:
    """Codes of every tensor of the reference, on its own zero points, from those of a file."""
    names = {tensor: code_tensor(graph, tensor) for tensor in evidence.grids}
    return {
        tensor: torch.from_numpy(known[name] - evidence.shift(graph, tensor))
        for tensor, name in names.items()
    }


def class_codes_when_fed(fed: Evaluation) -> Array | None:
    """Codes of the first output where every tensor before it was forced.

    What was computed last is recorded before it moves to the output, which can only be a change of
    shape where classes are told apart; None where nothing of that size was recorded.
    """
    first = fed.outputs[0]
    if isinstance(first, torch.Tensor):
        return class_codes(fed)
    made = [codes for codes in fed.codes.values() if codes.numel() == first.data.numel()]
    return made[-1].reshape(first.data.shape).numpy() if made else None
