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
from deployq.graph.modes import evaluation_mode
from deployq.graph.rewrites import normalize
from deployq.graph.rewrites.rule import argument, calls

aten = torch.ops.aten

BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
"""Rank of the input to the module that takes it."""

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a BatchNorm module, in the order of ``aten.batch_norm``."""


def capture(model: nn.Module, example_inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Trace ``model`` in evaluation mode with a dynamic batch.

    Args:
        model: any module that torch.export can trace.
        example_inputs: one tensor an input, batch first.

    Returns:
        A GraphModule of ATen calls; each node's ``meta["name"]`` leads back to the user's module,
        ``meta["val"]`` has its shape.

    Raises:
        InputError: torch.export cannot trace the model, or an input has no batch dimension.
        UnsupportedError: a normalization, dropout or in-place call without a plain form, an input
            that nothing reads, an output that is an input, a constant or another output.
    """
    inputs = tuple(_two_samples(x) for x in example_inputs)
    dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    with evaluation_mode(model):
        try:
            program = torch.export.export(model, inputs, dynamic_shapes=dynamic)
        except Exception as error:  # torch.export raises many types; the user needs its first line
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                type(model).__name__,
                "the model must be traceable by torch.export",
                found=lines[0][:300],
                next_step="run torch.export.export(model.eval(), inputs) to see the whole report",
            ) from error
    return graph_from_program(program)


def _two_samples(x: Tensor) -> Tensor:
    """A batch of one would be traced as a constant; two stand for any number."""
    if not x.ndim:
        raise InputError(
            "example_inputs",
            "an input has the batch as its first dimension",
            found="rank 0",
            next_step="make the number part of the model",
        )
    return x.repeat(2, *[1] * (x.ndim - 1)) if x.shape[0] == 1 else x


def graph_from_program(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The normalized GraphModule of an exported program (see :func:`capture`).

    Nested outputs come out as one flat tuple.

    Raises:
        InputError: the batch is fixed, or the program was exported in training mode.
        UnsupportedError: as :func:`capture`.
    """
    source = program.module()
    assert isinstance(source, fx.GraphModule)
    _check_batch(source.graph)
    _check_evaluation(source.graph)
    root = nn.Module()
    root.eval()
    tensors = _tensors(source)
    for name, (value, persistent) in tensors.items():
        attach(root, name, value, persistent=persistent)
    graph = _copy_graph(source, root, single=program.call_spec.out_spec.is_leaf())
    module = fx.GraphModule(root, graph, class_name="Captured")
    kept = _tensors(module)
    for name, (value, persistent) in tensors.items():  # fx keeps what the graph reads, no more
        if name not in kept or not persistent:
            attach(module, name, value, persistent=persistent)
    normalize(module)
    _check_ends(module.graph)
    name_nodes(module)
    return module.eval()


def _check_batch(graph: fx.Graph) -> None:
    """Every input has a first dimension, and it is free.

    Raises:
        InputError: torch.export was called without ``dynamic_shapes``.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    each = ", ".join("{0: torch.export.Dim.DYNAMIC}" for _ in inputs)
    for node in inputs:
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or (value.ndim and not isinstance(value.shape[0], int)):
            continue
        raise InputError(
            f"input {node.target}",
            "an exported model takes any number of samples",
            found=f"batch fixed to {value.shape[0]}" if value.ndim else "rank 0, no batch",
            allowed="a first dimension that is dynamic",
            next_step=f"torch.export.export(model, inputs, dynamic_shapes=({each},))",
        )


def _check_evaluation(graph: fx.Graph) -> None:
    """No BatchNorm updates its running statistics.

    Raises:
        InputError: the model was exported in training mode.
    """
    for node in graph.nodes:
        trains = calls(node, aten.batch_norm.default) and (
            argument(node, 3, "running_mean") is not None and argument(node, 5, "training")
        )
        counts = calls(node, aten.add_.Tensor) and str(
            getattr(node.args[0], "target", "")
        ).endswith("num_batches_tracked")
        if trains or counts:
            raise InputError(
                module_path(node) or node.name,
                "a model is captured in evaluation mode",
                found="batch normalization that updates its running statistics",
                allowed="running statistics that are only read",
                next_step="export after model.eval()",
            )


def _check_ends(graph: fx.Graph) -> None:
    """Every input is read, and every output is a computed tensor of its own.

    Raises:
        UnsupportedError: an input or output that no target could have.
    """
    outputs: list[Any] = []
    for node in graph.nodes:
        if node.op == "placeholder" and not node.users:
            raise UnsupportedError(
                f"input {node.target}",
                "the model reads each of its inputs",
                found="an input that nothing reads",
                next_step="remove it from the arguments of forward",
            )
        if node.op == "output":
            outputs = list(node.args[0]) if isinstance(node.args[0], tuple) else [node.args[0]]
    for index, output in enumerate(outputs):
        found = _output_fault(output, outputs[:index])
        if found:
            raise UnsupportedError(
                f"output {index}",
                "each output is a computed tensor of its own",
                found=found,
                next_step="return it once, or leave it out of what forward returns",
            )


def _output_fault(output: Any, earlier: list[Any]) -> str:
    """What is wrong with an output, '' if nothing is."""
    if not isinstance(output, fx.Node) or output.op == "get_attr":
        return "a constant"
    if output.op == "placeholder":
        return f"the input {output.target} unchanged"
    return f"the same tensor as output {earlier.index(output)}" if output in earlier else ""


def _tensors(module: fx.GraphModule) -> dict[str, tuple[Tensor, bool]]:
    """Every parameter, buffer and constant by name, and whether ``state_dict`` has it."""
    saved = module.state_dict()
    named = dict(module.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {**named, **dict(module.named_buffers(remove_duplicate=False))}
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target not in found:
            found[node.target] = read_tensor(module, node)
    return {name: (tensor, name in saved) for name, tensor in found.items()}


def attach(
    root: nn.Module, name: str, value: Tensor | nn.Module, *, persistent: bool = True
) -> None:
    """Put a tensor or module at a dotted path, making plain modules on the way.

    ``persistent`` says whether a buffer is part of ``state_dict``.
    """
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
        owner.register_buffer(leaf, value, persistent=persistent)


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
        elif calls(node, aten.batch_norm.default):
            copies[node] = _batch_norm_module(graph, root, node, copies)
        elif calls(node, aten.dropout.default, aten.dropout_.default):
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
    """Call an nn.BatchNorm that holds the call's own tensors, in the place of their module.

    torch.export writes momentum 0.0 for both ``momentum=None`` (the plain average) and 0.0, so
    neither is taken: the first would come back with statistics that no longer learn.
    """
    path, tensors = _norm_tensors(root, node)
    if argument(node, 6, "momentum") == 0.0:
        raise UnsupportedError(
            path,
            "the running statistics of a BatchNorm learn in training",
            found="momentum 0.0, which torch.export also writes for momentum=None",
            allowed="a momentum above 0",
            next_step="give the BatchNorm a momentum, such as 0.1",
        )
    if not isinstance(root.get_submodule(path), tuple(BATCH_NORMS.values())):  # else: second call
        kind = BATCH_NORMS[node.meta["val"].ndim]
        eps, momentum = argument(node, 7, "eps"), argument(node, 6, "momentum")
        affine = tensors["weight"] is not None
        module = kind(node.meta["val"].shape[1], eps, momentum, affine=affine)
        for name, tensor in tensors.items():  # the same objects: an optimizer's stay right
            setattr(module, name, tensor)
        counter = getattr(root.get_submodule(path), "num_batches_tracked", None)
        module.num_batches_tracked = counter
        attach(root, path, module.eval())
    copy = graph.call_module(path, (copies[node.all_input_nodes[0]],))
    copy.meta = dict(node.meta)
    return copy


def _norm_tensors(root: nn.Module, node: fx.Node) -> tuple[str, dict[str, Tensor | None]]:
    """Path of the owning module, and the call's tensors by their nn.BatchNorm names."""
    reads = [argument(node, index, "") for index in range(1, 5)]
    tensors = [None if read is None else read_tensor(root, read) for read in reads]
    path, _, leaf = str(getattr(reads[2], "target", "")).rpartition(".")
    owner = root.get_submodule(path)
    own = {*dict(owner.named_parameters()), *dict(owner.named_buffers()), leaf}
    learned = all(t is None or isinstance(t, nn.Parameter) for t in tensors[:2])
    if not path or not learned or own - {*NORM_TENSORS, "num_batches_tracked"}:
        names = ", ".join(str(getattr(read, "target", None)) for read in reads)
        raise UnsupportedError(
            module_path(node) or node.name,
            "batch normalization is an nn.BatchNorm of its own",
            found="batch statistics only" if reads[2] is None else names,
            allowed="running statistics in a module that holds nothing else",
            next_step="use nn.BatchNorm with track_running_stats=True",
        )
    return path, dict(zip(NORM_TENSORS, tensors, strict=True))


def _dropout_module(
    graph: fx.Graph, root: nn.Module, node: fx.Node, copies: dict[fx.Node, fx.Node]
) -> fx.Node:
    """Call an nn.Dropout at the user's own path; a functional call gets a path beside it."""
    owner = module_path(node)
    if argument(node, 2, "train"):
        raise UnsupportedError(
            owner or node.name,
            "dropout is off in evaluation",
            found="dropout that is always on",
            next_step="export after model.eval(), or call it with training=self.training",
        )
    path = owner if _is_leaf_call(node) else f"{owner}.functional_{node.name}".lstrip(".")
    attach(root, path, nn.Dropout(argument(node, 1, "p")).eval())
    copy = graph.call_module(path, (copies[node.all_input_nodes[0]],))
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
