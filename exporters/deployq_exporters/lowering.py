"""Lower a prepared model to the canonical QDQ graph: uniform integers, standard operators only.

The canonical file states codes in their own type (4-bit codes as INT4) with a dynamic batch; what a
runtime needs beyond that is its dialect's business.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx_ir as ir
import torch

from deployq import __version__
from deployq.graph.preparation import PreparedModel
from deployq_exporters import resize_op
from deployq_exporters.integer_module import integer_module
from deployq_exporters.integer_ops import DOMAIN, TRANSLATIONS
from deployq_exporters.rewrites import (
    integer_edges,
    mean_to_global_pool,
    name_after_tensors,
    named_reals,
    pad_into_conv,
    reshape_to_flatten,
    table_on_codes,
    typed_grids,
    typed_layers,
    widen_containers,
)
from deployq_exporters.rewrites.rule import Rewrite, apply
from deployq_exporters.rewrites.strip_trace import strip_trace
from deployq_exporters.selection_layers import selection_layers
from deployq_exporters.stored_layers import StoredLayer, stored_layers
from deployq_targets import TargetProfile
from deployq_targets.words import Edges, Subbyte

CANONICAL: tuple[Rewrite, ...] = (
    table_on_codes.RULE,  # before the grids, which it asks
    named_reals.RULE,
    typed_grids.RULE,  # early, as the layers' own rule: later rules see standard operators
    mean_to_global_pool.RULE,
    reshape_to_flatten.RULE,
    pad_into_conv.RULE,
    name_after_tensors.RULE,  # last: it names what the others made
)
IR_VERSIONS = {21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13}
"""Opset to the IR version of the ONNX release that brought it (ONNX docs, Versioning)."""

WHOLE_SINCE = {torch.ops.aten.rms_norm.default: 23}
"""Calls to the first opset that has them as one operator."""

OLDEST_TRACE_OPSET = 21
"""First opset with 4- and 16-bit codes; a profile that prefers an older one gets this."""


def lower(prepared: PreparedModel, profile: TargetProfile, io: Edges = Edges.FLOAT) -> ir.Model:
    """The canonical QDQ model of a calibrated network.

    Args:
        prepared: its quantizers hold the final parameters.
        profile: states opset and types.
        io: whether inputs and outputs on a grid are reals or codes.

    Returns:
        A model of standard ONNX operators, weights and biases as integer initializers, names that
        lead back to the user's modules, no trace of the build.
    """
    types = [layer.qtype for layer in prepared.plan.layers] + [
        tensor.qtype for tensor in prepared.plan.tensors
    ]
    opset = max(profile.opset_for(types), OLDEST_TRACE_OPSET, *_operator_opsets(prepared, profile))
    layers = stored_layers(prepared) | selection_layers(prepared)
    model = _trace(prepared, layers, opset)
    apply(model, [typed_layers.rule(layers), *CANONICAL])
    if profile.container.subbyte is Subbyte.WIDENED:
        apply(model, [widen_containers.RULE])
    if io is Edges.INTEGER:
        apply(model, [integer_edges.RULE])  # after all names are given
    strip_trace(model)
    model.opset_imports.pop(DOMAIN, None)
    model.ir_version = IR_VERSIONS[opset]
    model.producer_name, model.producer_version = "deployq", __version__
    model.graph.name = "deployq"
    return model


def _operator_opsets(prepared: PreparedModel, profile: TargetProfile) -> list[int]:
    """First opsets of operators that older files have in pieces, where the target reads them."""
    calls = {node.target for node in prepared.module.graph.nodes}
    highest = profile.container.opset_max
    found = [opset for call, opset in WHOLE_SINCE.items() if call in calls]
    return [opset for opset in found if highest is None or opset <= highest]


def _trace(prepared: PreparedModel, layers: Mapping[str, StoredLayer], opset: int) -> ir.Model:
    module = integer_module(prepared, layers)
    types = prepared.input_dtypes()
    inputs = tuple(
        torch.from_numpy(np.zeros((2, *shape[1:]), types.get(name, np.dtype(np.float32))))
        for name, shape in prepared.inputs.items()
    )
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            module, inputs, dynamo=True, opset_version=opset, verbose=False,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            custom_translation_table=TRANSLATIONS | resize_op.TRANSLATIONS,
        )  # fmt: skip
    assert program is not None
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports on optional packages and its internals; users cannot act on it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The protobuf of a model."""
    return ir.to_proto(model)
