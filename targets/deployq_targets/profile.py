"""TargetProfile: a chip's whole integer contract, and the questions that code asks of it.

Code asks for an ability, never for a name (law 5). ``load_profile`` also refuses contradictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from deployq.arithmetic.contract import Contract, Kind
from deployq.errors import ProfileError
from deployq.qtypes import QType
from deployq_targets.arithmetic import Accumulator, Requant
from deployq_targets.evidence import check_path, field_paths, tag_of
from deployq_targets.graph import Container, Graph, OpRule
from deployq_targets.machine import Align, Compute, Limits, Memory, Verify
from deployq_targets.section import Section
from deployq_targets.tensors import Activation, Bias, FixedOutput, Weight, zero_points
from deployq_targets.words import (
    Evidence,
    Group,
    OpStatus,
    ScaleForm,
    Scope,
    Sharing,
    TargetKind,
    UnlistedOps,
)

SCHEMA_VERSION = 1
"""The version of the schema that this package reads."""

CONTAINER_OPSETS = MappingProxyType({2: 25, 4: 21, 8: 10, 16: 21, 32: 10})
"""First ONNX opset whose Q and DQ take a container of so many bits (ONNX Changelog)."""

ANY_SCALE_MULTIPLIER_BITS = 24
"""A mantissa this long follows any float32 scale: float32 itself has 24 significant bits."""


class TargetProfile(Section):
    """A deployq target profile."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this schema."""
    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]*$", examples=["int8-npu"])
    """Short name in lower case; a built-in profile is asked for by it. Never inherited."""
    summary: str
    """One line for people. Never inherited."""
    kind: TargetKind
    """What sort of thing runs the model; for reports only."""
    extends: str | None = None
    """Parent: the name of a built-in profile, or the path of a .toml relative to this file."""
    without: tuple[str, ...] = ()
    """Dotted keys that are not taken from the parent, as "requant.by_op". Never inherited."""
    licence: str | None = None
    """Licence of the target's tools; for reports only."""
    sources: tuple[str, ...] = ()
    """Where the figures come from: titles of documents, repositories and paths, tools."""
    evidence: Mapping[str, Evidence] = {}
    """How values became known: "default" and quoted dotted keys, as "requant.rounding" = "S"."""
    container: Container
    """The model file."""
    activation: Activation
    """Tensors that are computed."""
    weight: Weight
    """Constant operands."""
    bias: Bias
    """What is added to each output channel."""
    accumulator: Accumulator
    """The register that integer products are summed in."""
    requant: Requant
    """From the accumulator to the output's codes."""
    graph: Graph
    """Rules on the graph as a whole."""
    op: tuple[OpRule, ...] = ()
    """What the target takes of single operators."""
    align: Align = Align()
    """What sizes are rounded up to."""
    memory: Memory = Memory()
    """Memories."""
    compute: Compute = Compute()
    """How fast it computes."""
    limits: Limits = Limits()
    """What a whole model must stay under."""
    verify: Verify = Verify()
    """How the target is checked without a device."""

    # ---- weights

    @property
    def default_weight_bits(self) -> int:
        """Width of weights where nobody asks for another."""
        return self.weight.bits[0]

    def weight_qtype(self, bits: int) -> QType:
        """The preferred weight type of ``bits`` bits, narrow where the profile says so.

        Raises:
            ProfileError: the target has no weights of this width.
        """
        return self._allowed(bits, "weight.bits", self.weight.bits, self.weight.qtypes(bits))[0]

    @property
    def weight_is_per_channel(self) -> bool:
        """Each output channel may have a scale of its own."""
        return Sharing.CHANNEL in self.weight.granularity

    def weight_axis(self, op_type: str, *, trans_b: bool = False) -> int:
        """Axis of the channel scales of the weight of ``op_type``.

        Args:
            op_type: ONNX operator type.
            trans_b: Gemm's transB, which decides where the axis is written as "n".

        Raises:
            ProfileError: the profile states no axis for this operator.
        """
        axis = self.weight.axis.get(op_type)
        if axis is None:
            raise ProfileError(
                f"{self.name}: weight.axis.{op_type}",
                "per-channel weights need an axis",
                found="none",
                allowed=", ".join(self.weight.axis) or "no operator: this target has none",
                next_step="use a per-tensor weight, or state the axis in the profile",
            )
        return int(not trans_b) if axis == "n" else axis

    @property
    def any_channel_scale(self) -> bool:
        """Every channel of a weight may have any float scale, and requantization follows it.

        Decides where BatchNorm is absorbed: into the scales where true (law 2).
        """
        free = self.weight_is_per_channel and self.weight.scale_form is ScaleForm.ANY
        requant = self.requant
        if requant.kind is Kind.THRESHOLDS:
            return free and requant.multiplier_scope is Scope.CHANNEL
        if requant.kind is Kind.FIXED:
            scopes = (requant.multiplier_scope, requant.shift_scope)
            long_enough = (requant.multiplier_bits or 0) >= ANY_SCALE_MULTIPLIER_BITS
            return free and long_enough and scopes == (Scope.CHANNEL, Scope.CHANNEL)
        return free and requant.kind in (Kind.FLOAT32, Kind.EXACT)

    # ---- activations

    @property
    def default_activation_bits(self) -> int:
        """Width of activations where nobody asks for another."""
        return self.activation.bits[0]

    def activation_qtypes(self, bits: int) -> tuple[QType, ...]:
        """The activation types of ``bits`` bits in order of preference (see ``activation.types``).

        Raises:
            ProfileError: the target has no activations of this width.
        """
        qtypes = self.activation.qtypes(bits)
        return self._allowed(bits, "activation.bits", self.activation.bits, qtypes)

    def activation_zero_points(self, qtype: QType) -> tuple[int, int]:
        """Lowest and highest code of ``qtype`` that may stand for 0.0."""
        return zero_points(self.activation.zero_point, qtype)

    def activation_zero_point_is_free(self, qtype: QType) -> bool:
        """The zero point of an activation may be chosen from data."""
        low, high = self.activation_zero_points(qtype)
        return low < high

    def fixed_output(self, op_type: str, qtype: QType) -> FixedOutput | None:
        """The output parameters of an operator whose scale is fixed; None: chosen from data."""
        return self.activation.fixed_output.get(op_type, {}).get(qtype.name)

    # ---- operators and arithmetic

    def op_rule(self, op_type: str, group: Group = Group.ANY) -> OpRule | None:
        """The [[op]] entry of an operator: that of its group, else that of any group.

        Asked without a group, the first entry answers where none speaks of any group.
        """
        entries = {rule.group: rule for rule in self.op if rule.type == op_type}
        found = entries.get(group) or entries.get(Group.ANY)
        return next(iter(entries.values()), None) if group is Group.ANY and not found else found

    def op_status(self, op_type: str, group: Group = Group.ANY) -> OpStatus:
        """Where an operator runs; ``graph.unlisted_ops`` decides without an entry."""
        rule = self.op_rule(op_type, group)
        return rule.status if rule else self.unlisted_status

    @property
    def unlisted_status(self) -> OpStatus:
        """Where an operator runs that has no [[op]] entry, or is beyond the limits of its entry."""
        return _UNLISTED[self.graph.unlisted_ops]

    @property
    def runs_floats(self) -> bool:
        """True where something, the target or a processor beside it, computes in float."""
        stated = (self.unlisted_status, *(rule.status for rule in self.op))
        return any(status.computes_in_float for status in stated)

    def contract(self) -> Contract:
        """The arithmetic in the words of the simulator.

        A form with words that the simulator does not obey is refused when an operator uses it.
        """
        requant = self.requant
        by_op = {op_type: requant.for_op(op_type).form() for op_type in requant.by_op}
        return Contract(
            self.name,
            requant.form(),
            MappingProxyType(by_op),
            self.accumulator.contract(),
            self.bias.order,
        )

    # ---- file

    @property
    def opset(self) -> int:
        """ONNX opset to write where the types need no other."""
        return self.container.opset_prefer

    def opset_for(self, qtypes: Iterable[QType]) -> int:
        """ONNX opset to write for a file that holds these types in containers of their own."""
        needed = (CONTAINER_OPSETS[qtype.container.bits] for qtype in qtypes)
        return max([self.opset, *needed])

    def evidence_of(self, path: str) -> Evidence:
        """How the value at a dotted path became known; entries of [[op]] go by their type.

        Raises:
            ProfileError: the path names no field of this profile.
        """
        check_path(path, set(field_paths(self.model_dump(mode="json"))), self.name)
        return tag_of(self.evidence, path)

    def _allowed(
        self, bits: int, key: str, widths: tuple[int, ...], qtypes: tuple[QType, ...]
    ) -> tuple[QType, ...]:
        if qtypes:
            return qtypes
        raise ProfileError(
            f"{self.name}: {key}",
            f"the target has no codes of {bits} bits here",
            found=str(bits),
            allowed=", ".join(map(str, widths)),
            next_step="choose an allowed width, or another target",
        )


_UNLISTED = MappingProxyType(
    {
        UnlistedOps.INTEGER: OpStatus.INTEGER,
        UnlistedOps.FLOAT: OpStatus.FLOAT,
        UnlistedOps.CPU: OpStatus.CPU,
        UnlistedOps.REFUSE: OpStatus.UNSUPPORTED,
    }
)
