"""Tensors of the model that integer operators read, moved or not: each such operator reads codes.

Layers and operators in float read the same tensor as it is. Where both read it moved, the movement
is there twice.
"""

from __future__ import annotations

from collections.abc import Set

from torch import fx

from deployq.graph.operators import is_movement
from deployq.graph.sites import Site


def quantize_constant(module: fx.GraphModule, site: Site, path: str, readers: Set[fx.Node]) -> None:
    """Put a call of a quantizer in front of each operator that computes with a constant.

    Each block of the graph then has the calls that it needs.

    Args:
        module: edited in place.
        site: of a constant.
        path: of the quantizer.
        readers: the calls that compute on codes.
    """
    for user in list(site.core.users):
        reader = _on_codes(module, user, readers)
        if reader is None:
            continue
        with module.graph.inserting_before(reader):
            call = module.graph.call_module(path, (site.core,))
        call.meta = {**site.core.meta, "name": site.name}
        reader.replace_input_with(site.core, call)


def _on_codes(module: fx.GraphModule, user: fx.Node, readers: Set[fx.Node]) -> fx.Node | None:
    """The call as integer operators need it, a movement apart from that which others read."""
    if not is_movement(module, user):
        return user if user in readers else None
    found = {next_: _on_codes(module, next_, readers) for next_ in list(user.users)}
    integers = [reader for reader in found.values() if reader is not None]
    if not integers or len(integers) == len(user.users):
        return user if integers else None
    with module.graph.inserting_before(user):
        moved = module.graph.node_copy(user)
    moved.meta = dict(user.meta)
    for reader in integers:
        reader.replace_input_with(user, moved)
    return moved
