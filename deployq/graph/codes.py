"""The reference of law 12: the fake-quant model with int32 bias codes, evaluated on codes.

Integer sums are exact, the scale is applied once after the sum, so the result is the same for every
batch size, device and thread count. The arithmetic of that last step is a contract's: ``QDQ`` for
what the file says in real numbers, a target's or a runtime's own for what that one computes.

A computing node does not know its output's grid; it waits as a :class:`Pending` until the quantizer
that follows asks for codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels import linear, lookup
from deployq.arithmetic.kernels.requantize import fit_accumulator, requantize
from deployq.errors import UnsupportedError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LayerIntegers, layer_integers
from deployq.graph.code_operators import Codes, Pending, compute, move
from deployq.graph.operators import (
    COMPUTE,
    UNARY,
    aten,
    clamp_bounds,
    is_movement,
    onnx_type,
    unary_params,
)
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear
from deployq.qparams import QParams


class CodesInterpreter(fx.Interpreter):
    """Runs a prepared graph on integers.

    Args:
        prepared: the model; its quantizers must be calibrated.
        contract: arithmetic of the last step of every operator.
        forced: tensor name to codes that replace the computed ones after they are recorded, so that
            every layer can be fed what another run computed.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        contract: Contract,
        forced: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(prepared.module, garbage_collect_values=True)
        self.graph_module = prepared.module
        self.contract = contract
        self.forced = forced or {}
        self.integers = layer_integers(prepared)
        self.modules = dict(prepared.module.named_modules())
        self.recorded: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("placeholder", "output", "get_attr"):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op == "call_module":
            module = self.modules[str(n.target)]
            if isinstance(module, FakeQuantize):
                return self._quantize(n, module, args[0])
            if isinstance(module, QuantizedLinear):
                return self._linear(self.integers[n.meta["name"]], module, args[0], n.meta["name"])
        if is_movement(self.graph_module, n):
            return move(n, args, kwargs)
        if n.target in COMPUTE:
            return compute(COMPUTE[n.target], self.contract, n, args)
        if n.target in UNARY:
            return self._unary(n, args[0])
        if n.target == aten.sym_size.int:
            return args[0].data.shape[args[1]]
        raise UnsupportedError(
            str(n.meta.get("name", n.name)), "the reference on codes has no form for this operator",
            found=str(n.target), next_step="keep the operator out of the network",
        )

    def _quantize(self, node: fx.Node, module: FakeQuantize, value: Any) -> Codes:
        name, qparams = str(node.meta["name"]), module.qparams()
        codes = _to_codes(value, qparams)
        self.recorded[name] = codes
        return Codes(self.forced.get(name, codes), qparams)

    def _linear(
        self, integers: LayerIntegers, unit: QuantizedLinear, x: Codes, name: str
    ) -> Pending:
        codes, zero_point = integers.codes, int(integers.input.zero_point)
        weight, bias = torch.from_numpy(codes.codes), torch.from_numpy(codes.bias)
        weight, bias = weight.to(x.data.device), bias.to(x.data.device)
        if unit.op_type == "Conv":
            acc = linear.conv_accumulate(x.data, zero_point, weight, 0, bias, unit.geometry)
        else:
            acc = linear.gemm_accumulate(x.data, zero_point, weight.T, 0, bias)
        acc = fit_accumulator(acc, self.contract.accumulator, name)
        form, axis = self.contract.form(unit.op_type), 1 if unit.op_type == "Conv" else -1

        def finish(out: QParams, bounds: tuple[int, int]) -> Tensor:
            return requantize(
                acc, integers.input.scale[()], codes.scale, out, form,
                channel_axis=axis, bounds=bounds,
            )  # fmt: skip

        return Pending(name, finish)

    def _unary(self, node: fx.Node, value: Any) -> Pending:
        """A clamp narrows a waiting operator; any other function is a table over codes."""
        bounds = clamp_bounds(node)
        if isinstance(value, Pending) and bounds is not None:
            low, high = max(value.low, bounds[0]), min(value.high, bounds[1])
            return replace(value, low=low, high=high)
        function = onnx_type(self.graph_module, node)
        params = unary_params(node)

        def finish(out: QParams, _: tuple[int, int]) -> Tensor:
            table = lookup.lookup_table(function, value.qparams, out, params=params)
            return lookup.apply_table(value.data, value.qparams.qtype, table)

        return Pending(str(node.meta["name"]), finish)


def _to_codes(value: Any, qparams: QParams) -> Tensor:
    if isinstance(value, Codes):  # one grid for both: the codes stand
        return value.data
    if isinstance(value, Pending):
        return value.finish(qparams, code_bounds(value.low, value.high, qparams))
    codes = affine.quantize(value.detach().cpu().numpy(), qparams)
    return torch.from_numpy(codes).to(value.device)


def code_bounds(low: float, high: float, qparams: QParams) -> tuple[int, int]:
    """The codes that a real clamp to [low, high] leaves."""
    bounds = affine.quantize(
        torch.tensor([low, high]).clamp(-3e38, 3e38).numpy(), qparams
    )
    return int(bounds[0]), int(bounds[1])


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
        forced: see :class:`CodesInterpreter`.
    """
    interpreter = CodesInterpreter(prepared, contract, forced)
    with torch.no_grad():
        interpreter.run(*inputs)
    return interpreter.recorded
