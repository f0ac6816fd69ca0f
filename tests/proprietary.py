"""Tests that run a vendor's proprietary tool are in the group ``slow``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Test = Callable[..., Any]


def proprietary(present: bool, extra: str) -> Callable[[Test], Test]:
    """A mark for tests that need such a tool; they are skipped where it is missing.

    Args:
        present: it is installed.
        extra: of deployq, that installs it.
    """
    skip = pytest.mark.skipif(not present, reason=f"needs deployq[{extra}]")
    return lambda test: pytest.mark.slow(skip(test))
