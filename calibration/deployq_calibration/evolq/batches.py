"""Batches of calibration samples with what the float network says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from deployq.errors import InputError
from deployq.graph.modes import kept_modes
from deployq.user_code import call_user
from deployq_calibration.evolq.fitness import flat
from deployq_calibration.evolq.settings import EvolveSettings

Teacher = Callable[..., Any]
"""The float network: inputs to outputs, in any nest of tuples and dictionaries."""


@dataclass(frozen=True)
class Batch:
    """Samples that are compared with each other.

    Args:
        inputs: (N, ...) each.
        outputs: (N, ...) each, the float network's.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @cached_property
    def teacher(self) -> Tensor:
        """(N, K) float64: all outputs of each sample in one row."""
        return flat(self.outputs)

    def check(self, found: Sequence[Tensor]) -> None:
        """Refuse outputs of other shapes than the teacher's.

        Raises:
            InputError: with both.
        """
        wanted, shapes = ([list(t.shape[1:]) for t in each] for each in (self.outputs, found))
        if wanted != shapes:
            raise _refusal(
                "the teacher has the outputs of the model",
                f"outputs of {wanted} for each sample",
                f"outputs of {shapes}",
                "give the float network that the model was prepared from",
            )


def split_batches(
    samples: tuple[Tensor, ...], teacher: Teacher, settings: EvolveSettings
) -> tuple[list[Batch], list[Batch]]:
    """Those to search on, and those held out; a short last batch is left out.

    Raises:
        InputError: too few samples, none left to search on, or a teacher whose outputs are none.
    """
    count, size = len(samples[0]), settings.batch
    held_out = _held_out(count, settings)
    order = torch.randperm(count, generator=Generator().manual_seed(settings.seed))
    found = []
    for chosen in torch.split(order[: count - count % size], size):
        inputs = tuple(tensor[chosen] for tensor in samples)
        found.append(Batch(inputs, teacher_outputs(teacher, inputs)))
    return found[: len(found) - held_out], found[len(found) - held_out :]


def _held_out(count: int, settings: EvolveSettings) -> int:
    """How many batches are not searched on."""
    size, share = settings.batch, settings.held_back
    least = 2 * size if share else size
    if count < least:
        raise InputError(
            "calibration data",
            "a search compares the samples of whole batches"
            + (", and one batch is held out" if share else ""),
            found=f"{count} samples",
            allowed=f"at least {least} for batches of {size}",
            next_step="give more samples, or a smaller batch",
        )
    whole = count // size
    held_out = max(round(whole * share), 1) if share else 0
    if held_out >= whole:
        raise InputError(
            "held_back",
            "one batch at least is searched on",
            found=f"{share:g} of {whole} batches, rounded to all of them",
            allowed=f"up to {(whole - 1) / whole:.3g} for {whole} batches",
            next_step="hold back less, or take smaller batches",
        )
    if settings.margin and held_out < 2:
        raise InputError(
            "margin",
            "a standard error is that of two held-out batches or more",
            found=f"1 of {whole} batches held out",
            allowed="at least 2",
            next_step="hold back more, take smaller batches, or margin 0",
        )
    return held_out


def teacher_outputs(teacher: Teacher, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a teacher says of a batch, in evaluation mode, its outputs flattened by pytree.

    A module computes where its own tensors are; its outputs come to the processor.

    Raises:
        InputError: it does not take the inputs, or returns what is no tensor or not finite.
    """
    rule = "the teacher takes the inputs of the model"
    with torch.no_grad():
        if isinstance(teacher, nn.Module):
            with kept_modes(teacher):
                for module in teacher.modules():
                    module.training = False  # eval() of an exported program's module raises
                there = to_home(teacher, inputs)
                returned = call_user("teacher", rule, teacher, *there)
        else:
            returned = call_user("teacher", rule, teacher, *inputs)
    leaves = [leaf for leaf in pytree.tree_leaves(returned) if leaf is not None]
    rows = len(inputs[0])
    wrong = [leaf for leaf in leaves if not _is_batch(leaf, rows)]
    if wrong or not leaves:
        found = ", ".join(_told(leaf) for leaf in wrong[:3]) or "nothing"
        raise _refusal(
            "a teacher returns tensors, a row for each sample", found, f"{rows} rows each",
            "return tensors, or a tuple, list or dictionary of them",
        )  # fmt: skip
    if not all(bool(leaf.isfinite().all()) for leaf in leaves):
        raise _refusal(
            "a teacher's outputs are finite", "NaN or an infinite value", "finite numbers",
            "look at its weights, and at the preprocessing of the data",
        )  # fmt: skip
    return tuple(leaf.cpu() for leaf in leaves)


def to_home(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs on the device of a module's tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    return tuple(tensor.to(tensors[0].device) if tensors else tensor for tensor in inputs)


def _is_batch(leaf: object, rows: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == rows


def _told(leaf: object) -> str:
    return f"shape {list(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__


def _refusal(rule: str, found: str, allowed: str, next_step: str) -> InputError:
    return InputError("teacher", rule, found=found, allowed=allowed, next_step=next_step)
