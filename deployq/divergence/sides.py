"""A side of a comparison: something that computes codes of named tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deployq.arithmetic.contract import Contract
from deployq.opened_file import OpenedFile
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import code_tensor, feed, integer_inputs
from deployq.qparams import QParams
from deployq.simulator import run_graph
from deployq.verifier.evidence import tensor_name

Array = npt.NDArray[Any]
Codes = Mapping[str, Array]


class Side(ABC):
    """One way to compute a network.

    Args:
        label: how the user named it.
    """

    label: str

    @property
    @abstractmethod
    def tensors(self) -> Mapping[str, QParams]:
        """Parameters of the code tensors that it computes, by the reference's names."""

    @property
    def hidden(self) -> frozenset[str]:
        """Tensors that it computes too, whose codes cannot be read without changing it."""
        return frozenset()

    @property
    @abstractmethod
    def file(self) -> OpenedFile:
        """The file that says what its layers are."""

    def input_shapes(self) -> Mapping[str, Sequence[int | None]]:
        """By input; None is a free dimension, as the first one always is."""
        return self.file.input_shapes()

    def input_dtypes(self) -> Mapping[str, np.dtype[Any]]:
        """By input."""
        return self.file.input_dtypes()

    @property
    def edges(self) -> Mapping[str, QParams]:
        """Parameters of the inputs that are codes."""
        return integer_inputs(self.file.graph)

    @property
    def fixed_batch(self) -> int | None:
        """Samples that it takes at a time; None where it takes any number."""
        return self.file.fixed_batch

    @property
    def stated(self) -> bool:
        """True where a contract states the arithmetic of every layer."""
        return True

    @abstractmethod
    def contract_of(self, tensor: str) -> Contract | None:
        """The arithmetic of the layer that writes a tensor; None where it runs in float."""

    @abstractmethod
    def run(self, inputs: Codes, forced: Codes | None = None) -> dict[str, Array]:
        """Codes of every tensor as computed, int64 on the side's own zero points.

        Args:
            inputs: by input of the network, float32 where an input is on a grid, (N, ...).
            forced: codes that replace the computed ones for all who read them, by tensor, on the
                side's own zero points. A tensor that cannot be computed like this is left out.
        """


def named_tensors(graph: IntegerGraph) -> dict[str, str]:
    """The code tensors that a graph computes: the reference's name to the file's."""
    written = [node.output for node in graph.nodes if node.writes_codes]
    found = {}
    for output in written:
        name = code_tensor(graph, tensor_name(output))
        found[tensor_name(output)] = name if name in graph.qparams else output
    return found


class Simulated(Side):
    """A file under a contract, in the simulator.

    Args:
        label: of the side.
        opened: the file.
        contract: the arithmetic.
    """

    def __init__(self, label: str, opened: OpenedFile, contract: Contract) -> None:
        self.label, self.contract, self._file = label, contract, opened
        self.names = named_tensors(opened.graph)

    @property
    def tensors(self) -> dict[str, QParams]:
        return {tensor: self._file.graph.qparams[name] for tensor, name in self.names.items()}

    @property
    def file(self) -> OpenedFile:
        return self._file

    def contract_of(self, tensor: str) -> Contract | None:
        return self.contract

    def run(self, inputs: Codes, forced: Codes | None = None) -> dict[str, Array]:
        graph, replaced = self._file.graph, (forced or {}).items()
        found = run_graph(
            graph,
            self.contract,
            feed(graph, inputs),
            forced={self.names[tensor]: torch.from_numpy(codes) for tensor, codes in replaced},
        ).codes
        return {tensor: found[name].numpy().astype(np.int64) for tensor, name in self.names.items()}
