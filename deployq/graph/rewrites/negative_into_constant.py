"""A sign melts into the constant that the tensor is multiplied by.

    cat([-b, a], -1) c    becomes    cat([b, a], -1) [-c', c'']    for a tensor c of the model
    -b c                  becomes    b (-c)

Rotary positions turn the halves of a head in this way; no runtime negates codes. Exact.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, new_tensor
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import kin, read_tensor


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    return calls(node, aten.neg.default) and _product(node) is not None


def _product(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The product behind the sign, and its constant."""
    user = _only_user(node)
    joint = user if calls(user, aten.cat.default) else None
    product = user if joint is None else _only_user(joint)
    if product is None or not calls(product, aten.mul.Tensor):
        return None
    constant = next(
        (a for a in product.args if isinstance(a, fx.Node) and a.op == "get_attr"), None
    )
    if constant is None or not constant.meta["val"].is_floating_point():
        return None
    return (product, constant) if joint is None or _reaches(joint, constant) else None


def _reaches(joint: fx.Node, constant: fx.Node) -> bool:
    """The constant has values of its own for each joined part."""
    axis, value = _axis(joint) - joint.meta["val"].ndim, constant.meta["val"]
    return bool(-axis <= value.ndim and value.shape[axis] == joint.meta["val"].shape[axis])


def _axis(joint: fx.Node) -> int:
    return int(argument(joint, 1, "dim", 0)) % int(joint.meta["val"].ndim)


def _only_user(node: Any) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    found = _product(node)
    assert found is not None
    product, constant = found
    given = read_tensor(module, constant)
    value = given.detach().clone()
    joint = _only_user(node)
    if joint is product or joint is None:
        value.neg_()
    else:
        for axis, start, length in _spans(joint, node):
            value.narrow(axis, start, length).neg_()
    read = new_tensor(module, product, f"{product.name}_signed", kin(value, given))
    product.replace_input_with(constant, read)
    node.replace_all_uses_with(node.all_input_nodes[0])
    node.graph.erase_node(node)


def _spans(joint: fx.Node, node: fx.Node) -> list[tuple[int, int, int]]:
    """Axis from the end, start and length of each place that a part takes in a joint tensor."""
    axis, start, found = _axis(joint), 0, []
    parts: Any = joint.args[0]
    for part in parts:
        length = int(part.meta["val"].shape[axis])
        if part is node:
            found.append((axis - int(joint.meta["val"].ndim), start, length))
        start += length
    return found


RULE = Rewrite("negative into constant", match, rewrite)
