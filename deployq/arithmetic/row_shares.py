"""Elements of a row over one number of that row: what integer Softmax and normalizations share.

One integer division a row, ``q = floor(2**51 / t)`` with t in [1, 2**31), and a multiplication an
element: ``e 2**f / t`` becomes ``(e q + 2**(30 - f)) >> (31 - f)``, in steps of ``2**-20``, a tie
up. Where ``|e| 2**f < t + 1`` the product stays below 2**52 and the share within +-2**21; it is
off by no more than half a step and ``(2**-20 + 1 / t)`` of itself where t is a floor.
"""

from __future__ import annotations

import numpy as np

SHARE_BITS = 20
"""Binary places of a share."""

DIVIDEND_BITS = 51
"""Of the power of two that is divided: a divisor of 31 bits leaves a quotient of 20 at least."""

DIVISOR_BITS = 31

SHARE_STEP = np.float32(2.0**-SHARE_BITS)


def share_shift(lift: int) -> int:
    """The right shift of element times quotient, for elements that gain ``lift`` bits."""
    return DIVIDEND_BITS - SHARE_BITS - lift
