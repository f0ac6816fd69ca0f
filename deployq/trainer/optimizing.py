"""The optimizer of a recipe and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.preparation import PreparedModel
from deployq.trainer.tables import OptimizerTable, ScalesTable, ScheduleTable


def learned_parameters(prepared: PreparedModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Everything but scales, and scales, that receives gradients, each sorted by name.

    The order is that of names, not of the graph: a resumed optimizer finds its states by it.
    """
    owned = quantizer_prefixes(prepared)
    named = sorted((n, p) for n, p in prepared.module.named_parameters() if p.requires_grad)
    scales = [parameter for name, parameter in named if name.startswith(owned)]
    return [parameter for name, parameter in named if not name.startswith(owned)], scales


def quantizer_prefixes(prepared: PreparedModel) -> tuple[str, ...]:
    """What the names of tensors that belong to quantizers begin with."""
    modules = prepared.module.named_modules()
    return tuple(f"{name}." for name, module in modules if isinstance(module, FakeQuantize))


def make_optimizer(
    prepared: PreparedModel, table: OptimizerTable, scales: ScalesTable, rate: float | None = None
) -> Optimizer:
    """SGD or AdamW with a group for scales, which do not decay.

    Args:
        rate: instead of the table's.
    """
    rate = table.rate if rate is None else rate
    weights, steps = learned_parameters(prepared)
    groups = [
        {"params": weights, "lr": rate, "weight_decay": table.weight_decay},
        {"params": steps, "lr": rate * scales.rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if table.kind == "adamw":
        return AdamW(groups, rate, betas=table.betas)
    return SGD(groups, rate, momentum=table.momentum, nesterov=table.nesterov)


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
