"""(x + A) + B becomes x + (A + B) for constants A and B, one of which may be padded.

A class token and the positions that are added behind it are then one constant. Equal up to float32
rounding. What learns stays the same: a sum is merged where an operand that learns has its whole
shape, or where none learns. Masks stay apart (:func:`deployq.graph.masks.is_mask`): a bias needs a
grid, a mask has none.
"""

from __future__ import annotations

from torch import Tensor, fx

from deployq.graph.masks import is_mask
from deployq.graph.rewrites.build import aten, new_tensor, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import kin, read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    inner, outer = _inner(node), _sum(node)
    if inner is None or outer is None:
        return False
    found = [(_tensor(module, read), _value(module, read)) for read in (inner[1], outer[1])]
    whole = (found[0][1] + found[1][1]).shape
    learning = [(tensor, value) for tensor, value in found if tensor.requires_grad]
    kept = not learning or any(tensor.shape == value.shape == whole for tensor, value in learning)
    return kept and not any(is_mask(value) for _, value in found)


def _inner(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The sum that the outer one alone reads."""
    outer = _sum(node)
    return None if outer is None or len(outer[0].users) > 1 else _sum(outer[0])


def _sum(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """What a constant is added to, and the constant."""
    if not calls(node, aten.add.Tensor) or node.kwargs:
        return None
    operands = [operand for operand in node.args if isinstance(operand, fx.Node)]
    computed = [operand for operand in operands if not _is_constant(operand)]
    constants = [operand for operand in operands if _is_constant(operand)]
    if len(computed) != 1 or len(constants) != 1:
        return None
    floats = all(operand.meta["val"].is_floating_point() for operand in operands)
    return (computed[0], constants[0]) if floats else None


def _is_constant(node: fx.Node) -> bool:
    return _read(node).op == "get_attr"


def _read(node: fx.Node) -> fx.Node:
    """What is padded with zeros, or the node itself."""
    zeros = calls(node, aten.pad.default) and not argument(node, 3, "value")
    zeros = zeros and argument(node, 2, "mode", "constant") == "constant"
    return node.all_input_nodes[0] if zeros else node


def _tensor(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return read_tensor(module, _read(node))


def _value(module: fx.GraphModule, node: fx.Node) -> Tensor:
    tensor = _tensor(module, node).detach()
    return tensor if node.op == "get_attr" else aten.pad.default(tensor, node.args[1])


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    inner, outer = _inner(node), _sum(node)
    assert inner is not None and outer is not None
    reads = (inner[1], outer[1])
    first, second = (_value(module, read) for read in reads)
    value = kin(first + second, *(_tensor(module, read) for read in reads))
    added, beside = (str(_read(read).target) for read in reads)
    read = new_tensor(module, node, f"{beside}_with_{added.rpartition('.')[2]}", value)
    with node.graph.inserting_before(node):
        merged = node.graph.call_function(aten.add.Tensor, (inner[0], read))
    substitute(node, merged)


RULE = Rewrite("merge constants", match, rewrite)
