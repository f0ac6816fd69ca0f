"""The prepared model on disk: safetensors, plan and graph as JSON.

It loads without the user's code, runs and trains in torch, runs no code when read, has no path in
it, and the same model gives the same bytes (laws 7 and 9). The JSON holds the SHA-256 of the
tensors and is replaced after them, so a save that was cut off between the two shows when read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, fx, nn

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.graph_json import graph_from_json, graph_to_json
from deployq.graph.plan import Plan
from deployq.graph.preparation import PreparedModel, quantizer_path
from deployq.graph.prepared_upgrades import FORMAT, upgraded
from deployq.graph.tensors import attach
from deployq.graph.units import QuantizedLinear
from deployq_targets.loader import parse_profile

GRAPH_FILE = "prepared.json"
TENSOR_FILE = "prepared.safetensors"


def save_prepared_model(prepared: PreparedModel, folder: Path) -> None:
    """Write :data:`GRAPH_FILE` and :data:`TENSOR_FILE` into an existing folder.

    Raises:
        UnsupportedError: the graph calls what a prepared model may not call.
    """
    facts = {
        "format": FORMAT,
        "inputs": {name: list(shape) for name, shape in prepared.inputs.items()},
        "input_types": dict(prepared.input_types),
        "plan": prepared.plan.to_json(),
        "provenance": prepared.provenance,
        "profile": prepared.profile.model_dump(mode="json"),
        "graph": graph_to_json(prepared.module),
        "buffers": sorted(name for name, _ in prepared.module.named_buffers()),
        "learned": sorted(n for n, p in prepared.module.named_parameters() if p.requires_grad),
    }
    state = prepared.module.state_dict().items()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state}
    written = [folder / f".{name}.part" for name in (TENSOR_FILE, GRAPH_FILE)]
    try:
        written[0].write_bytes(save(tensors))  # save_file hides what the disk said
        facts["tensors_sha256"] = _digest(written[0])
        text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
        written[1].write_text(text + "\n", encoding="utf-8")
        os.replace(written[0], folder / TENSOR_FILE)
        os.replace(written[1], folder / GRAPH_FILE)
    finally:
        for path in written:
            path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_prepared_model(folder: Path) -> PreparedModel:
    """Read what :func:`save_prepared_model` wrote; nothing is unpickled and no code is run.

    Raises:
        InputError: a file is missing or broken, or of another format version.
        UnsafeFileError: the graph calls what a prepared model may not call.
    """
    facts = _read_json(folder / GRAPH_FILE)
    try:
        digest, tensors = _digest(folder / TENSOR_FILE), load_file(folder / TENSOR_FILE)
        facts = upgraded(facts, tensors, digest, GRAPH_FILE)
        if digest != facts["tensors_sha256"]:
            raise _apart(folder, f"{TENSOR_FILE} with SHA-256 {digest}", facts["tensors_sha256"])
        return _build(facts, tensors)
    except FileNotFoundError as error:
        raise _apart(folder, f"no {TENSOR_FILE}") from error
    except _BROKEN as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise _apart(folder, found) from error


def _apart(folder: Path, found: str, wanted: object = "") -> InputError:
    return InputError(
        folder.name,
        "tensors and graph of a prepared model belong together",
        found=found[:300],
        allowed=str(wanted)[:80],
        next_step="prepare the model again",
    )


_BROKEN = (
    SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError,
    RuntimeError, SyntaxError,
)  # fmt: skip
"""What facts of the wrong shape raise on the way to a model."""


def _build(facts: Mapping[str, Any], tensors: dict[str, Tensor]) -> PreparedModel:
    """The model; the graph refuses what it may not call before anything is made of it."""
    profile = parse_profile(facts["profile"], GRAPH_FILE)
    plan = Plan.from_json(facts["plan"])
    module = graph_from_json(facts["graph"], _root(tensors, facts))
    module.load_state_dict(tensors)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in facts["learned"])
    stated = {str(name): tuple(map(int, shape)) for name, shape in facts["inputs"].items()}
    _same("inputs", sorted(_placeholders(module)), sorted(stated))
    inputs = {name: stated[name] for name in _placeholders(module)}  # JSON has sorted them
    types = {str(name): str(kind) for name, kind in facts.get("input_types", {}).items()}
    provenance = dict(facts.get("provenance", {}))  # older files do not say
    prepared = PreparedModel(module.eval(), plan, inputs, profile, types, provenance)
    prepared.input_dtypes()  # each is a type
    prepared.quantizers(), prepared.units()  # every module that the plan names is there
    _check_names(prepared)
    return prepared


def _placeholders(module: fx.GraphModule) -> list[str]:
    """The inputs in the order in which the network takes them."""
    return [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]


def _check_names(prepared: PreparedModel) -> None:
    """Layers and quantizers of the graph are those of the file, no more and no fewer.

    Raises:
        InputError: a name that only one side has.
    """
    graph, plan = prepared.module.graph, prepared.plan
    called = [node for node in graph.nodes if node.op == "call_module"]
    kinds = [type(prepared.module.get_submodule(str(node.target))) for node in called]
    units = [n for n, kind in zip(called, kinds, strict=True) if kind is QuantizedLinear]
    grids = [n for n, kind in zip(called, kinds, strict=True) if kind is FakeQuantize]
    layers = [(layer.name, quantizer_path("layers", layer.name)) for layer in plan.layers]
    _same("layers", sorted((str(n.meta.get("name")), str(n.target)) for n in units), sorted(layers))
    paths = {quantizer_path("activations", tensor.name) for tensor in plan.tensors}
    _same("quantizers", sorted({str(n.target) for n in grids}), sorted(paths))


def _same(what: str, found: list[Any], wanted: list[Any]) -> None:
    if found != wanted:
        raise InputError(
            GRAPH_FILE,
            f"the {what} of a prepared graph are those that its file names",
            found=f"in the graph {found}"[:300],
            allowed=str(wanted)[:300],
            next_step="prepare the model again",
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            path.name,
            "a prepared model has this file in JSON",
            found=str(error).splitlines()[0],
            next_step="prepare the model again",
        ) from error
    if not isinstance(facts, dict):
        raise InputError(
            path.name,
            "a prepared model is a JSON object",
            found=type(facts).__name__,
            next_step="prepare the model again",
        )
    return facts


def _root(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> nn.Module:
    """Plain modules that hold the user's tensors; quantizers make their own."""
    root, buffers = nn.Module(), set(facts["buffers"])
    owned = tuple(f"{path}." for path in facts["graph"]["modules"])
    for name, tensor in tensors.items():
        if not name.startswith(owned):
            attach(root, name, tensor if name in buffers else nn.Parameter(tensor, False))
    return root
