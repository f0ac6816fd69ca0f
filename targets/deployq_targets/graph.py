"""The sections that describe files and graphs: [container], [graph] and [[op]]."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from deployq.qtypes import QType
from deployq_targets.inequality import checked
from deployq_targets.section import Bits, Count, OpType, Section, Span, TypeName
from deployq_targets.tensors import ZeroPoint
from deployq_targets.words import (
    Edges,
    Format,
    Group,
    Layout,
    OpStatus,
    ReluFusion,
    Residual,
    Subbyte,
    UnlistedOps,
    ZeroPointInput,
)

InequalityText: TypeAlias = Annotated[str, AfterValidator(checked)]
Opset: TypeAlias = Annotated[int, Field(ge=10)]


class Container(Section):
    """The model file."""

    format: Format
    """Form of the model file in the target's package."""
    vendor_format: str | None = None
    """What the vendor's tool really reads, where that is another file.

    The file in ``format`` then is the exchange form, and what a converter starts from. Of "TFLite"
    a bundle holds the file as well; every other text is for reports.
    """
    opset_min: Opset = 10
    """Lowest ONNX opset that is read."""
    opset_prefer: Opset
    """ONNX opset that is written where the types need no other."""
    opset_max: Opset | None = None
    """Highest ONNX opset that is read; absent: not known to end."""
    ir_max: Annotated[int, Field(ge=3)] | None = None
    """Highest ONNX IR version that is read."""
    int_types: Annotated[tuple[TypeName, ...], Field(min_length=1)]
    """Integer tensor types that the file may hold."""
    subbyte: Subbyte = Subbyte.NATIVE
    """How codes under 8 bits are stored."""
    scalar_rank: Annotated[int, Field(ge=0, le=1)] | None = None
    """Rank that a per-tensor scale and zero point must have; absent: 0 and 1 both."""
    zero_point_input: ZeroPointInput = ZeroPointInput.REQUIRED
    """Whether Q and DQ nodes carry a zero-point input."""
    layout: Layout = Layout.NCHW
    """Order of image dimensions in the target's package."""
    static_shapes: bool = False
    """The target's package has only known shapes; the exchange file keeps a dynamic batch."""
    batch_one: bool = False
    """The target's package has batch 1; the exchange file keeps a dynamic batch."""
    max_rank: Count | None = None
    """Highest rank of a tensor in the target's package, counted with the batch bound to 1."""

    def holder(self, qtype: QType) -> QType:
        """The tensor type that codes of ``qtype`` are stored in."""
        widened = self.subbyte is not Subbyte.NATIVE and qtype.bits < 8
        return QType(8, qtype.signed) if widened else qtype.container


class Graph(Section):
    """Rules on the graph as a whole."""

    unlisted_ops: UnlistedOps
    """What becomes of an operator without an [[op]] entry, or beyond the limits of its entry.

    Concerns operators on activations; arithmetic on shapes (int64) is none.
    """
    relu_fusion: ReluFusion
    """When a ReLU or Clip costs nothing behind a weighted operator."""
    require_output_q: bool = False
    """Only an operator whose output is quantized runs in integers."""
    real_outputs: tuple[OpType, ...] = ()
    """Products that run in integers and may end in reals.

    A sum that only operators in float read then stays in float, and the layers before it, which
    only such sums read, return reals: the residual of a transformer has no grid.
    """
    residual: Residual = Residual.ANY
    """Where Q and DQ stand on the inputs of an Add of two branches."""
    io: Edges = Edges.FLOAT
    """Whether the exported files take and give reals or codes where nobody asks (``--io``)."""
    same_qparams: tuple[OpType, ...] = ()
    """Operators whose inputs and outputs share scale and zero point."""
    unique_initializers: bool = False
    """Each DequantizeLinear has a weight initializer of its own."""

    @property
    def joins_sums(self) -> bool:
        """A layer adds a shortcut's codes to its sums before it rounds."""
        return self.residual in (Residual.Q_SKIP_ONLY, Residual.SKIP_PREFERRED)


class OpRule(Section):
    """What the target takes of one operator; an absent key is no constraint."""

    type: OpType
    """ONNX operator type."""
    group: Group = Group.ANY
    """Which convolutions the entry speaks of; it comes before an entry with "any"."""
    status: OpStatus = OpStatus.INTEGER
    """Where the operator runs."""
    act_bits: tuple[Bits, ...] | None = None
    """Widths of its activations; absent: all of activation.bits."""
    act_types: tuple[TypeName, ...] | None = None
    """Types of its activations; absent: all of activation.types."""
    factor_zero_point: ZeroPoint | None = None
    """Zero points of the two activations that a MatMul multiplies; absent: activation.zero_point.

    Activations that meet weights are not meant.
    """
    second_factor_zero_point: ZeroPoint | None = None
    """Zero points of the second of them; absent: as the first."""
    weight_bits: tuple[Bits, ...] | None = None
    """Widths of its weights; absent: all of weight.bits."""
    kernel_h: Span | None = None
    """Kernel height, [low, high], in elements."""
    kernel_w: Span | None = None
    """Kernel width, [low, high], in elements."""
    kernel_area_max: Count | None = None
    """Largest kernel height times width."""
    stride: Span | None = None
    """Strides, [low, high], in elements."""
    dilation: Span | None = None
    """Dilations, [low, high]."""
    pad: Span | None = None
    """Padding on each side, [low, high], in elements."""
    cin_max: Count | None = None
    """Most input channels."""
    cout_max: Count | None = None
    """Most output channels."""
    cin_multiple: Count | None = None
    """Input channels are a multiple of this."""
    cout_multiple: Count | None = None
    """Output channels are a multiple of this."""
    hw_max: Count | None = None
    """Largest height or width of an input or output."""
    dims_max: Count | None = None
    """Largest extent of any dimension of an input or output."""
    expr: InequalityText | None = None
    """Inequality over kh, kw, sh, sw, cin, cout, h, w for what no other key says.

    The words are those of deployq_targets.inequality: numbers, names, + - * / // %, comparisons,
    in, and, or, not. Further names are dilated_kh, dilated_kw, pads, and scale of a Resize.
    With power-of-two scales also over the positions (-log2 of the scale) max_ipos, min_ipos,
    sum_ipos of the inputs and opos of the output.
    """

    def factors(self, place: int) -> dict[str, ZeroPoint]:
        """What is stated of the first (0) or second (1) of two activations, by key."""
        stated = {"factor_zero_point": self.factor_zero_point}
        if place:
            stated["second_factor_zero_point"] = self.second_factor_zero_point
        return {key: points for key, points in stated.items() if points is not None}
