"""Tuning: scales and biases learn together until the whole network gives the float outputs.

What learned rounding leaves in each block adds up on the way to the output. Here the codes stay,
and a factor on every weight scale and a shift of every output channel learn from the outputs of
the float network: distillation (Hinton et al. 2015, arXiv 1503.02531), by squared error and without
labels. Which numbers learn is our own choice: few, so that few samples do.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, fx

from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import has_weight_lattice
from deployq_calibration.corrections.biases import own_bias
from deployq_calibration.corrections.blocks import (
    channel_axis,
    learning_layers,
    linear_nodes,
    unit_of,
    watching,
    whole_network,
)
from deployq_calibration.corrections.distillation import Distillation
from deployq_calibration.corrections.modes import FloatNetwork, without_gradients
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings
from deployq_calibration.corrections.streams import ROWS, collect
from deployq_calibration.corrections.tuned_layers import FixedCodes, Shifted, TunedLayers

NAME = "tuning"
FIGURE = "squared error of the outputs over their square, of samples that tuning did not learn from"

JUDGING = 4
"""One sample in so many judges, and is not learned from."""


def tune_scales(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    progress: Advance = lambda stage: None,
    original: FloatNetwork | None = None,
) -> tuple[Change, ...]:
    """Learn weight scales and biases of a network with narrow weights, in place.

    The scales are those of layers under ``settings.rounding_below`` bits, where the target takes
    any scale and no other layer reads the weight; the biases are those of every layer that has its
    own. Codes, activations' scales and zero points stay. One sample in :data:`JUDGING` only judges:
    where the error of these does not fall, nothing changes.

    Args:
        prepared: a calibrated model.
        batches: one pass over the calibration data.
        settings: effort, seed and rates.
        progress: told of each step.
        original: whose outputs are wanted; the model as it stands for None.

    Returns:
        One entry; none where no layer is narrow.

    Raises:
        InputError: no data.
    """
    module, nodes = prepared.module, whole_network(prepared.module).nodes
    narrow, _ = learning_layers(module, nodes, settings.rounding_below)
    if not narrow:
        return ()
    samples = collect(batches(), settings.samples)
    scales: dict[fx.Node, FixedCodes] = {}
    if not has_weight_lattice(prepared.profile):
        scales = {node: FixedCodes(module, node) for node in narrow}
    biases = {node: own_bias(module, node) for node in linear_nodes(module, nodes)}
    with evaluation_mode(module), without_gradients(module):
        task = Distillation(prepared, original or FloatNetwork(prepared), samples)
        reason = _hindrance(task, scales, biases)
        if reason:
            return (Change(NAME, "network", skipped=reason),)
        layers = TunedLayers(scales, _shifts(module, task, scales, biases))
        return (_tune(task, layers, settings, progress),)


def _hindrance(
    task: Distillation,
    scales: Mapping[fx.Node, FixedCodes],
    biases: Mapping[fx.Node, Tensor | None],
) -> str:
    if len(task) < JUDGING:
        return f"fewer than {JUDGING} samples"
    if not task.has_reals:
        return "no output is real"
    learns = scales or any(bias is not None for bias in biases.values())
    return "" if learns else "no scale and no bias is free"


def _shifts(
    module: fx.GraphModule,
    task: Distillation,
    scales: Mapping[fx.Node, FixedCodes],
    biases: Mapping[fx.Node, Tensor | None],
) -> dict[fx.Node, Shifted]:
    sizes: dict[fx.Node, float] = {}

    def see(node: fx.Node, y: Tensor) -> None:
        sizes[node] = float(y.std())

    with torch.no_grad():
        task.run(torch.arange(min(ROWS, len(task))), watching(module, biases, see))
    shifts = {}
    for node, bias in biases.items():
        if bias is not None:
            unit = unit_of(module, node)
            call = scales.get(node, unit)
            shifts[node] = Shifted(call, channel_axis(unit), bias, sizes[node])
    return shifts


def _tune(
    task: Distillation, layers: TunedLayers, settings: CorrectionSettings, progress: Advance
) -> Change:
    indices = torch.arange(len(task))
    judging = indices[JUDGING - 1 :: JUDGING]
    teaching = indices[(indices + 1) % JUDGING != 0]
    before = task.error(judging)
    _learn(task, teaching, layers, settings, progress)
    put_back = layers.settle()
    after = task.error(judging)
    if not after < before:
        put_back()
        return Change(NAME, "network", skipped="the outputs came no nearer")
    return Change(NAME, "network", before, after, FIGURE)


def _learn(
    task: Distillation,
    teaching: Tensor,
    layers: TunedLayers,
    settings: CorrectionSettings,
    progress: Advance,
) -> None:
    """Adam, its rate falling along a cosine to zero."""
    steps, batch = settings.iterations, settings.batch_of(task.widest())
    optimizer = torch.optim.Adam(layers.parameters, lr=settings.scale_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = Generator().manual_seed(settings.seed)
    for _ in range(steps):
        drawn = torch.randperm(len(teaching), generator=generator)[:batch]
        optimizer.zero_grad()
        loss = task.loss(teaching[drawn], layers.calls)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves backward untyped
        optimizer.step()
        schedule.step()
        progress("tune")
