"""LiteRT on this machine's processor: run a ``.tflite`` file, read its inner codes, see what was
delegated.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.errors import InputError
from deployq_exporters.litert_package import litert_module
from deployq_exporters.tflite.layout import FIRST, from_file, to_file

Array = npt.NDArray[Any]
DELEGATE = "DELEGATE"
SIZED = "TRANSPOSE_CONV"
"""States the size of its output with a batch of 1: such a file takes samples one by one."""


class Kernels(StrEnum):
    """The kernel sets of LiteRT; one file has three answers."""

    REFERENCE = "reference"  # BUILTIN_REF
    OPTIMISED = "optimised"  # BUILTIN_WITHOUT_DEFAULT_DELEGATES
    XNNPACK = "xnnpack"  # BUILTIN, what a user gets who asks for nothing: delegated where it can be


_RESOLVERS = {
    Kernels.REFERENCE: "BUILTIN_REF",
    Kernels.OPTIMISED: "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    Kernels.XNNPACK: "BUILTIN",
}


class Session:
    """One loaded file with one kernel set.

    Args:
        content: the file.
        kernels: what computes it.
        probes: keep every inner tensor. XNNPACK then gets each operator alone.
        threads: of one operator.

    Raises:
        InputError: LiteRT's package is not installed, or it refuses the file.
    """

    def __init__(
        self, content: bytes, kernels: Kernels, *, probes: bool = False, threads: int = 1
    ) -> None:
        interpreter = litert_module("interpreter")
        self.kernels, self.probes, self._batch = kernels, probes, 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of memory, where all is kept
                self._interpreter = interpreter.Interpreter(
                    model_content=content,
                    experimental_op_resolver_type=getattr(
                        interpreter.OpResolverType, _RESOLVERS[kernels]
                    ),
                    experimental_preserve_all_tensors=probes,
                    num_threads=threads,
                )
            self._inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
            self._resize(1)
            self._one_by_one = SIZED in self.operators().values()
        except (ValueError, RuntimeError) as error:
            raise _refused("LiteRT must load the file", error) from error

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the code tensors that the file takes."""
        return tuple(self._inputs)

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Outputs and, with probes, what every operator wrote: codes (int64) by tensor name.

        Args:
            inputs: name to codes of the input's own type, int8 or int16, (N, ...); four axes in
                ONNX's order, as the results.

        Raises:
            InputError: an array is missing or of another type, or a kernel refuses its shape.
        """
        for name, detail in self._inputs.items():
            wanted = np.dtype(detail["dtype"])
            if name not in inputs or inputs[name].dtype != wanted:
                raise InputError(
                    f"input {name}",
                    f"this .tflite file takes {wanted} codes",
                    found=str(inputs[name].dtype) if name in inputs else "nothing",
                    allowed=str(wanted),
                )
        samples = len(inputs[self.inputs[0]])
        if not self._one_by_one or samples == 1:
            return self._invoke(inputs, samples)
        each = [
            self._invoke({name: codes[row : row + 1] for name, codes in inputs.items()}, 1)
            for row in range(samples)
        ]
        outputs, inner = (_joined(parts) for parts in zip(*each, strict=True))
        return outputs, inner

    def _invoke(
        self, inputs: Mapping[str, Array], samples: int
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        try:
            self._resize(samples)
            for name, detail in self._inputs.items():
                self._interpreter.set_tensor(detail["index"], to_file(inputs[name]))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise _refused("LiteRT must run the file", error) from error
        return self._codes(self._outputs), self._codes(self._written()) if self.probes else {}

    def operators(self) -> dict[str, str]:
        """What each operator is, by the codes that it writes."""
        return {name: node["op_name"] for name, node in self._makers().items()}

    def delegated(self) -> frozenset[str]:
        """Codes that XNNPACK wrote."""
        makers, found = dict[int, Any](), set[int]()
        for node in self._nodes():
            if node["op_name"] != DELEGATE:
                makers.update(dict.fromkeys(map(int, node["outputs"]), node))
        for node in self._nodes():
            if node["op_name"] == DELEGATE:
                found |= _behind(makers, node["outputs"], set(map(int, node["inputs"])))
        return frozenset(
            name for name, node in self._makers().items() if int(node["outputs"][0]) in found
        )

    def _makers(self) -> dict[str, Any]:
        """What computes each tensor of codes; a TRANSPOSE to another order of axes is none."""
        made = dict[str, Any]()
        for node in self._nodes():
            if node["op_name"] == DELEGATE:
                continue
            name = self._names[int(node["outputs"][0])]
            if name.removesuffix(FIRST) not in made or node["op_name"] != "TRANSPOSE":
                made[name.removesuffix(FIRST)] = node
        return made

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._interpreter._get_ops_details()  # there is no other way
        return nodes

    @cached_property
    def _outputs(self) -> list[int]:
        return [int(detail["index"]) for detail in self._interpreter.get_output_details()]

    @cached_property
    def _names(self) -> dict[int, str]:
        """Of all tensors, by index: asked for once, since it takes longer than a small network."""
        return {int(d["index"]): d["name"] for d in self._interpreter.get_tensor_details()}

    def _written(self) -> list[int]:
        nodes = self._nodes()
        return [int(n["outputs"][0]) for n in nodes if n["op_name"] != DELEGATE]

    def _codes(self, indices: Sequence[int]) -> dict[str, Array]:
        found = dict[str, Array]()
        for index in indices:
            name, array = self._names[index], self._interpreter.get_tensor(index)
            if array.dtype != np.float32:  # what a normalization computes on the way
                ordered = array if name.endswith(FIRST) else from_file(array)
                found[name.removesuffix(FIRST)] = ordered.astype(np.int64)
        return found

    def _resize(self, batch: int) -> None:
        if batch == self._batch:
            return
        self._batch = batch
        for detail in self._inputs.values():
            shape = [batch, *detail["shape"][1:]]
            self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _behind(makers: Mapping[int, Any], outputs: Sequence[int], inputs: set[int]) -> set[int]:
    """The tensors that were made on the way from ``inputs`` to ``outputs``."""
    found, open_ends = set[int](), list(map(int, outputs))
    while open_ends:
        index = open_ends.pop()
        if index in makers and index not in found and index not in inputs:
            found.add(index)
            open_ends.extend(map(int, makers[index]["inputs"]))
    return found


def _refused(rule: str, error: Exception) -> InputError:
    return InputError(".tflite file", rule, found=str(error).strip().splitlines()[0][:300])
