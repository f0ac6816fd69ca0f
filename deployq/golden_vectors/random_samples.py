"""Random codes for the inputs of a file that comes without data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deployq import affine
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.opened_file import OpenedFile
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import Quantize

Array = npt.NDArray[Any]
SEED = 0


def random_samples(opened: OpenedFile, rows: int) -> Dataset:
    """Random codes of each input's own range, or their reals; the same in every run.

    Raises:
        InputError: an input that no quantizer reads, or one of unknown size.
    """
    rng = np.random.default_rng(SEED)
    made: dict[str, Array] = {}
    for name, shape in opened.input_shapes().items():
        sizes = [size or 0 for size in shape[1:]]
        if 0 in sizes:
            raise _no_guess(name, f"shape {shape}")
        made[name] = _codes(opened.graph, name, (rows, *sizes), rng)
    return Dataset(made)


def _codes(
    graph: IntegerGraph, name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    readers = [n.output for n in graph.nodes if isinstance(n, Quantize) and name in n.inputs]
    if not readers and name not in graph.qparams:
        raise _no_guess(name, "no quantizer on it")
    qparams = graph.qparams[name if name in graph.qparams else readers[0]]
    codes = rng.integers(qparams.qtype.qmin, qparams.qtype.qmax + 1, shape)
    codes = codes.astype(qparams.qtype.dtype)
    return codes if name in graph.qparams else affine.dequantize(codes, qparams)


def _no_guess(name: str, found: str) -> InputError:
    return InputError(
        f"input {name}",
        "random codes need an input of known size that is quantized",
        found=found,
        next_step="give data: --input data.npz",
    )
