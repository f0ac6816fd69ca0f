"""The codes that a network's classes are read from, of the reference and of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.graph.codes import Evaluation
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import code_tensor, output_codes
from deployq.verifier.comparison import TINY
from deployq.verifier.evidence import Evidence

Array = npt.NDArray[Any]
Codes = Mapping[str, Array]


def class_codes(reference: Evaluation) -> Array:
    """Codes of the first output; reals count in steps of a 255th of a sample's range."""
    first = reference.outputs[0]
    return _steps_of_reals(first.numpy()) if isinstance(first, torch.Tensor) else first.data.numpy()


def class_codes_of_file(graph: IntegerGraph, codes: Codes, outputs: Codes) -> Array:
    """As :func:`class_codes`, of what a file computed."""
    name = output_codes(graph)[0]
    return codes[name] if name in codes else _steps_of_reals(outputs[graph.outputs[0]])


def _steps_of_reals(reals: Array) -> Array:
    """In steps of a 255th of each sample's range, whatever samples are beside it."""
    ranges = np.ptp(reals.reshape(len(reals), -1), axis=1).astype(np.float64)
    steps = 255 / np.maximum(ranges, TINY)
    scaled = reals * steps.reshape(-1, *[1] * (reals.ndim - 1))
    return np.asarray(np.rint(scaled).astype(np.int64))


def own_codes(evidence: Evidence, graph: IntegerGraph, known: Codes) -> dict[str, torch.Tensor]:
    """Codes of every tensor of the reference, on its own zero points, from those of a file."""
    names = {tensor: code_tensor(graph, tensor) for tensor in evidence.grids}
    return {
        tensor: torch.from_numpy(known[name] - evidence.shift(graph, tensor))
        for tensor, name in names.items()
    }


def class_codes_when_fed(
    fed: Evaluation, own: Mapping[str, torch.Tensor], found: Array
) -> Array | None:
    """Codes of the first output where every tensor before it was forced.

    Args:
        fed: the reference, forced to what a run computed.
        own: that, from :func:`own_codes`.
        found: what the run's classes are read from. It tells which tensor that is: codes that were
            reshaped on the way out are known by their values.

    Returns:
        The shape of ``found``; None where the output is codes that moved in another way.
    """
    if isinstance(fed.outputs[0], torch.Tensor):
        return class_codes(fed)
    for tensor in reversed(list(fed.codes)):
        codes = own[tensor].numpy()
        if codes.size == found.size and not np.ptp(codes.reshape(found.shape) - found):
            return fed.codes[tensor].numpy().reshape(found.shape)
    return None
