"""Rules on the whole network: widths at its edges, memory, counts."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from deployq.qgraph.nodes import Linear, Pool
from deployq.qtypes import QType
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule
from deployq_targets.checks.shapes import operator_shape
from deployq_targets.checks.weights import layers, weight_width
from deployq_targets.profile import TargetProfile

REAL = QType(32, True)


def edge_width(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Inputs have {activation.io.first_bits} bits, outputs {activation.io.last_bits}."""
    edges, graph = profile.activation.io, file.graph
    first = {n.output for n in graph.nodes if n.op_type == "QuantizeLinear"
             and set(n.inputs) & set(graph.inputs)} | set(graph.inputs)  # fmt: skip
    last = {n.inputs[0] for n in graph.nodes if n.output in graph.outputs} | set(graph.outputs)
    for names, bits in ((first, edges.first_bits), (last, edges.last_bits)):
        for name in sorted(names & set(graph.qparams)):
            found = graph.qparams[name].qtype.bits
            if bits is not None and found != bits:
                change = f"quantize this tensor to {bits} bits"
                yield Breach("", name, f"{found} bits", f"{bits} bits", change)


def edge_layer_width(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Weights of the first and the last layers have {weight.edge_bits} bits."""
    bits, every = profile.weight.edge_bits, list(layers(file))
    for node in {every[0].name: every[0], every[-1].name: every[-1]}.values() if every else ():
        found = weight_width(node, profile)
        if bits is not None and found is not None and found > bits:
            change = f"quantize this layer to {bits} bits"
            yield Breach(node.name, f"{node.name}.weight", f"{found} bits", f"{bits} bits", change)


def packed(count: int, bits: int) -> int:
    """Bytes of so many codes, packed."""
    return -(-count * bits // 8)


def _weight_bytes(file: CheckedFile, profile: TargetProfile) -> int:
    return sum(
        packed(node.weight.size, weight_width(node, profile) or node.weight_qparams.qtype.bits)
        for node in layers(file)
    )


def _bias_bytes(file: CheckedFile) -> int:
    biases = [node for node in layers(file) if node.bias is not None]
    return sum(
        packed(n.bias.size, (n.bias_type or REAL).bits) for n in biases if n.bias is not None
    )


def _live_bytes(file: CheckedFile) -> tuple[int, str]:
    """The largest set of code tensors that are alive at once, for one sample, and when."""
    graph = file.graph
    last = {name: number for number, node in enumerate(graph.nodes) for name in node.inputs}
    last |= dict.fromkeys(graph.outputs, len(graph.nodes))
    alive: dict[str, int] = {}
    largest, when = 0, ""
    for number, node in enumerate(graph.nodes):
        if node.output in file.activations:
            shape = operator_shape(file, node)
            extent = shape.output if shape else None
            count = prod((extent.c, extent.h, extent.w)) if extent else 0
            alive[node.output] = packed(count, file.activations[node.output].bits)
        if sum(alive.values()) > largest:
            largest, when = sum(alive.values()), node.output
        alive = {name: size for name, size in alive.items() if last.get(name, number) > number}
    return largest, when


def weight_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Packed weights fit into {memory.weights_bytes} bytes."""
    limit, found = profile.memory.weights_bytes, _weight_bytes(file, profile)
    if limit is not None and found > limit:
        yield Breach(
            "", "", f"{found} bytes", f"up to {limit}", "use fewer bits or a smaller network"
        )


def bias_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Biases fit into {memory.bias_bytes} bytes."""
    limit, found = profile.memory.bias_bytes, _bias_bytes(file)
    if limit is not None and found > limit:
        yield Breach(
            "", "", f"{found} bytes", f"up to {limit}", "drop biases, or a smaller network"
        )


def activation_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The codes of one sample that are alive at once fit into {memory.activations_bytes} bytes."""
    limit, (found, when) = profile.memory.activations_bytes, _live_bytes(file)
    if limit is not None and found > limit:
        yield Breach("", when, f"{found} bytes", f"up to {limit}", "smaller maps, or fewer bits")


def network_limits(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """At most {limits.max_layers} weighted and pooling layers, {limits.max_params} parameters,
    {limits.max_macs} multiply-accumulates.
    """
    weighted = list(layers(file))
    pools = [node for node in file.graph.nodes if isinstance(node, Pool)]
    totals = {
        "max_layers": len(weighted) + len(pools),
        "max_params": sum(n.weight.size + (0 if n.bias is None else n.bias.size) for n in weighted),
        "max_macs": sum(_macs(file, node) for node in weighted),
    }
    for key, found in totals.items():
        limit = getattr(profile.limits, key)
        if limit is not None and found > limit:
            yield Breach("", "", f"{key} {found}", f"up to {limit}", "make the network smaller")


def _macs(file: CheckedFile, node: Linear) -> int:
    """Multiply-accumulates of a layer for one sample; 0 where its shape is not known."""
    shape = operator_shape(file, node)
    if shape is None:
        return 0
    counted = shape.inputs[0] if node.op_type == "ConvTranspose" else shape.output
    per_cell = node.weight.size // (node.weight.shape[0] if node.op_type != "Gemm" else 1)
    if node.op_type in ("Gemm", "MatMul"):
        return node.weight.size * counted.h * counted.w
    if node.op_type == "ConvTranspose":
        return node.weight.size * counted.h * counted.w
    return per_cell * counted.c * counted.h * counted.w


RULES = (
    Rule(
        "edge-width", edge_width, ("activation.io",),
        "Sensors and actuators have their own widths.",
        "A 4-bit input on a chip whose camera gives bytes.",
    ),
    Rule(
        "edge-layer-width", edge_layer_width, ("weight.edge_bits",),
        "The first and the last layers run on a unit of their own.",
        "An 8-bit classifier on a chip with 4-bit edges.",
    ),
    Rule(
        "weight-memory", weight_memory, ("memory.weights_bytes",),
        "Weights are loaded once, before the first inference.",
        "A ResNet-50 on a microcontroller's accelerator.",
    ),
    Rule(
        "bias-memory", bias_memory, ("memory.bias_bytes",),
        "Biases have a memory of their own.",
        "A network of many wide layers.",
    ),
    Rule(
        "activation-memory", activation_memory, ("memory.activations_bytes",),
        "A layer's operands and its result lie on the chip at once.",
        "A 224x224 input with 64 channels behind it.",
    ),
    Rule(
        "network-limits", network_limits,
        ("limits.max_layers", "limits.max_params", "limits.max_macs"),
        "The sequencer's program and the licence have ends.",
        "A network of 53 layers on a chip that runs 32.",
    ),
)  # fmt: skip
