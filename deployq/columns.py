"""Named arrays of N rows, some of them finished only when they are read.

900 images of 224 x 224 x 3 are 135 MB as bytes and 540 MB as float32: they stay bytes, and each
batch is normalised when it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class LazyColumn:
    """Rows that a function makes of stored rows, each on its own.

    Args:
        source: (N, ...) what is stored.
        finish: (n, ...) stored rows to (n, ...) rows of ``row_shape`` and ``dtype``.
        row_shape: of one finished row.
        dtype: of the finished rows.
    """

    source: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.source), *self.row_shape)

    @property
    def ndim(self) -> int:
        return 1 + len(self.row_shape)

    def __getitem__(self, rows: slice | np.ndarray) -> LazyColumn:
        return replace(self, source=self.source[rows])

    def array(self) -> np.ndarray:
        """All rows, finished: as much memory as they take."""
        return self.finish(self.source)


class Columns(Mapping[str, np.ndarray]):
    """Read-only mapping of name to array; an array that is lazy is made anew by each look-up."""

    def __init__(self, columns: Mapping[str, np.ndarray | LazyColumn]) -> None:
        self._columns: dict[str, np.ndarray | LazyColumn] = dict(
            columns._columns if isinstance(columns, Columns) else columns
        )

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._columns[name]
        return column.array() if isinstance(column, LazyColumn) else column

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def stored(self) -> dict[str, np.ndarray | LazyColumn]:
        """The columns as they are: shapes and types are known without making a row."""
        return dict(self._columns)

    def rows(self, start: int, stop: int) -> Columns:
        """A part of every column; nothing is made."""
        return Columns({name: column[start:stop] for name, column in self._columns.items()})

    def pick(self, rows: np.ndarray) -> Columns:
        """Some rows of every column, by their indices; nothing is made."""
        return Columns({name: column[rows] for name, column in self._columns.items()})

    def made(self) -> Columns:
        """The same with every array in memory."""
        return Columns(dict(self.items()))
