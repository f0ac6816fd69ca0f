"""A ``.tflite`` flatbuffer under construction, through the schema classes of LiteRT's package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.qparams import PerChannel, QParams
from deployq_exporters.litert_package import litert_module
from deployq_exporters.tflite.transposes import Step, joined

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
FIRST_BYTES = 1 << 16
OLD_CODES = 127
"""Operators beyond this number have it in the file's older field."""

KINDS = {8: "INT8", 16: "INT16", 32: "INT32", 64: "INT64"}
"""Width of signed integers to the schema's name of their type."""
FLOAT32 = "FLOAT32"

VERSIONS: Mapping[str, int] = MappingProxyType(
    {
        "ADD": 2, "AVERAGE_POOL_2D": 2, "BATCH_MATMUL": 2, "CONCATENATION": 2, "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3, "DEQUANTIZE": 2, "FULLY_CONNECTED": 4, "GELU": 2, "HARD_SWISH": 1,
        "LEAKY_RELU": 2, "LOGISTIC": 2, "MAXIMUM": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MINIMUM": 2,
        "MIRROR_PAD": 2, "MUL": 2, "PAD": 2, "PADV2": 2, "QUANTIZE": 2, "RESHAPE": 1,
        "RESIZE_NEAREST_NEIGHBOR": 2, "RSQRT": 1, "SOFTMAX": 2, "STRIDED_SLICE": 2, "SUB": 2,
        "TANH": 2, "TRANSPOSE": 2, "TRANSPOSE_CONV": 3,
    }
)  # fmt: skip
"""Operator to the first version that takes 8-bit codes (tflite, ``op_version.cc``)."""

WIDE_VERSIONS: Mapping[str, int] = MappingProxyType(
    {
        "ADD": 3, "AVERAGE_POOL_2D": 3, "CONCATENATION": 3, "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5,
        "DEQUANTIZE": 3, "FULLY_CONNECTED": 7, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3,
        "MINIMUM": 4, "MIRROR_PAD": 3, "MUL": 4, "PAD": 3, "PADV2": 3, "QUANTIZE": 3,
        "STRIDED_SLICE": 4, "TRANSPOSE": 4,
    }
)  # fmt: skip
"""The same of 16-bit codes, where it is another. LiteRT's resolvers take these; they look at
numbers alone, not at types."""


class FlatFile:
    """Tensors, buffers and operators of one subgraph, added one by one.

    Raises:
        InputError: LiteRT's package is not installed.
    """

    def __init__(self) -> None:
        self.schema = litert_module("schema_py_generated")
        self._buffers = [self.schema.BufferT()]  # the first is empty: tensors without data
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._permutations: dict[tuple[int, ...], int] = {}

    def codes(self, name: str, shape: Sequence[int], qparams: QParams) -> int:
        """Add a tensor of signed codes that an operator or the user writes; its index."""
        return self._add(name, shape, KINDS[qparams.qtype.bits], qparams)

    def reals(self, name: str, shape: Sequence[int]) -> int:
        """Add a tensor of float32 that an operator writes; its index."""
        return self._add(name, shape, FLOAT32, None)

    def constant(self, name: str, data: npt.NDArray[Any], qparams: QParams | None = None) -> int:
        """Add signed integers of 8 to 64 bits, or float32; its index."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        self._buffers.append(buffer)
        kind = FLOAT32 if data.dtype == np.float32 else KINDS[8 * data.dtype.itemsize]
        return self._add(name, data.shape, kind, qparams, buffer=len(self._buffers) - 1)

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        output: int,
        options: Any = None,
        *,
        version: int | None = None,
    ) -> None:
        """Add an operator behind the others.

        Args:
            code: a name of the schema's BuiltinOperator.
            options: an object of the schema, if the operator has any.
            version: of the operator, where another than the first with 8-bit codes is needed.
        """
        made = self.schema.OperatorT()
        key = code, version or VERSIONS[code]
        made.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        made.inputs, made.outputs = list(inputs), [output]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, name)
            made.builtinOptions = options
        self._operators.append(made)

    def content(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The whole file, with chains of TRANSPOSE joined and without what nothing reads."""
        operators = self._joined(outputs)
        read = {*inputs, *outputs, *(i for op in operators for i in (*op.inputs, *op.outputs))}
        kept = sorted(read)
        place = {index: new for new, index in enumerate(kept)}
        for op in operators:
            op.inputs, op.outputs = ([place[i] for i in each] for each in (op.inputs, op.outputs))
        subgraph = self.schema.SubGraphT()
        subgraph.name, subgraph.tensors = "main", [self._tensors[index] for index in kept]
        subgraph.operators = operators
        subgraph.inputs, subgraph.outputs = ([place[i] for i in ends] for ends in (inputs, outputs))
        model = self.schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, "deployq"
        model.operatorCodes = [self._code(*key) for key in self._codes]
        model.subgraphs, model.buffers = [subgraph], self._buffers
        return packed(model)

    def _joined(self, ends: Sequence[int]) -> list[Any]:
        """The operators that are left (see :mod:`~deployq_exporters.tflite.transposes`)."""
        names = [code for code, _ in self._codes]
        steps = [
            Step(tuple(op.inputs), tuple(op.outputs), axes)
            for op in self._operators
            for axes in [self._axes(op) if names[op.opcodeIndex] == "TRANSPOSE" else None]
        ]
        left = []
        for place, step in joined(steps, ends, self._permutation):
            made = copy(self._operators[place])
            made.inputs, made.outputs = step.inputs, step.outputs
            left.append(made)
        return left

    def _axes(self, transpose: Any) -> tuple[int, ...]:
        stored = self._buffers[self._tensors[transpose.inputs[1]].buffer].data
        return tuple(np.frombuffer(stored.tobytes(), np.int32).tolist())

    def _permutation(self, axes: tuple[int, ...]) -> int:
        if axes not in self._permutations:
            name = f"axes.{'.'.join(map(str, axes))}"
            self._permutations[axes] = self.constant(name, np.asarray(axes, np.int32))
        return self._permutations[axes]

    def _add(
        self,
        name: str,
        shape: Sequence[int],
        kind: str,
        qparams: QParams | None,
        *,
        buffer: int = 0,
    ) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(self.schema.TensorType, kind)
        if qparams is not None:
            tensor.quantization = self._quantization(qparams)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _quantization(self, qparams: QParams) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale = qparams.scale.reshape(-1).tolist()
        made.zeroPoint = qparams.zero_point.reshape(-1).tolist()
        if isinstance(qparams.granularity, PerChannel):
            made.quantizedDimension = qparams.granularity.axis
        return made

    def _code(self, code: str, version: int) -> Any:
        made = self.schema.OperatorCodeT()
        made.builtinCode, made.version = getattr(self.schema.BuiltinOperator, code), version
        made.deprecatedBuiltinCode = min(made.builtinCode, OLD_CODES)
        return made


def packed(model: Any) -> bytes:
    """A ModelT of the schema as the bytes of a file."""
    import flatbuffers  # the package of the schema brings it

    builder = flatbuffers.Builder(FIRST_BYTES)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
