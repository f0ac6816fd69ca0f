"""Capture a float network: nn.Module or ExportedProgram to one plain torch.fx.GraphModule.

``torch.export`` keeps ATen calls whole and the user's parameter names, but ``ep.module()`` refuses
``train()``. So BatchNorm and Dropout go back in as modules where their calls are, and a plain
GraphModule is rebuilt: same output, ``train()`` and ``eval()`` work, names stay the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from deployq.errors import InputError, UnsupportedError
from deployq.graph.rewrites import normalize

BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
"""Rank of the input to the module that takes it."""


def capture(model: nn.Module, example_inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Trace ``model`` in evaluation mode with a dynamic batch.

    Args:
        model: any module that torch.export can trace.
        example_inputs: one tensor an input, batch first.

    Returns:
        A GraphModule of ATen calls; each node's ``meta["name"]`` leads back to the user's module,
        ``meta["val"]`` has its shape.

    Raises:
        InputError: torch.export cannot trace the model.
    """
    was_training = model.training
    inputs = tuple(_two_samples(x) for x in example_inputs)
    dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    try:
        program = torch.export.export(model.eval(), inputs, dynamic_shapes=dynamic)
    except Exception as error:  # torch.export raises many types; the user needs its first line
        raise InputError(
            type(model).__name__, "the model must be traceable by torch.export",
            found=str(error).strip().splitlines()[0][:300],
            next_step="run torch.export.export(model.eval(), inputs) to see the whole report",
        ) from error
    finally:
        model.train(was_training)
    return graph_from_program(program)


def _two_samples(x: Tensor) -> Tensor:
    """A batch of one would be traced as a constant; two stand for any number."""
    return x.repeat(2, *[1] * (x.ndim - 1)) if x.shape[0] == 1 else x


def graph_from_program(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The normalized GraphModule of an exported program (see :func:`capture`)."""
    source = program.module()
    assert isinstance(source, fx.GraphModule)
    root = nn.Module()
    root.eval()
    for name, parameter in source.named_parameters(remove_duplicate=False):
        attach(root, name, parameter)
    for name, buffer in source.named_buffers(remove_duplicate=False):
        attach(root, name, buffer)
    graph = _copy_graph(source, root, single=program.call_spec.out_spec.is_leaf())
    module = fx.GraphModule(root, graph, class_name="Captured")
    normalize(module)
    name_nodes(module)
    return module


def attach(root: nn.Module, name: str, value: Tensor | nn.Module) -> None:
    """Put a tensor or module at a dotted path, making plain modules on the way."""
    *path, leaf = name.split(".")
    owner = root
    for part in path:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    if isinstance(value, nn.Module):
        owner.add_module(leaf, value)
    elif isinstance(value, nn.Parameter):
        owner.register_parameter(leaf, value)
    else:
        owner.register_buffer(leaf, value)


def read_tensor(module: nn.Module, node: Any) -> Tensor:
    """The parameter or buffer that a ``get_attr`` node reads."""
    path, _, leaf = str(node.target).rpartition(".")
    tensor = getattr(module.get_submodule(path), leaf)
    assert isinstance(tensor, Tensor)
    return tensor


def _copy_graph(source: fx.GraphModule, root: nn.Module, *, single: bool) -> fx.Graph:
    """Copy the calls; ``single`` says that the model returns a tensor, not a tuple of one."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in source.graph.nodes:
        if node.op == "call_module":  # shape guards: ours come from the profile
            continue
        if node.op == "output":
            outputs = fx.map_arg(node.args[0], copies.__getitem__)
            graph.output(outputs[0] if single else outputs)
        elif node.target == torch.ops.aten.batch_norm.default:
            copies[node] = _batch_norm_module(graph, root, node, copies)
        elif node.target in (torch.ops.aten.dropout.default, torch.ops.aten.dropout_.default):
            copies[node] = _dropout_module(graph, root, node, copies)
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    for node in reversed(list(graph.nodes)):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    return graph


def _batch_norm_module(
    graph: fx.Graph, root: nn.Module, node: fx.Node, copies: dict[fx.Node, fx.Node]
) -> fx.Node:
    x, weight, bias, mean, var, _, momentum, eps, *_ = node.args
    if not isinstance(mean, fx.Node) or mean.op != "get_attr":
        raise UnsupportedError(
            node.name, "batch normalization needs running statistics", found="batch statistics only",
            next_step="build the layer with track_running_stats=True",
        )
    path = str(mean.target).rpartition(".")[0]
    rank = node.meta["val"].ndim
    affine = isinstance(weight, fx.Node)
    module = BATCH_NORMS[rank](node.meta["val"].shape[1], eps, momentum, affine=affine)
    module.load_state_dict(root.get_submodule(path).state_dict(), strict=False)
    parameters = dict(root.get_submodule(path).named_parameters())
    if affine:  # the same Parameter objects, so an optimizer that holds them stays right
        module.weight, module.bias = parameters["weight"], parameters["bias"]
    attach(root, path, module.eval())
    copy = graph.call_module(path, (copies[x],))  # type: ignore[index] # x is a node
    copy.meta = dict(node.meta)
    return copy


def _dropout_module(
    graph: fx.Graph, root: nn.Module, node: fx.Node, copies: dict[fx.Node, fx.Node]
) -> fx.Node:
    path = module_path(node) or node.name
    attach(root, path, nn.Dropout(node.args[1]).eval())  # type: ignore[arg-type] # a float
    copy = graph.call_module(path, (copies[node.args[0]],))  # type: ignore[index] # a node
    copy.meta = dict(node.meta)
    return copy


def module_path(node: fx.Node) -> str:
    """Dotted path of the user's module that made the call, '' for the model itself."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack", {})
    return str(list(stack.values())[-1][0]) if stack else ""


def name_nodes(module: fx.GraphModule) -> None:
    """Give every node ``meta["name"]``: the owning module's path, or path and operator.

    A module that makes one call gives its path alone (``layer1.0.conv1``); functional calls gain
    the operator (``layer1.0.add``); a second use gains a number.
    """
    taken: set[str] = set()
    for node in module.graph.nodes:
        if node.op in ("output", "get_attr"):
            continue
        node.meta["name"] = _free(_base_name(node), taken)


def _base_name(node: fx.Node) -> str:
    if node.op == "placeholder":
        return str(node.target)
    if node.op == "call_module":
        return str(node.target)
    operator = node.target.__name__.split(".")[0]  # type: ignore[union-attr] # an operator overload
    path = module_path(node)
    if path and _is_leaf_call(node):
        return path
    return f"{path}.{operator}" if path else str(operator)


def _is_leaf_call(node: fx.Node) -> bool:
    """True when the innermost module is one of torch.nn's own, which make a single call."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack", {})
    return bool(stack) and str(list(stack.values())[-1][1]).startswith("torch.nn.modules.")


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate
