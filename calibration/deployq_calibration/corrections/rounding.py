"""Learned rounding: codes are chosen block by block so that the block's output stays the float one.

AdaRound's soft rounding (Nagel et al. 2020, arXiv 2004.10568, eq. 21 to 25) on BRECQ's blocks
(Li et al. 2021, arXiv 2102.05426), asymmetric: a block reads what the quantized and already
rounded blocks before it give, and is held to what the float network gives. A factor on each weight
scale learns with the codes. The result is plain weights and scales.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Generator, fx

from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import has_weight_lattice
from deployq_calibration.corrections.blocks import (
    find_blocks,
    learning_layers,
    whole_network,
)
from deployq_calibration.corrections.modes import FloatNetwork
from deployq_calibration.corrections.reconstruction import Reconstruction, reconstruct
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings
from deployq_calibration.corrections.soft_weights import SoftWeight
from deployq_calibration.corrections.streams import Stream, collect

NAME = "rounding"
SHARED = "another layer reads its weight"
FIGURE = "mean squared error of the block's output, summed over channels"


def learn_rounding(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    progress: Advance = lambda stage: None,
    original: FloatNetwork | None = None,
) -> tuple[Change, ...]:
    """Choose the codes of every layer under ``settings.rounding_below`` bits, in place.

    Every code ends as floor or ceiling of ``w / s`` (saturated), with ``s`` the scale of before;
    the weight becomes the centre of its code's cell. Weights that several layers read, and
    activations' scales and all zero points, stay; so does a block whose error would not fall.

    Args:
        prepared: a calibrated model.
        batches: one pass over the calibration data.
        settings: effort, seed and rates.
        progress: told of each block.
        original: what the blocks are held to; the model as it stands for None (state it
            where another correction ran before).

    Returns:
        One entry a block

    Raises:
        InputError: no data.
    """
    whole = whole_network(prepared.module).nodes
    if not any(learning_layers(prepared.module, whole, settings.rounding_below)):
        return ()
    original = original or FloatNetwork(prepared)
    samples = collect(batches(), settings.samples)
    real, coded = Stream(prepared, samples), Stream(prepared, samples)
    generator = Generator().manual_seed(settings.seed)
    changes: list[Change] = []
    # learning a scale would leave the lattice that it lies on
    module, any_scale = prepared.module, not has_weight_lattice(prepared.profile)
    with evaluation_mode(module):
        for block in find_blocks(module):
            nodes, shared = learning_layers(module, block.nodes, settings.rounding_below)
            changes += [Change(NAME, name, skipped=SHARED) for name in shared]
            with original.active():
                real.advance(block)
            if nodes:
                layers = {node: SoftWeight(module, node, any_scale) for node in nodes}
                task = Reconstruction(module, block, coded, real)
                changes.append(_round(task, layers, settings, generator))
            progress("learn rounding")
            coded.advance(block)
    return tuple(changes)


def _round(
    task: Reconstruction,
    layers: Mapping[fx.Node, SoftWeight],
    settings: CorrectionSettings,
    generator: Generator,
) -> Change:
    before = task.error()
    reconstruct(task, layers, settings, generator)
    undo = [layer.settle() for layer in layers.values()]
    after = task.error()
    if not after < before:
        for put_back in undo:
            put_back()
        return Change(NAME, task.block.name, skipped="rounding to the nearest has less error")
    return Change(NAME, task.block.name, before, after, FIGURE)
