"""Rules between the types, widths, ranges, zero points and granularities of a profile."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qtypes import QType
from deployq_targets.profile import TargetProfile
from deployq_targets.rules.clash import Clash
from deployq_targets.tensors import Activation, Weight, WeightOnly, zero_points
from deployq_targets.words import ScaleForm, Sharing, Symmetry, ZeroPointWord

Numbers = Activation | Weight | WeightOnly


def _sections(profile: TargetProfile) -> Iterator[tuple[str, Numbers]]:
    yield "activation", profile.activation
    yield "weight", profile.weight
    if profile.weight.only:
        yield "weight.only", profile.weight.only


def types_have_a_listed_width(profile: TargetProfile) -> Iterator[Clash]:
    """Every type has a width that is listed in bits."""
    for key, section in _sections(profile):
        for name in section.types:
            if QType.parse(name).bits not in section.bits:
                widths = ", ".join(map(str, section.bits))
                yield Clash(f"{key}.types", name, f"types of {widths} bits", f"see {key}.bits")


def widths_have_a_type(profile: TargetProfile) -> Iterator[Clash]:
    """Every width in bits has a type."""
    for key, section in _sections(profile):
        typed = {QType.parse(name).bits for name in section.types}
        for bits in section.bits:
            if bits not in typed:
                allowed = ", ".join(map(str, sorted(typed)))
                yield Clash(f"{key}.bits", str(bits), allowed, f"add a type to {key}.types")


def weight_ranges_are_full_or_narrow(profile: TargetProfile) -> Iterator[Clash]:
    """A weight range is its type's full range, or narrow: without the lowest signed code."""
    for qtype in map(QType.parse, profile.weight.types):
        narrow = int(qtype.signed and qtype.bits > 1)
        lows = (qtype.qmin, qtype.qmin + narrow)
        low = profile.weight.qmin.get(qtype.bits, qtype.qmin)
        if low not in lows:
            allowed = " or ".join(map(str, sorted(set(lows))))
            yield Clash(f"weight.qmin.{qtype.bits}", str(low), f"{allowed} for {qtype.name}")
        high = profile.weight.qmax.get(qtype.bits, qtype.qmax)
        if high != qtype.qmax:
            yield Clash(f"weight.qmax.{qtype.bits}", str(high), f"{qtype.qmax} for {qtype.name}")


def tables_by_width_use_listed_widths(profile: TargetProfile) -> Iterator[Clash]:
    """A table keyed by width speaks only of widths that are listed in bits."""
    tables = (
        ("weight.qmin", profile.weight.qmin, profile.weight.bits),
        ("weight.qmax", profile.weight.qmax, profile.weight.bits),
        ("weight.sum_abs_max", profile.weight.sum_abs_max, profile.activation.bits),
    )
    for key, table, widths in tables:
        for bits in table:
            if bits not in widths:
                yield Clash(f"{key}.{bits}", str(bits), ", ".join(map(str, widths)))


def symmetric_weights_have_zero_point_zero(profile: TargetProfile) -> Iterator[Clash]:
    """Symmetric weights have zero point zero."""
    weight = profile.weight
    if weight.symmetry is Symmetry.SYMMETRIC and weight.zero_point not in (
        ZeroPointWord.ZERO,
        (0, 0),
    ):
        yield Clash("weight.zero_point", str(weight.zero_point), "zero", "or set weight.symmetry")


def symmetric_activations_fix_the_zero_point(profile: TargetProfile) -> Iterator[Clash]:
    """Symmetric activations have their zero point at code zero or at the middle code."""
    activation = profile.activation
    fixed = (ZeroPointWord.ZERO, ZeroPointWord.MID, (0, 0))
    if activation.symmetry is Symmetry.SYMMETRIC and activation.zero_point not in fixed:
        found = str(activation.zero_point)
        yield Clash("activation.zero_point", found, "zero, mid", "or set activation.symmetry")


def asymmetric_ranges_need_a_free_zero_point(profile: TargetProfile) -> Iterator[Clash]:
    """Asymmetric ranges need a zero point that can be chosen."""
    for key, section in (("activation", profile.activation), ("weight", profile.weight)):
        if section.symmetry is not Symmetry.ASYMMETRIC:
            continue
        for qtype in map(QType.parse, section.types):
            low, high = zero_points(section.zero_point, qtype)
            if low == high:
                yield Clash(
                    f"{key}.zero_point", f"only {low} for {qtype.name}", "any or [low, high]"
                )


def zero_points_are_codes(profile: TargetProfile) -> Iterator[Clash]:
    """A range of zero points holds at least one code of every type."""
    for key, section in (("activation", profile.activation), ("weight", profile.weight)):
        for bits in section.bits:
            for qtype in section.qtypes(bits):
                low, high = zero_points(section.zero_point, qtype)
                if low > high:
                    yield Clash(f"{key}.zero_point", str(section.zero_point), f"codes of {qtype}")


def exponent_ranges_belong_to_pow2_scales(profile: TargetProfile) -> Iterator[Clash]:
    """A range of scale exponents belongs to power-of-two scales."""
    for key, section in (("activation", profile.activation), ("weight", profile.weight)):
        if section.scale_exp_range and section.scale_form is not ScaleForm.POW2:
            found = f"{key}.scale_form = {section.scale_form}"
            yield Clash(f"{key}.scale_exp_range", found, f"{key}.scale_form = pow2")


def channel_scales_have_axes(profile: TargetProfile) -> Iterator[Clash]:
    """Per-channel weights and a table of channel axes need each other."""
    per_channel, axes = profile.weight_is_per_channel, profile.weight.axis
    if axes and not per_channel:
        found = f"axes of {', '.join(axes)} without per-channel weights"
        yield Clash("weight.axis", found, "none", "add channel to weight.granularity")
    if per_channel and not axes:
        yield Clash("weight.axis", "none", "{ Conv = 0 }", "name the axis for each operator")


def block_scales_have_sizes(profile: TargetProfile) -> Iterator[Clash]:
    """Per-block weights and a list of block sizes need each other."""
    weight = profile.weight
    if (Sharing.BLOCK in weight.granularity) != bool(weight.block_sizes):
        sharing = ", ".join(weight.granularity)
        yield Clash(
            "weight.block_sizes",
            f"{list(weight.block_sizes)} with granularity {sharing}",
            "sizes with granularity block, none without",
        )


def fixed_outputs_are_codes(profile: TargetProfile) -> Iterator[Clash]:
    """A fixed output has an activation type, and its zero point is a code of it."""
    for op_type, by_type in profile.activation.fixed_output.items():
        for name, output in by_type.items():
            key, qtype = f"activation.fixed_output.{op_type}.{name}", QType.parse(name)
            if name not in profile.activation.types:
                yield Clash(key, name, ", ".join(profile.activation.types))
            elif not qtype.qmin <= output.zero_point <= qtype.qmax:
                yield Clash(f"{key}.zero_point", str(output.zero_point), str(qtype))


def edge_widths_are_activation_widths(profile: TargetProfile) -> Iterator[Clash]:
    """First and last tensors have a width that activations can have."""
    io, widths = profile.activation.io, profile.activation.bits
    for key, bits in (("first_bits", io.first_bits), ("last_bits", io.last_bits)):
        if bits is not None and bits not in widths:
            yield Clash(f"activation.io.{key}", str(bits), ", ".join(map(str, widths)))


def edge_weights_have_a_listed_width(profile: TargetProfile) -> Iterator[Clash]:
    """The first and last layers' weights have a width of weight.bits, and layers may differ."""
    weight, key = profile.weight, "weight.edge_bits"
    if weight.edge_bits is None:
        return
    if weight.edge_bits not in weight.bits:
        yield Clash(key, str(weight.edge_bits), ", ".join(map(str, weight.bits)))
    if not weight.bits_per_layer:
        yield Clash(key, "weight.bits_per_layer = false", "absent", f"drop {key}")


RULES = (
    types_have_a_listed_width,
    widths_have_a_type,
    weight_ranges_are_full_or_narrow,
    tables_by_width_use_listed_widths,
    symmetric_weights_have_zero_point_zero,
    symmetric_activations_fix_the_zero_point,
    asymmetric_ranges_need_a_free_zero_point,
    zero_points_are_codes,
    exponent_ranges_belong_to_pow2_scales,
    channel_scales_have_axes,
    block_scales_have_sizes,
    fixed_outputs_are_codes,
    edge_widths_are_activation_widths,
    edge_weights_have_a_listed_width,
)
