"""Slices and zero channels, where the target has no such operator: a 1x1 convolution of 0 and 1.

    pad(x[:, :, ::2, ::2], (0, 0, 0, 0, a, b))    becomes    Conv(x, W, strides (2, 2))
                                                            W[a + c, c] = 1, else 0

That is the option-A shortcut of CIFAR's ResNets (He et al. 2016, arXiv 1512.03385, section 4.2).
Input and output share a grid and the weight's scale is 1: the multiplier is 1, and every code comes
out as it went in. The chain stays in the prepared network; lowering writes the convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import fx

from deployq.errors import InputError
from deployq.graph.beyond_limits import ELSEWHERE
from deployq.graph.operators import aten, onnx_type
from deployq.graph.plan import SelectionPlan
from deployq.graph.rewrites.rule import argument, calls
from deployq_targets import TargetProfile
from deployq_targets.operator_shape import Extent, OperatorShape
from deployq_targets.shape_limits import breach
from deployq_targets.words import Group, OpStatus

CHANNELS, ROWS, COLUMNS = 1, 2, 3
NOTHING = -1
"""In the place of an input channel: the output channel is zero."""


@dataclass(frozen=True)
class Selection:
    """A chain of slices and zero channels.

    Args:
        nodes: from its first to its last.
        strides: rows, columns; all that they leave of their axes is kept.
        channels: input channel of each output channel, or :data:`NOTHING`.
        before, after: extents of what is read and of what is made.
    """

    nodes: tuple[fx.Node, ...]
    strides: tuple[int, int]
    channels: tuple[int, ...]
    before: Extent
    after: Extent


def find_selections(module: fx.GraphModule, profile: TargetProfile) -> list[Selection]:
    """The chains that a target cannot move and can convolve, in graph order."""
    return [
        selection
        for node in module.graph.nodes
        if (selection := match(node)) is not None
        and any(profile.op_status(onnx_type(module, n)) in ELSEWHERE for n in selection.nodes)
        and _convolves(selection, profile)
    ]


def match(last: fx.Node) -> Selection | None:
    """The whole chain that ends in a node; None where it goes on, or is no selection."""
    if not _selects(last) or (len(last.users) == 1 and all(map(_selects, last.users))):
        return None
    nodes = [last]
    while _selects(nodes[0].args[0]) and len(nodes[0].args[0].users) == 1:  # type: ignore[union-attr] # _selects saw a node
        nodes.insert(0, nodes[0].all_input_nodes[0])
    source = nodes[0].all_input_nodes[0]
    if source.op == "get_attr":  # a constant is stored as its reader has it
        return None
    strides, channels = [1, 1], tuple(range(int(source.meta["val"].shape[CHANNELS])))
    for node in nodes:
        if calls(node, aten.pad.default):
            before, after = _zero_channels(node) or (0, 0)
            channels = (*[NOTHING] * before, *channels, *[NOTHING] * after)
            continue
        axis, cut = _cut(node) or (CHANNELS, slice(None))
        if axis == CHANNELS:
            channels = channels[cut]
        else:
            strides[axis - ROWS] *= cut.step
    before_it, after_it = (Extent(*map(int, n.meta["val"].shape[1:])) for n in (source, last))
    return Selection(tuple(nodes), (strides[0], strides[1]), channels, before_it, after_it)


def _selects(node: object) -> bool:
    """A slice or a pad of this kind, of a map of known extents."""
    if not isinstance(node, fx.Node) or not calls(node, aten.slice.Tensor, aten.pad.default):
        return False
    shape = node.all_input_nodes[0].meta["val"].shape
    if len(shape) != 4 or not all(isinstance(size, int) for size in shape[1:]):
        return False
    return (_cut(node) if calls(node, aten.slice.Tensor) else _zero_channels(node)) is not None


def _cut(node: fx.Node) -> tuple[int, slice] | None:
    """Axis and span of a slice: any channels, and of rows and columns every n-th from the first."""
    shape = node.all_input_nodes[0].meta["val"].shape
    stated = ((1, "dim", 0), (2, "start", None), (3, "end", None), (4, "step", 1))
    axis, start, end, step = (argument(node, i, name, default) for i, name, default in stated)
    axis %= len(shape)
    if axis == 0:  # of the samples
        return None
    size = int(shape[axis])
    low, high, step = slice(start, end, step).indices(size)
    if axis != CHANNELS and (low != 0 or high <= (size - 1) // step * step):
        return None
    return axis, slice(low, high, step)


def _zero_channels(node: fx.Node) -> tuple[int, int] | None:
    """How many channels of zeros stand before the others and behind them."""
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value") or 0.0
    pads = list(argument(node, 1, "pad"))  # from the last axis on, before and behind
    pads += [0] * (8 - len(pads))
    columns_and_rows, (before, after), samples = pads[:4], pads[4:6], pads[6:]
    if mode != "constant" or value != 0.0 or any((*columns_and_rows, *samples)):
        return None
    return (before, after) if min(before, after) >= 0 else None


def _convolves(selection: Selection, profile: TargetProfile) -> bool:
    """Whether the target has this convolution in integers."""
    rule = profile.op_rule("Conv", Group.DENSE)
    if rule is None or rule.status is not OpStatus.INTEGER:
        return False
    before, after = selection.before, selection.after
    dims = tuple(size for extent in (before, after) for size in (extent.c, extent.h, extent.w))
    shape = OperatorShape((before,), after, dims, strides=selection.strides)
    return breach(shape, rule) is None and any(_widths(profile))


def _widths(profile: TargetProfile) -> Iterator[int]:
    """Weight widths that can say 1."""
    rule = profile.op_rule("Conv", Group.DENSE)
    for bits in profile.weight.bits:
        taken = rule is None or rule.weight_bits is None or bits in rule.weight_bits
        qtype = profile.weight_qtype(bits)
        if taken and qtype.signed and qtype.qmax >= 1:
            yield bits


def selection_plan(
    module: fx.GraphModule, selection: Selection, profile: TargetProfile, used: int | None
) -> SelectionPlan:
    """What lowering writes.

    Args:
        used: width of the layers' weights where the target has one for the whole network.
    """
    bits = next(_widths(profile)) if used is None else used
    names = tuple(str(node.meta["name"]) for node in selection.nodes)
    qtype = profile.weight_qtype(bits)
    return SelectionPlan(
        names[-1], names, tuple(onnx_type(module, node) for node in selection.nodes),
        selection.strides, selection.before.c, selection.channels,
        qtype.bits, qtype.signed, qtype.narrow_range, profile.weight_is_per_channel,
    )  # fmt: skip


def planned_chain(module: fx.GraphModule, plan: SelectionPlan) -> tuple[fx.Node, fx.Node]:
    """The last call of a chain in a prepared network, and what the chain reads.

    Raises:
        InputError: the network does not have the chain that its plan names.
    """
    named = {str(n.meta.get("name")): n for n in module.graph.nodes if n.op == "call_function"}
    found = [named.get(name) for name in plan.tensors]
    chain = [node for node in found if node is not None]
    joined = all(b.all_input_nodes[0] is a for a, b in pairwise(chain))
    whole = len(chain) == len(found) and plan.name == plan.tensors[-1]
    if not joined or not whole or max(plan.channels) >= plan.inputs:
        raise InputError(
            plan.name,
            "the network has the chain of movements that its plan names",
            found=f"not {', '.join(plan.tensors)}",
            next_step="prepare the model again",
        )
    return chain[-1], chain[0].all_input_nodes[0]
