"""Functions that a target has no integer form of, said by operators that it has.

A function in float between two grids is a pass in float32, or has no place on the target at all.
Each rewrite is equal up to float32 rounding; on codes its parts round once more.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from deployq.graph.lacking import hard_sigmoid_to_layer, hard_swish_to_mul, window_to_global
from deployq.graph.operators import onnx_type
from deployq.graph.rewrites.rule import Rewrite
from deployq_targets import TargetProfile
from deployq_targets.words import Group, OpStatus

RULES: tuple[tuple[str, Rewrite], ...] = (
    ("HardSwish", hard_swish_to_mul.RULE),  # first: its gate is a HardSigmoid
    ("HardSigmoid", hard_sigmoid_to_layer.RULE),
)
"""By the ONNX operator that may be lacking."""
POOL, GLOBAL = "AveragePool", "GlobalAveragePool"


def say_by_others(module: fx.GraphModule, profile: TargetProfile) -> None:
    """Rewrite, in place, the functions that a target would compute in float or not at all.

    A target whose results need no codes (``graph.require_output_q``) computes a function on the
    reals of the layer before it, and keeps it. An average with one window for the whole map is a
    global one where the target has that alone.
    """
    for operator, rule in _wanted(profile):
        for node in list(module.graph.nodes):
            if onnx_type(module, node) == operator and rule.match(module, node):
                rule.rewrite(module, node)
    module.graph.lint()
    module.recompile()


def _wanted(profile: TargetProfile) -> Iterator[tuple[str, Rewrite]]:
    lacks = profile.op_status(POOL) is not OpStatus.INTEGER
    if lacks and profile.op_status(GLOBAL) is OpStatus.INTEGER:
        yield POOL, window_to_global.RULE
    if not profile.graph.require_output_q or not _convolves(profile):
        return
    for operator, rule in RULES:
        if profile.op_status(operator) not in (OpStatus.INTEGER, OpStatus.VENDOR):
            yield operator, rule


def _convolves(profile: TargetProfile) -> bool:
    return profile.op_status("Conv", Group.DEPTHWISE) is OpStatus.INTEGER
