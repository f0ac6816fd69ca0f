"""Dialects: what each runtime needs beyond the canonical file, as a list of rewrites."""

from __future__ import annotations

from deployq_exporters.dialects.dialect import Dialect, translate
from deployq_exporters.dialects.onnxruntime import ONNXRUNTIME

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (ONNXRUNTIME,)}
"""Every dialect by name."""

__all__ = ["DIALECTS", "Dialect", "translate"]
