"""What is searched: the blocks of a network, the scales of each, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from deployq.arithmetic.contract import Kind
from deployq.errors import InputError, UnsupportedError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall, grid_of, is_constant, linear_calls, output_quantizer
from deployq.graph.layer_placement import count_reads
from deployq.graph.operators import COMPUTE
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import lattice_of, needs_lattice
from deployq.graph.scales.weight_lattice import least_scale, set_weight_grid
from deployq.graph.sites import moved_from
from deployq_calibration.corrections.blocks import Block, find_blocks, linear_nodes
from deployq_calibration.evolq.genes import FloatGenes, Genes, MultiplierGenes, PowerGenes
from deployq_calibration.evolq.settings import Codes, EvolveSettings, Searched


@dataclass(frozen=True)
class WeightSite:
    """The weight scales of one layer.

    Args:
        call: of the layer.
        genes: what its scales are made of.
        codes: that stay whatever the scale is, or None where they are rounded again.
        prepared: the network.
    """

    call: LinearCall
    genes: Genes
    codes: Tensor | None
    prepared: PreparedModel

    @property
    def name(self) -> str:
        return f"{self.call.name}.weight"

    def read(self) -> Tensor:
        """Genes in force, (C,)."""
        return self.genes.encode(self._quantizer.qparams_scale().reshape(-1))

    def write(self, genes: Tensor) -> None:
        """Put genes in force."""
        self._put(self.genes.decode(genes))

    def holds(self) -> bool:
        """Whether the bias stays in its type.

        Where any scale will do, such a channel becomes its bias alone (law 2), and is heard so.
        """
        if isinstance(self.genes, FloatGenes):
            return True
        scale = self._quantizer.qparams_scale().reshape(-1)
        return not bool((scale.double() < self._least(scale)).any())

    def snap(self) -> None:
        """Put the scale on its lattice: the neighbour with the least error of the weights.

        Raises:
            QuantizationError: the contract has no multiplier for it.
        """
        quantizer = self._quantizer
        set_weight_grid(self.prepared, self.call, (quantizer.scale.detach(), quantizer.zero_point))
        self._put(quantizer.qparams_scale().reshape(-1))

    def _put(self, scale: Tensor) -> None:
        quantizer = self._quantizer
        shaped = scale.reshape(quantizer.scale.shape)
        quantizer.set_qparams(shaped, quantizer.zero_point)
        if self.codes is not None:
            self._keep_codes(self.codes, shaped)

    @property
    def _quantizer(self) -> FakeQuantize:
        return self.call.unit.weight_quantizer

    def _least(self, scale: Tensor) -> Tensor:
        prepared, call = self.prepared, self.call
        x, y = _ends(prepared, call)
        form = prepared.profile.contract().form(call.unit.form_name(call.weight))
        return least_scale(call, scale, x, y, form)

    @torch.no_grad()
    def _keep_codes(self, codes: Tensor, scale: Tensor) -> None:
        """The weight becomes what its codes stand for now."""
        unit, norm = self.call.unit, self.call.norm
        seen = codes.float() * self._quantizer.expand(scale, self.call.weight)
        ones = torch.ones_like(self.call.weight)
        factor = unit.scaled_weight(ones, norm)
        self.call.weight.copy_(torch.where(factor == 0, self.call.weight, seen / factor))


@dataclass(frozen=True)
class ActivationSite:
    """The scale of one activation that no other block reads or makes; any scale.

    Args:
        name: of the tensor.
        quantizer: its own.
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
        """Always: its lattice has no further limit."""
        return True

    def snap(self) -> None:
        """Put the scale on its lattice: the nearest one."""
        self.write(self.read())


Site = WeightSite | ActivationSite


@dataclass(frozen=True)
class SearchBlock:
    """One step of the walk.

    Args:
        name: of its last tensor.
        cut: the first node that a change reaches.
        sites: whose genes follow each other in the block's vector.
        layers: whose integers change with them.
    """

    name: str
    cut: fx.Node
    sites: tuple[Site, ...]
    layers: frozenset[str]

    def read(self) -> Tensor:
        """The genes in force, (G,) float64."""
        return torch.cat([site.read() for site in self.sites])

    def parts(self, genes: Tensor) -> Iterator[tuple[Site, Tensor]]:
        """Each site with its genes."""
        sizes = [len(site.read()) for site in self.sites]
        return zip(self.sites, torch.split(genes, sizes), strict=True)

    def write(self, genes: Tensor) -> None:
        """Put genes in force."""
        for site, part in self.parts(genes):
            site.write(part)

    def holds(self) -> bool:
        """Whether the target can hold what is in force."""
        return all(site.holds() for site in self.sites)


def search_blocks(
    prepared: PreparedModel, settings: EvolveSettings, *, any_scale: bool = False
) -> tuple[SearchBlock, ...]:
    """The blocks that the settings name, in graph order.

    Args:
        any_scale: genes are float scales, whatever lattice the target has.

    Raises:
        InputError: there are none, or none has a scale that may change.
        UnsupportedError: activations are to be searched whose scales make a lattice of weights'.
    """
    module = prepared.module
    blocks = find_blocks(module, most_layers=1 << 16)
    attention = [block for block in blocks if _multiplies_activations(block)]
    searched = Searched(settings.searched)
    if searched is Searched.AUTO:
        searched = Searched.ATTENTION if attention else Searched.ALL
    chosen = {
        Searched.ATTENTION: attention,
        Searched.MLP: [block for block in blocks if block not in attention],
    }.get(searched, list(blocks))
    calls = {call.name: call for call in linear_calls(prepared)}
    reads = count_reads(module)
    found = (
        _search_block(prepared, block, calls, reads, settings, any_scale=any_scale)
        for block in chosen
    )
    kept = tuple(block for block in found if block is not None)
    if not kept:
        raise InputError(
            "blocks",
            "a search needs a block with weight scales",
            found=f"{len(blocks)} blocks, none of them chosen by searched = {settings.searched}"
            + (f" and {', '.join(settings.blocks)}" if settings.blocks else ""),
            allowed=", ".join(list(calls)[:8]) or "a network with linear layers on a grid",
            next_step='take searched = "all", or patterns of layer names',
        )
    return kept


def _multiplies_activations(block: Block) -> bool:
    """True for a product of two computed tensors."""
    return any(
        node.op == "call_function" and COMPUTE.get(node.target) == "MatMul" for node in block.nodes
    )


def _search_block(
    prepared: PreparedModel,
    block: Block,
    calls: Mapping[str, LinearCall],
    reads: Mapping[int, int],
    settings: EvolveSettings,
    *,
    any_scale: bool,
) -> SearchBlock | None:
    nodes = {str(n.meta["name"]): n for n in linear_nodes(prepared.module, block.nodes)}
    wanted = [
        calls[name]
        for name in nodes
        if _is_named(name, settings.blocks) and reads[id(calls[name].weight)] == 1
    ]
    if not wanted:
        return None
    sites: list[Site] = [
        _weight_site(prepared, call, settings, any_scale=any_scale) for call in wanted
    ]
    cuts = [nodes[call.name] for call in wanted]
    layers = {call.name for call in wanted}
    if settings.activations:
        inside = dict(_activations(prepared, block))
        sites += [
            ActivationSite(n, q, FloatGenes() if any_scale else _activation_genes(prepared))
            for n, (q, _) in inside.items()
        ]
        cuts += [node for _, node in inside.values()]
        layers |= {
            call.name
            for call in calls.values()
            if moved_from(prepared.module, call.source).target
            in {q.target for _, q in inside.values()}
        }  # biases count steps of their input
    return SearchBlock(block.name, min(cuts), tuple(sites), frozenset(layers))


def _is_named(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _weight_site(
    prepared: PreparedModel, call: LinearCall, settings: EvolveSettings, *, any_scale: bool
) -> WeightSite:
    quantizer = call.unit.weight_quantizer
    frozen = settings.codes is Codes.FROZEN
    codes = quantizer.codes(call.seen_weight()) if frozen else None
    genes = FloatGenes() if any_scale else _weight_genes(prepared, call)
    return WeightSite(call, genes, codes, prepared)


def _weight_genes(prepared: PreparedModel, call: LinearCall) -> Genes:
    lattice = lattice_of(prepared.profile.weight)
    if lattice is not None:
        return PowerGenes(lattice)
    form = prepared.profile.contract().form(call.unit.form_name(call.weight))
    if form.kind is Kind.FIXED and needs_lattice(form):
        return MultiplierGenes(form, *_ends(prepared, call))
    return FloatGenes()


def _ends(prepared: PreparedModel, call: LinearCall) -> tuple[np.float32, np.float32]:
    """Scales of a layer's input and output."""
    x = grid_of(prepared.module, call.source).scale
    y = output_quantizer(prepared, call.name).qparams().scale
    return np.float32(x), np.float32(y)


def _activation_genes(prepared: PreparedModel) -> Genes:
    if any(needs_lattice(prepared.profile.contract().form(name)) for name in ("Conv", "Gemm")):
        raise UnsupportedError(
            prepared.profile.name,
            "weight scales lie on a lattice that the activations' scales make",
            found="a search of activation scales as well",
            next_step="search weight scales alone",
        )
    lattice = lattice_of(prepared.profile.activation)
    return FloatGenes() if lattice is None else PowerGenes(lattice)


def _activations(
    prepared: PreparedModel, block: Block
) -> Iterator[tuple[str, tuple[FakeQuantize, fx.Node]]]:
    """Quantizers that are called in this block alone and whose scale is free."""
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
            yield str(nodes[0].meta["name"]), (quantizer, nodes[0])
