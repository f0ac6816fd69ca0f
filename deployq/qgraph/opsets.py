"""The releases of ONNX whose operators are known here."""

from __future__ import annotations

import onnx

from deployq.errors import UnsupportedError

OPSETS = range(7, 27)
"""Versions of the default domain whose operators are known."""

DEFAULT_DOMAIN = ("", "ai.onnx")


def check_opset(where: str, model: onnx.ModelProto) -> int:
    """The version of the default domain.

    Raises:
        UnsupportedError: none, several, or one whose operators are unknown.
    """
    versions = [o.version for o in model.opset_import if o.domain in DEFAULT_DOMAIN]
    if len(versions) == 1 and versions[0] in OPSETS:
        return int(versions[0])
    raise UnsupportedError(
        where,
        "the file states one known opset of the domain ai.onnx",
        found=", ".join(map(str, versions)) or "none",
        allowed=f"{OPSETS[0]} to {OPSETS[-1]}",
        next_step="convert it with onnx.version_converter.convert_version(model, 21)",
    )
