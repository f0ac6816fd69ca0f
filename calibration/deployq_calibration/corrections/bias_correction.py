"""Empirical bias correction: the mean error that quantization leaves is taken off the bias.

Nagel et al. 2019, arXiv 1906.04721, section 4.2 and appendix D: for each output channel of a
layer, ``E[float output] - E[quantized output]`` is added to the bias. Layers are taken in graph
order, each fed what the quantized and already corrected layers before it give, so that one layer
also mends what the earlier ones did to the mean.

Where the mean is over unlike things it can do harm: a class token among the patches of a vision
transformer is moved by what the patches lack. So the outputs of the network judge at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, fx

from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.biases import make_bias
from deployq_calibration.corrections.blocks import (
    Block,
    channel_axis,
    find_blocks,
    linear_nodes,
    unit_of,
    watching,
    whole_network,
)
from deployq_calibration.corrections.distillation import Distillation
from deployq_calibration.corrections.modes import FloatNetwork
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings
from deployq_calibration.corrections.streams import Stream, collect

NAME = "bias"
FIGURE = "root mean square over the channels of the mean error"


def correct_biases(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    progress: Advance = lambda stage: None,
    original: FloatNetwork | None = None,
) -> tuple[Change, ...]:
    """Take the mean error of every linear layer off its bias, in place.

    The bias is the beta of a BatchNorm, the layer's bias, or a new one where it has neither; one
    that several layers read stays. Where that takes the outputs of the samples further from the
    float network's, all biases go back.

    Args:
        prepared: a calibrated model.
        batches: one pass over the calibration data.
        settings: how many samples.
        progress: told of each layer.
        original: whose means are wanted; the model as it stands for None (state it
            where another correction ran before).

    Returns:
        One entry a linear layer, in graph order; one of the network where all went back.

    Raises:
        InputError: no data.
    """
    original, module = original or FloatNetwork(prepared), prepared.module
    samples = collect(batches(), settings.samples)
    biases = {n: make_bias(module, n) for n in linear_nodes(module, whole_network(module).nodes)}
    kept = [(bias, bias.detach().clone()) for bias in biases.values() if bias is not None]
    with evaluation_mode(module):
        task = Distillation(prepared, original, samples)
        before = task.error()
        changes = tuple(_corrected(prepared, original, samples, biases, progress))
        if task.has_reals and task.error() > before:
            with torch.no_grad():
                for bias, value in kept:
                    bias.copy_(value)
            return (Change(NAME, "network", skipped="the outputs went further away"),)
    return changes


def _corrected(
    prepared: PreparedModel,
    original: FloatNetwork,
    samples: tuple[Tensor, ...],
    biases: Mapping[fx.Node, Tensor | None],
    progress: Advance,
) -> Iterator[Change]:
    """Correct all layers in graph order."""
    module = prepared.module
    real, coded = Stream(prepared, samples), Stream(prepared, samples)
    for block in find_blocks(module, most_layers=1):
        layers = linear_nodes(module, block.nodes)
        with original.active():
            wanted = _watched_means(module, real, block, layers)
        before = {n: _correct(module, coded, block, n, wanted[n], biases[n]) for n in layers}
        found = _watched_means(module, coded, block, layers)
        for node in layers:
            yield _change(node, before[node], wanted[node] - found[node])
            progress("correct biases")


def _correct(
    module: fx.GraphModule,
    coded: Stream,
    block: Block,
    node: fx.Node,
    wanted: Tensor,
    bias: Tensor | None,
) -> Tensor | None:
    """Add the mean error of a layer to its bias and return it; None where the bias is shared."""
    if bias is None:
        return None
    error = wanted - _watched_means(module, coded.peek(), block.until(node), [node])[node]
    with torch.no_grad():
        bias.add_(error.to(bias))
    return error


def _change(node: fx.Node, before: Tensor | None, after: Tensor) -> Change:
    name = str(node.meta["name"])
    if before is None:
        return Change(NAME, name, skipped="another layer reads its bias")
    return Change(NAME, name, _rms(before), _rms(after), FIGURE)


def _rms(errors: Tensor) -> float:
    return float(errors.square().mean().sqrt())


def _watched_means(
    module: fx.GraphModule, stream: Stream, block: Block, layers: list[fx.Node]
) -> dict[fx.Node, Tensor]:
    """Let a stream advance and watch the mean of each output channel, (C,) float64."""
    sums: dict[fx.Node, Tensor] = {}

    def see(node: fx.Node, y: Tensor) -> None:
        axis = channel_axis(unit_of(module, node))
        channels = y.detach().movedim(axis, 0).flatten(1)
        sums[node] = sums.get(node, 0.0) + channels.double().mean(1) * (len(y) / len(stream))

    stream.advance(block, watching(module, layers, see))
    return sums
