"""The reference of law 12: the fake-quant model with int32 bias codes, evaluated on codes.

Integer sums are exact, the scale is applied once after the sum, so the result is the same for every
batch size, device and thread count. The arithmetic of that last step is a contract's: ``QDQ`` for
what the file says in real numbers, a target's or a runtime's own for what that one computes.
Operators that stay in float run in float32 on the reals of their operands' codes.

A computing node does not know its output's grid; it waits as a :class:`Pending` until the quantizer
that follows asks for codes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from deployq import affine
from deployq.arithmetic.codes import check_code_bits
from deployq.arithmetic.contract import QDQ, Contract, Form, Kind
from deployq.arithmetic.kernels.codes import dequantize, quantize, torch_dtype
from deployq.arithmetic.kernels.requantize import fit_accumulator, real_sums, requantize
from deployq.arithmetic.requant_words import BiasOrder, Gating
from deployq.arithmetic.rounding import Float64Array
from deployq.arithmetic.row_operators import in_integers
from deployq.errors import InputError
from deployq.graph.batch_norm import LateBias, LinearCodes
from deployq.graph.code_operators import (
    Bounds,
    Codes,
    Finish,
    Pending,
    compute,
    move,
    row_norm_of,
    softmax_of,
    table_of,
    unary,
)
from deployq.graph.code_ranges import code_bounds
from deployq.graph.fake_quantize import FakeQuantize, is_quantizer
from deployq.graph.gates import gated
from deployq.graph.integers import LayerIntegers, is_constant, layer_integers
from deployq.graph.layer_sums import KeptSums, layer_sums
from deployq.graph.operators import (
    UNARY,
    aten,
    clamp_bounds,
    is_compute,
    is_movement,
    is_row_norm,
    onnx_type,
)
from deployq.graph.preparation import PreparedModel
from deployq.graph.reals import ends_in_reals
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.rewrites.rule import calls
from deployq.graph.units import QuantizedLinear
from deployq.qparams import PerTensor, QParams
from deployq.qtypes import QType

STEP_BITS = 14
"""Steps are known to ``2**-STEP_BITS`` of an LSB; those of 17 bits and more saturate."""

STEP_TYPE = QType(32, True)


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate_steps` found, by tensor name in graph order.

    Args:
        codes: integers.
        steps: float64, the value before rounding in units of the tensor's scale, less its zero
            point: ``code = saturate(round(steps) + zero_point)``. A clamp that the quantizer did
            not replace is applied, saturation is not. Known to ``2**-14``, within +-2**17.
        outputs: what the network returns, flattened in its order; float32 where an operator in
            float made it.
    """

    codes: dict[str, Tensor]
    steps: dict[str, Tensor]
    outputs: tuple[Codes | Tensor, ...]


def evaluate_codes(
    prepared: PreparedModel,
    contract: Contract,
    *inputs: Tensor,
    forced: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Codes of every quantized tensor, by name, in graph order.

    Args:
        prepared: a calibrated model.
        contract: arithmetic to finish each operator with.
        inputs: float32, as the model takes them.
        forced: tensor name to codes that replace the computed ones after they are recorded, so
            that every layer can be fed what another run computed; further names are ignored.

    Raises:
        AccumulatorOverflowError: a sum leaves the contract's accumulator.
        UnsupportedError: the contract has no arithmetic for an operator.
    """
    return _run(prepared, contract, inputs, forced, ()).recorded


def evaluate_steps(
    prepared: PreparedModel,
    contract: Contract,
    *inputs: Tensor,
    names: Collection[str] | None = None,
    forced: Mapping[str, Tensor] | None = None,
) -> Evaluation:
    """As :func:`evaluate_codes`, and how far from a rounding tie each code was.

    The steps are in real arithmetic, whatever the contract.

    Args:
        prepared, contract, inputs, forced: as :func:`evaluate_codes`.
        names: tensors that get steps; None is all.

    Raises:
        InputError: a name that no quantized tensor has.
    """
    known = {name for grid in prepared.plan.tensors for name in grid.computed}
    wanted = known if names is None else set(names)
    if wanted - known:
        raise InputError(
            "names",
            "steps are of quantized tensors",
            found=", ".join(sorted(wanted - known)),
            allowed=", ".join(sorted(known)),
        )
    run = _run(prepared, contract, inputs, forced, wanted)
    return Evaluation(run.recorded, run.steps, run.outputs)


def _run(
    prepared: PreparedModel,
    contract: Contract,
    inputs: tuple[Tensor, ...],
    forced: Mapping[str, Tensor] | None,
    fine: Collection[str],
) -> CodesInterpreter:
    interpreter = CodesInterpreter(prepared, contract, forced or {}, fine)
    with torch.no_grad():
        returned = interpreter.run(*inputs)
    leaves = pytree.tree_leaves(returned, is_leaf=lambda value: isinstance(value, Codes))
    interpreter.outputs = tuple(leaves)
    return interpreter


class CodesInterpreter(fx.Interpreter):
    """Runs a prepared graph on integers, and records them.

    Args:
        prepared, contract, forced: as :func:`evaluate_codes`.
        fine: tensors that get steps.
        integers: of the layers; the model's own for None.
        keep: nodes whose values are kept as they are made, in ``kept``.
        records: keep the codes of every tensor by name.
        sums: of the layers, kept between runs.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        contract: Contract,
        forced: Mapping[str, Tensor] = MappingProxyType({}),
        fine: Collection[str] = (),
        *,
        integers: Mapping[str, LayerIntegers] | None = None,
        keep: Collection[fx.Node] = (),
        records: bool = True,
        sums: KeptSums | None = None,
    ) -> None:
        super().__init__(prepared.module)
        self.prepared = prepared
        self.contract = contract
        self.forced = forced
        self.fine = fine
        self.integers = layer_integers(prepared) if integers is None else integers
        self.keep, self.records, self.sums = keep, records, sums
        self.kept: dict[fx.Node, Any] = {}
        self.recorded: dict[str, Tensor] = {}
        self.steps: dict[str, Tensor] = {}
        self.outputs: tuple[Codes | Tensor, ...] = ()

    def run_node(self, n: fx.Node) -> Any:
        made = self._made(n)
        if n in self.keep:
            self.kept[n] = made
        return made

    def _made(self, n: fx.Node) -> Any:
        if n.op in ("placeholder", "output", "get_attr"):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        graph = self.prepared.module
        if n.op == "call_module":
            module = graph.get_submodule(str(n.target))
            if isinstance(module, FakeQuantize):
                if is_constant(n):
                    return _codes(module.qparams(), args[0])
                return self._quantize(str(n.meta["name"]), module.qparams(), args[0])
            if isinstance(module, QuantizedLinear):
                return self._linear(self.integers[n.meta["name"]], module, args[0], n.meta["name"])
        if is_movement(graph, n) and isinstance(args[0], Codes):
            return move(n, args, kwargs)
        if n.op == "call_module" and isinstance(args[0], Pending):
            return args[0]  # Dropout between a layer and the sum that joins it
        operands = [a for a in _flat(args) if isinstance(a, (Codes, Pending, Tensor))]
        codes = [operand for operand in operands if isinstance(operand, Codes)]
        if is_compute(n) and (not ends_in_reals(graph, n) or onnx_type(graph, n) == "MatMul"):
            computed = self._computed(n, operands, codes)
            if computed is not None:
                return computed
        if self._is_on_rows(n) and isinstance(args[0], Codes) and self._is_quantized(n):
            return softmax_of(args[0]) if is_softmax(n) else row_norm_of(n, args, kwargs)
        if n.target in UNARY and self._is_on_codes(n, args[0]):
            return unary(n, onnx_type(graph, n), args[0])
        reals, named = fx.node.map_aggregate((args, kwargs), _real)  # it runs in float, or sizes
        if n.op == "call_module":
            return self.call_module(str(n.target), reals, named)
        return self.call_function(n.target, reals, named)

    def _computed(
        self, n: fx.Node, operands: Sequence[Any], codes: Sequence[Codes]
    ) -> Pending | None:
        """Of codes, or of codes that join a layer's sums."""
        if len(codes) == len(operands):
            x = gated(self.prepared.module, n) if self._joins_gates() else None
            if x is not None:
                return table_of("Swish", codes[n.args.index(x)])
            return compute(n, codes, self.contract.accumulator)
        waiting = [o for o in operands if isinstance(o, Pending) and o.joined is not None]
        if calls(n, aten.add.Tensor) and waiting and codes:
            return waiting[0].with_sum(codes[0])
        return None

    def _is_on_codes(self, n: fx.Node, operand: Any) -> bool:
        """A function of codes whose result gets some, or a clamp that is part of an operator."""
        if isinstance(operand, Pending):
            return clamp_bounds(n) is not None
        return isinstance(operand, Codes) and not ends_in_reals(self.prepared.module, n)

    def _joins_gates(self) -> bool:
        return self.contract.form("Mul").gating is Gating.JOINED

    def _is_on_rows(self, n: fx.Node) -> bool:
        """An operator along rows that the contract computes on codes, as the simulator does."""
        if not is_row_norm(n):
            return is_softmax(n)
        operator = onnx_type(self.prepared.module, n)
        return in_integers(operator, self.contract.form(operator))

    def _is_quantized(self, n: fx.Node) -> bool:
        """A quantizer reads it: all others then read that."""
        return any(is_quantizer(self.prepared.module, user) for user in n.users)

    def _quantize(self, name: str, qparams: QParams, value: Tensor | Pending) -> Codes:
        if isinstance(value, Pending):
            bounds = code_bounds(value.low, value.high, qparams)
            form = self.contract.for_codes(value.bits).form(value.operator)
            check_code_bits(f"{name} ({value.operator})", form, qparams)
            codes = value.finish(qparams, bounds, form)
        else:
            codes = _codes(qparams, value).data
        if self.records:
            self.recorded[name] = codes
        if name in self.fine:
            self.steps[name] = _steps(value, qparams)
        forced = self.forced.get(name)
        return Codes(codes if forced is None else forced.to(codes), qparams)

    def _linear(
        self, integers: LayerIntegers, unit: QuantizedLinear, x: Codes, name: str
    ) -> Pending:
        codes, zero_point = integers.codes, int(integers.input.zero_point)
        operator = unit.form_name(torch.from_numpy(codes.codes))
        late = self._late_bias(codes, operator)
        added = codes.bias if late is None else None
        layer = integers, unit, added, x.data.device
        sums = layer_sums(*layer) if self.sums is None else self.sums.of(name, *layer)
        axis = -1 if unit.op_type == "Gemm" else 1
        acc = sums(x.data, zero_point)
        acc = fit_accumulator(acc, self.contract.accumulator, name, channel_axis=axis)
        scales = np.float32(integers.input.scale), codes.scale
        more: dict[str, Any] = {"channel_axis": axis, "bias": added, "late": late}

        inputs = tuple(range(1, codes.codes.ndim))

        def finishing(addend: Codes | None) -> Finish:
            operand = None if addend is None else (addend.data, addend.qparams)

            def finish(out: QParams, bounds: Bounds, form: Form) -> Tensor:
                taken = acc.clone()  # two grids may wait for the sums
                if form.sum_cut:
                    more["removed"] = zero_point * codes.codes.astype(np.int64).sum(inputs)
                return requantize(taken, *scales, out, form, bounds=bounds, addend=operand, **more)

            return finish

        def reals() -> Tensor:
            return real_sums(acc, *scales, channel_axis=axis, late=late)

        bits = integers.input.qtype.bits
        return Pending(operator, finishing(None), bits=bits, joined=finishing, reals=reals)

    def _late_bias(self, codes: LinearCodes, operator: str) -> Float64Array | None:
        """The reals that are added after the scale, as the contract, or the file, has it."""
        if self.contract.bias_order is BiasOrder.AFTER_SCALE:
            stated = codes.late or LateBias(codes.bias, codes.bias_scale)
            return stated.reals
        exact = self.contract.form(operator).kind is Kind.EXACT
        return codes.late.reals if exact and codes.late is not None else None


def _codes(qparams: QParams, value: Tensor) -> Codes:
    """Reals on a grid; by the reference itself on the processor, by its kernel on a device."""
    if _stays_there(value, qparams):
        return Codes(quantize(value.detach(), qparams), qparams)
    codes = affine.quantize(value.detach().cpu().numpy(), qparams)
    numbers = np.asarray(codes, np.int64)  # NumPy makes a number of a tensor without axes
    return Codes(torch.from_numpy(numbers).to(value.device, torch_dtype(qparams.qtype)), qparams)


def _stays_there(value: Tensor, qparams: QParams) -> bool:
    """A tensor of a device with one scale need not come to the processor and go back."""
    return value.device.type != "cpu" and isinstance(qparams.granularity, PerTensor)


def real_outputs(returned: Any) -> tuple[Tensor, ...]:
    """The reals of what a network returns, flattened in its order."""
    leaves = pytree.tree_leaves(returned, is_leaf=lambda value: isinstance(value, Codes))
    return tuple(_real(leaf) for leaf in leaves)


def _flat(args: tuple[Any, ...]) -> list[Any]:
    """Arguments with the members of a list of tensors (Concat) among them."""
    return [item for arg in args for item in (arg if isinstance(arg, (list, tuple)) else [arg])]


def _real(value: Any) -> Any:
    """The float32 reals of codes, and of a layer that returns reals; everything else as it is."""
    if isinstance(value, Pending) and value.reals is not None:
        return value.reals()
    if not isinstance(value, Codes):
        return value
    if _stays_there(value.data, value.qparams):
        return dequantize(value.data, value.qparams)
    reals = affine.dequantize(value.data.cpu().numpy(), value.qparams)
    return torch.from_numpy(reals).to(value.data.device)


def _steps(value: Tensor | Pending, qparams: QParams) -> Tensor:
    """The value before rounding, in units of the scale, float64."""
    scale = float(qparams.scale)
    if isinstance(value, Tensor):
        return value.double() / scale
    fine = QParams(STEP_TYPE, np.ldexp(qparams.scale, -STEP_BITS))  # exact: a power of two
    codes = value.finish(fine, (STEP_TYPE.qmin, STEP_TYPE.qmax), QDQ.default)
    return (codes.double() / (1 << STEP_BITS)).clamp(value.low / scale, value.high / scale)
