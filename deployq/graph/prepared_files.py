"""The prepared model on disk: safetensors, plan and graph as JSON.

It loads without the user's code, runs and trains in torch, runs no code when read, has no path in
it, and the same model gives the same bytes (laws 7 and 9).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deployq.errors import InputError
from deployq.graph.capture import attach
from deployq.graph.graph_json import graph_from_json, graph_to_json
from deployq.graph.plan import Plan
from deployq.graph.preparation import PreparedModel
from deployq_targets.loader import parse_profile

FORMAT = 1
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
        "plan": prepared.plan.to_json(),
        "profile": prepared.profile.model_dump(mode="json"),
        "graph": graph_to_json(prepared.module),
        "buffers": sorted(name for name, _ in prepared.module.named_buffers()),
        "learned": sorted(n for n, p in prepared.module.named_parameters() if p.requires_grad),
    }
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
    (folder / GRAPH_FILE).write_text(text + "\n", encoding="utf-8")
    state = prepared.module.state_dict().items()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state}
    save_file(tensors, folder / TENSOR_FILE)


def load_prepared_model(folder: Path) -> PreparedModel:
    """Read what :func:`save_prepared_model` wrote; nothing is unpickled and no code is run.

    Raises:
        InputError: a file is missing or broken, or of another format version.
        UnsafeFileError: the graph calls what a prepared model may not call.
    """
    facts = _read_json(folder / GRAPH_FILE)
    if facts.get("format") != FORMAT:
        raise InputError(
            GRAPH_FILE,
            "the prepared model must be of a known format",
            found=repr(facts.get("format")),
            allowed=str(FORMAT),
            next_step="prepare the model again with this version",
        )
    try:
        return _build(facts, load_file(folder / TENSOR_FILE))
    except _BROKEN as error:
        raise InputError(
            folder.name,
            "tensors and graph of a prepared model belong together",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300],
            next_step="prepare the model again",
        ) from error


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
    inputs = {str(name): tuple(map(int, shape)) for name, shape in facts["inputs"].items()}
    prepared = PreparedModel(module.eval(), plan, inputs, profile)
    prepared.quantizers(), prepared.units()  # every module that the plan names is there
    return prepared


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
