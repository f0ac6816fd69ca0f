"""Offline preparation for Qualcomm HTP: an ONNX file whose only node holds a context binary.

The node is ``com.microsoft.EPContext`` with the binary embedded; a device with Qualcomm's libraries
loads it without compiling. The same file does not give the same bytes twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import onnxruntime as ort
from google.protobuf.message import (  # type: ignore[import-untyped]  # protobuf ships no types
    DecodeError,
)
from onnx import helper

from deployq_exporters.runtimes.qnn_provider import one_sample, refused, session_options

NODE = "EPContext"
COMPATIBILITY = "ep_compatibility_info.QNN"
"""Of the file's metadata: versions, architecture and model of the chip, with colons."""


@dataclass(frozen=True)
class Context:
    """A prepared file.

    Args:
        content: the ONNX file.
        binary_bytes: of the context binary in it.
        sdk: version of Qualcomm's libraries that made it.
        compatibility: what the provider wrote of versions and chip; empty where it did not.
    """

    content: bytes
    binary_bytes: int
    sdk: str
    compatibility: str


def prepare_offline(model: onnx.ModelProto, architecture: str = "") -> Context:
    """Compile a file for HTP as a whole, for one sample.

    Args:
        model: it is not changed.
        architecture: of the Hexagon processor, such as ``68``; empty leaves it to the provider.

    Raises:
        InputError: the package is missing, the file has a batch of its own, or not every node went
            into the one context; those beside it are named.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    name = model.graph.name
    content = one_sample(copy).SerializeToString()
    with _printed_apart():
        try:
            made = _compiled(content, session_options(architecture))
        except Exception:  # ONNX Runtime has no common public base for its errors
            made = _compiled_in_part(content, name, architecture)
    return read_context(made, name)


def _compiled_in_part(content: bytes, name: str, architecture: str) -> bytes:
    """What the compiler makes where it may leave nodes out."""
    try:
        return _compiled(content, session_options(architecture, alone=False))
    except Exception as error:  # as above
        raise refused(name, "Qualcomm's tools compile the file", str(error)) from error


def _compiled(content: bytes, options: ort.SessionOptions) -> bytes:
    """By the graph that a session makes of it: a MatMul and the Add of its bias are one Gemm."""
    made: bytes = ort.ModelCompiler(
        options,
        content,
        embed_compiled_data_into_model=True,
        graph_optimization_level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ).compile_to_bytes()
    return made


def read_context(content: bytes, name: str = "context") -> Context:
    """Facts of a prepared file.

    Args:
        content: an ONNX file.
        name: of the network, for the error.

    Raises:
        InputError: it is no ONNX file, or has other nodes than one embedded context.
    """
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise refused(name, "a prepared file is an ONNX file", str(error)) from error
    contexts = [node for node in model.graph.node if node.op_type == NODE]
    beside = [node for node in model.graph.node if node.op_type != NODE]
    if len(contexts) != 1 or beside:
        named = [f"{node.name or node.output[0]} ({node.op_type})" for node in beside]
        found = f"{len(contexts)} contexts; beside them: {', '.join(named) or 'nothing'}"
        raise refused(name, "the whole file becomes one context of Qualcomm HTP", found)
    stated = {a.name: helper.get_attribute_value(a) for a in contexts[0].attribute}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    binary, sdk = stated["ep_cache_context"], stated.get("ep_sdk_version", b"")
    return Context(content, len(binary), sdk.decode(), metadata.get(COMPATIBILITY, ""))


@contextmanager
def _printed_apart() -> Iterator[None]:
    """Qualcomm's libraries print on the standard output, where a command's answer goes."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
