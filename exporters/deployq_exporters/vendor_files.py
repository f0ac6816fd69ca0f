"""Files in a vendor's own format, which a bundle holds beside the ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from deployq.qgraph import IntegerGraph
from deployq_exporters.tflite import write_tflite


@dataclass(frozen=True)
class VendorFile:
    """One format.

    Args:
        name: of the file in a bundle.
        write: from integer nodes, and the shape of every code tensor for one sample, to bytes; the
            same graph gives the same bytes. Raises UnsupportedError for a graph that the format
            cannot say, InputError where a package is missing.
    """

    name: str
    write: Callable[[IntegerGraph, Mapping[str, tuple[int, ...]]], bytes]


VENDOR_FILES: Mapping[str, VendorFile] = MappingProxyType(
    {"TFLite": VendorFile("model.tflite", write_tflite)}
)
"""A profile's ``container.vendor_format`` to what writes it; other formats are not written."""
