"""Values of several runs as those of one: which have a row for each sample, and joining them.

    (N, ...) of each run -> (runs N, ...)

Shapes tell, seen with two numbers of samples: a tensor has rows where its first axis is the
samples, a size counts them where it is their number, and what is the same in both is a constant.
Anything else, such as windows of images along the first axis, or a layer that waits for its grid,
is not joined.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from deployq.graph.code_operators import Codes
from deployq.graph.partial_codes import PartialCodes, Values

SAMPLES = (2, 3)


@dataclass(frozen=True)
class SampleRows:
    """What nodes of a graph make.

    Args:
        rows: nodes of tensors with a row for each sample, and of numbers of samples.
        constants: nodes whose values do not depend on the number of samples.
    """

    rows: frozenset[fx.Node]
    constants: frozenset[fx.Node]

    def are_joined(self, nodes: Collection[fx.Node]) -> bool:
        """Whether values of these nodes can be joined."""
        return self.rows.union(self.constants).issuperset(nodes)

    def joined(self, runs: Sequence[Values]) -> Values:
        """Values of several runs, one behind the other; codes are on the same grid in all."""
        return {
            node: _joined([run[node] for run in runs]) if node in self.rows else runs[0][node]
            for node in runs[0]
        }

    def parted(self, outputs: Sequence[Tensor], runs: Sequence[Values]) -> list[tuple[Tensor, ...]]:
        """What belongs to each run, of the outputs of all."""
        counts = [self._samples(run) for run in runs]
        return list(zip(*(torch.split(output, counts) for output in outputs), strict=True))

    def _samples(self, run: Values) -> int:
        tensors = (_tensor(value) for node, value in run.items() if node in self.rows)
        return next(len(tensor) for tensor in tensors if tensor is not None)


def sample_rows(network: PartialCodes, inputs: Sequence[Tensor]) -> SampleRows:
    """Of a network, by two runs on a few samples.

    Args:
        inputs: (N, ...) each, N at least 2.
    """
    few, more = (
        network.everything([torch.cat([x[:2], x[: count - 2]]) for x in inputs])
        for count in SAMPLES
    )
    rows = {
        node for node in few if _counts(few[node], SAMPLES[0]) and _counts(more[node], SAMPLES[1])
    }
    constants = {n for n in few if n not in rows and _is_constant(few[n], more[n])}
    return SampleRows(frozenset(rows), frozenset(constants))


def _counts(value: Any, samples: int) -> bool:
    tensor = _tensor(value)
    if tensor is None:
        return type(value) is int and value == samples
    return tensor.ndim > 0 and len(tensor) == samples


def _is_constant(few: Any, more: Any) -> bool:
    a, b = _tensor(few), _tensor(more)
    if a is None or b is None:
        return type(few) is int and few == more
    return a.shape == b.shape and torch.equal(a, b)


def _tensor(value: Any) -> Tensor | None:
    value = value.data if isinstance(value, Codes) else value
    return value if isinstance(value, Tensor) else None


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Codes):
        return Codes(torch.cat([value.data for value in values]), first.qparams)
    return torch.cat(list(values)) if isinstance(first, Tensor) else sum(values)
