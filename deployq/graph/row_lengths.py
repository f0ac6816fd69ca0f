"""Rows that a target's integers are not known for count as in float."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from deployq.arithmetic.row_operators import knows_rows
from deployq.errors import UnsupportedError
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.sites import Site
from deployq_targets import TargetProfile


def rows_in_float(sites: Iterable[Site], profile: TargetProfile) -> tuple[str, ...]:
    """A line on every Softmax over longer rows, where a target's is known for those of two alone.

    Raises:
        UnsupportedError: nothing there computes in float; names the tensor and the length.
    """
    contract = profile.contract()
    long = [site for site in sites if _is_softmax(site) and not knows_rows(contract, _shape(site))]
    for site in long:
        if not profile.runs_floats:
            raise UnsupportedError(
                site.name,
                f"the Softmax of {profile.name} is known for rows of two elements",
                found=f"rows of {_length(site)}",
                allowed="2, or a target that runs something in float",
                next_step="leave this Softmax to what reads the network's output",
            )
    return tuple(
        f"{site.name}: float, the codes of {profile.name} are not known for rows of {_length(site)}"
        for site in long
    )


def _is_softmax(site: Site) -> bool:
    return site.kind == "compute" and is_softmax(site.core)


def _shape(site: Site) -> torch.Size:
    shape: torch.Size = site.core.meta["val"].shape
    return shape


def _length(site: Site) -> int:
    return _shape(site)[-1]
