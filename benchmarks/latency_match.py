"""Modelled layers and Vela's rows, matched by the tensors that they write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployq_exporters.runtimes.vela_report import VelaReport
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
    """Pair the layers; rows that Vela made of one operator (``y_intermediate``) are summed."""
    owners = {name: layer.name for layer in modelled.layers for name in (*layer.fused, layer.name)}
    cycles, strangers = dict[str, int](), list[str]()
    for row in vela.layers:
        owner = owner_of(row.name, owners)
        if owner is None:
            strangers.append(row.name)
        else:
            cycles[owner] = cycles.get(owner, 0) + row.cycles.total
    return Match(
        network=network,
        target=modelled.target,
        pairs=tuple(_pair(la, cycles[la.name]) for la in modelled.layers if la.name in cycles),
        only_modelled=tuple(la.name for la in modelled.layers if la.name not in cycles),
        only_vela=tuple(strangers),
        modelled_ms=modelled.milliseconds,
        vela_ms=1e3 * vela.seconds,
        assumed=vela.assumed,
    )


def _pair(layer: ModelledLayer, vela: int) -> Pair:
    return Pair(layer.name, layer.total, vela, layer.bound.value)


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
