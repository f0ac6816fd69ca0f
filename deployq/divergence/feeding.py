"""Side B fed A's codes, layer by layer."""

from __future__ import annotations

import numpy as np

from deployq.divergence.matching import Matched
from deployq.divergence.sides import Array, Codes, Side


def run_fed(
    b: Side, matched: Matched, batch: Codes, codes: Codes, free: Codes | None = None
) -> dict[str, Array]:
    """Codes of B, on A's zero points, where every layer reads A's codes.

    Up to and with the first tensor that differs, B reads A's codes when it runs on its own: there
    the program is as it stands. For later tensors it is fed from outside.

    Args:
        b: the side.
        matched: the tensors of the two sides.
        batch: inputs of the network.
        codes: A's, in its graph order.
        free: what B computes on its own, on A's zero points, if that is known.

    Returns:
        Shared tensors; those are missing that B cannot compute like this.
    """
    free = matched.on_a(b.run(batch)) if free is None else free
    shared = [tensor for tensor in codes if tensor in free]
    apart = [n for n, t in enumerate(shared) if not np.array_equal(codes[t], free[t])]
    own = shared[: apart[0] + 1] if apart else shared
    fed = matched.on_a(b.run(batch, matched.on_b(codes))) if len(own) < len(shared) else {}
    return fed | {tensor: free[tensor] for tensor in own}
