"""Rules on the whole network: widths at its edges, memory, counts."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qgraph.liveness import LiveSet, largest_live_set
from deployq.qgraph.nodes import Linear, Pool
from deployq.qgraph.sizes import macs, packed_bytes
from deployq.qtypes import QType
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule
from deployq_targets.checks.shapes import CONVOLUTIONS, sample_shapes
from deployq_targets.checks.weights import layers, weight_width
from deployq_targets.profile import TargetProfile
from deployq_targets.words import WeightPacking

REAL = QType(32, True)
"""As wide as a float32."""

UNKNOWN = Breach(
    "", "", "extents that are not known", "known extents", "fix every size but the batch"
)


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


def weight_bytes(file: CheckedFile, profile: TargetProfile) -> int:
    """Of all layers, in the least width that holds their codes; before compression."""
    widths = (weight_width(n, profile) or n.weight_qparams.qtype.bits for n in layers(file))
    counts = (_packed_count(node, profile) for node in layers(file))
    return sum(map(packed_bytes, counts, widths))


def _packed_count(node: Linear, profile: TargetProfile) -> int:
    """Codes that lie in memory; in planes of bits, channels are filled up to whole words."""
    count, of = node.weight.size, profile.align.cin
    if profile.memory.weight_packing is not WeightPacking.BITSERIAL or of is None:
        return count
    first, second = node.weight.shape[:2]
    depthwise_or_matrix = node.op_type not in CONVOLUTIONS or second == 1
    channels = first if depthwise_or_matrix else second
    return int(count // channels * (-(-channels // of) * of))


def _bias_bytes(file: CheckedFile) -> int:
    biases = [(n.bias, n.bias_type or REAL) for n in layers(file) if n.bias is not None]
    return sum(packed_bytes(bias.size, qtype.bits) for bias, qtype in biases)


def weight_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Weights, packed as {memory.weight_packing}, fit into {memory.weights_bytes} bytes."""
    limit, found = profile.memory.weights_bytes, weight_bytes(file, profile)
    if limit is not None and found > limit:
        compressed = profile.memory.weight_packing is WeightPacking.COMPRESSED
        text = f"{found} bytes" + (" before compression" if compressed else "")
        yield Breach("", "", text, f"up to {limit}", "use fewer bits or a smaller network")


def bias_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Biases fit into {memory.bias_bytes} bytes."""
    limit, found = profile.memory.bias_bytes, _bias_bytes(file)
    if limit is not None and found > limit:
        yield Breach(
            "", "", f"{found} bytes", f"up to {limit}", "drop biases, or a smaller network"
        )


def live_codes(file: CheckedFile) -> LiveSet | None:
    """The largest set of codes that are alive at once; None where an extent is not known."""
    shapes = sample_shapes(file)
    return None if shapes is None else largest_live_set(file.graph, shapes)


def activation_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The codes of one sample that are alive at once fit into {memory.activations_bytes} bytes."""
    limit, live = profile.memory.activations_bytes, live_codes(file)
    if limit is not None and live is None:
        yield UNKNOWN
    elif limit is not None and live is not None and live.size > limit:
        change = "smaller maps, or fewer bits"
        yield Breach("", live.tensor, f"{live.size} bytes", f"up to {limit}", change)


def network_limits(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """At most {limits.max_layers} weighted and pooling layers, {limits.max_params} parameters,
    {limits.max_macs} multiply-accumulates.
    """
    weighted, limits = list(layers(file)), profile.limits
    pools = [node for node in file.graph.nodes if isinstance(node, Pool)]
    totals = {
        "max_layers": len(weighted) + len(pools),
        "max_params": sum(n.weight.size + (0 if n.bias is None else n.bias.size) for n in weighted),
    }
    shapes = sample_shapes(file)
    if shapes is not None:
        totals["max_macs"] = sum(macs(node, shapes) for node in file.graph.nodes)
    elif limits.max_macs is not None:
        yield UNKNOWN
    for key, found in totals.items():
        limit = getattr(limits, key)
        if limit is not None and found > limit:
            yield Breach("", "", f"{key} {found}", f"up to {limit}", "make the network smaller")


RULES = (
    Rule(
        "edge-width", edge_width, ("activation.io.first_bits", "activation.io.last_bits"),
        "Sensors and actuators have their own widths.",
        "A 4-bit input on a chip whose camera gives bytes.",
    ),
    Rule(
        "edge-layer-width", edge_layer_width, ("weight.edge_bits",),
        "The first and the last layers run on a unit of their own.",
        "An 8-bit classifier on a chip with 4-bit edges.",
    ),
    Rule(
        "weight-memory", weight_memory,
        ("memory.weights_bytes", "memory.weight_packing", "align.cin"),
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
