"""How far a quantized network's outputs are from those of its float network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections.blocks import Call, run_nodes, whole_network, widest
from deployq_calibration.corrections.modes import FloatNetwork
from deployq_calibration.corrections.streams import ROWS, Stream


class Distillation:
    """A network, its samples, and what the float network makes of them.

    Args:
        prepared: in evaluation mode.
        original: the float network inside it.
        samples: (N, ...) of each input of the network, in order.
    """

    def __init__(
        self, prepared: PreparedModel, original: FloatNetwork, samples: tuple[Tensor, ...]
    ) -> None:
        self._module = prepared.module
        self._network = whole_network(prepared.module)
        self._inputs, real = Stream(prepared, samples), Stream(prepared, samples)
        with original.active():
            real.advance(self._network)
        with torch.no_grad():
            one = self.run(torch.arange(1), {})
        reals = [node for node, output in one.items() if output.is_floating_point()]
        self._wanted = {node: real.values[node] for node in reals}
        self._power = {node: _mean_square(values) for node, values in self._wanted.items()}

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def has_reals(self) -> bool:
        """Some output is real: integers, such as the best class, tell nothing of what is near."""
        return bool(self._wanted)

    def loss(self, chosen: Tensor, layers: Mapping[fx.Node, Call]) -> Tensor:
        """Squared error over the square of the float outputs, summed over the real outputs.

        Args:
            chosen: indices of samples.
            layers: calls in the place of units.
        """
        found, losses = self.run(chosen, layers), []
        for node, values in self._wanted.items():
            wanted = values[chosen].to(found[node])
            losses.append((found[node] - wanted).square().mean() / self._power[node])
        return torch.stack(losses).sum()

    def run(self, chosen: Tensor, layers: Mapping[fx.Node, Call]) -> dict[fx.Node, Tensor]:
        """The network's outputs for some samples."""
        rows = self._inputs.rows(self._network, chosen)
        return run_nodes(self._module, self._network, rows, replaced=layers)

    @torch.no_grad()
    def error(self, chosen: Tensor | None = None) -> float:
        """:meth:`loss` of the network as it is, of some samples or of all."""
        chosen = torch.arange(len(self)) if chosen is None else chosen
        if not self.has_reals:
            return 0.0
        parts = torch.split(chosen, ROWS)
        return sum(float(self.loss(part, {})) * len(part) for part in parts) / len(chosen)

    @torch.no_grad()
    def widest(self) -> int:
        """Values of the network's largest tensor, of one sample."""
        sample = self._inputs.rows(self._network, slice(0, 1))
        return widest(self._module, self._network, sample)


def _mean_square(values: Tensor) -> float:
    """Part by part: the values of all samples may lie in a file."""
    parts = torch.split(values, ROWS)
    total = sum(float(part.double().square().sum()) for part in parts)
    return max(total / values.numel(), torch.finfo(torch.float32).tiny)
