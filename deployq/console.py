"""Where tables and reports are printed."""

from __future__ import annotations

import sys

from rich.console import Console

LOG_WIDTH = 120
"""Columns of a table where there is no terminal to ask."""


def open_console(log_width: int = LOG_WIDTH) -> Console:
    """Standard output; names of tensors and files are printed as they are, brackets and all.

    Args:
        log_width: columns where standard output is no terminal.
    """
    width = None if sys.stdout.isatty() else log_width
    return Console(highlight=False, soft_wrap=True, markup=False, width=width)
