"""Capture a float network: nn.Module or ExportedProgram to one plain torch.fx.GraphModule.

``torch.export`` keeps ATen calls whole and the user's parameter names, but ``ep.module()`` refuses
``train()``. So BatchNorm and Dropout go back in as modules where their calls are, and a plain
GraphModule is rebuilt: same output, ``train()`` and ``eval()`` work, names stay the user's.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from deployq.errors import DeployqError, InputError, UnsupportedError
from deployq.graph.captured_checks import check_batch, check_ends, check_evaluation
from deployq.graph.captured_inputs import (
    Examples,
    call_arguments,
    dynamic_batch,
    name_inputs,
)
from deployq.graph.constants import fold_constants
from deployq.graph.modes import evaluation_mode
from deployq.graph.node_names import is_leaf_call, module_path, name_nodes
from deployq.graph.rewrites import normalize
from deployq.graph.rewrites.rule import argument, calls
from deployq.graph.tensors import attach, read_tensor, tensors_of_module

aten = torch.ops.aten

BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
"""Rank of the input to the module that takes it."""

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a BatchNorm module, in the order of ``aten.batch_norm``."""


def capture(model: nn.Module, example_inputs: Examples) -> fx.GraphModule:
    """Trace ``model`` in evaluation mode with a dynamic batch.

    Args:
        model: any module that torch.export can trace.
        example_inputs: one tensor an input, batch first, float or of integer ids: a sequence by
            position, or a mapping by keyword; an argument that is a dict is a dict of tensors, and
            its keys name the inputs.

    Returns:
        A GraphModule of ATen calls; each node's ``meta["name"]`` leads back to the user's module,
        ``meta["val"]`` has its shape.

    Raises:
        InputError: torch.export cannot trace the model, or an input has no batch dimension.
        UnsupportedError: a normalization, dropout or in-place call without a plain form, an input
            that nothing reads, an output that is an input, a constant or another output.
    """
    args, kwargs = call_arguments(example_inputs)
    dynamic = dynamic_batch(kwargs or args)
    with evaluation_mode(model):
        try:
            program = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic)
        except DeployqError:  # of a module of our own: it names more than its first line
            raise
        except Exception as error:  # torch.export raises many types; the user needs its first line
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                type(model).__name__,
                "the model must be traceable by torch.export",
                found=lines[0][:300],
                next_step="run torch.export.export(model.eval(), inputs) to see the whole report",
            ) from error
    return graph_from_program(program)


def graph_from_program(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The normalized GraphModule of an exported program (see :func:`capture`).

    Nested outputs come out as one flat tuple.

    Raises:
        InputError: the batch is fixed, or the program was exported in training mode.
        UnsupportedError: as :func:`capture`.
    """
    source = program.module()
    assert isinstance(source, fx.GraphModule)
    name_inputs(source.graph, program.call_spec.in_spec)
    check_batch(source.graph)
    check_evaluation(source.graph)
    fold_constants(source)
    root = nn.Module()
    root.eval()
    tensors = tensors_of_module(source)
    for name, (value, persistent) in tensors.items():
        attach(root, name, value, persistent=persistent)
    graph = _copy_graph(source, root, single=program.call_spec.out_spec.is_leaf())
    module = fx.GraphModule(root, graph, class_name="Captured")
    kept = tensors_of_module(module)
    for name, (value, persistent) in tensors.items():  # fx keeps what the graph reads, no more
        if name not in kept or not persistent:
            attach(module, name, value, persistent=persistent)
    normalize(module)
    check_ends(module.graph)
    name_nodes(module)
    return module.eval()


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
    path = owner if is_leaf_call(node) else f"{owner}.functional_{node.name}".lstrip(".")
    attach(root, path, nn.Dropout(argument(node, 1, "p")).eval())
    copy = graph.call_module(path, (copies[node.all_input_nodes[0]],))
    copy.meta = dict(node.meta)
    return copy
