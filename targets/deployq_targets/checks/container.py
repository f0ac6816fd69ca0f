"""Rules on the file as a container: versions, types, how parameters are written."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qtypes import QType
from deployq_targets.checks.facts import TYPES, CheckedFile
from deployq_targets.checks.finding import Breach, Rule
from deployq_targets.checks.weights import layers
from deployq_targets.profile import TargetProfile
from deployq_targets.words import Subbyte, ZeroPointInput


def opset(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The opset lies between {container.opset_min} and {container.opset_max}."""
    low, high = profile.container.opset_min, profile.container.opset_max
    if file.opset < low or (high is not None and file.opset > high):
        allowed = f"{low}..{high}" if high else f"{low} and more"
        change = f"convert the file to opset {profile.container.opset_prefer}"
        yield Breach("", "", str(file.opset), allowed, change)


def ir_version(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The IR version is at most {container.ir_max}."""
    limit, found = profile.container.ir_max, file.model.ir_version
    if limit is not None and found > limit:
        yield Breach("", "", str(found), f"up to {limit}", f"save the file with IR version {limit}")


def integer_types(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Integer tensors have one of the types {container.int_types}."""
    held = profile.container.int_types
    stored = {border.tensor for border in file.borders if border.stored}
    for name, tensor in file.constants.items():
        found = TYPES.get(tensor.data_type)
        if name in stored and found not in held:
            change = "store the codes in a wider container, or quantize to fewer or more bits"
            yield Breach("", name, str(found), ", ".join(held), change)
    for name, qtype in file.activations.items():
        if qtype.name not in held:
            yield Breach(
                file.makers[name].name if name in file.makers else "", name, qtype.name,
                ", ".join(held), "quantize this tensor to a type of the list",
            )  # fmt: skip


def narrow_storage(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Codes under 8 bits are stored as {container.subbyte}: in types of their own, or in bytes."""
    if profile.container.subbyte is not Subbyte.NATIVE:
        for tensor, qtype in _narrow_tensors(file):
            change = f"store the codes as {profile.container.holder(qtype).name}"
            yield Breach("", tensor, qtype.name, "types of 8 bits", change)
        return
    widest = max(QType(bits, True).container.bits for bits in profile.weight.bits)
    for node in layers(file):
        found = node.weight_qparams.qtype
        if widest < 8 and found.bits > widest:
            change = f"store the codes in a type of {widest} bits"
            yield Breach(
                node.name, f"{node.name}.weight", found.name, f"up to {widest} bits", change
            )


def _narrow_tensors(file: CheckedFile) -> Iterator[tuple[str, QType]]:
    """Stored and computed codes in types under 8 bits, once each."""
    stored = dict.fromkeys(border.tensor for border in file.borders if border.stored)
    names = {name: TYPES.get(file.constants[name].data_type) for name in stored}
    found = {name: QType.parse(text) for name, text in names.items() if text is not None}
    return ((name, t) for name, t in (found | dict(file.activations)).items() if t.bits < 8)


def scalar_rank(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """A scale of a whole tensor has rank {container.scalar_rank}, and so its zero point."""
    rank = profile.container.scalar_rank
    for border in file.borders:
        if border.channels == 1:  # a scale for each channel, of which there is one
            continue
        for array in (border.scale, border.zero_point):
            if rank is not None and array is not None and array.size == 1 and array.ndim != rank:
                shape = "[]" if rank == 0 else "[1]"
                yield Breach(
                    border.node, border.tensor, f"shape {list(array.shape)}", f"shape {shape}",
                    f"reshape scale and zero point to {shape}",
                )  # fmt: skip
                break


def zero_point_input(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The zero-point input of QuantizeLinear and DequantizeLinear is
    {container.zero_point_input}.
    """
    stated = profile.container.zero_point_input
    for border in file.borders:
        if stated is ZeroPointInput.REQUIRED and not border.has_zero_point:
            change = "add a zero point of 0 in the type of the codes"
            yield Breach(border.node, border.tensor, "absent", "present", change)
        if stated is ZeroPointInput.OMIT and border.has_zero_point:
            change = "leave the input out where it is 0, or quantize symmetrically"
            yield Breach(border.node, border.tensor, "present", "absent", change)


def own_initializers(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Each DequantizeLinear has stored codes of its own: {graph.unique_initializers}."""
    if not profile.graph.unique_initializers:
        return
    readers: dict[str, list[str]] = {}
    for border in file.borders:
        if border.stored:
            readers.setdefault(border.tensor, []).append(border.node)
    for tensor, nodes in readers.items():
        if len(nodes) > 1:
            change = "store the codes once for each DequantizeLinear"
            yield Breach(nodes[1], tensor, f"read by {', '.join(nodes)}", "one reader", change)


def integer_tensors(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The file has integer tensors: without any, no rule on them says anything."""
    if not file.activations:
        change = "quantize the network: deployq export, or another tool"
        yield Breach("", "", "no integer tensors", "codes and their scales", change)


RULES = (
    Rule(
        "integer-tensors", integer_tensors, (),
        "An integer runtime needs integers.",
        "A float file that was never quantized.",
    ),
    Rule(
        "opset", opset, ("container.opset_min", "container.opset_max"),
        "A vendor's parser knows the operators of some ONNX releases; Q and DQ gained types and "
        "attributes with opsets 13, 19, 21, 23 and 25.",
        "A file of opset 21 for a parser that ends at 19.",
    ),
    Rule(
        "ir-version", ir_version, ("container.ir_max",),
        "A parser refuses files of an IR version newer than itself before it looks inside.",
        "A file saved by today's onnx package for a runtime of last year.",
    ),
    Rule(
        "integer-types", integer_types, ("container.int_types",),
        "The weight decoder and the activation memory have ports of these widths; other types are "
        "refused, or computed in float.",
        "INT4 weights for a parser that knows only INT8.",
    ),
    Rule(
        "narrow-storage", narrow_storage, ("container.subbyte", "weight.bits"),
        "Some parsers know only bytes and take the width from a Clip or a flag; others unpack.",
        "INT4 tensors for a converter that wants 4-bit codes in int8.",
    ),
    Rule(
        "scalar-rank", scalar_rank, ("container.scalar_rank",),
        "Some parsers take a scale of one element as per tensor, others as per channel with one "
        "channel, which the fused kernel then refuses.",
        "A scale of shape [1] where the runtime wants shape [].",
    ),
    Rule(
        "zero-point-input", zero_point_input, ("container.zero_point_input",),
        "Where the input is missing, a runtime takes the type uint8, whatever the neighbours are.",
        "A QuantizeLinear with two inputs before a Reshape.",
    ),
    Rule(
        "own-initializers", own_initializers, ("graph.unique_initializers",),
        "A fusion that packs weights for its kernel moves them; a second reader then has none.",
        "Two DequantizeLinear nodes that read one weight.",
    ),
)  # fmt: skip
