"""Tensors with more axes than the target's package holds."""

from __future__ import annotations

from torch import Tensor, fx

from deployq.errors import UnsupportedError
from deployq_targets import TargetProfile


def check_ranks(module: fx.GraphModule, profile: TargetProfile) -> None:
    """Refuse a computed tensor of a rank above ``container.max_rank``.

    Raises:
        UnsupportedError: with the name of the tensor.
    """
    limit = profile.container.max_rank
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if limit is None or node.op == "get_attr" or not isinstance(value, Tensor):
            continue
        if value.ndim > limit:
            raise UnsupportedError(
                str(node.meta.get("name", node.name)),
                f"a tensor of {profile.name} has at most container.max_rank axes",
                found=f"rank {value.ndim}",
                allowed=f"up to {limit}",
                next_step="merge axes, or choose a target that holds this rank",
            )
