"""LiteRT's Python package, an optional extra: it has the schema of ``.tflite`` and the kernels."""

from __future__ import annotations

import importlib
from typing import Any

from deployq.errors import InputError

PACKAGE = "ai_edge_litert"


def litert_module(name: str) -> Any:
    """A module of the package, imported when first asked for.

    Args:
        name: below the package, as ``interpreter``.

    Raises:
        InputError: the package is not installed, or does not load on this machine.
    """
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    except (ImportError, OSError) as error:
        raise InputError(
            "ai-edge-litert",
            "LiteRT's package writes and runs .tflite files",
            found=str(error),
            next_step='pip install "deployq[litert]"',
        ) from error
