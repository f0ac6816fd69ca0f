"""What stays in reals, on targets whose products may end in reals (``graph.real_outputs``).

    layer -> Add -> LayerNormalization    the layer returns reals, and nothing here is on a grid
    layer -> Gelu -> layer                the first returns reals, where Gelu runs in float
    product of two -> Softmax             the product returns reals, where Softmax runs in float

A transformer's residual holds a few values that are hundreds of times as large as the others
(Bondarenko et al. 2021, arXiv 2109.12948): 8 bits for it leave nothing of the rest. What an
operator in float reads needs no grid; from there on the sums of that residual are in float, and one
that integer operators read gets its grid behind the sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import fx

from deployq.graph.fake_quantize import is_quantizer
from deployq.graph.operators import aten, clamp_bounds, onnx_type
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.rewrites.rule import calls
from deployq.graph.sites import Site, moved_from, readers
from deployq_targets import TargetProfile

Sites = dict[fx.Node, Site]


def keep_in_reals(
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], profile: TargetProfile
) -> Sites:
    """The sites, with the sums of each residual that float operators read in float, and functions.

    Args:
        profile: lists the products that may end in reals (``graph.real_outputs``); they do where
            only operators in float read them.
    """
    found = dict(sites)
    if not profile.graph.real_outputs:
        return found
    free = {output for output, site in sites.items() if _may_end_in_reals(module, site, profile)}
    layers = {output for output in free if sites[output].kind == "linear"}
    floats = {site.core for site in sites.values() if site.kind == "float"}
    inside = _float_sums(module, sites, floats) | _functions(module, sites, layers, profile)
    for output in inside:
        found[output] = replace(sites[output], kind="float")
    rows = {core for core in floats if is_softmax(core)}
    for outputs, takers in ((layers, floats | inside), (free - layers, rows)):
        for output in outputs:
            read = set(readers(module, output))
            found[output] = replace(sites[output], in_reals=bool(read) and read <= takers)
    return found


def _may_end_in_reals(module: fx.GraphModule, site: Site, profile: TargetProfile) -> bool:
    """A layer, or a product of two activations, without a clamp."""
    computes = site.kind in ("linear", "compute") and site.clamp is None
    return computes and onnx_type(module, site.core) in profile.graph.real_outputs


def _functions(
    module: fx.GraphModule,
    sites: Mapping[fx.Node, Site],
    layers: Collection[fx.Node],
    profile: TargetProfile,
) -> set[fx.Node]:
    """Functions of one value of such a layer that the target runs in float; clamps are none."""
    return {
        output
        for output, site in sites.items()
        if site.kind == "unary"
        and clamp_bounds(site.core) is None
        and moved_from(module, site.core.all_input_nodes[0]) in layers
        and profile.op_status(onnx_type(module, site.core)).computes_in_float
    }


def ends_in_reals(module: fx.GraphModule, node: fx.Node) -> bool:
    """True for an operator of a prepared graph that something reads without a grid.

    A clamp in front of a quantizer belongs to the operator.
    """
    for user in node.users:
        if clamp_bounds(user) is not None:
            if ends_in_reals(module, user):
                return True
        elif not is_quantizer(module, user):
            return True
    return False


def _float_sums(
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], floats: Collection[fx.Node]
) -> set[fx.Node]:
    """Sums that an operator in float reads, and those that add to one."""
    found = set[fx.Node]()
    for output, site in sites.items():  # in graph order
        if site.kind != "compute" or site.clamp or not calls(site.core, aten.add.Tensor):
            continue
        operands = {moved_from(module, operand) for operand in site.operands}
        if operands & found or not set(floats).isdisjoint(readers(module, output)):
            found.add(output)
    return found
