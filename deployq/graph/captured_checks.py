"""What a captured network must be before it is prepared; each check is one rule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from deployq.errors import InputError, UnsupportedError
from deployq.graph.node_names import module_path
from deployq.graph.rewrites.rule import argument, calls

aten = torch.ops.aten


def check_batch(graph: fx.Graph) -> None:
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


def check_evaluation(graph: fx.Graph) -> None:
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


def check_ends(graph: fx.Graph) -> None:
    """Every input is read, and every output is a computed tensor of numbers, of its own.

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
                "each output is a computed tensor of numbers, of its own",
                found=found,
                next_step="return it once, or leave it out of what forward returns",
            )


def _output_fault(output: Any, earlier: list[Any]) -> str:
    """What is wrong with an output, '' if nothing is."""
    if not isinstance(output, fx.Node) or output.op == "get_attr":
        return "a constant"
    if output.op == "placeholder":
        return f"the input {output.target} unchanged"
    if output.meta["val"].dtype == torch.bool:
        return "truths; the numbers that they are true of would do"
    return f"the same tensor as output {earlier.index(output)}" if output in earlier else ""
