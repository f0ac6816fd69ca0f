"""Whether a runtime's package is on this machine, and in which version."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from deployq.errors import InputError
from deployq_exporters.adapters.adapter import Adapter


@dataclass(frozen=True)
class Presence:
    """What is known without loading the package.

    Args:
        version: installed; None where it is not.
        problem: why it cannot be used; empty where it can, as far as is known.
    """

    version: str | None
    problem: str = ""


def presence(adapter: Adapter) -> Presence:
    """Look for the package; nothing of it is imported."""
    try:
        found = version(adapter.distribution)
    except PackageNotFoundError:
        return Presence(None, "not installed")
    if _numbers(found) < _numbers(adapter.least):
        return Presence(found, f"version {found}, {adapter.least} or later is supported")
    if importlib.util.find_spec(adapter.module.partition(".")[0]) is None:
        return Presence(found, f"its module {adapter.module} is missing")
    return Presence(found)


def require(adapter: Adapter) -> str:
    """The installed version.

    Raises:
        InputError: it is not there, or too old.
    """
    found = presence(adapter)
    if found.problem or found.version is None:
        raise InputError(
            f"runtime {adapter.name}",
            "a runtime's package is installed in a supported version",
            found=found.problem,
            allowed=f"{adapter.distribution} {adapter.least} or later",
            next_step=adapter.install,
        )
    return found.version


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
