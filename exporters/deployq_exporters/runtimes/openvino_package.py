"""OpenVINO's Python package, an optional extra: found, loaded, new enough; its messages."""

from __future__ import annotations

import importlib
import re
from typing import Any

from deployq.errors import InputError

PACKAGE = "openvino"
OLDEST = (2026, 4)
"""The first release whose runtime graph and fusions were looked at."""

LONGEST = 300
_INSTALL = "pip install 'deployq[openvino]'"
_PLACE = re.compile(r"(Exception from |Check '.*' failed at ).*|.*:")
"""Lines that say where in OpenVINO's sources an error arose, or only lead to the next one."""


def openvino_module() -> Any:
    """The package, imported when first asked for.

    Raises:
        InputError: it is not installed, does not load on this machine, or is too old.
    """
    try:
        module = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise InputError(
            "OpenVINO", "its package is installed", found=f"no {error.name}", next_step=_INSTALL
        ) from error
    except (ImportError, OSError) as error:
        raise InputError(
            "OpenVINO",
            "its package loads on this machine",
            found=said(error),
            next_step="install what the message names",
        ) from error
    _check_version(str(getattr(module, "__version__", "")))
    return module


def _check_version(stated: str) -> None:
    numbers = re.match(r"(\d+)\.(\d+)", stated)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise InputError(
            "OpenVINO",
            "what it fuses is known for the versions that were looked at",
            found=f"version {stated or 'unknown'}",
            allowed=f"{'.'.join(map(str, OLDEST))} or newer",
            next_step=f"{_INSTALL} --upgrade",
        )


def said(error: BaseException) -> str:
    """OpenVINO's own message as one line, without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = " ".join(line for line in lines if line and not _PLACE.fullmatch(line))
    return (text or type(error).__name__)[:LONGEST]


def refused(name: str, rule: str, error: BaseException) -> InputError:
    """An error of OpenVINO in the frame of deployq's."""
    return InputError(name, rule, found=said(error))
