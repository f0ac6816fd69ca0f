"""Watches every quantized tensor of a float network while data stream through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq_calibration.masked_scores import masked_scores
from deployq_calibration.observers import Observer


@dataclass(frozen=True)
class Findings:
    """What calibration data left unsaid; a reason to look at data and network, no error.

    Args:
        silent: grids that were zero on all data: their scale says nothing.
        dead: layer to the channels of its output that were zero on all data.
        set_aside: grid to how many values its range was chosen without, far from all others.
    """

    silent: tuple[str, ...] = ()
    dead: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One sentence for each kind of finding."""
        found = []
        if self.silent:
            found.append(f"constantly zero over the calibration data: {', '.join(self.silent)}")
        if self.dead:
            names = (f"{name} [{', '.join(map(str, c))}]" for name, c in self.dead.items())
            found.append(f"constantly zero channels over the calibration data: {'; '.join(names)}")
        if self.set_aside:
            names = (f"{name} ({count})" for name, count in self.set_aside.items())
            found.append(f"outliers set aside, far from all other values: {', '.join(names)}")
        return found


class Watcher:
    """Feeds the observer of one grid, and looks for what a range cannot come from.

    Args:
        tensors: names of those on the grid, in the order of the graph.
        observer: of the grid.
        counts: what of a tensor's values a range is chosen for; None for all as they are.
    """

    def __init__(
        self,
        tensors: tuple[str, ...],
        observer: Observer,
        counts: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.tensors = tensors
        self.observer = observer
        self._counts = counts
        self._calls = 0
        self._unseen: dict[str, Tensor] = {}
        self._channels: dict[str, int] = {}

    def __call__(self, module: object, args: object, output: Tensor) -> None:
        """A forward hook: each tensor of the grid comes once a batch, in graph order."""
        name = self.tensors[self._calls % len(self.tensors)]
        self._calls += 1
        if output.numel() == 0:
            return
        low, high = torch.aminmax(output.detach())
        if not bool(torch.isfinite(high - low)):
            raise InputError(
                name,
                "a range is chosen from finite values",
                found="NaN or infinity",
                next_step="check the calibration data and the float model's outputs on it",
            )
        self.observer.observe(output if self._counts is None else self._counts(output))
        self._look_for_life(name, output.detach())

    def _look_for_life(self, name: str, x: Tensor) -> None:
        """Only channels that were zero so far are looked at: after some batches, none."""
        if x.ndim < 2:
            return
        axis = x.ndim - 1 if x.ndim == 3 else 1
        if name not in self._unseen:
            self._channels[name] = x.shape[axis]
            self._unseen[name] = torch.arange(x.shape[axis], device=x.device)
        unseen = self._unseen[name]
        if len(unseen):
            rest = x if len(unseen) == x.shape[axis] else x.index_select(axis, unseen)
            alive = (rest != 0).movedim(axis, 0).flatten(1).any(1)
            self._unseen[name] = unseen[~alive]

    def dead(self) -> dict[str, tuple[int, ...]]:
        """Tensors with some, not all, channels that were always zero."""
        return {
            name: tuple(unseen.tolist())
            for name, unseen in self._unseen.items()
            if 0 < len(unseen) < self._channels[name]
        }

    def is_silent(self) -> bool:
        """True when every value was zero."""
        rows = self._unseen.items()
        return bool(rows) and all(len(unseen) == self._channels[name] for name, unseen in rows)


def watch_all(
    prepared: PreparedModel, make: Callable[[], Observer]
) -> tuple[dict[str, Watcher], Callable[[], None]]:
    """A watcher for each grid, hooked, and what takes the hooks away again."""
    quantizers = prepared.quantizers()
    tensors = {grid.name: grid.tensors for grid in prepared.plan.tensors}
    scores = masked_scores(prepared)
    watchers = {name: Watcher(tensors[name], make(), scores.get(name)) for name in quantizers}
    handles = [quantizers[name].register_forward_hook(w) for name, w in watchers.items()]

    def unhook() -> None:
        for handle in handles:
            handle.remove()

    return watchers, unhook


def findings(prepared: PreparedModel, watchers: Mapping[str, Watcher]) -> Findings:
    """After all batches and all ranges; a dead channel is told of the layer that makes it."""
    layers = {layer.name for layer in prepared.plan.layers}
    aside = {name: w.observer.set_aside for name, w in watchers.items() if w.observer.set_aside}
    dead = {name: c for w in watchers.values() for name, c in w.dead().items() if name in layers}
    return Findings(tuple(n for n, w in watchers.items() if w.is_silent()), dead, aside)
