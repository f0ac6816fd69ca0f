"""Which codes the input of a layer can hold, as far as graph and grid say."""

from __future__ import annotations

from math import isinf

import numpy as np
from torch import fx

from deployq import affine
from deployq.arithmetic.intervals import Interval
from deployq.graph.integers import LinearCall, grid_of
from deployq.graph.operators import aten, clamp_bounds, is_movement
from deployq.graph.preparation import PreparedModel
from deployq.graph.rewrites.rule import argument, calls
from deployq.qparams import QParams


def code_bounds(low: float, high: float, qparams: QParams) -> tuple[int, int]:
    """The codes that real bounds leave."""
    limit = np.finfo(np.float32).max
    reals = np.clip(np.array([low, high]), -limit, limit).astype(np.float32)
    codes = affine.quantize(reals, qparams)
    return int(codes[0]), int(codes[1])


def input_values(prepared: PreparedModel, call: LinearCall) -> Interval:
    """Codes of a layer's input less their zero point; 0, that of padding, is among them.

    A clamp that is kept before the grid narrows its type; what a file says of further operators
    (``deployq.qgraph.ranges``) is inside this interval.

    Raises:
        InputError: the grid is not calibrated.
        UnsupportedError: the input is on no grid.
    """
    grid = grid_of(prepared.module, call.source)
    low, high = code_bounds(*_reals(prepared.module, call.source), grid)
    return Interval(low, high).moved(-int(grid.zero_point)).hull(Interval(0, 0))


def _reals(module: fx.GraphModule, node: fx.Node) -> tuple[float, float]:
    """Bounds of what the quantizer behind a chain of movements sees."""
    free = float("-inf"), float("inf")
    while is_movement(module, node):
        if calls(node, aten.pad.default) and isinf(argument(node, 3, "value") or 0.0):
            return free
        node = node.all_input_nodes[0]
    return clamp_bounds(node.all_input_nodes[0]) or free
