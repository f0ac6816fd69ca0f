"""Data from outside: arrays, images with stated preprocessing, the user's own loader."""

from deployq.sources.opened import DataRequest, Samples, open_dataset, open_samples
from deployq.sources.preprocessing import Preprocessing

__all__ = ["DataRequest", "Preprocessing", "Samples", "open_dataset", "open_samples"]
