"""Adapters: every runtime that deployq knows to drive, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deployq.errors import InputError
from deployq_exporters.adapters import (
    ethos_u,
    litert,
    onnxruntime,
    openvino,
    qnn_htp,
    tensorrt,
)
from deployq_exporters.adapters.adapter import Adapter, Answer, Compiled, Load, Loaded, Source
from deployq_exporters.adapters.presence import Presence, presence, require

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        module.ADAPTER.name: module.ADAPTER
        for module in (onnxruntime, openvino, qnn_htp, litert, ethos_u, tensorrt)
    }
)
"""In the order of reports."""
ALL = "all"
"""Names every one."""

__all__ = [
    "ADAPTERS",
    "ALL",
    "Adapter",
    "Answer",
    "Compiled",
    "Load",
    "Loaded",
    "Presence",
    "Source",
    "find_adapters",
    "presence",
    "require",
]


def find_adapters(names: str) -> tuple[Adapter, ...]:
    """Those that a list with commas names; ``all`` for every one.

    Raises:
        InputError: there is no such runtime.
    """
    wanted = list(ADAPTERS) if names == ALL else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in ADAPTERS]
    if unknown:
        raise InputError(
            "--runtime",
            "no runtime has this name",
            found=", ".join(unknown),
            allowed=f"{ALL}, {', '.join(ADAPTERS)}",
            next_step="deployq runtimes lists them with what is installed",
        )
    return tuple(ADAPTERS[name] for name in dict.fromkeys(wanted))
