"""The edges of an export, ``--io``: chosen, fed with images, and given back as reals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from deployq import affine
from deployq.columns import Columns, LazyColumn
from deployq.data import Dataset
from deployq.errors import choose_word
from deployq.graph.pixel_inputs import pixel_rule
from deployq.graph.preparation import PreparedModel
from deployq.qgraph.edges import check_codes
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq.sources import Preprocessing
from deployq.sources.pixel_grid import mismatches
from deployq_targets import TargetProfile
from deployq_targets.words import Edges

BYTES = (QType(8, False), QType(8, True))
"""Types with a code for every byte."""


def choose_edges(io: Edges | str | None, profile: TargetProfile) -> Edges:
    """What the user asked for, else the profile's.

    Raises:
        InputError: another word.
    """
    if io is None:
        return profile.graph.io
    return choose_word(
        Edges,
        io,
        where="--io",
        rule="inputs and outputs are reals or codes",
        next_step="--io float, or --io integer",
    )


def image_inputs(
    columns: Columns, inputs: list[str], preprocessing: Preprocessing | None
) -> dict[str, Preprocessing]:
    """The inputs that are made of images, each with their preprocessing."""
    stored = columns.stored()
    if len(inputs) == 1 and inputs[0] not in stored and "x" in stored:
        stored = {inputs[0]: stored["x"]}
    if preprocessing is None:
        return {}
    return {name: preprocessing for name in inputs if isinstance(stored.get(name), LazyColumn)}


def pixel_facts(
    prepared: PreparedModel, images: Mapping[str, Preprocessing]
) -> dict[str, str | None]:
    """For each image input how a byte becomes its code; None where it does not.

    Whoever chose the grid: all 256 bytes are tried on the parameters in force.
    """
    grids = prepared.grids()
    return {
        name: pixel_rule(grids[name].qtype)
        if name in grids and grids[name].qtype in BYTES
        and not mismatches(preprocessing, grids[name])
        else None
        for name, preprocessing in images.items()
    }  # fmt: skip


def real_columns(columns: Columns, edges: Mapping[str, QParams]) -> Columns:
    """Columns with codes of integer edges as the reals that they stand for, made when read.

    The reals give the same codes back by law 1, ``round((q - z) s / s) = q - z``, up to 16 bits.

    Raises:
        InputError: integers that are no codes of their edge.
    """
    stored = columns.stored()
    for name, (column, qparams) in _given_codes(columns, edges).items():
        finish = partial(affine.dequantize, qparams=qparams)
        stored[name] = LazyColumn(column, finish, column.shape[1:], np.dtype(np.float32))
    return Columns(stored)


def real_samples(data: Dataset, edges: Mapping[str, QParams]) -> Dataset:
    """As :func:`real_columns`, of a data set."""
    return Dataset(real_columns(Columns(data.inputs), edges), data.labels) if edges else data


def edge_dtypes(columns: Columns, edges: Mapping[str, QParams]) -> dict[str, np.dtype[Any]]:
    """The type that each integer edge takes from these columns: its own for codes, else float32.

    Raises:
        InputError: integers that are no codes of their edge.
    """
    given = {_edge_name(name, edges) for name in _given_codes(columns, edges)}
    float32 = np.dtype(np.float32)
    return {n: q.qtype.dtype if n in given else float32 for n, q in edges.items()}


def edge_notes(columns: Columns, edges: Mapping[str, QParams]) -> list[str]:
    """What happens to the samples on their way into integer edges, one sentence an input."""
    given = {_edge_name(name, edges) for name in _given_codes(columns, edges)}
    return [
        f"input {name} takes codes, {q.qtype} of scale {float(q.scale):.9g} and zero point "
        f"{int(q.zero_point)}: the samples are "
        + ("codes, taken as they are" if name in given else "reals, quantized by law 1")
        for name, q in edges.items()
    ]


def _given_codes(
    columns: Columns, edges: Mapping[str, QParams]
) -> dict[str, tuple[np.ndarray, QParams]]:
    """The columns of integers that stand for an integer edge, checked."""
    found = {}
    for name, column in columns.stored().items():
        edge = _edge_name(name, edges)
        if edge in edges and isinstance(column, np.ndarray) and column.dtype.kind in "iu":
            check_codes(edge, column, edges[edge])
            found[name] = column, edges[edge]
    return found


def _edge_name(column: str, edges: Mapping[str, QParams]) -> str:
    """A model with one input takes ``x`` for it."""
    return next(iter(edges)) if column == "x" and len(edges) == 1 else column
