"""Rules on codes that are counted by thresholds."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.arithmetic.contract import Kind
from deployq.arithmetic.form_names import KIND
from deployq.arithmetic.thresholds import COUNTED_BITS
from deployq_targets.profile import TargetProfile
from deployq_targets.rules.clash import Clash
from deployq_targets.rules.requant import POOLS, PRODUCTS
from deployq_targets.words import OpStatus

OTHERS = ("Add", "Mul", *POOLS, "Concat")
"""Operators beside layers that requantize; Concat where its inputs have other parameters."""


def thresholds_belong_to_layers(profile: TargetProfile) -> Iterator[Clash]:
    """Thresholds make codes of Conv, ConvTranspose, Gemm, MatMul; others state another kind."""
    own, moved = profile.requant.by_op, profile.graph.same_qparams
    others = [op for op in OTHERS if op != "Concat" or op not in moved]
    run = [op for op in others if profile.op_status(op) is OpStatus.INTEGER]
    for op_type in dict.fromkeys((*run, *own)):
        kind = profile.requant.for_op(op_type).kind
        if kind is Kind.THRESHOLDS and op_type.partition(KIND)[0] not in PRODUCTS:
            stated = "" if op_type in own else ", as [requant] says"
            yield Clash(f"requant.by_op.{op_type}", f"kind thresholds{stated}", "another kind",
                        f"state the kind of {op_type} there")  # fmt: skip


def thresholds_are_few(profile: TargetProfile) -> Iterator[Clash]:
    """Thresholds make codes of 8 bits at most: a channel has 2**bits - 1 of them."""
    bits = profile.activation.bits
    for key, requant in profile.requant.each():
        if requant.kind is Kind.THRESHOLDS and min(bits) > COUNTED_BITS:
            found = f"thresholds with activation.bits = {list(bits)}"
            yield Clash(f"{key}.kind", found, f"activations of {COUNTED_BITS} bits or fewer")


RULES = (thresholds_belong_to_layers, thresholds_are_few)
