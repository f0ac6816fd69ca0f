"""BatchNorm statistics measured anew, for weights that no training step has seen.

After averaging and after re-quantization the running statistics belong to other weights (Izmailov
et al. 2018, arXiv 1803.05407, section 3.2). ``torch.optim.swa_utils.update_bn`` knows modules of
``nn.BatchNorm``; in a prepared model most BatchNorms are part of a linear unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.modes import kept_modes
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear
from deployq.train.capture_state import check_same
from deployq.train.folded_means import FoldedMean
from deployq.train.frozen_norms import BatchNorm

Batches: TypeAlias = Callable[[], Iterable[Sequence[Tensor]]] | Iterable[Sequence[Tensor]]
"""Batches, each with one tensor an input, or what starts one pass over them."""


@torch.no_grad()
def reestimate_norms(
    prepared: PreparedModel, batches: Batches, *, like: PreparedModel | None = None
) -> None:
    """Measure the running statistics of every BatchNorm anew, in place.

    One pass in training mode; each statistic becomes the mean of those of the batches, weighted by
    their samples (momentum ``b / (n + b)``, the procedure of the released code of SWA). Where a
    BatchNorm is folded into the weight before that is quantized, its variance is in the codes: it
    stays, and only the mean is measured, from the layer's own output; no code moves. Units with
    ``frozen_statistics`` (SQWA freezes those of folded BatchNorms) were trained around what they
    have: they keep it, unless ``like`` is given. Parameters, quantizers, momenta and modes stay as
    they are; after an error, the statistics too.

    Args:
        prepared: a calibrated or trained model; where nothing is measured, no batch is read.
        batches: training data, with its augmentation, of at least 2 samples a batch.
        like: a model of the same network, such as the average of a re-quantized one: folded
            BatchNorms give each layer the output means that it has there, and not beta.

    Raises:
        InputError: no batch, or a batch of one sample; ``like`` is another network.
    """
    folded = list(_folded_means(prepared, like))
    measured = list(_batch_norms(prepared.module))
    if not folded and not measured:
        return
    others = [] if like is None else [like.module]
    with ExitStack() as stack:
        for module in (prepared.module, *others):
            stack.enter_context(kept_modes(module))
        stack.enter_context(_statistics_or_as_before(prepared))
        stack.enter_context(_momenta(measured))
        prepared.module.train()
        for other in others:
            other.eval()
        for mean in folded:
            mean.watch()
            stack.callback(mean.unwatch)
        _stream([*others, prepared.module], batches, measured, folded)
    for mean in folded:
        mean.write()


def _folded_means(prepared: PreparedModel, like: PreparedModel | None) -> Iterator[FoldedMean]:
    others = {} if like is None else {call.name: call for call in linear_calls(like)}
    if like is not None:
        check_same("like", set(others), set(prepared.units()))
    for call in linear_calls(prepared):
        frozen = call.unit.frozen_statistics and like is None
        if call.unit.batch_norm == "fold" and not frozen:
            yield FoldedMean(call, others.get(call.name))


def _stream(
    modules: Sequence[nn.Module],
    batches: Batches,
    measured: Sequence[BatchNorm | QuantizedLinear],
    folded: Sequence[FoldedMean],
) -> None:
    """Run every batch through the modules in turn."""
    seen = 0
    for batch in batches() if callable(batches) else batches:
        samples = len(batch[0])
        if samples < 2:
            raise _unfit("a batch of 1 sample", "drop the last batch, or make batches larger")
        seen += samples
        for norm in measured:
            norm.momentum = samples / seen
        for mean in folded:
            mean.share = samples / seen
        for module in modules:
            module(*batch)
    if not seen:
        raise _unfit("no batch", "give training data, or a callable that starts a pass over it")


def _unfit(found: str, next_step: str) -> InputError:
    return InputError(
        "batches",
        "BatchNorm statistics are measured on batches of 2 samples and more",
        found=found,
        next_step=next_step,
    )


def _batch_norms(module: nn.Module) -> Iterator[BatchNorm | QuantizedLinear]:
    """Everything that normalizes by the batch in training mode."""
    for child in module.modules():
        if isinstance(child, BatchNorm) and child.track_running_stats:
            yield child
        if isinstance(child, QuantizedLinear) and _measures(child):
            yield child


def _measures(unit: QuantizedLinear) -> bool:
    """True where a unit's own pass in training mode moves its statistics, and no code."""
    return unit.batch_norm == "absorb" and not unit.frozen_statistics


@contextmanager
def _momenta(norms: Sequence[BatchNorm | QuantizedLinear]) -> Iterator[None]:
    """After the block, momenta are as they were."""
    before = [norm.momentum for norm in norms]
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@contextmanager
def _statistics_or_as_before(prepared: PreparedModel) -> Iterator[None]:
    """Reset statistics at the start; an error in the block puts those of before back."""
    plain = [norm for norm in _batch_norms(prepared.module) if isinstance(norm, BatchNorm)]
    own = [call.norm for call in linear_calls(prepared) if _measures(call.unit)]
    tensors = [tensor for norm in plain for tensor in norm.buffers()]
    tensors += [tensor for norm in own if norm is not None for tensor in (norm.mean, norm.variance)]
    before = [tensor.clone() for tensor in tensors]
    for norm in plain:
        norm.reset_running_stats()
    for tensors_of in own:
        if tensors_of is not None:
            tensors_of.mean.zero_()
            tensors_of.variance.fill_(1.0)
    try:
        yield
    except BaseException:
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
        raise
