"""The scales of a block's own activations, and the layers whose integers follow from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from deployq.errors import UnsupportedError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall, is_constant
from deployq.graph.preparation import PreparedModel, quantizer_path
from deployq.graph.scales.lattice import lattice_of, needs_lattice
from deployq.graph.sites import moved_from
from deployq_calibration.corrections.blocks import Block
from deployq_calibration.evolq.genes import FloatGenes, Genes, PowerGenes


@dataclass(frozen=True)
class ActivationSite:
    """The scale of one activation that no other block reads or makes.

    Args:
        name: of the tensor.
        quantizer: its own.
        genes: what its scale is made of.
    """

    name: str
    quantizer: FakeQuantize
    genes: Genes

    def read(self) -> Tensor:
        """Genes in force, (1,)."""
        return self.genes.encode(self.quantizer.qparams_scale().reshape(-1))

    def write(self, genes: Tensor) -> None:
        """Put genes in force."""
        scale = self.genes.decode(genes).reshape(self.quantizer.scale.shape)
        self.quantizer.set_qparams(scale, self.quantizer.zero_point)

    def holds(self) -> bool:
        """Always: its lattice has no further limit, and layers beside it have their own."""
        return True

    def snap(self) -> None:
        """Put the scale on its lattice: the nearest one."""
        self.write(self.read())


@dataclass(frozen=True)
class Inside:
    """Activations of a block.

    Args:
        sites: to search.
        layers: that read or make one: bias codes and multipliers follow from its scale.
    """

    sites: tuple[ActivationSite, ...]
    layers: frozenset[str]


def activations_inside(
    prepared: PreparedModel, block: Block, calls: Collection[LinearCall], *, any_scale: bool
) -> Inside:
    """The activations of a block whose scale is free.

    Args:
        calls: all layers of the network.
        any_scale: genes are float scales, whatever lattice the target has.

    Raises:
        UnsupportedError: the weight scales of a layer beside them lie on a lattice that their
            scales make.
    """
    lattice = None if any_scale else lattice_of(prepared.profile.activation)
    genes = FloatGenes() if lattice is None else PowerGenes(lattice)
    found = list(_quantizers(prepared, block))
    targets = {str(node.target) for _, node in found}
    layers = frozenset(_layers_beside(prepared, targets, calls))
    if not any_scale:
        _check_free(prepared, [call for call in calls if call.name in layers])
    sites = (ActivationSite(str(node.meta["name"]), q, genes) for q, node in found)
    return Inside(tuple(sites), layers)


def _quantizers(prepared: PreparedModel, block: Block) -> Iterator[tuple[FakeQuantize, fx.Node]]:
    """Quantizers that are called in this block alone and whose scale is free, with a call."""
    module, inside = prepared.module, set(block.nodes)
    callers: dict[Any, list[fx.Node]] = {}
    for node in module.graph.nodes:
        if node.op == "call_module":
            callers.setdefault(node.target, []).append(node)
    for target, nodes in callers.items():
        quantizer = module.get_submodule(str(target))
        if not isinstance(quantizer, FakeQuantize) or not inside.issuperset(nodes):
            continue
        free = quantizer.fixed_scale is None and quantizer.scale_limit is None
        if free and not is_constant(nodes[0]):
            yield quantizer, nodes[0]


def _layers_beside(
    prepared: PreparedModel, targets: Collection[str], calls: Collection[LinearCall]
) -> Iterator[str]:
    for call in calls:
        if str(moved_from(prepared.module, call.source).target) in targets:
            yield call.name
    names = {call.name for call in calls}
    for grid in prepared.plan.tensors:
        if quantizer_path("activations", grid.name) in targets:
            yield from names.intersection(grid.tensors)


def _check_free(prepared: PreparedModel, beside: Collection[LinearCall]) -> None:
    contract = prepared.profile.contract()
    bound = [c for c in beside if needs_lattice(contract.form(c.unit.form_name(c.weight)))]
    if bound:
        raise UnsupportedError(
            f"{bound[0].name}.weight",
            "weight scales lie on a lattice that the activations' scales make",
            found=f"a search of activation scales on {prepared.profile.name}",
            next_step="search weight scales alone",
        )
