"""conv1d becomes a conv2d over maps of one row: the convolution that has an integer form.

conv1d((N, C, L), W (O, C, K))    becomes    squeeze(conv2d((N, C, 1, L), W (O, C, 1, K)), 2)
"""

from __future__ import annotations

from typing import Any

from torch import fx

from deployq.graph.rewrites.build import aten, build, shared_tensor, substitute
from deployq.graph.rewrites.rule import Rewrite, argument, calls
from deployq.graph.tensors import kin, read_tensor

NUMBERS = ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
"""Place, name and default of what a row has beside a column."""


def match(module: fx.GraphModule, node: fx.Node) -> bool:
    if not calls(node, aten.conv1d.default) or node.all_input_nodes[0].meta["val"].ndim != 3:
        return False
    weight = argument(node, 1, "weight")
    return isinstance(weight, fx.Node) and weight.op == "get_attr"


def rewrite(module: fx.GraphModule, node: fx.Node) -> None:
    weight, bias = argument(node, 1, "weight"), argument(node, 2, "bias")
    maps = build(node, aten.unsqueeze.default, node.all_input_nodes[0], 2)
    maps.meta["part"] = "maps"
    kernel = _kernel(module, node, weight)
    numbers = [[default, _one(argument(node, i, name, default))] for i, name, default in NUMBERS]
    groups = argument(node, 6, "groups", 1)
    with node.graph.inserting_before(node):
        args = (maps, kernel, bias, *numbers, groups)
        layer = node.graph.call_function(aten.conv2d.default, args)
    layer.meta = {**node.meta, "val": node.meta["val"].unsqueeze(2)}
    row = build(node, aten.squeeze.dim, layer, 2)
    substitute(node, row)
    row.meta["part"] = "row"


def _one(value: Any) -> Any:
    return value if isinstance(value, int) else value[0]


def _kernel(module: fx.GraphModule, node: fx.Node, weight: fx.Node) -> fx.Node:
    """(O, C / groups, 1, K), once for all calls that share it."""
    tensor = read_tensor(module, weight)
    return shared_tensor(
        module, node, f"{weight.target}_of_maps", lambda: kin(tensor.detach().unsqueeze(2), tensor)
    )


RULE = Rewrite("conv1d to conv2d", match, rewrite)
