"""Observers: statistics of one activation, streamed; memory does not grow with the data.

The order and the split of the batches do not matter, except for ``moving_average``, whose purpose
is a drifting range. One pass is enough: the grid of the histogram is fixed before any data.
"""

from __future__ import annotations

from deployq_calibration.observers.entropy import EntropyObserver
from deployq_calibration.observers.minmax import MinMaxObserver
from deployq_calibration.observers.moving_average import MovingAverageObserver
from deployq_calibration.observers.mse import MSEObserver
from deployq_calibration.observers.percentile import PercentileObserver
from deployq_calibration.observers.registry import OBSERVERS, Observer, make_observer

__all__ = [
    "OBSERVERS",
    "EntropyObserver",
    "MSEObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "Observer",
    "PercentileObserver",
    "make_observer",
]
