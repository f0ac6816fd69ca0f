"""The optimizer of a recipe and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.preparation import PreparedModel
from deployq.trainer.tables import OptimizerTable, ScalesTable, ScheduleTable

Named = list[tuple[str, nn.Parameter]]


def learned_parameters(prepared: PreparedModel) -> tuple[Named, Named]:
    """Everything but scales, and scales, that receives gradients, each sorted by name.

    The order is that of names, not of the graph: a resumed optimizer finds its states by it.
    """
    owned = quantizer_prefixes(prepared)
    named = sorted((n, p) for n, p in prepared.module.named_parameters() if p.requires_grad)
    scales = [(name, parameter) for name, parameter in named if name.startswith(owned)]
    return [(name, p) for name, p in named if not name.startswith(owned)], scales


def quantizer_prefixes(prepared: PreparedModel) -> tuple[str, ...]:
    """What the names of tensors that belong to quantizers begin with."""
    modules = prepared.module.named_modules()
    return tuple(f"{name}." for name, module in modules if isinstance(module, FakeQuantize))


def make_optimizer(
    prepared: PreparedModel, table: OptimizerTable, scales: ScalesTable, rate: float | None = None
) -> Optimizer:
    """SGD or AdamW; scales do not decay, and each has a rate in units of itself.

    A scale of 8-bit codes is a hundred times smaller than one of 2-bit codes: one rate for both
    would carry the first through zero. Exponents of powers of two are in the log domain already.

    Args:
        rate: instead of the table's.
    """
    rate = table.rate if rate is None else rate
    weights, steps = learned_parameters(prepared)
    groups: list[dict[str, Any]] = [
        {"params": [parameter], "lr": rate * scales.rate * _unit(name, parameter),
         "weight_decay": 0.0}
        for name, parameter in steps
    ]  # fmt: skip
    learned = [parameter for _, parameter in weights]
    groups.insert(0, {"params": learned, "lr": rate, "weight_decay": table.weight_decay})
    if table.kind == "adamw":
        return AdamW(groups, rate, betas=table.betas)
    return SGD(groups, rate, momentum=table.momentum, nesterov=table.nesterov)


def _unit(name: str, parameter: nn.Parameter) -> float:
    """The mean of a scale; 1 for an exponent."""
    return 1.0 if name.endswith(".exponent") else float(parameter.detach().abs().mean())


def make_schedule(
    optimizer: Optimizer, table: ScheduleTable, epochs: int, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The rate of each optimizer step.

    Args:
        epochs: of the phase.
        steps: optimizer steps of an epoch.
    """
    return LambdaLR(optimizer, rate_factor(table, epochs, steps))


def rate_factor(table: ScheduleTable, epochs: int, steps: int) -> Callable[[int], float]:
    """Optimizer step, from 0, to the share of the highest rate."""
    warm = min(table.warmup_epochs, epochs - 1) * steps
    rest = epochs * steps - warm

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if table.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min((step - warm) / rest, 1.0)))
        passed = sum(step >= epoch * steps for epoch in table.milestones)
        return table.factor**passed if table.kind == "step" else 1.0

    return factor
