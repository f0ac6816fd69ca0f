"""Are models on one plane: the same network, on the same grid?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.landscape.points import COUNTER, Point, running_statistics


def check_network(name: str, point: Point, first: Point) -> None:
    """Refuse a point of another network.

    Args:
        name: of the model.
        point: where it stands.
        first: where the first corner stands.

    Raises:
        InputError: a tensor that only one of them has, or of another shape.
    """
    found, wanted = point.shapes(), first.shapes()
    for tensor in [*wanted, *found]:
        if found.get(tensor) != wanted.get(tensor):
            raise _apart(name, "of one network", tensor, found.get(tensor), wanted.get(tensor))


def check_corner(name: str, prepared: PreparedModel, first: PreparedModel) -> None:
    """Refuse a corner that was prepared in another way than the first.

    Raises:
        InputError: another target, plan, zero point or constant.
    """
    for what, found, wanted in _decisions(prepared, first):
        if found != wanted:
            raise _apart(name, "prepared alike", what, found, wanted)
    fixed, others = _constants(first), _constants(prepared)
    for buffer, tensor in fixed.items():
        if buffer not in others or not torch.equal(others[buffer], tensor):
            raise _apart(name, "prepared alike", buffer, others.get(buffer), tensor)


def check_steps(name: str, prepared: PreparedModel, first: PreparedModel) -> None:
    """Refuse a corner whose weights are on another grid than the first's.

    Raises:
        InputError: with the layer.
    """
    wanted = first.units()
    for layer, unit in prepared.units().items():
        found = unit.weight_quantizer.effective_scale().detach()
        step = wanted[layer].weight_quantizer.effective_scale().detach()
        if not torch.equal(found, step):
            raise _apart(
                name, "on one grid, or the plane is left raw", f"the step of {layer}", found, step,
                "freeze the steps before models are captured, as SQWA does, or draw --raw",
            )  # fmt: skip


def check_statistics(name: str, prepared: PreparedModel, first: PreparedModel) -> None:
    """Refuse a corner of which other statistics are measured than of the first.

    Raises:
        InputError: with the layer.
    """
    wanted = first.units()
    for layer, unit in prepared.units().items():
        if unit.frozen_statistics != wanted[layer].frozen_statistics:
            raise _apart(
                name, "trained alike, or no statistics are measured",
                f"frozen statistics of {layer}", unit.frozen_statistics,
                wanted[layer].frozen_statistics, "name models of one method, or add --keep-norms",
            )  # fmt: skip


def _decisions(prepared: PreparedModel, first: PreparedModel) -> Iterator[tuple[str, Any, Any]]:
    plan, wanted = prepared.plan, first.plan
    yield "target", plan.target, wanted.target
    yield "number of layers", len(plan.layers), len(wanted.layers)
    yield "number of grids", len(plan.tensors), len(wanted.tensors)
    for layer, other in zip(plan.layers, wanted.layers, strict=True):
        yield other.name, layer, other
    for tensor, grid in zip(plan.tensors, wanted.tensors, strict=True):
        yield grid.name, tensor, grid


def _constants(prepared: PreparedModel) -> Mapping[str, Tensor]:
    """Buffers that no point carries: zero points, and constants of the network."""
    moving = running_statistics(prepared)
    return {
        name: buffer
        for name, buffer in prepared.module.named_buffers()
        if name not in moving and not name.endswith(COUNTER)
    }


def _apart(
    name: str, rule: str, what: str, found: Any, wanted: Any,
    next_step: str = "name models that were trained from one prepared model",
) -> InputError:  # fmt: skip
    return InputError(
        f"{name}: {what}",
        f"models on a plane are {rule}",
        found=_shown(found),
        allowed=f"{_shown(wanted)}, as in the first",
        next_step=next_step,
    )


def _shown(value: Any) -> str:
    text = str(value.flatten()[:4].tolist() if isinstance(value, Tensor) else value)
    return "none" if value is None else text[:200]
