"""Integer graphs as int8 or int16 ``.tflite`` files, through the schema of LiteRT's package."""

from __future__ import annotations

from deployq_exporters.tflite.writer import write_tflite

__all__ = ["write_tflite"]
