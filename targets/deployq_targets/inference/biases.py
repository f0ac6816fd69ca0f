"""What files show of [bias]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Linear
from deployq_targets.checks.weights import layers
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen, greatest, listed
from deployq_targets.words import BiasForm, BiasScaleRule

EQUAL = float(np.finfo(np.float32).eps)
"""Relative distance of two float32 products of the same numbers."""


def bias_facts(files: Sequence[NamedFile]) -> Facts:
    """Form, width and scale of the biases of layers.

    Raises:
        UnsupportedError: biases of several forms or widths, which no profile states.
    """
    found = [
        (named.at(node.name), named, node)
        for named in files for node in layers(named.file) if node.bias is not None
    ]  # fmt: skip
    if not found:
        return {"bias.form": Fact(BiasForm.NONE.value, "no layer has a bias")}
    forms = listed(
        Seen("float" if node.bias_type is None else f"int of {node.bias_type.bits} bits", where)
        for where, _, node in found
    )
    if len(forms.value) > 1:
        raise UnsupportedError(
            "bias.form",
            "a profile states one form of biases",
            found=forms.shown,
            allowed="biases of one form and width",
            next_step="draft a profile from the files of one form",
        )
    bias_type = found[0][2].bias_type
    if bias_type is None:
        return {"bias.form": Fact(BiasForm.FLOAT.value, forms.shown)}
    return {
        "bias.form": Fact(BiasForm.INT.value, forms.shown),
        "bias.bits": Fact(bias_type.bits, forms.shown),
        **_scale_rule([(where, *_ratio(named, node)) for where, named, node in found
                       if node.bias_scale is not None]),
    }  # fmt: skip


def _ratio(named: NamedFile, node: Linear) -> tuple[int, float]:
    """k of a bias scale ``s_x s_w 2**k``, and its largest relative distance from that."""
    product = named.file.graph.qparams[node.inputs[0]].scale * node.weight_qparams.scale
    ratio = np.asarray(node.bias_scale, np.float64) / np.asarray(product, np.float64)
    shift = max(0, int(np.rint(np.median(np.log2(ratio)))))
    return shift, float(np.abs(ratio / 2.0**shift - 1).max())


def _scale_rule(found: Sequence[tuple[str, int, float]]) -> Facts:
    """One shift of all layers, or one of each; operators without a stated scale have none."""
    if not found:
        return {"bias.scale_rule": Fact(BiasScaleRule.ACT_TIMES_WEIGHT.value, "the operators")}
    shifts = listed(Seen(shift, where) for where, shift, _ in found)
    rule = BiasScaleRule.ACT_TIMES_WEIGHT
    if len(shifts.value) > 1:
        rule = BiasScaleRule.ACT_TIMES_WEIGHT_SHIFTED
    elif shifts.value != [0]:
        rule = BiasScaleRule.ACT_TIMES_WEIGHT_POW2
    facts: Facts = {"bias.scale_rule": Fact(rule.value, f"2**k, k = {shifts.shown}")}
    if rule is BiasScaleRule.ACT_TIMES_WEIGHT_POW2:
        facts["bias.scale_rule_exp"] = Fact(shifts.value[0], shifts.shown)
    off = greatest(Seen(off, where) for where, _, off in found)
    if off.value > EQUAL:
        facts["bias.scale_rtol"] = Fact(off.value, off.where)
    return facts
