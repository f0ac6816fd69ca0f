"""What files show of [bias]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Linear
from deployq.qparams import FloatArray, PerBlock
from deployq_targets.checks.weights import layers
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen, greatest, listed
from deployq_targets.words import BiasForm, BiasScaleRule

EQUAL = float(np.finfo(np.float32).eps)
"""Relative distance of two float32 products of the same numbers."""

ANOTHER = 1e-3
"""Relative distance from which a scale is no ``s_x s_w 2**k`` that was rounded on the way."""


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
        **_scale_rule([one for where, named, node in found for one in _ratio(where, named, node)]),
    }


class Ratio(NamedTuple):
    """A bias scale over ``s_x s_w``.

    Args:
        where: the layer.
        shift: k of the nearest ``2**k``, 0 or more.
        off: largest relative distance from that.
        scales: of the bias.
    """

    where: str
    shift: int
    off: float
    scales: FloatArray


def _ratio(where: str, named: NamedFile, node: Linear) -> Iterator[Ratio]:
    """One, where the file states a scale, and there is one for each scale of the weight."""
    x, weight = named.file.graph.qparams[node.inputs[0]], node.weight_qparams
    if node.bias_qparams is None or x.scale.ndim or isinstance(weight.granularity, PerBlock):
        return
    stated = node.bias_qparams.scale.astype(np.float64)
    product = np.asarray(x.scale * weight.scale, np.float64)
    if 1 in (stated.size, product.size) or stated.size == product.size:
        ratio = stated / product
        shift = max(0, int(np.rint(np.median(np.log2(ratio)))))
        yield Ratio(where, shift, float(np.abs(ratio / 2.0**shift - 1).max()), stated)


def _scale_rule(found: Sequence[Ratio]) -> Facts:
    """One shift of all layers, or one of each; operators without a stated scale have none."""
    if not found:
        return {"bias.scale_rule": Fact(BiasScaleRule.ACT_TIMES_WEIGHT.value, "the operators")}
    off = greatest(Seen(one.off, one.where) for one in found)
    if off.value > ANOTHER:
        own = all((np.frexp(one.scales)[0] == 0.5).all() for one in found)
        rule = BiasScaleRule.OWN_POW2 if own else BiasScaleRule.FREE
        return {"bias.scale_rule": Fact(rule.value, off.where)}
    shifts = listed(Seen(one.shift, one.where) for one in found)
    facts = _shift_rule(shifts)
    if off.value > EQUAL:
        facts["bias.scale_rtol"] = Fact(off.value, off.where)
    return facts


def _shift_rule(shifts: Fact) -> Facts:
    key, shown = "bias.scale_rule", f"2**k, k = {shifts.shown}"
    if len(shifts.value) > 1:
        return {key: Fact(BiasScaleRule.ACT_TIMES_WEIGHT_SHIFTED.value, shown)}
    if shifts.value == [0]:
        return {key: Fact(BiasScaleRule.ACT_TIMES_WEIGHT.value, shown)}
    rule = Fact(BiasScaleRule.ACT_TIMES_WEIGHT_POW2.value, shown)
    return {key: rule, "bias.scale_rule_exp": Fact(shifts.value[0], shown)}
