"""torchvision without its compiled operators, which timm and transformers import and never call.

Where its compiled library does not load (CPU builds of torch beside the wheel of the package
index), the registration of shapes for these operators fails, so it is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def skipped() -> Iterator[None]:
    """Import what imports torchvision inside."""
    register = torch.library.register_fake

    def skipping(op: Any, *args: Any, **options: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return _unchanged
        return register(op, *args, **options)

    torch.library.register_fake = skipping
    try:
        yield
    finally:
        torch.library.register_fake = register


def _unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
