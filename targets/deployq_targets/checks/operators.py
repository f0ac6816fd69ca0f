"""Rules on operators: which there are, where they run, and their shapes."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qgraph.nodes import Dequantize, Float, Linear, MatMul, Node, Quantize, Rescale
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule, Severity, value_text
from deployq_targets.checks.forms import zero_point_breach
from deployq_targets.checks.shapes import group_of, operator_shape
from deployq_targets.profile import TargetProfile
from deployq_targets.shape_limits import breach, states_limits
from deployq_targets.words import OpStatus, Residual


def operator(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The target has every operator of the file; what it does not list is {graph.unlisted_ops}."""
    for node in _computing(file):
        if profile.op_status(node.op_type, group_of(node)) is OpStatus.UNSUPPORTED:
            listed = sorted({rule.type for rule in profile.op if rule.status is OpStatus.INTEGER})
            yield Breach(
                node.name, node.output, node.op_type, value_text(listed),
                "replace the operator, or run it beside the target",
            )  # fmt: skip


def float_operator(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """An operator on reals runs where the target computes in float."""
    for node in file.graph.in_reals:
        status = profile.op_status(node.op_type)
        elsewhere = status.computes_in_float or profile.runs_floats
        if not elsewhere and not _ends_in_reals(file, node, profile):
            yield Breach(
                node.name, node.output, f"{node.op_type} on reals", "operators on codes",
                "quantize its inputs and outputs, or cut it off and run it elsewhere",
            )  # fmt: skip


def leaves_the_target(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """An operator that the target runs in float or on its host costs time and two conversions."""
    for node in _computing(file):
        status = _status(node, profile)
        in_float = not node.writes_codes and profile.runs_floats
        if status.computes_in_float or (in_float and not _ends_in_reals(file, node, profile)):
            yield Breach(
                node.name, node.output, f"{node.op_type} runs as {_where(node, status)}",
                "integer operators", "replace the operator where speed matters",
            )  # fmt: skip


def _status(node: Node, profile: TargetProfile) -> OpStatus:
    """Where a node runs; arrays with stored weights leave products of activations to the host."""
    if isinstance(node, MatMul) and profile.weight.constant:
        return profile.unlisted_status
    return profile.op_status(node.op_type, group_of(node))


def _ends_in_reals(file: CheckedFile, node: Node, profile: TargetProfile) -> bool:
    """A layer on codes, or a product of two, that needs no Q behind it to run in integers."""
    stored = node.name in {weight.node for weight in file.weights}
    product = isinstance(node, MatMul) or (stored and file.reads_codes(node.name))
    may_end = not profile.graph.require_output_q or node.op_type in profile.graph.real_outputs
    return product and may_end


def _where(node: Node, status: OpStatus) -> str:
    return "float" if not node.writes_codes and status is OpStatus.INTEGER else status.value


def operator_shapes(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Kernels, strides, dilations, pads, channels and extents are within their [[op]] entry."""
    for node in _computing(file):
        rule = profile.op_rule(node.op_type, group_of(node))
        if rule is None or rule.status is not OpStatus.INTEGER or not states_limits(rule):
            continue
        shape = operator_shape(file, node)
        if shape is None:
            yield Breach(
                node.name, node.output, "an extent that is not known", "known extents",
                "fix every size but the batch",
            )  # fmt: skip
            continue
        beyond = breach(shape, rule)
        if beyond is not None:
            yield Breach(
                node.name, node.output, f"{beyond.key.rpartition('.')[2]} {beyond.found}",
                beyond.allowed, f"change the operator: {beyond.rule}",
            )  # fmt: skip


def operand_width(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Operators read activations of the widths and types of their [[op]] entry."""
    for node in _computing(file):
        rule = profile.op_rule(node.op_type, group_of(node))
        for name in node.inputs if rule is not None else ():
            qtype = file.activations.get(name)
            if qtype is None or rule is None:
                continue
            for found, allowed in ((qtype.bits, rule.act_bits), (qtype.name, rule.act_types)):
                if allowed is not None and found not in allowed:
                    change = "quantize this tensor to a type of the list"
                    yield Breach(node.name, name, str(found), value_text(allowed), change)


def factor_zero_point(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Activations that are multiplied with each other have the zero point of the [[op]] entry."""
    for node in file.graph.nodes:
        rule = profile.op_rule(node.op_type) if isinstance(node, MatMul) else None
        for place, name in enumerate(node.inputs if rule is not None else ()):
            qparams = file.graph.qparams.get(name)
            if rule is None or qparams is None or qparams.zero_point.ndim:
                continue
            for stated in rule.factors(place).values():
                for found in zero_point_breach(qparams, stated):
                    yield Breach(node.name, name, *found)


def residual(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The operands of a sum of two branches have codes: {graph.residual}."""
    stated = profile.graph.residual
    for node in file.graph.nodes:
        if node.op_type != "Add" or stated in (Residual.ANY, Residual.SKIP_PREFERRED):
            continue
        half = isinstance(node, Float) and not file.dequantized.isdisjoint(node.inputs)
        half = half and not _adds_to_a_product(file, node, profile)
        if stated is Residual.Q_BOTH and half:
            change = "put Q and DQ on both operands and the output"
            yield Breach(node.name, node.output, "a sum of reals", "codes on both", change)
        made = [file.makers.get(name) for name in node.inputs]
        layers = [m.name for m in made if isinstance(m, Linear) and m.addend is None]
        if stated is Residual.Q_SKIP_ONLY and not isinstance(node, Float) and layers:
            yield Breach(
                node.name, node.output, f"codes between {layers[0]} and the sum",
                "codes on the skip branch only", f"drop Q and DQ behind {layers[0]}",
            )  # fmt: skip


def _adds_to_a_product(file: CheckedFile, node: Node, profile: TargetProfile) -> bool:
    """A shortcut on codes beside a layer that the target ends in reals (``graph.real_outputs``)."""
    made = [maker for maker in file.graph.in_reals if maker.output in node.inputs]
    return any(_ends_in_reals(file, maker, profile) for maker in made)


def _computing(file: CheckedFile) -> Iterator[Node]:
    """Nodes that a target runs; borders and changes of container are none."""
    return (
        node for node in file.graph.nodes if not isinstance(node, (Quantize, Dequantize, Rescale))
    )


RULES = (
    Rule(
        "operator", operator, ("op", "graph.unlisted_ops"),
        "A compiler has a finite list of operators.",
        "A Gelu on a chip that knows ReLU.",
    ),
    Rule(
        "float-operator", float_operator,
        ("op", "graph.unlisted_ops", "graph.require_output_q", "graph.real_outputs"),
        "A chip without a float unit cannot run an operator on reals at all.",
        "A LayerNormalization between DequantizeLinear and QuantizeLinear.",
    ),
    Rule(
        "leaves-the-target", leaves_the_target,
        ("op", "graph.unlisted_ops", "graph.require_output_q", "graph.real_outputs",
         "weight.constant"),
        "Each operator on the host moves its tensors out of the chip and back.",
        "A Softmax in the middle of a network.",
        Severity.WARNING,
    ),
    Rule(
        "operator-shape", operator_shapes, ("op",),
        "Address generators and line buffers have sizes.",
        "A 7x7 kernel on a chip of 3x3.",
    ),
    Rule(
        "operand-width", operand_width, ("op",),
        "A unit reads activations of its own widths.",
        "A 16-bit tensor in front of an 8-bit pool.",
    ),
    Rule(
        "factor-zero-point", factor_zero_point, ("op",),
        "A kernel that corrects for the zero points of both factors costs as much as the product.",
        "Queries and keys with zero points in OpenVINO, which multiplies them in float.",
    ),
    Rule(
        "residual", residual, ("graph.residual", "graph.real_outputs"),
        "A sum on codes has a multiplier for each operand; a fused one takes the accumulator.",
        "Q and DQ between a convolution and the sum that TensorRT fuses with it.",
    ),
)  # fmt: skip
