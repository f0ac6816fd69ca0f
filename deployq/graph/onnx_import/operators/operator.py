"""The shape of an operator: a torch function, and which of its inputs stay Python numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operator:
    """How one ONNX operator is computed.

    Args:
        run: takes the node and its operands, returns a tensor or a tuple of them.
        static: inputs that ``run`` takes as constants; constants elsewhere become parameters.
        scalars: inputs whose constants stay numbers where they have one element.
    """

    run: Callable[..., Any]
    static: tuple[int, ...] = ()
    scalars: tuple[int, ...] = ()


ALL = tuple(range(1, 8))
"""Every input but the first."""
