"""Whether a layer's parameters are its alone, so that a rewrite may make others of them."""

from __future__ import annotations

from torch import fx

from deployq.graph.tensors import read_tensor


def owns_parameters(module: fx.GraphModule, layer: fx.Node) -> bool:
    """True for weight and bias of the model that no other call reads, by any name."""
    reads = [read for read in layer.args[1:3] if read is not None]
    if not all(isinstance(read, fx.Node) and read.op == "get_attr" for read in reads):
        return False
    owned = {id(read_tensor(module, read)) for read in reads}
    others = (n for n in module.graph.nodes if n.op == "get_attr" and set(n.users) - {layer})
    return not any(id(read_tensor(module, other)) in owned for other in others)
