"""What stays in reals, on targets whose products may end in reals (``graph.real_outputs``).

    layer -> Add -> LayerNormalization    the layer returns reals, and nothing here is on a grid

A transformer's residual holds a few values that are hundreds of times as large as the others
(Bondarenko et al. 2021, arXiv 2109.12948): 8 bits for it leave nothing of the rest. What an
operator in float reads needs no grid; from there on the sums of that residual are in float, and one
that integer operators read gets its grid behind the sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import fx

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.operators import aten, clamp_bounds, onnx_type
from deployq.graph.rewrites.rule import calls
from deployq.graph.sites import Site, moved_from, readers

Sites = dict[fx.Node, Site]


def keep_in_reals(
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], products: Collection[str]
) -> Sites:
    """The sites, with the sums of each residual that float operators read in float.

    Args:
        products: operators that may end in reals; they do where only operators in float read them.
    """
    found = dict(sites)
    if not products:
        return found
    floats = {site.core for site in sites.values() if site.kind == "float"}
    sums = _float_sums(module, sites, floats)
    for output in sums:
        found[output] = replace(sites[output], kind="float")
    for output, site in sites.items():
        free = site.kind == "linear" and site.clamp is None
        if free and onnx_type(module, site.core) in products:
            read = set(readers(module, output))
            found[output] = replace(site, in_reals=bool(read) and read <= floats | sums)
    return found


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


def is_quantizer(module: fx.GraphModule, node: fx.Node) -> bool:
    """True for the call of a :class:`FakeQuantize`."""
    if node.op != "call_module":
        return False
    return isinstance(module.get_submodule(str(node.target)), FakeQuantize)


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
