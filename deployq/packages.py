"""Files for further runtimes in a bundle, beside the canonical one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deployq.errors import InputError, UnsupportedError
from deployq.runtimes.compiling import compile_isolated
from deployq_exporters.adapters import ALL, Adapter, Compiled, Source, find_adapters, require

RUNTIMES = "runtimes"
"""The fact of a manifest that names each runtime's file, or says why it is missing."""


def write_packages(source: Source, names: str, folder: Path) -> dict[str, object]:
    """Write the files of the named runtimes that are not there yet.

    Args:
        names: with commas; ``all`` for every runtime that can say the network.

    Returns:
        Facts of the manifest.

    Raises:
        InputError: no such runtime, or the package of a named one is missing.
        UnsupportedError: a named runtime cannot say the network; of ``all`` it is left out.
    """
    facts = dict[str, object]()
    for adapter in find_adapters(names):
        entry: dict[str, Any] = {"file": adapter.file_name, "left_out": None}
        path = folder / adapter.file_name
        try:
            if not path.exists():
                path.write_bytes(adapter.write(source))
        except (UnsupportedError, InputError) as error:
            if names != ALL:
                raise
            entry["left_out"] = error.as_dict()
        if adapter.compiled is not None and entry["left_out"] is None:
            entry["compiled"] = _compile(source, adapter, adapter.compiled, folder)
        facts[adapter.name] = entry
    return {RUNTIMES: facts}


def _compile(source: Source, adapter: Adapter, compiled: Compiled, folder: Path) -> dict[str, Any]:
    """What the runtime's compiler makes, where it is here.

    Returns:
        Name, the package and version that made it and what it was told, whether deployq promises
        the same bytes twice (never: they are the tool's), and why it was left out.
    """
    entry: dict[str, Any] = {
        "file": compiled.file_name, "made_by": None, "settings": dict(compiled.settings(source)),
        "reproducible": False, "left_out": None,
    }  # fmt: skip
    try:
        entry["made_by"] = f"{adapter.distribution} {require(adapter)}"
    except InputError as error:
        return {**entry, "left_out": error.as_dict()}
    return {**entry, "left_out": compile_isolated(adapter, folder)}
