"""The words that a profile may use where it has to choose one of several.

``Kind``, ``Rounding`` and ``Overflow`` belong to ``deployq.arithmetic.contract``.
"""

from __future__ import annotations

from enum import StrEnum


class Evidence(StrEnum):
    """How a value in a profile became known."""

    EXECUTED = "E"  # run on the tool or the device
    SOURCE = "S"  # read in source code
    DOCUMENTED = "D"  # read in a documentation page, data sheet or specification
    EXCERPT = "X"  # only an excerpt of a page was seen
    UNCONFIRMED = "U"  # derived or remembered: a placeholder


class TargetKind(StrEnum):
    """What sort of thing runs the model; for reports only."""

    RUNTIME = "runtime"
    NPU = "npu"
    GPU = "gpu"
    MCU = "mcu"
    FPGA = "fpga"
    VLSI = "vlsi"
    GENERIC = "generic"  # what several chips have in common, or a chip of the future


class Format(StrEnum):
    """Form of the model file in the target's package."""

    ONNX_QDQ = "onnx-qdq"  # QuantizeLinear and DequantizeLinear around float operators
    ONNX_QCDQ = "onnx-qcdq"  # the same with a Clip between them that narrows the range
    ONNX_QOP = "onnx-qop"  # QLinearConv, QLinearMatMul and their like
    QONNX = "qonnx"  # Quant nodes of arbitrary width
    TFLITE = "tflite"
    TOSA = "tosa"
    FLOAT_ONNX = "float-onnx"  # the vendor's tool quantizes by itself


class Subbyte(StrEnum):
    """How codes under 8 bits are stored."""

    NATIVE = "native"  # ONNX's own 2- and 4-bit tensor types
    WIDENED = "widened"  # 8-bit tensors whose codes stay inside the narrow range
    CLIP = "clip"  # 8-bit tensors and a Clip that states the range (QCDQ)


class ZeroPointInput(StrEnum):
    """Whether Q and DQ nodes carry a zero-point input."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    OMIT = "omit"


class Layout(StrEnum):
    """Order of the dimensions of images."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Symmetry(StrEnum):
    """How the real range of a tensor is chosen."""

    SYMMETRIC = "symmetric"  # the same distance on both sides of 0.0
    ASYMMETRIC = "asymmetric"  # from the lowest to the highest value
    ANY = "any"


class ZeroPointWord(StrEnum):
    """Which codes may stand for 0.0."""

    ZERO = "zero"  # code 0
    MID = "mid"  # the middle code: 128 for u8, 0 for s8
    RANGE_MIN = "range_min"  # the lowest code
    ANY = "any"  # every code of the type


class Sharing(StrEnum):
    """Which elements of a tensor share a scale: its granularity."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    BLOCK = "block"


class Scope(StrEnum):
    """Whether each channel has its own, or all channels of a layer share one."""

    CHANNEL = "channel"
    LAYER = "layer"


class ScaleForm(StrEnum):
    """Which scales can be expressed."""

    ANY = "any"  # every positive float32
    POW2 = "pow2"  # powers of two


class BlockAxis(StrEnum):
    """Axis of a weight matrix that is cut into blocks."""

    K = "k"  # the summed axis
    N = "n"  # the output channels


class BiasForm(StrEnum):
    """How the bias of Conv, Gemm and MatMul travels."""

    INT = "int"  # integer codes and a scale
    FLOAT = "float"  # float32 that equals code times scale
    FOLDED = "folded"  # inside the requantization (thresholds, zero point)
    NONE = "none"  # the target adds no bias


class BiasScaleRule(StrEnum):
    """What the scale of an integer bias has to be."""

    ACT_TIMES_WEIGHT = "act_times_weight"  # s_x * s_w
    ACT_TIMES_WEIGHT_POW2 = "act_times_weight_pow2"  # s_x * s_w * 2**scale_rule_exp
    ACT_TIMES_WEIGHT_SHIFTED = "act_times_weight_shifted"  # s_x * s_w * 2**k, k free for each layer
    OWN_POW2 = "own_pow2"  # a power of two of its own
    FREE = "free"  # any positive scale


class Bound(StrEnum):
    """From what the largest possible accumulator is derived."""

    DATATYPE = "datatype"  # the extreme codes of the types: holds for every weight
    WEIGHTS = "weights"  # the actual weights


class Edges(StrEnum):
    """What the inputs and outputs of the exported files are, where they have a grid."""

    FLOAT = "float"  # reals: the first QuantizeLinear and the last DequantizeLinear are inside
    INTEGER = "integer"  # codes: whoever feeds the file quantizes


class ReluFusion(StrEnum):
    """When a ReLU or Clip costs nothing behind a weighted operator."""

    NONE = "none"  # never: it is an operator of its own
    RANGE_REDUNDANT = "range_redundant"  # where saturation to the output codes does the same
    ALWAYS = "always"  # the target clamps as part of the producing operator


class Residual(StrEnum):
    """Where Q and DQ stand on the inputs of an Add of two branches."""

    Q_BOTH = "q_both"
    Q_SKIP_ONLY = "q_skip_only"  # only on the branch that the producer is not fused with
    SKIP_PREFERRED = "skip_preferred"  # either; files are written with the skip branch alone
    ANY = "any"  # either; files are written with both


class UnlistedOps(StrEnum):
    """What becomes of an operator without an [[op]] entry."""

    INTEGER = "integer"
    FLOAT = "float"
    CPU = "cpu"  # in float on the host processor, beside the target
    REFUSE = "refuse"


class OpStatus(StrEnum):
    """Where an operator runs."""

    INTEGER = "integer"  # on codes, by the contract
    FLOAT = "float"  # on the target, between a DQ and a Q
    CPU = "cpu"  # in float on the host processor, beside the target
    UNSUPPORTED = "unsupported"
    VENDOR = "vendor"  # on the target in an arithmetic that is not public

    @property
    def computes_in_float(self) -> bool:
        """On the target, or on the processor beside it."""
        return self in (OpStatus.FLOAT, OpStatus.CPU)


class Group(StrEnum):
    """Which convolutions an [[op]] entry speaks of."""

    ANY = "any"
    DENSE = "dense"  # group = 1
    DEPTHWISE = "depthwise"  # group = input channels
    GROUPED = "grouped"  # everything between


class ExternalKind(StrEnum):
    """Memory outside the chip."""

    FLASH = "flash"
    DRAM = "dram"


class WeightPacking(StrEnum):
    """How weights lie in memory; decides their size."""

    DENSE = "dense"  # bits times count
    BITSERIAL = "bitserial"  # one plane for each bit, padded to the channel alignment
    COMPRESSED = "compressed"  # entropy coded: the size depends on the values


class Traffic(StrEnum):
    """What moves between the accelerator and a memory."""

    ACTIVATIONS = "activations"  # read
    WEIGHTS = "weights"
    CHANNELS = "channels"  # bias, multiplier and shift of each output channel
    COPIES = "copies"  # weights on their way from outside to the on-chip memory
    RESULTS = "results"  # activations, written


class BlockPart(StrEnum):
    """What of a block lies in the accelerator's own buffers."""

    INPUTS = "inputs"  # input cells
    SUMS = "sums"  # accumulators
    TOGETHER = "together"  # both, in one buffer


class CodeOrder(StrEnum):
    """Where the first of several codes in one byte lies."""

    LOW_FIRST = "low_first"  # in the lowest bits: ONNX, TensorRT
    HIGH_FIRST = "high_first"  # in the highest bits


class ByteOrder(StrEnum):
    """Where the first byte of a memory word lies."""

    LITTLE = "little"  # in the lowest bits
    BIG = "big"  # in the highest bits


class VerifyTool(StrEnum):
    """The tool that stands in for the target."""

    ORT = "ort"
    TRT_RTX = "trt-rtx"
    ORT_QNN_HTP = "ort-qnn-htp"
    VELA = "vela"
    LITERT = "litert"
    OPENVINO = "openvino"
    NONE = "none"


class VerifyMode(StrEnum):
    """What the tool can tell."""

    RUN = "run"  # it computes codes
    BUILD = "build"  # it accepts or refuses the file, and computes nothing
