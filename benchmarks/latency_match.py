"""Modelled layers and Vela's rows, matched by the tensors that they write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployq_exporters.runtimes.vela_report import VelaLayer, VelaReport
from deployq_targets.latency_model import ModelledLatency, ModelledLayer


@dataclass(frozen=True)
class Pair:
    """One layer: cycles of the model and of Vela, and what bounds it in the model."""

    name: str
    modelled: float
    vela: int
    bound: str


@dataclass(frozen=True)
class Match:
    """One network on one target.

    Args:
        pairs: layers that both have.
        only_modelled, only_vela: tensors of layers that one of them has; their time is in its
            total.
        modelled_ms, vela_ms: totals.
        assumed: what Vela's figures rest on.
    """

    network: str
    target: str
    pairs: tuple[Pair, ...]
    only_modelled: tuple[str, ...]
    only_vela: tuple[str, ...]
    modelled_ms: float
    vela_ms: float
    assumed: str

    @property
    def correlation(self) -> float:
        """Spearman's, of the layers' cycles."""
        return spearman([p.modelled for p in self.pairs], [p.vela for p in self.pairs])

    @property
    def ratio(self) -> float:
        """Modelled total over Vela's."""
        return self.modelled_ms / self.vela_ms


def matched(network: str, modelled: ModelledLatency, vela: VelaReport) -> Match:
    """Pair the layers; rows that Vela made of one operator (``y_intermediate``) are summed.

    What is written in the place of a Concat has the Concat's name in Vela: one pair of all of it.
    """
    owners, layers = dict[str, str](), defaultdict[str, list[ModelledLayer]](list)
    for layer in modelled.layers:
        owner = layer.joined or layer.name
        layers[owner].append(layer)
        owners |= dict.fromkeys((layer.name, *layer.fused, *layer.views, owner), owner)
    cycles, strangers = dict[str, int](), list[str]()
    for name, row in named(vela.layers):
        known = owner_of(name, owners)
        if known is None:
            strangers.append(name)
        else:
            cycles[known] = cycles.get(known, 0) + row.cycles.total
    return Match(
        network=network,
        target=modelled.target,
        pairs=tuple(
            _pair(owner, layers[owner], cycles[owner]) for owner in layers if owner in cycles
        ),
        only_modelled=tuple(owner for owner in layers if owner not in cycles),
        only_vela=tuple(strangers),
        modelled_ms=modelled.milliseconds,
        vela_ms=1e3 * vela.seconds,
        assumed=vela.assumed,
    )


def named(rows: Sequence[VelaLayer]) -> Iterator[tuple[str, VelaLayer]]:
    """Rows by the tensors that they write, the last one first.

    Vela names the steps of a Softmax by its input (``x_softmax_3``), the last by its output.
    """
    output = ""
    for row in reversed(rows):
        inside = row.operator == "Softmax" and "_softmax_" in row.name
        output = output if inside else row.name
        yield output, row


def _pair(name: str, layers: Sequence[ModelledLayer], vela: int) -> Pair:
    longest = max(layers, key=lambda layer: layer.total)
    return Pair(name, sum(layer.total for layer in layers), vela, longest.bound.value)


def owner_of(name: str, owners: dict[str, str]) -> str | None:
    """The layer that a tensor belongs to: the longest name that it begins with, then ``.``, ``_``
    or nothing.
    """
    known = [o for o in owners if name == o or name.startswith((f"{o}.", f"{o}_"))]
    return owners[max(known, key=len)] if known else None


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of ranks; equal values share the mean of theirs.

    To 12 digits: 9/10 is not to be missed by the last bit of a root.
    """
    return round(float(np.corrcoef(_ranks(first), _ranks(second))[0, 1]), 12)


def _ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    array = np.asarray(values)
    below = (array[:, None] > array).sum(axis=1)
    return below + (array[:, None] == array).sum(axis=1) / 2
