"""Rules on what shares a scale in a stored weight: the axis, and blocks."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qparams import PerBlock, PerChannel
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule, value_text
from deployq_targets.checks.stored_weights import StoredWeight
from deployq_targets.profile import TargetProfile
from deployq_targets.tensors import Weight, WeightOnly
from deployq_targets.words import BlockAxis, Sharing


def weight_axis(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Channel scales of weights lie along the axis {weight.axis}."""
    axes = profile.weight.axis
    for weight in file.weights:
        if not axes or not file.reads_codes(weight.node):
            continue
        if not isinstance(weight.granularity, PerChannel):
            continue
        found, stated = weight.granularity.axis, axes.get(weight.op_type)
        if stated is None:
            allowed, change = f"one scale for {weight.op_type}", "quantize this layer per tensor"
        else:
            axis = weight.output_axis if stated == "n" else stated % len(weight.shape)
            allowed, change = f"axis {axis}", f"quantize this weight along axis {axis}"
        if allowed != f"axis {found}":
            yield Breach(weight.node, weight.tensor, f"axis {found}", allowed, change)


def block_size(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """A block of a weight has one of these numbers of elements: {weight.block_sizes}; under
    activations in reals: {weight.only.block_sizes}.
    """
    for weight, blocks, section in _blocked(file, profile):
        if blocks.block_size not in section.block_sizes:
            change = "give all blocks of a channel one scale"
            if section.block_sizes:
                nearest = min(section.block_sizes, key=lambda size: abs(size - blocks.block_size))
                change = f"quantize this weight in blocks of {nearest}"
            yield Breach(
                weight.node, weight.tensor, f"blocks of {blocks.block_size}",
                value_text(section.block_sizes), change,
            )  # fmt: skip


def block_axis(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Weights are cut into blocks along the summed axis (k) or the output channels (n):
    {weight.block_axis}; under activations in reals: {weight.only.block_axis}.
    """
    for weight, blocks, section in _blocked(file, profile):
        outputs = blocks.axis == weight.output_axis
        found = BlockAxis.N if outputs else BlockAxis.K
        if section.block_sizes and found is not section.block_axis:
            words = {BlockAxis.K: "a summed axis", BlockAxis.N: "the output channels"}
            yield Breach(
                weight.node, weight.tensor, f"axis {blocks.axis}: {words[found]}",
                words[section.block_axis], f"cut this weight along {words[section.block_axis]}",
            )  # fmt: skip


def block_tail(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The last block of a weight may be shorter: {weight.block_tail}; under activations in reals:
    {weight.only.block_tail}.
    """
    for weight, blocks, section in _blocked(file, profile):
        extent = weight.shape[blocks.axis]
        if section.block_sizes and not section.block_tail and extent % blocks.block_size:
            yield Breach(
                weight.node, weight.tensor,
                f"{extent} elements in blocks of {blocks.block_size}", "whole blocks",
                "choose a size that divides the axis, or fill it with zeros",
            )  # fmt: skip


def weight_only(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Operators that take codes as weights under activations in reals:
    {weight.only.op_types}; types of these codes: {weight.only.types}.
    """
    section = profile.weight.only
    for weight in file.weights:
        if file.reads_codes(weight.node):
            continue
        found, change = f"{weight.qtype.name} weights", "quantize the activations as well"
        if section is None:
            yield Breach(weight.node, weight.tensor, found, "weights in reals", change)
        elif weight.op_type not in section.op_types:
            allowed = value_text(section.op_types)
            yield Breach(
                weight.node, weight.tensor, f"{found} of {weight.op_type}", allowed, change
            )
        elif weight.qtype.name not in section.types:
            change = "quantize this weight to a type of the list"
            yield Breach(weight.node, weight.tensor, found, value_text(section.types), change)


def _blocked(
    file: CheckedFile, profile: TargetProfile
) -> Iterator[tuple[StoredWeight, PerBlock, Weight | WeightOnly]]:
    """Weights in blocks with the section that speaks of them; where blocks, or such weights, are
    not taken at all, other rules say so.
    """
    for weight in file.weights:
        if not isinstance(weight.granularity, PerBlock):
            continue
        if not file.reads_codes(weight.node):
            if profile.weight.only is not None:
                yield weight, weight.granularity, profile.weight.only
        elif Sharing.BLOCK in profile.weight.granularity:
            yield weight, weight.granularity, profile.weight


RULES = (
    Rule(
        "weight-axis", weight_axis, ("weight.axis",),
        "The multiplier registers belong to output channels; a scale along another axis cannot "
        "leave the sum.",
        "Conv weights with a scale for each input channel.",
    ),
    Rule(
        "block-size", block_size, ("weight.block_sizes", "weight.only.block_sizes"),
        "A scale is applied where the adder tree has summed one block.",
        "Blocks of 8 where the kernel begins at 16.",
    ),
    Rule(
        "block-axis", block_axis, ("weight.block_axis", "weight.only.block_axis"),
        "Partial sums are scaled along the axis that is summed; scales along the other axis lie "
        "elsewhere in memory.",
        "A MatMul weight in blocks of output channels.",
    ),
    Rule(
        "block-tail", block_tail, ("weight.block_tail", "weight.only.block_tail"),
        "The sequencer counts whole blocks.",
        "100 inputs in blocks of 32.",
    ),
    Rule(
        "weight-only", weight_only,
        ("weight.only.bits", "weight.only.types", "weight.only.op_types"),
        "Weights that are unpacked into a float kernel need an unpacker for their type, in that "
        "kernel.",
        "INT4 weights of a Conv that reads reals.",
    ),
)  # fmt: skip
