"""The float network inside a prepared one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from deployq.graph.fake_quantize import FakeQuantize


@contextmanager
def in_float(module: nn.Module) -> Iterator[None]:
    """Every quantizer evaluates in float for the block; each then gets its own mode back."""
    quantizers = [child for child in module.modules() if isinstance(child, FakeQuantize)]
    before = [quantizer.enabled for quantizer in quantizers]
    for quantizer in quantizers:
        quantizer.enabled = False
    try:
        yield
    finally:
        for quantizer, enabled in zip(quantizers, before, strict=True):
            quantizer.enabled = enabled
