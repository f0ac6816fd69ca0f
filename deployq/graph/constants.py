"""What does not depend on the inputs' values is computed once, at capture.

Calls of parameters and buffers, such as standardised weights (``weight - mean(weight)``), become
plain tensors; what trained through such a call then trains its result. So do masks, positions and
tables that the model makes for each batch: they are computed for two numbers of samples, and where
every sample gets the same, one is kept:

    embedding(table, expand(arange(T), (N, T)))    becomes    expand(tensor (1, T, C), (N, T, C))

Windows of a picture lie among the samples, and every picture may get the same for each of them:

    expand(mask (1, W, T, T), (N, W, T, T)).flatten(0, 1)    stays, of a tensor that is made once
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from deployq.graph.independence import independent_nodes
from deployq.graph.node_names import module_path
from deployq.graph.rewrites import gather_of_one_number
from deployq.graph.rewrites.rule import calls
from deployq.graph.tensors import attach, kin, read_tensor

aten = torch.ops.aten
BATCHES = (2, 3)
"""Numbers of samples to compute for."""
KEPT = (aten.expand.default, aten.expand_as.default, aten.lift_fresh_copy.default)
"""Calls that later steps read: their operand is folded, and of the last, calls in place follow."""


def fold_constants(module: fx.GraphModule) -> None:
    """Replace what the inputs do not change by its value, in place."""
    _drop_checks(module.graph)
    _fold_known(module)
    if _look_up_one_number(module):
        _fold_known(module)


def _look_up_one_number(module: fx.GraphModule) -> bool:
    """True where a lookup turned out not to depend on the inputs."""
    rule = gather_of_one_number.RULE
    found = [node for node in module.graph.nodes if rule.match(module, node)]
    for node in found:
        rule.rewrite(module, node)
    return bool(found)


def _fold_known(module: fx.GraphModule) -> None:
    known = independent_nodes(module.graph)
    runs = [_Run(module, known, batch) for batch in BATCHES]
    for node in [node for node in module.graph.nodes if node in runs[0].borders]:
        values = [run.borders[node] for run in runs]
        folded = _one_sample(node, values)
        if folded is not None:
            _fold(module, node, *folded, _origins(module, node))
    module.graph.eliminate_dead_code()


def _drop_checks(graph: fx.Graph) -> None:
    """Nothing reads what ``torch.export`` states of a tensor's type; ours comes from the graph."""
    for node in list(graph.nodes):
        if calls(node, aten._assert_tensor_metadata.default):
            graph.erase_node(node)


class _Run:
    """One computation of all that the inputs do not change.

    Args:
        module: as torch.export has it; its tensors are read, and never written.
        known: the nodes to compute.
        batch: number of samples.
    """

    def __init__(self, module: fx.GraphModule, known: Mapping[fx.Node, None], batch: int) -> None:
        self.module, self.known, self.batch = module, known, batch
        self.values: dict[fx.Node, Any] = {}
        self.borders: dict[fx.Node, Tensor | None] = {}
        with torch.no_grad():
            for node in module.graph.nodes:
                if node in known:
                    if node.op != "get_attr" or any(user in known for user in node.users):
                        self.values[node] = self._value(node)
                elif node.op not in ("placeholder", "get_attr"):
                    self._meet_borders(node)

    def _value(self, node: fx.Node) -> Any:
        stated = node.meta.get("val")
        if isinstance(stated, torch.SymInt):
            return self._size(stated)
        if node.op == "get_attr":
            found = _attribute(self.module, node)
            return found.detach().clone() if isinstance(found, Tensor) else found
        args = fx.map_arg((node.args, node.kwargs), self.values.__getitem__)
        return node.target(*args[0], **args[1])  # type: ignore[operator] # a call

    def _size(self, size: torch.SymInt) -> int:
        expression = size.node.expr
        return int(expression.subs({symbol: self.batch for symbol in expression.free_symbols}))

    def _meet_borders(self, reader: fx.Node) -> None:
        """Tensors that a call of the inputs reads, as they are by then; None for one that later
        calls in place have changed.
        """
        for node in reader.all_input_nodes:
            node = _behind_kept(node)
            value = self.values.get(node)
            if node.op != "call_function" or not isinstance(value, Tensor):
                continue
            if node not in self.borders:
                self.borders[node] = value.clone()
            elif not _equal(self.borders[node], value):
                self.borders[node] = None


def _behind_kept(node: fx.Node) -> fx.Node:
    while calls(node, *KEPT):
        node = node.all_input_nodes[0]
    return node


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape:
        return False
    return torch.equal(a.nan_to_num(), b.nan_to_num())


def _one_sample(node: fx.Node, values: list[Tensor | None]) -> tuple[Tensor, int | None] | None:
    """What one sample gets, and the axis of the samples; None where samples differ.

    Of windows among the samples, those of one are several rows along axis 0.
    """
    if any(value is None for value in values):
        return None
    first, second = (value for value in values if value is not None)
    shape = node.meta["val"].shape
    free = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if not free:
        return (first, None) if _equal(first, second) else None
    axis, rows = free[0], first.shape[free[0]] // BATCHES[0]
    lengths = [value.shape[axis] for value in (first, second)]
    if len(free) > 1 or lengths != [rows * batch for batch in BATCHES]:
        return None
    if rows < 1 or (rows > 1 and axis):  # another length than the samples', or windows elsewhere
        return None
    one = first.narrow(axis, 0, rows)
    repeats = [[b if i == axis else 1 for i in range(first.ndim)] for b in BATCHES]
    alike = all(_equal(v, one.repeat(r)) for v, r in zip((first, second), repeats, strict=True))
    return (one.clone(), axis) if alike else None


def _origins(module: fx.GraphModule, node: fx.Node) -> list[Tensor]:
    """The tensors of the model that a value is computed from."""
    found, seen, waiting = list[Tensor](), set[fx.Node](), [node]
    while waiting:
        reached = waiting.pop()
        if reached in seen:
            continue
        seen.add(reached)
        waiting += reached.all_input_nodes
        value = _attribute(module, reached) if reached.op == "get_attr" else None
        if isinstance(value, Tensor):
            found.append(value)
    return found


def _attribute(module: fx.GraphModule, node: fx.Node) -> object:
    owner, _, leaf = str(node.target).rpartition(".")
    return getattr(module.get_submodule(owner), leaf)


def _fold(
    module: fx.GraphModule, node: fx.Node, value: Tensor, axis: int | None, origins: list[Tensor]
) -> None:
    name = f"{module_path(node)}.folded_{node.name}".lstrip(".")
    windows = axis == 0 and len(value) > 1
    value = (value[None] if windows else value).contiguous()
    kept = kin(value, *origins) if value.is_floating_point() else value
    attach(module, name, kept, persistent=isinstance(kept, nn.Parameter))
    with module.graph.inserting_before(node):
        result = module.graph.get_attr(name)
        result.meta = {**node.meta, "val": read_tensor(module, result)}
        if windows:
            result = _windows(node, result)
        elif axis is not None:
            sizes = _sizes(node)
            result = module.graph.call_function(aten.expand.default, (result, sizes))
            result.meta = dict(node.meta)
        elif _is_written(node):
            result = module.graph.call_function(aten.clone.default, (result,))
            result.meta = dict(node.meta)
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _windows(node: fx.Node, read: fx.Node) -> fx.Node:
    """(1, W, ...) of one sample for all of them: (N W, ...)."""
    graph, samples = node.graph, _samples(node.graph)
    sizes = [samples, *read.meta["val"].shape[1:]]
    many = graph.call_function(aten.expand.default, (read, sizes))
    value = node.meta["val"]
    many.meta = {**node.meta, "val": value.new_empty([samples.meta["val"], *sizes[1:]])}
    merged = graph.call_function(aten.reshape.default, (many, [-1, *value.shape[1:]]))
    merged.meta = dict(node.meta)
    return merged


def _sizes(node: fx.Node) -> list[Any]:
    """Sizes of a call's result, that of the samples read from an input."""
    shape = node.meta["val"].shape
    return [size if isinstance(size, int) else _samples(node.graph) for size in shape]


def _samples(graph: fx.Graph) -> fx.Node:
    """How many there are, read from an input."""
    source = next(n for n in graph.nodes if n.op == "placeholder")
    size = graph.call_function(aten.sym_size.int, (source, 0))
    size.meta["val"] = source.meta["val"].shape[0]
    return size


def _is_written(node: fx.Node) -> bool:
    """A call in place follows: not on a tensor of the model, then."""
    return any(
        isinstance(user.target, torch._ops.OpOverload)
        and user.target._schema.is_mutable
        and user.args[0] is node
        for user in node.users
    )
