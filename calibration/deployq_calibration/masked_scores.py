"""Scores that a mask took out of a Softmax: a range for them would leave none for the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from deployq.graph.masks import MASK
from deployq.graph.preparation import PreparedModel, quantizer_path
from deployq.graph.rewrites.last_axis_softmax import is_softmax


def masked_scores(prepared: PreparedModel) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """What of their values counts, for the grids that nothing but a Softmax reads."""
    bits = {grid.name: grid.qtype.bits for grid in prepared.plan.tensors}
    grids = {quantizer_path("activations", name): name for name in bits}
    calls: dict[str, list[bool]] = {}
    for node in prepared.module.graph.nodes:
        if node.op == "call_module" and node.target in grids:
            read = bool(node.users) and all(is_softmax(user) for user in node.users)
            calls.setdefault(grids[str(node.target)], []).append(read)
    return {name: partial(without_masked, bits=bits[name]) for name, c in calls.items() if all(c)}


def without_masked(scores: Tensor, bits: int) -> Tensor:
    """Scores, of which those that a mask took out lie just as low as they must.

    Those at least 50 below the largest of their row have a share of less than 1e-20 (``MASK``).
    They are raised to where all keys together would have half a step of ``bits``:
    ``largest - log(keys * 2 ** (bits + 1))``. Lower ones saturate there. Nothing else changes.

    Args:
        scores: (..., queries, keys).
    """
    largest = scores.amax(-1, keepdim=True)
    floor = largest - math.log(scores.shape[-1] * 2 ** (bits + 1))
    return scores.where(scores > largest + MASK, floor)
