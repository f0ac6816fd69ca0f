"""The reference on codes, from a cut of the graph on: what stands before it is computed once.

Integer sums are exact, so a run in two parts is the whole run to the bit, whatever the batch. On
another device integers stay the same to the bit; operators in float (LayerNormalization, Softmax or
Gelu where the contract has no integer form for them) may round otherwise there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels.devices import CPU
from deployq.graph.codes import CodesInterpreter, real_outputs
from deployq.graph.integers import LayerIntegers, layer_integers
from deployq.graph.layer_sums import KeptSums
from deployq.graph.preparation import PreparedModel
from deployq.graph.tensors import read_tensor
from deployq.graph.units import QuantizedLinear

Values = Mapping[fx.Node, Any]
"""What nodes before a cut made and nodes behind it read: codes, or reals of operators in float."""


class PartialCodes:
    """A prepared network on codes, whose layers may change between runs.

    Args:
        prepared: a calibrated model; its tensors stay where they are, and so does the rounding of
            weights to codes.
        contract: arithmetic to finish each operator with.
        device: that inputs and values go to.
    """

    def __init__(
        self, prepared: PreparedModel, contract: Contract, device: torch.device = CPU
    ) -> None:
        self._prepared, self._contract, self._device = prepared, contract, device
        self._nodes = list(prepared.module.graph.nodes)
        self._integers: dict[str, LayerIntegers] = layer_integers(prepared)
        self._constants, self._sums = _constants(prepared.module, device), KeptSums()

    def refresh(self, layers: Collection[str]) -> None:
        """Take the integers of these layers anew, after a change of their scales or weights."""
        self._integers |= layer_integers(self._prepared, layers)

    def alive(self, cut: fx.Node) -> set[fx.Node]:
        """Nodes before a cut that it, or nodes behind it, read."""
        behind = self._nodes[self._nodes.index(cut) :]
        inside = set(behind)
        read = {operand for node in behind for operand in node.all_input_nodes}
        return {node for node in read - inside if node.op != "get_attr"}

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Reals of all outputs."""
        return self._outputs(self._interpreter(), inputs, {})

    def run_to(
        self, cuts: Collection[fx.Node], inputs: Sequence[Tensor]
    ) -> tuple[dict[fx.Node, Values], tuple[Tensor, ...]]:
        """A whole run that keeps what is alive at each cut."""
        wanted = {cut: self.alive(cut) for cut in cuts}
        interpreter = self._interpreter({n for nodes in wanted.values() for n in nodes})
        outputs = self._outputs(interpreter, inputs, {})
        kept = interpreter.kept
        return {cut: {n: kept[n] for n in nodes} for cut, nodes in wanted.items()}, outputs

    def run_from(self, cut: fx.Node, values: Values) -> tuple[Tensor, ...]:
        """Reals of all outputs, by the run behind a cut."""
        return self._outputs(self._interpreter(), (), self._before(cut) | dict(values))

    def run_between(self, cut: fx.Node, values: Values, to: fx.Node) -> Values:
        """What is alive at a later cut; nothing behind that one is computed."""
        behind: dict[fx.Node, Any] = dict.fromkeys(self._nodes[self._nodes.index(to) :])
        wanted = self.alive(to)
        interpreter = self._interpreter(wanted)
        known = self._constants | self._before(cut) | behind | dict(values)
        with torch.no_grad():
            interpreter.run(initial_env=known)
        return {node: interpreter.kept.get(node, values.get(node)) for node in wanted}

    def everything(self, inputs: Sequence[Tensor]) -> Values:
        """What every node makes of a few samples."""
        interpreter = self._interpreter(self._nodes)
        self._outputs(interpreter, inputs, {})
        return interpreter.kept

    def _before(self, cut: fx.Node) -> dict[fx.Node, Any]:
        """Nodes that need not run, as an environment without values."""
        before = self._nodes[: self._nodes.index(cut)]
        return {node: None for node in before if node.op != "get_attr"}

    def _interpreter(self, keep: Collection[fx.Node] = ()) -> CodesInterpreter:
        return CodesInterpreter(
            self._prepared, self._contract, integers=self._integers, keep=keep, records=False,
            sums=self._sums,
        )  # fmt: skip

    def _outputs(
        self, interpreter: CodesInterpreter, inputs: Sequence[Tensor], known: dict[fx.Node, Any]
    ) -> tuple[Tensor, ...]:
        there = [tensor.to(self._device) for tensor in inputs]
        with torch.no_grad():
            return real_outputs(interpreter.run(*there, initial_env=self._constants | known))


def _constants(module: fx.GraphModule, device: torch.device) -> dict[fx.Node, Any]:
    """Tensors of the model on a device; those that layers alone read are integers already."""
    nodes = [node for node in module.graph.nodes if node.op == "get_attr"]
    return {
        n: None if _is_of_layers(module, n) else read_tensor(module, n).to(device) for n in nodes
    }


def _is_of_layers(module: fx.GraphModule, node: fx.Node) -> bool:
    called = [
        user.op == "call_module" and module.get_submodule(str(user.target)) for user in node.users
    ]
    return all(isinstance(unit, QuantizedLinear) for unit in called)
