"""Captures in a checkpoint: tensors, names and numbers, nothing to unpickle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from deployq.errors import InputError
from deployq.graph.integers import LinearCall
from deployq.graph.preparation import PreparedModel
from deployq.train.captures import LayerCodes

_BROKEN = (KeyError, TypeError, AttributeError, ValueError, RuntimeError)
"""What a state of the wrong shape raises on the way to captures."""


def captured_state(
    captures: int, layers: Mapping[str, LayerCodes], calls: Mapping[str, LinearCall]
) -> dict[str, Any]:
    """Everything about captured codes, and of what type they are."""
    return {
        "captures": captures,
        "layers": {name: dict(vars(layer)) for name, layer in layers.items()},
        "types": _types(calls),
    }


def captured_from_state(
    state: Mapping[str, Any], calls: Mapping[str, LinearCall]
) -> tuple[int, dict[str, LayerCodes]]:
    """Inverse of :func:`captured_state`, on the device of the model.

    Raises:
        InputError: the state is none, or of other layers, shapes or code types.
    """
    try:
        captures, layers, types = int(state["captures"]), state["layers"], state["types"]
        check_same("state of SQWA: layers", types, _types(calls))
        if not layers:  # of before begin()
            return 0, {}
        return captures, {n: _like(LayerCodes(**layers[n]), call) for n, call in calls.items()}
    except _BROKEN as error:
        raise _unfit(f"{type(error).__name__}: {error}") from error


def _types(calls: Mapping[str, LinearCall]) -> list[str]:
    """Layers with the types of their codes, as text."""
    return [f"{name} {call.unit.weight_quantizer.qtype}" for name, call in calls.items()]


def _like(layer: LayerCodes, call: LinearCall) -> LayerCodes:
    """The same captures, of the shapes, number types and device of the model's layer."""
    own, moved = LayerCodes.of(call), dict[str, Tensor]()
    for field, tensor in vars(own).items():
        value: Tensor = getattr(layer, field)
        if value.shape != tensor.shape:
            raise ValueError(f"{call.name}: {field} of shape {tuple(value.shape)}")
        moved[field] = value.to(tensor)
    return LayerCodes(**moved)


def mean_from_state(state: Mapping[str, Any], prepared: PreparedModel) -> AveragedModel:
    """The means of the float parameters.

    Raises:
        InputError: the state is of another model.
    """
    mean = AveragedModel(prepared.module)
    try:
        mean.load_state_dict(state["mean"])
    except _BROKEN as error:
        raise _unfit(str(error)[:300]) from error
    return mean


def check_same(where: str, found: Collection[str], wanted: Collection[str]) -> None:
    """Refuse what belongs to another model.

    Raises:
        InputError: with the names that only one side has.
    """
    if set(found) != set(wanted):
        raise InputError(
            where,
            "captures and their average are of one model, target and recipe",
            found=f"{sorted(set(found) - set(wanted))}"[:300],
            allowed=f"{sorted(set(wanted) - set(found))}"[:300],
            next_step="use the model that begin() was called with",
        )


def _unfit(found: str) -> InputError:
    return InputError(
        "state of SQWA",
        "a state is what state_dict() of the same model, target and recipe gave",
        found=found,
        next_step="load the checkpoint of this run",
    )
