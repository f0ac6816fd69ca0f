"""What is searched: the blocks of a network, and the scales of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, fx

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LinearCall, linear_calls
from deployq.graph.layer_placement import count_reads
from deployq.graph.operators import COMPUTE
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear
from deployq_calibration.corrections.blocks import Block, find_blocks, linear_nodes
from deployq_calibration.evolq.activation_sites import ActivationSite, activations_inside
from deployq_calibration.evolq.settings import EvolveSettings, Searched
from deployq_calibration.evolq.weight_sites import WeightSite, weight_site

Site = WeightSite | ActivationSite


@dataclass(frozen=True)
class SearchBlock:
    """One step of the walk.

    Args:
        name: of its last tensor.
        changed: nodes that a change reaches first, in graph order: calls of layers and quantizers.
        sites: whose genes follow each other in the block's vector.
        layers: whose integers change with them.
        beside: weights that are not searched, of layers that read or make a searched activation.
    """

    name: str
    changed: tuple[fx.Node, ...]
    sites: tuple[Site, ...]
    layers: frozenset[str]
    beside: tuple[WeightSite, ...] = ()

    @property
    def cut(self) -> fx.Node:
        """Nothing before it changes."""
        return self.changed[0]

    @property
    def last(self) -> fx.Node:
        """What is behind it changes with its operands alone."""
        return self.changed[-1]

    def read(self) -> Tensor:
        """The genes in force, (G,) float64."""
        return torch.cat([site.read() for site in self.sites])

    def parts(self, genes: Tensor) -> Iterator[tuple[Site, Tensor]]:
        """Each site with its genes."""
        sizes = [len(site.read()) for site in self.sites]
        return zip(self.sites, torch.split(genes, sizes), strict=True)

    def write(self, genes: Tensor) -> None:
        """Put genes in force, whatever the target says of them."""
        for site, part in self.parts(genes):
            site.write(part)

    def holds(self) -> bool:
        """Whether the target can hold what is in force, all scales together."""
        return all(site.holds() for site in (*self.sites, *self.beside))


def put_back(blocks: Sequence[SearchBlock], genes: Sequence[Tensor]) -> None:
    """Write what each block had."""
    for block, own in zip(blocks, genes, strict=True):
        block.write(own)


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
        name
        for name in nodes
        if _is_named(name, settings.blocks) and reads[id(calls[name].weight)] == 1
    ]
    if not wanted:
        return None

    def site(name: str) -> WeightSite:
        return weight_site(prepared, calls[name], settings, any_scale=any_scale)

    weights = tuple(map(site, wanted))
    if not settings.activations:
        changed = tuple(nodes[name] for name in wanted)
        return SearchBlock(block.name, changed, weights, frozenset(wanted))
    inside = activations_inside(prepared, block, list(calls.values()), any_scale=any_scale)
    layers = inside.layers.union(wanted)
    changed = _calls(prepared.module, layers, [site.quantizer for site in inside.sites])
    beside = tuple(site(name) for name in calls if name in layers.difference(wanted))
    return SearchBlock(block.name, changed, (*weights, *inside.sites), layers, beside)


def _calls(
    module: fx.GraphModule, layers: Collection[str], quantizers: Collection[FakeQuantize]
) -> tuple[fx.Node, ...]:
    """The calls of some layers and of some quantizers, in graph order."""
    found = []
    for node in module.graph.nodes:
        called = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        is_layer = isinstance(called, QuantizedLinear) and node.meta["name"] in layers
        if is_layer or any(called is quantizer for quantizer in quantizers):
            found.append(node)
    return tuple(found)


def _is_named(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
