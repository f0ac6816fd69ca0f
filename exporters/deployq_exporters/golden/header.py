"""The C99 header: types, data of every layer, and the cases that the program runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from deployq.arithmetic.contract import Overflow
from deployq.qparams import IntArray, QParams
from deployq_exporters.golden.c_layers import define_layer
from deployq_exporters.golden.c_text import CSource, braces, initializer, quoted
from deployq_exporters.golden.layer_data import sum_bits
from deployq_exporters.golden.trace import Layer, Source, Trace, Vectors
from deployq_targets.words import CodeOrder

PROGRAM = "golden.c"
HEADER = "golden.h"
_C = files("deployq_exporters.golden") / "c"

OVERFLOWS = (Overflow.WRAP, Overflow.SATURATE, Overflow.REJECT)


def program_text() -> str:
    """The self-checking program, the same for every network."""
    return (_C / PROGRAM).read_text("utf-8")


def header_text(trace: Trace) -> str:
    """The header of one network."""
    source = _Header(trace)
    for index, layer in enumerate(trace.layers):
        source.layer(index, layer)
    return source.text()


class _Header:
    """The header under construction: tensors of the data vectors share a memory, those of the
    other vectors lie behind them, one case over the other."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.source = trace, CSource(trace.packing.code_order)
        self.cases: list[str] = []
        self.computed: dict[str, str] = {}
        self.given: dict[str, str] = {}
        self.used, self.beside, self.weights, self.rank = 0, 0, 1, 1
        self.pending: list[tuple[Layer, Vectors, str]] = []

    def layer(self, index: int, layer: Layer) -> None:
        """The layer's constants and its run on data; its other vectors come last."""
        address, weights = define_layer(self.source, index, layer, self.trace)
        self.weights = max(self.weights, weights)
        for vectors in layer.vectors:
            if vectors.source is Source.DATA:
                self._data_case(layer, vectors, address)
            else:
                self.pending.append((layer, vectors, address))

    def text(self) -> str:
        """The whole header."""
        base = self.used
        for layer, vectors, address in self.pending:
            self.used = base
            inputs = [self._given(codes, q) for codes, q in
                      zip(vectors.inputs, layer.inputs, strict=bool(vectors.inputs))]  # fmt: skip
            output = self._tensor(vectors.output, layer.out, given=False)
            self._case(layer, vectors, address, inputs, output)
            self.beside = max(self.beside, self.used - base)
        head = [
            f"/* Golden vectors, arithmetic of {quoted(self.trace.target)}. */",
            "#ifndef DEPLOYQ_GOLDEN_H", "#define DEPLOYQ_GOLDEN_H", "",
            f"#define DQ_RANK {self.rank}",
            f"#define DQ_MEMORY {max(base + self.beside, 1)}",
            f"#define DQ_WEIGHTS {self.weights}",
            f"#define DQ_LOW_FIRST {int(self.source.order is CodeOrder.LOW_FIRST)}",
            *(f"#define DQ_{word.name} {i}" for i, word in enumerate(OVERFLOWS)),
            f"#define DQ_ACCUMULATOR_BITS {self.trace.accumulator.bits}",
            f"#define DQ_OVERFLOW DQ_{self.trace.accumulator.overflow.name}", "",
            (_C / "types.h").read_text("utf-8"),
            "static int32_t memory[DQ_MEMORY];", "",
        ]  # fmt: skip
        cases = ["static const dq_case cases[] = {", ",\n".join(self.cases), "};", "", "#endif"]
        return "\n".join([*head, *self.source.lines, *cases]) + "\n"

    def _data_case(self, layer: Layer, vectors: Vectors, address: str) -> None:
        inputs = [
            self.computed.get(name) or self._shared(name, codes, q)
            for name, codes, q in zip(layer.node.inputs, vectors.inputs, layer.inputs, strict=True)
        ]
        output = self._tensor(vectors.output, layer.out, given=False)
        self.computed[layer.node.output] = output
        self._case(layer, vectors, address, inputs, output)

    def _shared(self, name: str, codes: IntArray, qparams: QParams) -> str:
        if name not in self.given:
            self.given[name] = self._given(codes, qparams)
        return self.given[name]

    def _given(self, codes: IntArray, qparams: QParams) -> str:
        return self._tensor(codes, qparams, given=True)

    def _tensor(self, codes: IntArray, qparams: QParams, *, given: bool) -> str:
        """Defines a tensor and its place in the memory; returns its address."""
        qtype, name = qparams.qtype, f"tensor_{len(self.source.lines)}"
        data = self.source.codes(f"{name}_codes", codes, qtype.container.bits, qtype.signed)
        self.rank = max(self.rank, codes.ndim)
        place, self.used = self.used, self.used + codes.size
        dims = braces(codes.shape) if codes.ndim else None
        return self.source.struct("dq_tensor", name, initializer(
            rank=codes.ndim, dims=dims, codes=data, memory=f"memory + {place}",
            is_given=int(given)))  # fmt: skip

    def _case(
        self, layer: Layer, vectors: Vectors, address: str, inputs: Sequence[str], output: str
    ) -> None:
        index, fields = len(self.cases), {}
        if inputs:
            name = f"case_{index}_inputs"
            self.source.lines.append(f"static const dq_tensor *const {name}[] = {braces(inputs)};")
            fields = {"inputs": name, "input_count": len(inputs)}
        sums = None
        if vectors.sums is not None and vectors.source is not Source.DATA:
            name, bits = f"case_{index}_sums", sum_bits(self.trace.accumulator)
            sums = self.source.codes(name, vectors.sums, bits, True)
        self.cases.append("    " + initializer(
            layer=address, vectors=quoted(vectors.source), **fields, output=output,
            sums=sums))  # fmt: skip
