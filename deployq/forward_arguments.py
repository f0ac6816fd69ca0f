"""Which arrays go into which arguments of ``forward``: by position, by keyword, or as a dict."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deployq.column_checks import LABELS, check_dtype
from deployq.columns import Columns, LazyColumn
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.captured_inputs import Examples
from deployq.sources import Samples

IDS = (np.dtype(np.int64), np.dtype(np.int32))
"""Types of inputs that are no real numbers; they reach the network as they are."""

Column = np.ndarray | LazyColumn


def example_inputs(reference: str, model: nn.Module, samples: Samples) -> Examples:
    """The first two samples as the arguments of ``model.forward``.

    Arrays go by the names of the arguments. An argument without a default that takes a dict gets
    all arrays under their own names, and the only array goes to the only such argument.

    Raises:
        InputError: an argument has no array, or an array has a type that no input has.
    """
    parameters = inspect.signature(model.forward).parameters
    columns = samples.columns.stored()
    given = {name: a for name, a in columns.items() if name != LABELS or name in parameters}
    required = [name for name, p in parameters.items() if p.default is p.empty and _single(p)]
    foreign = len(required) == 1 and bool(given) and not given.keys() & parameters.keys()
    if foreign and _takes_dict(parameters[required[0]], len(given)):
        return {required[0]: _tensors(samples.where, given)}
    if foreign and len(given) == 1:
        given = {required[0]: next(iter(given.values()))}
    names = [name for name, p in parameters.items() if _single(p) and name in {*required, *given}]
    missing = [name for name in names if name not in given]
    if missing or not names:
        raise InputError(
            reference,
            "the data has an array for each argument of forward",
            found=", ".join(columns),
            allowed=", ".join(parameters),
            next_step=f"add {', '.join(missing or ['an argument of forward'])} to the data",
        )
    tensors = _tensors(samples.where, {name: given[name] for name in names})
    keyword_only = any(parameters[n].kind is inspect.Parameter.KEYWORD_ONLY for n in names)
    if keyword_only or names != list(parameters)[: len(names)]:
        return tensors
    return list(tensors.values())


def _single(parameter: inspect.Parameter) -> bool:
    """Whether it is one argument, not ``*args`` or ``**kwargs``."""
    return parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _takes_dict(parameter: inspect.Parameter, arrays: int) -> bool:
    """By its annotation; without one, when there are several arrays for it."""
    if parameter.annotation is parameter.empty:
        return arrays > 1
    text = str(parameter.annotation).lower()
    return "dict" in text or "mapping" in text


def _tensors(where: str, columns: Mapping[str, Column]) -> dict[str, Tensor]:
    """Two samples of each, in types that a network takes."""
    for name, column in columns.items():  # before capture, whose errors would speak of operators
        if column.dtype not in IDS:
            check_dtype(f"{where}: {name}", column.dtype, np.dtype(np.float32))
    samples = Dataset(Columns(columns))
    few: Mapping[str, Any] = samples.take(min(2, len(samples))).inputs
    return {name: torch.from_numpy(np.array(few[name])) for name in columns}
