"""Streams: the activations between two blocks, of all calibration samples, float and quantized.

A stream goes through the network once, block by block; what no later block reads is dropped, so it
holds the tensors that are alive between two blocks and no more. A tensor of more than
:data:`MEMORY_BYTES` lies in a file that has no name any more and goes with the process.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, fx

from deployq.errors import InputError
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.blocks import (
    Block,
    Call,
    placeholders,
    run_nodes,
    watching,
    whole_network,
)
from deployq_calibration.corrections.modes import in_float

ROWS = 64
"""Samples that are evaluated at a time."""

MEMORY_BYTES = 256 << 20
"""Largest tensor (of all samples) in memory; two streams hold a handful of them."""


class Stream:
    """Values of the tensors that later blocks read.

    Args:
        prepared: whose graph the stream goes through.
        samples: (N, ...) of each input of the network, in order.
    """

    def __init__(self, prepared: PreparedModel, samples: tuple[Tensor, ...]) -> None:
        self.module = prepared.module
        self.values: dict[fx.Node, Tensor] = dict(
            zip(placeholders(prepared.module), samples, strict=True)
        )
        self.device = next(iter(prepared.module.state_dict().values())).device

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def rows(self, block: Block, chosen: Tensor | slice) -> dict[fx.Node, Tensor]:
        """The chosen samples of the block's inputs, on the device of the network."""
        return {node: self.values[node][chosen].to(self.device) for node in block.inputs}

    def peek(self) -> Stream:
        """A second stream at the same place, for a look ahead."""
        other = copy.copy(self)
        other.values = dict(self.values)
        return other

    @torch.no_grad()
    def advance(self, block: Block, replaced: Mapping[fx.Node, Call] | None = None) -> None:
        """Evaluate the block on all samples and forget what no later block reads."""
        made: dict[fx.Node, Tensor] = {}
        total = len(self)
        for start in range(0, total, ROWS):
            part = slice(start, start + ROWS)
            found = run_nodes(self.module, block, self.rows(block, part), replaced=replaced)
            for node, value in found.items():
                if node not in made:
                    made[node] = _room((total, *value.shape[1:]))
                made[node][part] = value.to(made[node])
        self.values |= made
        last = block.nodes[-1]
        for node in [n for n in self.values if not any(user > last for user in n.users)]:
            del self.values[node]


def watch_in_float(
    samples: Stream,
    nodes: Sequence[fx.Node],
    see: Callable[[fx.Node, Tensor], None],
    after: Callable[[], None],
) -> None:
    """Show what some nodes of the float network make of all samples; ``after`` each few of them.

    Args:
        samples: in front of the network.
    """
    module = samples.module
    network, watched = whole_network(module), watching(module, nodes, see)
    with evaluation_mode(module), in_float(module), torch.no_grad():
        for start in range(0, len(samples), ROWS):
            rows = samples.rows(network, slice(start, start + ROWS))
            run_nodes(module, network, rows, replaced=watched)
            after()


def _room(shape: tuple[int, ...]) -> Tensor:
    """Room for a float32 tensor, in memory or in a file."""
    size = torch.Size(shape).numel()
    if size * 4 <= MEMORY_BYTES:
        return torch.empty(shape)
    with tempfile.TemporaryDirectory() as folder:
        return torch.from_file(str(Path(folder) / "values"), shared=True, size=size).reshape(shape)


def collect(batches: Iterable[Sequence[Tensor]], limit: int) -> tuple[Tensor, ...]:
    """All samples of each input as one tensor, at most ``limit``.

    Raises:
        InputError: there are none.
    """
    parts: list[Sequence[Tensor]] = []
    for batch in batches:
        parts.append(batch)
        if sum(len(part[0]) for part in parts) >= limit:
            break
    if not parts:
        raise InputError(
            "calibration data",
            "a correction needs at least one batch",
            found="none",
            next_step="give a callable that starts a new pass each time it is called",
        )
    return tuple(torch.cat(tensors)[:limit] for tensors in zip(*parts, strict=True))
