"""Operators whose arithmetic the profile states and the simulator does not carry.

They are refused when a model is prepared, before time is spent on calibration and training: the
golden vectors of a bundle need the target's arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.form_names import KIND
from deployq.arithmetic.form_words import unobeyed
from deployq.arithmetic.row_operators import ROW_OPERATORS, in_integers
from deployq.errors import UnsupportedError
from deployq_targets import TargetProfile
from deployq_targets.words import OpStatus

COMPUTING = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool",
    "Concat", *ROW_OPERATORS,
)  # fmt: skip
"""Operators that requantize; Concat where its inputs may have other parameters than its output,
those along rows where they are in integers.
"""


def refuse_unsimulated(operators: Mapping[str, str], profile: TargetProfile) -> None:
    """Refuse the first operator of a model that the target's arithmetic cannot be simulated for.

    Args:
        operators: name of each tensor to the operator that computes it, as :func:`unsimulated`
            takes it.

    Raises:
        UnsupportedError: names the tensor and the word.
    """
    for name, operator in operators.items():
        word = unsimulated(profile, operator)
        if word:
            raise UnsupportedError(
                name,
                f"the arithmetic that {profile.name} states for {operator} can be simulated",
                found=word,
                allowed="words that the simulator obeys",
                next_step="choose a target without this word, or a network without the operator",
            )


def unsimulated(profile: TargetProfile, operator: str) -> str:
    """The words of an operator's requantization that nothing obeys; "" where there are none.

    Args:
        operator: an ONNX type, or a kind of one (see ``form_names``).
    """
    base, stated = operator.partition(KIND)[0], profile.requant.by_op
    moves = operator == "Concat" and operator in profile.graph.same_qparams
    if base not in COMPUTING or moves:
        return ""
    form: Form = profile.contract().form(operator)
    if operator in ROW_OPERATORS and not in_integers(operator, form):
        return ""
    own = next((name for name in (operator, base) if name in stated), "")
    prefix = f"requant.by_op.{own}" if own else "requant"
    words = (
        [f"kind = {form.kind.value}"] if form.kind is Kind.VENDOR else [*unobeyed(operator, form)]
    )
    return ", ".join(f"{prefix}.{word}" for word in words)


def unsimulated_operators(profile: TargetProfile) -> dict[str, str]:
    """Operator to words, for all that the target runs and the simulator refuses."""
    runs = {rule.type for rule in profile.op if rule.status is not OpStatus.UNSUPPORTED}
    found = {operator: unsimulated(profile, operator) for operator in COMPUTING if operator in runs}
    return {operator: word for operator, word in found.items() if word}
