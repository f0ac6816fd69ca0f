"""What no file shows: the question to ask, and the placeholder where the schema needs a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployq.arithmetic.contract import Kind, Overflow
from deployq_targets.inference.fact import Fact, Question
from deployq_targets.rules.arithmetic import VENDOR
from deployq_targets.words import ReluFusion, Sharing, Symmetry, TargetKind, ZeroPointWord

ASKED = (
    Question("kind", "what sort of thing runs the model?", TargetKind.GENERIC.value),
    Question("accumulator.overflow", "does a sum beyond the register wrap or saturate, or must it "
             "never occur?", Overflow.REJECT.value),
    Question("requant.kind", "how do sums become codes: by a float32 factor, a fixed multiplier "
             "and a shift, a shift alone, thresholds?", Kind.VENDOR.value),
    Question("requant.rounding", "how does the last step round, with ties and negative values?",
             VENDOR),
    Question("graph.relu_fusion", "does a Relu or Clip behind a layer cost nothing always, or only "
             "where saturation does the same?", ReluFusion.RANGE_REDUNDANT.value),
    Question("graph.residual", "may both branches of a sum have codes, or only the skip branch?"),
    Question("graph.require_output_q", "does an operator run in integers only where its output is "
             "quantized?"),
    Question("container.vendor_format", "does the vendor's tool read this file, or one converted "
             "from it?"),
    Question("container.layout", "has an image on the chip its channels first or last?"),
    Question("memory", "how many bytes on the chip hold weights, biases and activations?"),
    Question("align", "to multiples of what are channels computed?"),
    Question("limits", "how many layers, parameters and multiply-accumulates may a model have?"),
    Question("compute", "how many multiply-accumulates a cycle, and at which clock?"),
    Question("verify.tool", "which tool runs or builds a model without the device?"),
)  # fmt: skip

SINGLE = 32
"""Bits of the accumulator that most chips have; a product of wider operands needs twice that."""


def questions(facts: Mapping[str, Fact]) -> Iterator[Question]:
    """Every question that the facts leave open."""
    bits = 2 * max(facts["activation.bits"].value)
    if "weight.types" not in facts:
        types, widths = facts["activation.types"].value, facts["activation.bits"].value
        text = "what weights do layers have? the files have no layer on codes"
        yield Question("weight.types", text, types)
        yield Question("weight.bits", "how wide are they?", widths)
        yield Question("weight.symmetry", "are their ranges symmetric?", Symmetry.ANY.value)
        yield Question("weight.zero_point", "have they zero points?", ZeroPointWord.ANY.value)
        yield Question("weight.granularity", "what shares a scale?", [Sharing.TENSOR.value])
    else:
        bits = max(facts["activation.bits"].value) + max(facts["weight.bits"].value)
    width = SINGLE if bits < SINGLE - 1 else 2 * SINGLE
    yield Question("accumulator.bits", "how wide is the register of the sums of products?", width)
    yield from (question for question in ASKED if question.key not in facts)
