"""Rows that a target's arithmetic is not known for are refused before calibration."""

from __future__ import annotations

from collections.abc import Iterable

from deployq.arithmetic.pairs import check_length
from deployq.arithmetic.requant_words import Softmax
from deployq.errors import UnsupportedError
from deployq.graph.rewrites.last_axis_softmax import is_softmax
from deployq.graph.sites import Site
from deployq.qgraph.values import located
from deployq_targets import TargetProfile


def check_rows(sites: Iterable[Site], profile: TargetProfile) -> None:
    """Every Softmax on codes is over rows of two, where the target's is known for those alone.

    Raises:
        UnsupportedError: names the tensor and the length.
    """
    if profile.contract().form("Softmax").softmax is not Softmax.PAIRS:
        return
    for site in sites:
        if site.kind == "compute" and is_softmax(site.core):
            try:
                check_length(site.core.meta["val"].shape)
            except UnsupportedError as error:
                raise located(error, site.name) from error
