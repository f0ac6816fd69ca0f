"""Rules between the container, its opsets, and the entries of [[op]]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from deployq.arithmetic.form_names import KIND
from deployq.qtypes import QType
from deployq_targets.profile import CONTAINER_OPSETS, TargetProfile
from deployq_targets.rules.clash import Clash
from deployq_targets.tensors import BIAS_FILE_BITS, zero_points
from deployq_targets.words import BiasForm, OpStatus, Subbyte


def container_holds_the_types(profile: TargetProfile) -> Iterator[Clash]:
    """The file may hold every type that the profile declares, in the type's own container."""
    held = profile.container.int_types
    for key, name in _declared_types(profile):
        needed = profile.container.holder(QType.parse(name))
        if needed.name not in held:
            step = f"add {needed.name} to container.int_types"
            yield Clash(f"{key}", f"{name} in a tensor of {needed.name}", ", ".join(held), step)


def _declared_types(profile: TargetProfile) -> Iterator[tuple[str, str]]:
    yield from (("activation.types", name) for name in profile.activation.types)
    yield from (("weight.types", name) for name in profile.weight.types)
    if profile.weight.only:
        yield from (("weight.only.types", name) for name in profile.weight.only.types)
    if profile.bias.form is BiasForm.INT:
        yield "bias.bits", f"s{min(profile.bias.bits, BIAS_FILE_BITS)}"


def containers_are_onnx_types(profile: TargetProfile) -> Iterator[Clash]:
    """ONNX has integer tensors of 2, 4, 8, 16 and 32 bits."""
    for name in profile.container.int_types:
        if QType.parse(name).bits not in CONTAINER_OPSETS:
            allowed = ", ".join(map(str, CONTAINER_OPSETS))
            yield Clash("container.int_types", name, f"types of {allowed} bits")


def opsets_are_in_order(profile: TargetProfile) -> Iterator[Clash]:
    """The preferred opset lies between the lowest and the highest."""
    container = profile.container
    low, high = container.opset_min, container.opset_max
    above = high is not None and container.opset_prefer > high
    if container.opset_prefer < low or above:
        allowed = f"{low} to {high}" if high else f"{low} and more"
        yield Clash("container.opset_prefer", str(container.opset_prefer), allowed)


def containers_exist_in_the_opset(profile: TargetProfile) -> Iterator[Clash]:
    """The highest opset has the tensor types: 2 bits since 25, 4 and 16 bits since 21."""
    container = profile.container
    for name in container.int_types:
        needed = CONTAINER_OPSETS.get(QType.parse(name).bits, 0)
        narrow = QType.parse(name).bits < 8
        if narrow and container.subbyte is not Subbyte.NATIVE:
            continue
        if container.opset_max is not None and container.opset_max < needed:
            yield Clash(
                "container.opset_max",
                f"{container.opset_max} with {name}",
                f"{needed} and more",
                "drop the type" + (", or set container.subbyte" if narrow else ""),
            )


def only_children_leave_out(profile: TargetProfile) -> Iterator[Clash]:
    """Only a profile with a parent can leave out what the parent states."""
    if profile.without and profile.extends is None:
        yield Clash("without", ", ".join(profile.without), "nothing without extends")


def op_entries_are_unique(profile: TargetProfile) -> Iterator[Clash]:
    """An operator has one entry for each group."""
    counts = Counter((rule.type, rule.group) for rule in profile.op)
    for (op_type, group), count in counts.items():
        if count > 1:
            yield Clash(f"op.{op_type}", f"{count} entries for group {group}", "1", "join them")


def op_widths_are_declared(profile: TargetProfile) -> Iterator[Clash]:
    """An operator takes only widths and types that the profile declares."""
    activation, weight = profile.activation, profile.weight
    for rule in profile.op:
        for key, taken, declared in (
            ("act_bits", rule.act_bits, activation.bits),
            ("act_types", rule.act_types, activation.types),
            ("weight_bits", rule.weight_bits, weight.bits),
        ):
            for value in sorted(map(str, set(taken or ()) - set(declared))):
                yield Clash(f"op.{rule.type}.{key}", value, ", ".join(map(str, declared)))


def factors_are_those_of_products(profile: TargetProfile) -> Iterator[Clash]:
    """Only MatMul multiplies activations, which have a zero point that both sections allow."""
    types = [QType.parse(name) for name in profile.activation.types]
    stating = [(rule, *fact) for rule in profile.op for fact in rule.factors(1).items()]
    for rule, key, stated in stating:
        where = f"op.{rule.type}.{key}"
        if rule.type != "MatMul":
            yield Clash(where, rule.type, "MatMul")
        pairs = [(profile.activation_zero_points(t), zero_points(stated, t)) for t in types]
        if all(max(a[0], b[0]) > min(a[1], b[1]) for a, b in pairs):
            yield Clash(
                where, str(stated), f"activation.zero_point {profile.activation.zero_point}"
            )


def forms_belong_to_integer_ops(profile: TargetProfile) -> Iterator[Clash]:
    """A requantization of its own is for an operator that runs in integers."""
    for op_type in profile.requant.by_op:
        status = profile.op_status(op_type.partition(KIND)[0])
        if status not in (OpStatus.INTEGER, OpStatus.VENDOR):
            yield Clash(f"requant.by_op.{op_type}", f"status {status}", "integer, vendor")


RULES = (
    container_holds_the_types,
    containers_are_onnx_types,
    opsets_are_in_order,
    containers_exist_in_the_opset,
    only_children_leave_out,
    op_entries_are_unique,
    op_widths_are_declared,
    factors_are_those_of_products,
    forms_belong_to_integer_ops,
)
