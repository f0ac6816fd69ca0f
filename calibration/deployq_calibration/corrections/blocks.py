"""Blocks: the stretches of a prepared graph that a correction looks at one after the other.

A block is what BRECQ (Li et al. 2021, arXiv 2102.05426, section 3.2) reconstructs: a region between
two points where a single tensor carries everything, such as a residual block. A region with too
many layers falls apart into single layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from deployq.graph.fake_quantize import is_quantizer
from deployq.graph.integers import is_constant
from deployq.graph.layer_placement import count_reads
from deployq.graph.operators import SHAPE
from deployq.graph.reals import ends_in_reals
from deployq.graph.rewrites.rule import argument, calls
from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear

MOST_LAYERS = 6
"""Linear layers of a block; a region with more is taken layer by layer."""

Call: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True)
class Block:
    """Nodes in graph order, the last of which is a quantizer, a sum in reals or what is returned.

    Args:
        nodes: that compute.
        inputs: tensors that are read and not made here.
        outputs: tensors that are made here and read later, the last node among them.
    """

    nodes: tuple[fx.Node, ...]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]

    @property
    def name(self) -> str:
        """Of its last tensor."""
        return str(self.nodes[-1].meta.get("name", self.nodes[-1].name))

    def until(self, node: fx.Node) -> Block:
        """The part that ends in ``node`` and makes nothing else."""
        nodes = self.nodes[: self.nodes.index(node) + 1]
        return Block(nodes, self.inputs, (node,))


def find_blocks(module: fx.GraphModule, most_layers: int = MOST_LAYERS) -> tuple[Block, ...]:
    """Blocks that together hold every computing node of a prepared graph once, in graph order.

    Args:
        module: of a prepared model.
        most_layers: linear layers of one block; 1 gives single layers.
    """
    nodes = _computing(module)
    last_read = {node: _last_read(node) for node in module.graph.nodes}
    regions = _split(nodes, [node for node in nodes if _carries_all(node, module, last_read)])
    parts: list[list[fx.Node]] = []
    for region in regions:
        whole = len(linear_nodes(module, region)) <= most_layers
        ends = [] if whole else [node for node in region if _is_quantizer(module, node)]
        parts += _split(region, ends)
    return tuple(_block(part) for part in parts)


def whole_network(module: fx.GraphModule) -> Block:
    """Everything as one block: it reads the inputs and makes what the network returns."""
    return _block(_computing(module))


def _computing(module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in module.graph.nodes if node.op in ("call_module", "call_function")]


def _split(nodes: list[fx.Node], ends: Collection[fx.Node]) -> list[list[fx.Node]]:
    """Cut after each node of ``ends``."""
    parts: list[list[fx.Node]] = [[]]
    for node in nodes:
        parts[-1].append(node)
        if node in ends:
            parts.append([])
    return [part for part in parts if part]


def _last_read(node: fx.Node) -> fx.Node:
    """The last node that reads the tensor; sizes are no readers (:func:`run_nodes`)."""
    return max((node, *(user for user in node.users if not calls(user, *SHAPE))))


def _carries_all(
    node: fx.Node, module: fx.GraphModule, last_read: Mapping[fx.Node, fx.Node]
) -> bool:
    """True when no other tensor is alive after a quantizer or a residual's sum in reals."""
    if not (_is_quantizer(module, node) or _is_sum_in_reals(module, node)):
        return False
    others = (n for n in module.graph.nodes if n < node and n.op != "get_attr")
    return not any(last_read[other] > node for other in others if not calls(other, *SHAPE))


def _is_quantizer(module: fx.GraphModule, node: fx.Node) -> bool:
    """Of a computed tensor; those of constants stand in the block that reads them."""
    return not is_constant(node) and is_quantizer(module, node)


def _is_sum_in_reals(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, torch.ops.aten.add.Tensor) and ends_in_reals(module, node)


def linear_nodes(module: fx.GraphModule, nodes: Collection[fx.Node]) -> list[fx.Node]:
    """The calls of linear units among ``nodes``."""
    called = (node for node in nodes if node.op == "call_module")
    return [n for n in called if isinstance(module.get_submodule(str(n.target)), QuantizedLinear)]


def learning_layers(
    module: fx.GraphModule, nodes: Collection[fx.Node], below: int
) -> tuple[list[fx.Node], list[str]]:
    """The linear layers with weights of under ``below`` bits that may change.

    Returns:
        Their nodes, and the names of those that may not: another layer reads the same weight.
    """
    reads = count_reads(module)
    learning, shared = [], []
    for node in linear_nodes(module, nodes):
        if unit_of(module, node).weight_quantizer.qtype.bits >= below:
            continue
        if reads[id(read_tensor(module, node.args[1]))] > 1:
            shared.append(str(node.meta["name"]))
        else:
            learning.append(node)
    return learning, shared


def _block(nodes: list[fx.Node]) -> Block:
    inside = set(nodes)
    read = {
        operand: None
        for node in nodes
        if not calls(node, *SHAPE)
        for operand in node.all_input_nodes
        if operand not in inside and operand.op != "get_attr" and not calls(operand, *SHAPE)
    }
    left = [
        node
        for node in nodes
        if not calls(node, *SHAPE) and any(user not in inside for user in node.users)
    ]
    return Block(tuple(nodes), tuple(read), tuple(left))


def run_nodes(
    module: fx.GraphModule,
    block: Block,
    values: Mapping[fx.Node, Tensor],
    *,
    replaced: Mapping[fx.Node, Call] | None = None,
) -> dict[fx.Node, Tensor]:
    """Evaluate a block.

    Args:
        module: whose graph it is.
        block: what to evaluate.
        values: of the block's inputs, batch first.
        replaced: calls in the place of modules, given the arguments of the node.

    Returns:
        The block's outputs.
    """
    found: dict[fx.Node, Any] = dict(values)
    samples = len(next(iter(values.values())))
    last_read = {read: node for node in block.nodes for read in node.all_input_nodes}

    def value_of(node: fx.Node) -> Any:
        if node in found:
            return found[node]
        return read_tensor(module, node) if node.op == "get_attr" else samples

    for node in block.nodes:
        if calls(node, *SHAPE):
            found[node] = _size(node, found, samples)
            continue
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), value_of)
        call = (replaced or {}).get(node) or _call(module, node)
        found[node] = call(*args, **kwargs)
        for read in node.all_input_nodes:
            if last_read[read] is node and read not in block.outputs:
                found.pop(read, None)  # a whole network's tensors would fill the memory
    return {node: found[node] for node in block.outputs}


def widest(module: fx.GraphModule, block: Block, sample: Mapping[fx.Node, Tensor]) -> int:
    """Values of the largest tensor that a block makes of one sample."""
    sizes = [1]
    computing = [node for node in block.nodes if not calls(node, *SHAPE)]
    watched = watching(module, computing, lambda node, made: sizes.append(made.numel()))
    run_nodes(module, block, sample, replaced=watched)
    return max(sizes)


def watching(
    module: fx.GraphModule, nodes: Collection[fx.Node], see: Callable[[fx.Node, Tensor], None]
) -> dict[fx.Node, Call]:
    """Calls for :func:`run_nodes` that compute as their nodes do, and show what they made."""

    def watched(node: fx.Node) -> Call:
        call = _call(module, node)

        def run(*args: Any, **kwargs: Any) -> Tensor:
            made = call(*args, **kwargs)
            see(node, made)
            return made

        return run

    return {node: watched(node) for node in nodes}


def _size(node: fx.Node, found: Mapping[fx.Node, Any], samples: int) -> int:
    """A size; of a tensor that an earlier block made, it is the batch: all else is static."""
    source, axis = argument(node, 0, "self"), argument(node, 1, "dim")
    return int(found[source].shape[axis]) if source in found else samples


def _call(module: fx.GraphModule, node: fx.Node) -> Call:
    if node.op == "call_module":
        return module.get_submodule(str(node.target))
    call: Call = node.target  # type: ignore[assignment] # an ATen overload
    return call


def unit_of(module: fx.GraphModule, node: fx.Node) -> QuantizedLinear:
    """The linear unit that a node calls."""
    unit = module.get_submodule(str(node.target))
    assert isinstance(unit, QuantizedLinear)
    return unit


def channel_axis(unit: QuantizedLinear) -> int:
    """Axis of the output channels of a linear layer: (..., C) of Gemm, else (N, C, H, W)."""
    return -1 if unit.op_type == "Gemm" else 1


def placeholders(module: fx.GraphModule) -> Iterator[fx.Node]:
    """The inputs of the network, in order."""
    return (node for node in module.graph.nodes if node.op == "placeholder")
