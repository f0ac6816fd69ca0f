"""Prepare a float network for a target: place fake quantizers where the contract says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from deployq_targets import TargetProfile

from deployq.arithmetic.geometry import ConvGeometry
from deployq.errors import UnsupportedError
from deployq.graph.batch_norm import move_sign_into_weight
from deployq.graph.capture import attach, read_tensor
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.placement import Placement, clamp_is_redundant, place
from deployq.graph.plan import LayerPlan, Plan, TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.rule import argument
from deployq.graph.sites import Site
from deployq.graph.units import QuantizedLinear
from deployq.qparams import PerChannel, PerTensor
from deployq.qtypes import QType


@dataclass(frozen=True)
class PreparedModel:
    """A fake-quant network with the plan it was made by.

    Args:
        module: runs and trains in torch; parameters keep the user's names.
        plan: every decision.
        inputs: name to shape of each input, the batch dimension as 0.
    """

    module: fx.GraphModule
    plan: Plan
    inputs: Mapping[str, tuple[int, ...]]

    def quantizers(self) -> dict[str, FakeQuantize]:
        """Activation quantizers by tensor name."""
        paths = {t.name: quantizer_path("activations", t.name) for t in self.plan.tensors}
        return {name: self._quantizer(path) for name, path in paths.items()}

    def units(self) -> dict[str, QuantizedLinear]:
        """Linear units by layer name."""
        found = {}
        for layer in self.plan.layers:
            unit = self.module.get_submodule(quantizer_path("layers", layer.name))
            assert isinstance(unit, QuantizedLinear)
            found[layer.name] = unit
        return found

    def _quantizer(self, path: str) -> FakeQuantize:
        quantizer = self.module.get_submodule(path)
        assert isinstance(quantizer, FakeQuantize)
        return quantizer


def quantizer_path(room: str, name: str) -> str:
    """Module path of a quantizer or unit: dots of the tensor's name would nest modules."""
    return f"{room}.{name.replace('.', '__')}"


def prepare_graph(
    captured: fx.GraphModule, profile: TargetProfile, recipe: Recipe | None = None
) -> PreparedModel:
    """Insert quantizers and units into a copy of a captured graph.

    Raises:
        UnsupportedError: an operator cannot be carried to the target.
        ProfileError: the recipe asks for a width that the profile does not have.
    """
    module = _copy(captured)
    placement = place(module, profile, recipe or Recipe())
    grids = {grid.name: grid for grid in placement.plan.tensors}
    layers = {layer.name: layer for layer in placement.plan.layers}
    for grid in grids.values():
        attach(module, quantizer_path("activations", grid.name), _activation_quantizer(grid))
    for site in list(placement.sites.values()):
        output = site.output
        if site.kind == "linear":
            output = _insert_unit(module, site, layers[site.name], profile)
        _insert_quantizer(module, site, output, placement, grids)
    module.graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    module.graph.lint()
    # a fresh module holds what the graph reads and no more: the BatchNorm modules are gone
    module = fx.GraphModule(module, module.graph, class_name="Prepared")
    inputs = {
        str(node.target): (0, *node.meta["val"].shape[1:])
        for node in module.graph.nodes
        if node.op == "placeholder"
    }
    return PreparedModel(module, placement.plan, inputs)


def _copy(captured: fx.GraphModule) -> fx.GraphModule:
    """The user's network stays as it was; metadata moves along."""
    module = copy.deepcopy(captured)
    for old, new in zip(captured.graph.nodes, module.graph.nodes, strict=True):
        new.meta = dict(old.meta)
    return module


def _activation_quantizer(grid: TensorPlan) -> FakeQuantize:
    return FakeQuantize(
        grid.qtype, PerTensor(), symmetric=grid.symmetric,
        fixed_zero_point=grid.zero_point, scale_limit=grid.scale_limit,
    )  # fmt: skip


def _insert_unit(
    module: fx.GraphModule, site: Site, layer: LayerPlan, profile: TargetProfile
) -> fx.Node:
    """Replace layer and BatchNorm by one unit; returns the site's new output node."""
    core = site.core
    unit = _unit(module, site, layer, profile)
    path = quantizer_path("layers", layer.name)
    attach(module, path, unit)
    last = site.batch_norm or core
    with module.graph.inserting_before(last):
        norm = _batch_norm_arguments(module, site.batch_norm)
        args = (core.args[0], core.args[1], argument(core, 2, "bias"), *norm)
        call = module.graph.call_module(path, args)
    call.meta = {**last.meta, "name": site.name}
    if unit.batch_norm == "absorb" and norm[0] is not None:
        _make_gamma_positive(module, call)
    last.replace_all_uses_with(call)
    return call if site.clamp is None else site.clamp


def _unit(
    module: fx.GraphModule, site: Site, layer: LayerPlan, profile: TargetProfile
) -> QuantizedLinear:
    weight = read_tensor(module, site.core.args[1])
    qtype = QType(layer.bits, layer.signed, layer.narrow_range)
    shape = (weight.shape[0],) if layer.per_channel else ()
    granularity = PerChannel(0) if layer.per_channel else PerTensor()
    norm: Any = module.get_submodule(str(site.batch_norm.target)) if site.batch_norm else None
    return QuantizedLinear(
        layer.op_type,
        FakeQuantize(qtype, granularity, shape, symmetric=True),
        geometry=conv_geometry(site.core) if layer.op_type == "Conv" else None,
        batch_norm=layer.batch_norm,
        eps=norm.eps if norm else 1e-5,
        momentum=norm.momentum if norm and norm.momentum is not None else 0.1,
        bias_bits=profile.bias.bits or 32,
    )


def conv_geometry(node: fx.Node) -> ConvGeometry:
    """Strides, pads, dilations and groups of an ``aten.conv2d`` call."""

    def pair(index: int, name: str, default: int) -> tuple[int, int]:
        value = argument(node, index, name, default)
        values = (value, value) if isinstance(value, int) else tuple(value)
        return values if len(values) == 2 else (values[0], values[0])

    if isinstance(argument(node, 4, "padding", 0), str):
        raise UnsupportedError(
            str(node.meta["name"]), "padding must be given in numbers",
            found=repr(argument(node, 4, "padding")), next_step="state the padding of each side",
        )
    top, left = pair(4, "padding", 0)
    groups = argument(node, 6, "groups", 1)
    return ConvGeometry(
        pair(3, "stride", 1), (top, left, top, left), pair(5, "dilation", 1), groups
    )


def _batch_norm_arguments(
    module: fx.GraphModule, node: fx.Node | None
) -> tuple[fx.Node | None, ...]:
    """``get_attr`` nodes of gamma, beta, mean and variance."""
    if node is None:
        return (None,)[:0]
    norm: Any = module.get_submodule(str(node.target))
    names = ("weight", "bias", "running_mean", "running_var")
    return tuple(
        module.graph.get_attr(f"{node.target}.{name}") if getattr(norm, name) is not None else None
        for name in names
    )


def _make_gamma_positive(module: fx.GraphModule, call: fx.Node) -> None:
    _, weight, bias, gamma, _, mean, _ = call.args
    move_sign_into_weight(
        read_tensor(module, weight), None if bias is None else read_tensor(module, bias),
        read_tensor(module, gamma), read_tensor(module, mean),
    )  # fmt: skip


def _insert_quantizer(
    module: fx.GraphModule,
    site: Site,
    output: fx.Node,
    placement: Placement,
    grids: dict[str, TensorPlan],
) -> None:
    """Put the site's quantizer after ``output``; a redundant clamp goes."""
    grid = grids[placement.grid_of[site.name]]
    if site.clamp is not None and clamp_is_redundant(site, grid):
        source = site.clamp.args[0]
        assert isinstance(source, fx.Node)
        site.clamp.replace_all_uses_with(source)
        module.graph.erase_node(site.clamp)
        output = source
    with module.graph.inserting_after(output):
        call = module.graph.call_module(quantizer_path("activations", grid.name), (output,))
    call.meta = {**output.meta, "name": site.name}
    output.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)


def disable_quantizers(module: nn.Module, disabled: bool = True) -> None:
    """Let every quantizer of a prepared network evaluate in float, or on its grid again."""
    for child in module.modules():
        if isinstance(child, FakeQuantize):
            child.enabled = not disabled

