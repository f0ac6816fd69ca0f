"""A torch module that computes an ONNX graph node by node, for torch.export to trace."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deployq.errors import DeployqError
from deployq.graph.onnx_import import sizes
from deployq.graph.onnx_import.batch import check_samples, is_batch, one_sample
from deployq.graph.onnx_import.binding import Binding, Parameter, Source
from deployq.graph.onnx_import.node import OnnxNode
from deployq.graph.onnx_import.operators import OPERATORS
from deployq.graph.onnx_import.reading import OnnxGraph
from deployq.graph.tensors import attach

BUFFERS = ("running_mean", "running_var")


class Call(nn.Module):
    """One node; its path in the module tree is the name that the plan shows."""

    def __init__(self, node: OnnxNode) -> None:
        super().__init__()
        self.onnx_node = node

    def forward(self, *operands: Any) -> tuple[Tensor, ...]:
        node = self.onnx_node
        try:
            results = OPERATORS[node.op_type].run(node, *operands)
        except DeployqError:
            raise
        except Exception as error:  # torch refuses shapes with many types
            shapes = [tuple(map(str, v.shape)) for v in operands if isinstance(v, Tensor)]
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise node.refuse(
                "a node computes on a batch of any size",
                f"{lines[0][:200]}; operands of shape {shapes}",
                "shapes that leave the batch free",
                "export the network with a dynamic batch",
            ) from error
        results = results if isinstance(results, tuple) else (results,)
        check_samples(node, operands, results)
        return results


class OnnxModule(nn.Module):
    """Interprets the steps of a :class:`Binding`; parameters lie at their paths."""

    def __init__(self, graph: OnnxGraph, binding: Binding) -> None:
        super().__init__()
        self.onnx_graph, self.onnx_binding = graph, binding
        for step in sorted(binding.steps, key=lambda step: step.path.count(".")):
            if step.node.op_type in OPERATORS:  # shallow first: attaching fills the paths between
                attach(self, step.path, Call(step.node))
        for path, array in binding.tensors.items():
            tensor = torch.from_numpy(array.copy())
            buffer = path.rpartition(".")[2] in BUFFERS
            attach(self, path, tensor if buffer else nn.Parameter(tensor))

    def compute(self, *inputs: Tensor) -> Any:
        """The outputs of the graph: one tensor, or a tuple."""
        values: dict[str, Any] = dict(zip(self.onnx_binding.arguments, inputs, strict=True))
        for step in self.onnx_binding.steps:
            operands = [self._read(source, values) for source in step.sources]
            results = self._results(step.node, step.path, operands)
            used = [name for name in step.node.outputs[len(results) :] if name]
            if used and any(self.onnx_graph.uses(name) for name in used):
                raise step.node.refuse(
                    "a node gives its values only", f"a reader of {', '.join(used)}", "no reader"
                )
            values.update(zip(step.node.outputs, results, strict=False))
        outputs = tuple(self._output(name, values) for name in self.onnx_graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _results(self, node: OnnxNode, path: str, operands: Sequence[Any]) -> tuple[Any, ...]:
        if node.op_type == "Shape":
            return (sizes.shape(node, operands[0]),)
        symbolic = any(map(is_batch, operands[0])) if node.op_type == "ConstantOfShape" else False
        if any(isinstance(operand, Tensor) for operand in operands) or symbolic:
            return tuple(self.get_submodule(path)(*operands))
        return (sizes.compute_sizes(node, list(operands)),)

    def _read(self, source: Source, values: dict[str, Any]) -> Any:
        if isinstance(source, Parameter):
            owner, _, leaf = source.path.rpartition(".")
            return getattr(self.get_submodule(owner), leaf)
        return values[source] if isinstance(source, str) else source

    def _output(self, name: str, values: dict[str, Any]) -> Tensor:
        value = values.get(name)
        maker = next((s.node for s in self.onnx_binding.steps if name in s.node.outputs), None)
        first = value.shape[0] if isinstance(value, Tensor) and value.ndim else 0
        if maker is not None and not (is_batch(first) and one_sample(first) == 1):
            shape = tuple(map(str, getattr(value, "shape", ())))
            raise maker.refuse(
                f"output {name} has the batch as its first dimension",
                f"shape {shape}",
                "(batch, ...)",
                "export the network with a dynamic batch as the first dimension",
            )
        assert isinstance(value, Tensor)
        return value


def to_module(graph: OnnxGraph, binding: Binding) -> nn.Module:
    """An :class:`OnnxModule` whose ``forward`` has the inputs of the file as arguments."""

    def forward(self: OnnxModule, *inputs: Tensor) -> Any:
        return self.compute(*inputs)

    kinds = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD)
             for n in ("self", *binding.arguments.values())]  # fmt: skip
    forward.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined] # read by inspect
    made = type("OnnxModel", (OnnxModule,), {"forward": forward})
    module: nn.Module = made(graph, binding)
    return module.eval()
