"""deployq: what you trained is what the file computes is what the chip computes.

Importing this package loads no torch, onnx or onnxruntime; the public names load on first use.
"""

from __future__ import annotations

__version__ = "0.1.0"
