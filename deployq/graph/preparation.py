"""Prepare a float network for a target: place fake quantizers where the contract says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from torch import fx, nn

from deployq.errors import InputError, UnsupportedError
from deployq.graph.batch_norm import move_sign_into_weight
from deployq.graph.bias_type import BiasType
from deployq.graph.capture import NORM_TENSORS
from deployq.graph.captured_inputs import input_shapes, input_types
from deployq.graph.channel_factors import factor_lines
from deployq.graph.code_operators import compute_form
from deployq.graph.constant_operands import quantize_constant
from deployq.graph.conv_geometry import conv_geometry, conv_input
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.float_tensors import FLOAT_DIGEST, OWN, float_digest
from deployq.graph.lacking import say_by_others
from deployq.graph.layer_placement import clamp_is_redundant
from deployq.graph.obeyed import refuse_unobeyed
from deployq.graph.operators import COMPUTE, onnx_type
from deployq.graph.placement import place
from deployq.graph.plan import LayerPlan, Plan, TensorPlan
from deployq.graph.recipe import Recipe
from deployq.graph.rewrites.rule import argument
from deployq.graph.scales.lattice import lattice_of
from deployq.graph.simulated import refuse_unsimulated
from deployq.graph.sites import INTEGER, Site
from deployq.graph.tensors import attach, read_tensor
from deployq.graph.units import QuantizedLinear, channel_axis
from deployq.qparams import PerChannel, PerTensor, QParams
from deployq_targets import TargetProfile

Child = TypeVar("Child", bound=nn.Module)

SCALE_SEARCH = "scale_search"
"""The entry of a provenance, and of a manifest, that says how scales were searched."""


@dataclass(frozen=True)
class PreparedModel:
    """A fake-quant network with the plan it was made by.

    Args:
        module: runs and trains in torch; parameters keep the user's names.
        plan: every decision.
        inputs: name to shape of each input, the batch dimension as 0.
        profile: the target that it was prepared for.
        input_types: name to NumPy type of the inputs that are not float32: ids, on no grid.
        provenance: how its numbers came about, as plain data: the digest of the float network
            (``deployq.graph.float_tensors``), and the search of its scales if there was one.
    """

    module: fx.GraphModule
    plan: Plan
    inputs: Mapping[str, tuple[int, ...]]
    profile: TargetProfile
    input_types: Mapping[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def input_dtypes(self) -> dict[str, np.dtype[Any]]:
        """Types of the inputs that are not float32."""
        return {name: np.dtype(kind) for name, kind in self.input_types.items()}

    @property
    def floats(self) -> tuple[str, ...]:
        """Lines on the operators in float: those of the plan, and what calibration added."""
        return (*self.plan.floats, *factor_lines(self.module))

    def quantizers(self) -> dict[str, FakeQuantize]:
        """Activation quantizers by the name of the first tensor on their grid.

        Raises:
            InputError: the network lacks one that the plan names.
        """
        names = (tensor.name for tensor in self.plan.tensors)
        return {name: self._child("activations", name, FakeQuantize) for name in names}

    def grids(self) -> dict[str, QParams]:
        """Parameters of every computed tensor on a grid."""
        quantizers = self.quantizers()
        plans = self.plan.tensors
        return {tensor: quantizers[p.name].qparams() for p in plans for tensor in p.computed}

    def units(self) -> dict[str, QuantizedLinear]:
        """Linear units by layer name.

        Raises:
            InputError: the network lacks one that the plan names.
        """
        names = (layer.name for layer in self.plan.layers)
        return {name: self._child("layers", name, QuantizedLinear) for name in names}

    def _child(self, room: str, name: str, kind: type[Child]) -> Child:
        found: object = self.module
        for step in quantizer_path(room, name).split("."):
            found = getattr(found, step, None)
        if not isinstance(found, kind):
            raise InputError(
                name,
                f"the network has the {kind.__name__} that its plan names",
                found="none",
                next_step="prepare the model again",
            )
        return found


QUANTIZERS = OWN
"""Where the paths of quantizers and units begin; all other tensors are the user's."""


def quantizer_path(room: str, name: str) -> str:
    """Module path of a quantizer or unit: dots of the tensor's name would nest modules.

    The room lies inside ``deployq``, because networks have modules of their own named ``layers``. A
    tensor that bears the name of a method of modules, such as ``type``, gains an underscore.
    """
    leaf = name.replace(".", "__")
    return f"{QUANTIZERS}{room}.{leaf}{'_' if hasattr(_PLAIN, leaf) else ''}"


_PLAIN = nn.Module()


def prepare_graph(
    captured: fx.GraphModule, profile: TargetProfile, recipe: Recipe | None = None
) -> PreparedModel:
    """Insert quantizers and units into a copy of a captured graph.

    Raises:
        UnsupportedError: an operator cannot be carried to the target.
        ProfileError: the recipe asks for a width that the profile does not have, or the profile
            states what deployq does not carry.
        InputError: a pattern of the recipe names no layer.
    """
    refuse_unobeyed(profile)
    module = _copy(captured)
    say_by_others(module, profile)
    placement = place(module, profile, recipe or Recipe())
    computed = [site for site in placement.sites.values() if site.kind in INTEGER]
    readers = {site.core for site in computed if site.kind == "compute"}
    refuse_unsimulated({site.name: _form_name(module, site.core) for site in computed}, profile)
    layers = {layer.name: layer for layer in placement.plan.layers}
    for grid in placement.plan.tensors:
        quantizer = _activation_quantizer(grid, profile)
        _attach_new(module, quantizer_path("activations", grid.name), quantizer)
    for site in placement.sites.values():
        output = site.output
        if site.kind == "constant" and site.name not in placement.grid_of:
            continue
        if site.kind == "constant":
            path = quantizer_path("activations", placement.grid_of[site.name].name)
            quantize_constant(module, site, path, readers)
            continue
        if site.kind == "linear":
            output = _insert_unit(module, site, layers[site.name], profile)
        if site.name in placement.grid_of:
            _insert_quantizer(module, site, output, placement.grid_of[site.name])
    module.graph.eliminate_dead_code(is_impure_node=lambda n: n.op in ("placeholder", "output"))
    module.graph.lint()
    # a fresh module holds what the graph reads and no more: the BatchNorm modules are gone
    module = fx.GraphModule(module, module.graph, class_name="Prepared")
    shapes, types = input_shapes(captured.graph), input_types(captured.graph)
    provenance = {FLOAT_DIGEST: float_digest(module)}
    return PreparedModel(module.eval(), placement.plan, shapes, profile, types, provenance)


def _attach_new(module: fx.GraphModule, path: str, value: nn.Module) -> None:
    """Attach at a free path: ``a.b`` and ``a__b`` would meet at one."""
    if any(name == path for name, _ in module.named_modules()):
        raise UnsupportedError(
            path,
            "names of modules differ by more than dots and underscores",
            found="two of one name",
            next_step="rename one of the modules",
        )
    attach(module, path, value)


def _copy(captured: fx.GraphModule) -> fx.GraphModule:
    """The user's network stays as it was; metadata moves along."""
    module = copy.deepcopy(captured)
    for old, new in zip(captured.graph.nodes, module.graph.nodes, strict=True):
        new.meta = dict(old.meta)
    return module


def _form_name(module: fx.GraphModule, core: fx.Node) -> str:
    return compute_form(core) if core.target in COMPUTE else onnx_type(module, core)


def _activation_quantizer(grid: TensorPlan, profile: TargetProfile) -> FakeQuantize:
    return FakeQuantize(
        grid.qtype,
        PerTensor(),
        symmetric=grid.symmetric,
        fixed_zero_point=grid.zero_point,
        scale_limit=grid.scale_limit,
        fixed_scale=grid.scale,
        lattice=lattice_of(profile.activation),
        batched=bool(grid.computed),
    )


def _insert_unit(
    module: fx.GraphModule, site: Site, layer: LayerPlan, profile: TargetProfile
) -> fx.Node:
    """Replace layer and BatchNorm by one unit; returns the site's new output node."""
    core = site.core
    path = quantizer_path("layers", layer.name)
    unit, weight = _unit(module, site, layer, profile), argument(core, 1, "weight")
    refuse_unsimulated({site.name: unit.form_name(read_tensor(module, weight))}, profile)
    _attach_new(module, path, unit)
    last = site.batch_norm or core
    with module.graph.inserting_before(last):
        norm = _batch_norm_arguments(module, site.batch_norm)
        args = (conv_input(core), weight, argument(core, 2, "bias"), *norm)
        call = module.graph.call_module(path, args)
    call.meta = {**last.meta, "name": site.name}
    if layer.batch_norm == "absorb" and norm[0] is not None:
        _make_gamma_positive(module, call)
    last.replace_all_uses_with(call)
    return site.clamp or site.joined or call


def _unit(
    module: fx.GraphModule, site: Site, layer: LayerPlan, profile: TargetProfile
) -> QuantizedLinear:
    weight = read_tensor(module, argument(site.core, 1, "weight"))
    axis = channel_axis(layer.op_type)
    shape = (weight.shape[axis],) if layer.per_channel else ()
    granularity = PerChannel(axis) if layer.per_channel else PerTensor()
    lattice = lattice_of(profile.weight)
    norm: Any = module.get_submodule(str(site.batch_norm.target)) if site.batch_norm else None
    return QuantizedLinear(
        layer.op_type,
        FakeQuantize(layer.qtype, granularity, shape, symmetric=True, lattice=lattice),
        geometry=None if layer.op_type == "Gemm" else conv_geometry(site.core),
        batch_norm=layer.batch_norm,
        eps=norm.eps if norm else 1e-5,
        momentum=norm.momentum if norm and norm.momentum is not None else 0.1,
        bias_type=BiasType.of(profile.bias),
    )


def _batch_norm_arguments(
    module: fx.GraphModule, node: fx.Node | None
) -> tuple[fx.Node | None, ...]:
    """``get_attr`` nodes of gamma, beta, mean and variance."""
    if node is None:
        return ()
    norm = module.get_submodule(str(node.target))
    return tuple(
        module.graph.get_attr(f"{node.target}.{name}") if getattr(norm, name) is not None else None
        for name in NORM_TENSORS
    )


def _make_gamma_positive(module: fx.GraphModule, call: fx.Node) -> None:
    _, weight, bias, gamma, _, mean, _ = call.args
    unit = module.get_submodule(str(call.target))
    assert isinstance(unit, QuantizedLinear)
    move_sign_into_weight(
        read_tensor(module, weight), None if bias is None else read_tensor(module, bias),
        read_tensor(module, gamma), read_tensor(module, mean), unit.along_outputs,
    )  # fmt: skip


def _insert_quantizer(
    module: fx.GraphModule, site: Site, output: fx.Node, grid: TensorPlan
) -> None:
    """Put the site's quantizer after ``output``; a redundant clamp goes."""
    if site.clamp is not None and clamp_is_redundant(site, grid):
        output = site.clamp.all_input_nodes[0]
        site.clamp.replace_all_uses_with(output)
        module.graph.erase_node(site.clamp)
    with module.graph.inserting_after(output):
        call = module.graph.call_module(quantizer_path("activations", grid.name), (output,))
    call.meta = {**output.meta, "name": site.name}
    output.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)


def disable_quantizers(module: nn.Module, disabled: bool = True) -> None:
    """Let every quantizer of a prepared network evaluate in float, or on its grid again."""
    for child in module.modules():
        if isinstance(child, FakeQuantize):
            child.enabled = not disabled
