"""The user's own Python, run only where the user named it as ``package.module:name`` (law 9)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from deployq.errors import DeployqError, InputError


def names_code(reference: str) -> bool:
    """True for ``package.module:name``; a path with a colon in it is none."""
    module, colon, attribute = reference.partition(":")
    parts = module.split(".")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in parts)


def user_object(reference: str) -> Any:
    """What ``package.module:name`` names; importing the module runs its code.

    Raises:
        InputError: no such module or name, or the module raises.
    """
    module_name, _, attribute = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own folder, as `python -m` has it
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the module's own code may raise anything
        raise InputError(
            reference,
            "package.module:callable must exist",
            found=raised(error),
            next_step=_step_after(error, module_name, attribute),
        ) from error


def _step_after(error: Exception, module: str, attribute: str) -> str:
    """Where the module was found, the fault lies in it: another folder would not help."""
    if isinstance(error, AttributeError) and module in sys.modules:
        return f"define {attribute} in {module}, or run from the folder of another {module}"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if not module or (missing and f"{module}.".startswith(f"{missing}.")):
        return "run from the folder that holds the module, or install it"
    return f"import {module} in Python to see where it raises"


def call_user(reference: str, rule: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the user's function.

    Args:
        reference: how the user named it, for the error.
        rule: what the function is for, as one sentence.

    Raises:
        InputError: it raises; errors of deployq pass through.
    """
    try:
        return function(*arguments)
    except DeployqError:
        raise
    except Exception as error:  # the user's code raises what it likes
        raise InputError(
            reference,
            rule,
            found=raised(error),
            next_step="call it in Python to see where it raises",
        ) from error


def raised(error: Exception) -> str:
    """The user's exception: its type and message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
