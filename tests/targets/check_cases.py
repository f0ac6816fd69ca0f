"""For every rule a file that it accepts, one that it refuses, and a value that flips the finding.

Files are small graphs of ``tests.qgraph.texts``; profiles are the small one of ``conftest`` with
changed keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx

from tests.qgraph.texts import model, qdq

Make: TypeAlias = Callable[[], onnx.ModelProto]
Changes: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Case:
    """One rule at work.

    Args:
        rule: its id.
        keys: of the profile; each alone decides in this case.
        good, bad: files.
        strict: values under which the rule accepts ``good`` and refuses ``bad``.
        relaxed: values under which it accepts ``bad``; None: the rule reads no key.
        text: in what was found.
    """

    rule: str
    keys: tuple[str, ...]
    good: Make
    bad: Make
    strict: Changes
    relaxed: Changes | None
    text: str

    def __str__(self) -> str:
        return f"{self.rule}:{'+'.join(self.keys)}"


WEIGHT = "wd = DequantizeLinear(w, sw, zw)\n"
CONV = WEIGHT + "v = Conv(xd, wd)"
BIASED = WEIGHT + "bd = DequantizeLinear(b, sb, zb)\nv = Conv(xd, wd, bd)"
CHANNELS_BIASED = (
    "wd = DequantizeLinear <axis = 1> (w, s3, z3)\n"
    "bd = DequantizeLinear <axis = 0> (b, sb4, zb4)\nv = Conv(xd, wd, bd)"
)
CHANNELS = "wd = DequantizeLinear <axis = 0> (w, sw4, zw4)\nv = Conv(xd, wd)"
POOL = "v = MaxPool <kernel_shape = [2, 2]> (xd)"
TWICE = (
    WEIGHT + "we = DequantizeLinear({second}, sw, {zero})\na = Conv(xd, wd)\nb = Conv(xd, we)\n"
    "aq = QuantizeLinear(a, sy, zy)\nad = DequantizeLinear(aq, sy, zy)\n"
    "bq = QuantizeLinear(b, sy, zy)\nbd = DequantizeLinear(bq, sy, zy)\nv = Add(ad, bd)"
)
BLOCKS = "kd = DequantizeLinear <axis = {axis}, block_size = {size}> (k, sk, zk)\n"
CODED = "xq = QuantizeLinear(x, sx, zx)\nxd = DequantizeLinear(xq, sx, zx)\n"
LARGE = np.full((4, 3, 1, 1), 100, np.int8)
ONE_CHANNEL = np.ones((1, 3, 1, 1), np.int8)
INT4 = np.ones((4, 3, 1, 1), ml_dtypes.int4)
INT4_NET = {"w": INT4, "zw": ml_dtypes.int4(0), "opset": 21}
U16 = np.uint16(5)


def net(body: str = CONV, **options: Any) -> Make:
    return partial(qdq, body, **options)


def reals(body: str, **options: Any) -> Make:
    """A graph without borders of its own, from 3 channels to y."""
    text = f"g (float[N,3,8,8] x) => (float[N,C,H,W] y) {{ {body} }}"
    return partial(model, text, **options)


def blocks(size: int, axis: int = 0, *, on_codes: bool = True) -> Make:
    """MatMul with a (4, 4) weight in blocks."""
    scales = [4, 4]
    scales[axis] = -(-4 // size)
    constants = {"k": np.ones((4, 4), np.int8), "sk": np.full(scales, 0.5, np.float32),
                 "zk": np.zeros(scales, np.int8), "opset": 21}  # fmt: skip
    body = BLOCKS.format(axis=axis, size=size)
    if on_codes:
        return net(f"{body}v = MatMul(xd, kd)", shape="N,4", out="N,4", **constants)
    text = f"g (float[N,4] x) => (float[N,4] y) {{ {body} y = MatMul(x, kd) }}"
    return partial(model, text, **constants)


def saved_with(ir_version: int) -> onnx.ModelProto:
    made = qdq(CONV)
    made.ir_version = ir_version
    return made


GOOD = net()
PLAIN = reals("y = Conv(x, f)", f=np.ones((4, 3, 1, 1), np.float32))
ENDS_IN_REALS = reals(CODED + WEIGHT + "y = Conv(xd, wd)")
QUANTIZED: dict[str, Any] = {"graph.require_output_q": True}
ONLY_WEIGHTS = reals(WEIGHT + "y = Conv(x, wd)")
SIGNED = net(zx=np.int8(3), zy=np.int8(5))
ADDED = TWICE.format(second="w", zero="zw")
SHORTCUT = "md = DequantizeLinear(m, sw, zw)\np = MatMul(xd, md)\nt = Add(p, xd)\nv = Exp(t)"
ADDED_APART = TWICE.format(second="u", zero="zu")
NARROWED = reals(
    "xc = Clip(x, lo, hi)\nxq = QuantizeLinear(xc, sx, zw)\nxd = DequantizeLinear(xq, sx, zw)\n"
    + WEIGHT + "c = Conv(xd, wd)\nv = Clip(c, lo, hi)\nyq = QuantizeLinear(v, sx, zw)\n"
    "y = DequantizeLinear(yq, sx, zw)", lo=np.float32(-63.5), hi=np.float32(63.5),
)  # fmt: skip
WITHOUT_ZEROS = reals(
    "xq = QuantizeLinear(x, sx)\nxd = DequantizeLinear(xq, sx)\nwd = DequantizeLinear(w, sw)\n"
    "v = Conv(xd, wd)\nyq = QuantizeLinear(v, sy)\ny = DequantizeLinear(yq, sy)"
)
FOUR_BITS = {"weight.bits": [4], "weight.types": ["s4"], "weight.qmin": {"4": -7}}
FREE_ZEROS = {"weight.zero_point": "any", "weight.symmetry": "any"}
IN_BLOCKS = {"weight.granularity": ["channel", "tensor", "block"]}
WIDE = {
    "activation.bits": [8, 16], "activation.types": ["u8", "s8", "u16"],
    "container.int_types": ["u8", "s8", "s4", "u16", "s32"],
}  # fmt: skip
PER_TENSOR = {"weight.granularity": ["tensor"], "weight.axis": None}
SHIFTED = {
    "requant.kind": "shift", "requant.multiplier_bits": None, "weight.scale_form": "pow2",
    "activation.scale_form": "pow2",
}  # fmt: skip
COUNTED = {"requant.kind": "thresholds", "requant.multiplier_bits": None}
NO_FLOATS = {"graph.unlisted_ops": "refuse"}


def only(**keys: object) -> Changes:
    return {"weight.only": {"bits": [8, 4], "types": ["s8", "s4"]} | keys}


def conv(**keys: object) -> Changes:
    return {"op": [{"type": "Conv"} | keys]}


FILE_CASES = (
    Case("integer-tensors", (), GOOD, PLAIN, {}, None, "no integer tensors"),
    Case("opset", ("container.opset_min",), net(opset=18), GOOD,
         {"container.opset_min": 18}, {}, "17"),
    Case("opset", ("container.opset_max",), GOOD, net(opset=22),
         {"container.opset_max": 21}, {}, "22"),
    Case("ir-version", ("container.ir_max",), partial(saved_with, 9), GOOD,
         {"container.ir_max": 9}, {}, "10"),
    Case("integer-types", ("container.int_types",), SIGNED, GOOD,
         {"container.int_types": ["s8", "s4", "s32"], "activation.types": ["s8"]}, {}, "u8"),
    Case("narrow-storage", ("container.subbyte",), GOOD, net(**INT4_NET),
         {"container.subbyte": "widened"}, {}, "s4"),
    Case("narrow-storage", ("weight.bits",), net(**INT4_NET), GOOD, FOUR_BITS, {}, "s8"),
    Case("scalar-rank", ("container.scalar_rank",), GOOD,
         net(sx=np.float32([0.5]), zx=np.uint8([3])), {"container.scalar_rank": 0}, {},
         "shape [1]"),
    Case("scalar-rank", ("container.scalar_rank",),
         net(CHANNELS, w=ONE_CHANNEL, sw4=np.float32([0.5]), zw4=np.int8([0])),
         net(sw=np.float32([0.5]), zw=np.int8([0])), {"container.scalar_rank": 0}, {},
         "shape [1]"),
    Case("zero-point-input", ("container.zero_point_input",), GOOD, WITHOUT_ZEROS, {},
         {"container.zero_point_input": "optional"}, "absent"),
    Case("zero-point-input", ("container.zero_point_input",), WITHOUT_ZEROS, GOOD,
         {"container.zero_point_input": "omit"}, {}, "present"),
    Case("own-initializers", ("graph.unique_initializers",), GOOD, net(ADDED),
         {"graph.unique_initializers": True}, {}, "read by"),
    Case("static-shapes", ("container.static_shapes",), GOOD, net(shape="N,3,H,W"),
         {"container.static_shapes": True}, {}, "extent H"),
    Case("batch-one", ("container.batch_one",), GOOD, net(shape="4,3,8,8"),
         {"container.batch_one": True}, {}, "batch 4"),
    Case("max-rank", ("container.max_rank",), GOOD,
         net("v = Reshape(xd, five)", out="A,B,C,D,E", five=np.int64([0, 3, 1, 8, 8])),
         {"container.max_rank": 4}, {"container.max_rank": 5}, "rank 5"),
)  # fmt: skip
OPERATOR_CASES = (
    Case("operator", ("op",), net(POOL), GOOD, conv(status="unsupported"), {}, "Conv"),
    Case("operator", ("graph.unlisted_ops",), GOOD, net(POOL), NO_FLOATS, {}, "MaxPool"),
    Case("float-operator", ("op",), GOOD, PLAIN, NO_FLOATS, NO_FLOATS | conv(status="float"),
         "Conv on reals"),
    Case("float-operator", ("graph.unlisted_ops",), GOOD, PLAIN, NO_FLOATS, {}, "Conv on reals"),
    Case("float-operator", ("graph.require_output_q",), GOOD, ENDS_IN_REALS,
         NO_FLOATS | {"graph.require_output_q": True}, NO_FLOATS, "Conv on reals"),
    Case("float-operator", ("graph.real_outputs",), GOOD, ENDS_IN_REALS, NO_FLOATS | QUANTIZED,
         NO_FLOATS | QUANTIZED | {"graph.real_outputs": ["Conv"]}, "Conv on reals"),
    Case("leaves-the-target", ("op",), net(POOL), GOOD,
         {"graph.unlisted_ops": "integer"} | conv(status="cpu"), {"graph.unlisted_ops": "integer"},
         "Conv runs as cpu"),
    Case("leaves-the-target", ("graph.unlisted_ops",), GOOD, net(POOL), {},
         {"graph.unlisted_ops": "integer"}, "MaxPool runs as float"),
    Case("leaves-the-target", ("graph.require_output_q",), GOOD, ENDS_IN_REALS,
         {"graph.require_output_q": True}, {}, "Conv runs as float"),
    Case("leaves-the-target", ("graph.real_outputs",), GOOD, ENDS_IN_REALS, QUANTIZED,
         QUANTIZED | {"graph.real_outputs": ["Conv"]}, "Conv runs as float"),
    Case("leaves-the-target", ("weight.constant",), GOOD, net("v = MatMul(xd, xd)"),
         {"weight.constant": True, "graph.unlisted_ops": "cpu"},
         {"graph.unlisted_ops": "integer"}, "MatMul runs as cpu"),
    Case("operator-shape", ("op",), net(w=np.ones((4, 3, 3, 3), np.int8)), GOOD,
         conv(kernel_h=[2, 3]), {}, "kernel_h 1"),
    Case("operator-shape", ("op",), net(w=ONE_CHANNEL), GOOD, conv(expr="cout < 4"), {},
         "expr cout = 4"),
    Case("operand-width", ("op",), SIGNED, GOOD, conv(act_types=["s8"]), {}, "u8"),
    Case("operand-width", ("op",), GOOD, net(opset=21, zx=U16),
         WIDE | conv(act_bits=[8]), WIDE, "16"),
    Case("factor-zero-point", ("op",), net("v = MatMul(xd, xd)", zx=np.uint8(0)),
         net("v = MatMul(xd, xd)"), {"op": [{"type": "MatMul", "factor_zero_point": "zero"}]},
         {"op": [{"type": "MatMul"}]}, "3"),
    Case("factor-zero-point", ("op",), net("v = MatMul(xd, xd)", zx=np.uint8(0)),
         net("v = MatMul(xd, xd)"),
         {"op": [{"type": "MatMul", "second_factor_zero_point": "zero"}]},
         {"op": [{"type": "MatMul"}]}, "3"),
    Case("residual", ("graph.residual",), net("v = Add(xd, xd)"), net(ADDED),
         {"graph.residual": "q_skip_only"}, {}, "codes between"),
    Case("residual", ("graph.residual",), net(ADDED), reals(CODED + "y = Add(xd, x)"),
         {"graph.residual": "q_both"}, {}, "a sum of reals"),
    Case("residual", ("graph.real_outputs",), net(ADDED),
         net(SHORTCUT, shape="N,4", out="N,4", m=np.ones((4, 4), np.int8)),
         QUANTIZED | {"graph.residual": "q_both"},
         QUANTIZED | {"graph.residual": "q_both", "graph.real_outputs": ["MatMul"]},
         "a sum of reals"),
)  # fmt: skip
ACTIVATION_CASES = (
    Case("activation-type", ("activation.bits", "activation.types"), GOOD,
         net(opset=21, zx=U16), {}, WIDE, "u16 with codes 0..65535"),
    Case("activation-type", ("activation.narrow_range",), NARROWED, SIGNED,
         {"activation.narrow_range": True}, {}, "s8 with codes -128..127"),
    Case("activation-type", ("activation.io.last_wide_bits",), GOOD, net(opset=21, zy=U16), {},
         {"activation.io.last_wide_bits": 16}, "u16"),
    Case("activation-granularity", ("activation.granularity",), GOOD,
         net(sx=np.float32([0.5, 0.25, 0.5]), zx=np.uint8([3, 3, 3])), {},
         {"activation.granularity": ["tensor", "channel"]}, "channel"),
    Case("activation-zero-point", ("activation.zero_point",),
         net(zx=np.uint8(0), zy=np.uint8(0)), GOOD, {"activation.zero_point": "zero"}, {}, "3"),
    Case("activation-scale", ("activation.scale_form",), GOOD, net(sx=np.float32(0.3)),
         {"activation.scale_form": "pow2"}, {}, "0.3"),
    Case("activation-scale", ("activation.scale_exp_range",), net(sy=np.float32(0.5)), GOOD,
         {"activation.scale_form": "pow2", "activation.scale_exp_range": [-1, 0]},
         {"activation.scale_form": "pow2", "activation.scale_exp_range": [-2, 0]}, "0.25"),
    Case("fixed-output", ("activation.fixed_output",),
         net(sy=np.float32(0.5), zy=np.uint8(0)), GOOD,
         {"activation.fixed_output": {"Conv": {"u8": {"scale": 0.5, "zero_point": 0}}}}, {},
         "scale 0.25, zero point 5"),
    Case("same-parameters", ("graph.same_qparams",),
         net(POOL, sy=np.float32(0.5), zy=np.uint8(3)), net(POOL),
         {"graph.same_qparams": ["MaxPool"]}, {}, "scale 0.5"),
    Case("edge-width", ("activation.io.first_bits",), net(opset=21, zx=U16), GOOD,
         WIDE | {"activation.io.first_bits": 16}, WIDE, "8 bits"),
    Case("edge-width", ("activation.io.last_bits",), net(opset=21, zy=U16), GOOD,
         WIDE | {"activation.io.last_bits": 16}, WIDE, "8 bits"),
)  # fmt: skip
WEIGHT_CASES = (
    Case("weight-type", ("weight.bits", "weight.types"), GOOD, net(w=LARGE), FOUR_BITS, {},
         "s8 with codes 100..100"),
    Case("weight-type", ("weight.qmin",), GOOD, net(w=np.full((4, 3, 1, 1), -128, np.int8)), {},
         {"weight.qmin": {}}, "codes -128..-128"),
    Case("weight-type", ("op",), GOOD, net(w=LARGE), conv(weight_bits=[4]), {}, "codes 100..100"),
    Case("one-weight-width", ("weight.bits_per_layer",), net(ADDED),
         net(ADDED_APART, opset=21, u=INT4, zu=ml_dtypes.int4(0)),
         {"weight.bits_per_layer": False}, {}, "4 bits"),
    Case("weight-zero-point", ("weight.zero_point",), GOOD, net(zw=np.int8(1)), {}, FREE_ZEROS,
         "1"),
    Case("equal-weight-zero-points", ("weight.equal_zero_points",),
         net(CHANNELS, zw4=np.int8([2, 2, 2, 2])), net(CHANNELS),
         FREE_ZEROS | {"weight.equal_zero_points": True}, FREE_ZEROS, "-2 to 3"),
    Case("weight-granularity", ("weight.granularity",), GOOD, net(CHANNELS),
         PER_TENSOR, {}, "channel"),
    Case("weight-granularity", ("weight.granularity",), GOOD, blocks(2), {},
         IN_BLOCKS | {"weight.block_sizes": [4]}, "block"),
    Case("weight-scale", ("weight.scale_form",), GOOD, net(sw=np.float32(0.3)),
         {"weight.scale_form": "pow2"}, {}, "0.3"),
    Case("weight-scale", ("weight.scale_exp_range",), net(sw=np.float32(0.5)), GOOD,
         {"weight.scale_form": "pow2", "weight.scale_exp_range": [-2, 0]},
         {"weight.scale_form": "pow2", "weight.scale_exp_range": [-3, 0]}, "0.125"),
    Case("constant-weights", ("weight.constant",), GOOD, net("v = MatMul(xd, xd)"),
         {"weight.constant": True, "graph.unlisted_ops": "integer"},
         {"graph.unlisted_ops": "integer"}, "two computed tensors"),
    Case("constant-weights", ("graph.unlisted_ops",), GOOD, net("v = MatMul(xd, xd)"),
         {"weight.constant": True, "graph.unlisted_ops": "integer"},
         {"weight.constant": True, "graph.unlisted_ops": "cpu"}, "two computed tensors"),
    Case("sum-of-codes", ("weight.sum_abs_max",), net(w=ONE_CHANNEL), GOOD,
         {"weight.sum_abs_max": {"8": 14}}, {"weight.sum_abs_max": {"8": 15}}, "15"),
    Case("weight-axis", ("weight.axis",), net(CHANNELS),
         net("wd = DequantizeLinear <axis = 1> (w, s3, z3)\nv = Conv(xd, wd)",
             s3=np.float32([0.5, 0.25, 0.5]), z3=np.zeros(3, np.int8)), {},
         {"weight.axis": {"Conv": 1}}, "axis 1"),
    Case("edge-layer-width", ("weight.edge_bits",), GOOD, net(w=LARGE), {"weight.edge_bits": 4},
         {}, "8 bits"),
)  # fmt: skip
BLOCK_CASES = (
    Case("block-size", ("weight.block_sizes",), blocks(4), blocks(2),
         IN_BLOCKS | {"weight.block_sizes": [4]}, IN_BLOCKS | {"weight.block_sizes": [2]},
         "blocks of 2"),
    Case("block-size", ("weight.only.block_sizes",), blocks(4, on_codes=False),
         blocks(2, on_codes=False), only(block_sizes=[4]), only(block_sizes=[2]), "blocks of 2"),
    Case("block-axis", ("weight.block_axis",), blocks(2), blocks(2, axis=1),
         IN_BLOCKS | {"weight.block_sizes": [2]},
         IN_BLOCKS | {"weight.block_sizes": [2], "weight.block_axis": "n"},
         "axis 1: the output channels"),
    Case("block-axis", ("weight.only.block_axis",), blocks(2, on_codes=False),
         blocks(2, axis=1, on_codes=False), only(block_sizes=[2]),
         only(block_sizes=[2], block_axis="n"), "axis 1: the output channels"),
    Case("block-tail", ("weight.block_tail",), blocks(2), blocks(3),
         IN_BLOCKS | {"weight.block_sizes": [2, 3]},
         IN_BLOCKS | {"weight.block_sizes": [2, 3], "weight.block_tail": True},
         "4 elements in blocks of 3"),
    Case("block-tail", ("weight.only.block_tail",), blocks(2, on_codes=False),
         blocks(3, on_codes=False), only(block_sizes=[2, 3]),
         only(block_sizes=[2, 3], block_tail=True), "4 elements in blocks of 3"),
    Case("weight-only", ("weight.only.bits", "weight.only.types"), GOOD, ONLY_WEIGHTS,
         only(op_types=["Conv"], bits=[4], types=["s4"]), only(op_types=["Conv"]), "s8 weights"),
    Case("weight-only", ("weight.only.op_types",), GOOD, ONLY_WEIGHTS, only(),
         only(op_types=["Conv"]), "s8 weights of Conv"),
    Case("weight-only", ("weight.only.types",), GOOD, ONLY_WEIGHTS, {}, only(op_types=["Conv"]),
         "s8 weights"),
)  # fmt: skip
LAYER_CASES = (
    Case("bias-form", ("bias.form",), net(WEIGHT + "v = Conv(xd, wd, f)", f=np.ones(4, np.float32)),
         net(BIASED), {"bias.form": "float"}, {}, "int, 32 bits"),
    Case("bias-form", ("bias.form",), GOOD, net(BIASED), {"bias.form": "none"}, {}, ""),
    Case("bias-form", ("bias.bits",),
         net(BIASED, opset=21, b=np.int16([1, 2, 3, 4]), zb=np.int16(0)), net(BIASED),
         {"bias.bits": 16, "container.int_types": ["u8", "s8", "s4", "s16", "s32"]}, {},
         "int, 32 bits"),
    Case("bias-scale", ("bias.scale_rule",), net(BIASED), net(BIASED, sb=np.float32(0.1)), {},
         {"bias.scale_rule": "free"}, "s_x s_w times 1.6"),
    Case("bias-scale", ("bias.scale_rule_exp",), net(BIASED, sb=np.float32(0.25)), net(BIASED),
         {"bias.scale_rule": "act_times_weight_pow2", "bias.scale_rule_exp": 2},
         {"bias.scale_rule": "act_times_weight_pow2", "bias.scale_rule_exp": 0},
         "s_x s_w times 1"),
    Case("bias-scale", ("bias.bits",), net(BIASED), net(BIASED, sb=np.float32(0.25)), {},
         {"bias.bits": 34, "bias.signed_bits_max": 34}, "s_x s_w times 4"),
    Case("bias-scale", ("bias.scale_rtol",), net(BIASED), net(BIASED, sb=np.float32(0.063)), {},
         {"bias.scale_rtol": 0.01}, "s_x s_w times 1.008"),
    Case("bias-scale", ("bias.scale_rule",), net(BIASED),
         net(CHANNELS_BIASED, s3=np.float32([0.5, 0.25, 0.5]), z3=np.zeros(3, np.int8),
             sb4=np.full(4, 0.1, np.float32), zb4=np.zeros(4, np.int32)), {},
         {"bias.scale_rule": "free"}, "4 scales"),
    Case("bias-zero-point", (), net(BIASED), net(BIASED, zb=np.int32(7)), {}, None, "7"),
    Case("bias-channels", ("bias.max_channels",), GOOD, net(BIASED), {"bias.max_channels": 3},
         {"bias.max_channels": 4}, "4"),
    Case("layer-shift", ("requant.shift_max",), net(sy=np.float32(0.125)), GOOD,
         {"requant.shift_max": 31}, {"requant.shift_max": 32}, "shift 32"),
    Case("layer-shift", ("requant.shift_min",), net(sy=np.float32(0.5)), GOOD,
         {"requant.shift_min": 33}, {"requant.shift_min": 32}, "shift 32"),
    Case("layer-shift", ("requant.shift_scope",), GOOD, net(CHANNELS),
         PER_TENSOR | SHIFTED | {"requant.shift_scope": "layer"}, PER_TENSOR | SHIFTED,
         "multiplier of channel 0: shift 2"),
    Case("layer-shift", ("requant.kind",), GOOD, net(sy=np.float32(0.3)), SHIFTED, {},
         "multiplier of channel 0: 0.208"),
    Case("counted-output", ("requant.kind",), GOOD,
         net(opset=21, sy=np.float32(2**-8), zy=np.uint16(5)),
         COUNTED, {}, "16 bits: 65535 thresholds a channel"),
    Case("counted-output", ("activation.io.last_wide_bits",), GOOD,
         net(opset=21, sy=np.float32(2**-8), zy=np.uint16(5)),
         COUNTED, COUNTED | {"activation.io.last_wide_bits": 16}, "16 bits"),
    Case("fused-clamp", ("graph.relu_fusion",),
         net(WEIGHT + "c = Conv(xd, wd)\nv = Relu(c)", zy=np.uint8(0)),
         net(WEIGHT + "c = Conv(xd, wd)\nv = Relu(c)"), {}, {"graph.relu_fusion": "always"},
         "Relu to codes 5..255"),
    Case("fused-clamp", ("graph.relu_fusion",), GOOD,
         net(WEIGHT + "c = Conv(xd, wd)\nv = Relu(c)", zy=np.uint8(0)),
         {"graph.relu_fusion": "none"}, {}, "Relu"),
)  # fmt: skip
TOTAL_CASES = (
    Case("weight-memory", ("memory.weights_bytes",), GOOD, net(w=LARGE),
         {"memory.weights_bytes": 11}, {"memory.weights_bytes": 12}, "12 bytes"),
    Case("weight-memory", ("memory.weight_packing",), net(w=ONE_CHANNEL), GOOD,
         {"memory.weights_bytes": 6, "memory.weight_packing": "bitserial", "align.cin": 8},
         {"memory.weights_bytes": 6, "align.cin": 8}, "16 bytes"),
    Case("weight-memory", ("align.cin",), net(w=ONE_CHANNEL), GOOD,
         {"memory.weights_bytes": 6, "memory.weight_packing": "bitserial", "align.cin": 8},
         {"memory.weights_bytes": 6, "memory.weight_packing": "bitserial"}, "16 bytes"),
    Case("bias-memory", ("memory.bias_bytes",), GOOD, net(BIASED), {"memory.bias_bytes": 15},
         {"memory.bias_bytes": 16}, "16 bytes"),
    Case("activation-memory", ("memory.activations_bytes",), net(shape="N,3,4,4"), GOOD,
         {"memory.activations_bytes": 447}, {"memory.activations_bytes": 448}, "448 bytes"),
    Case("network-limits", ("limits.max_layers",), GOOD, net(ADDED), {"limits.max_layers": 1},
         {"limits.max_layers": 2}, "max_layers 2"),
    Case("network-limits", ("limits.max_params",), net(w=ONE_CHANNEL), GOOD,
         {"limits.max_params": 11}, {"limits.max_params": 12}, "max_params 12"),
    Case("network-limits", ("limits.max_macs",), net(shape="N,3,4,4"), GOOD,
         {"limits.max_macs": 767}, {"limits.max_macs": 768}, "max_macs 768"),
    Case("alignment", ("align.cin",), net(w=np.ones((4, 8, 1, 1), np.int8), shape="N,8,8,8"),
         GOOD, {"align.cin": 8}, {"align.cin": 3}, "3 input channels"),
    Case("alignment", ("align.cout",), net(w=np.ones((8, 3, 1, 1), np.int8)), GOOD,
         {"align.cout": 8}, {"align.cout": 4}, "4 output channels"),
    Case("shared-memory", ("memory.shared_bytes",), net(shape="N,3,4,4"), GOOD,
         {"memory.shared_bytes": 453}, {"memory.shared_bytes": 454}, "454 bytes"),
)  # fmt: skip
CASES: tuple[Case, ...] = (
    *FILE_CASES, *OPERATOR_CASES, *ACTIVATION_CASES, *WEIGHT_CASES, *BLOCK_CASES, *LAYER_CASES,
    *TOTAL_CASES,
)  # fmt: skip

SAYS_NOTHING_OF_A_FILE = (
    # the profile itself
    "schema", "name", "summary", "kind", "extends", "without", "licence", "sources", "evidence",
    # what is written where there is a choice, and what only the target's own package has
    "container.format", "container.vendor_format", "container.opset_prefer", "container.layout",
    "activation.io.float_edges", "graph.io",
    # how ranges are chosen; which zero points and codes result is said by other keys
    "activation.symmetry", "weight.symmetry", "weight.qmax",
    # the arithmetic behind the codes: the simulator's and the overflow proof's
    "bias.signed_bits_max", "bias.order", "accumulator", "requant.rounding",
    "requant.multiplier_bits", "requant.mantissa", "requant.multiplier_scope",
    "requant.left_shift", "requant.s8_as_u8", "requant.post_shift", "requant.sum_cut",
    "requant.scale_precision", "requant.zero_point",
    "requant.code_bits", "requant.addition", "requant.product", "requant.gating",
    "requant.rescaling", "requant.averaging", "requant.functions", "requant.softmax",
    "requant.normalization",
    # speed, and where a compiler puts things
    "align.bytes", "align.tiles", "align.products", "align.product_uses", "align.depthwise_tiles",
    "align.depthwise_cells", "align.block", "align.block_inputs",
    "align.stored_channels", "align.block_of_equals", "align.channels_last", "memory.channel_lot",
    "memory.staged_channels", "memory.byte_order", "memory.code_order", "memory.word_bits",
    "memory.cache_bytes", "memory.onchip_bw", "memory.external_bw", "memory.onchip_burst",
    "memory.external_burst", "memory.onchip_latency", "memory.external_latency",
    "memory.external_write_latency", "memory.external_in_flight", "memory.onchip_in_flight",
    "memory.in_flight_share", "memory.stages_weights", "memory.block_buffers",
    "memory.block_granules", "memory.block_copies", "memory.depthwise_block_copies",
    "memory.channel_bytes", "memory.edges_outside", "memory.external_kind", "compute", "verify",
)  # fmt: skip
"""Keys of a profile that no rule reads."""
