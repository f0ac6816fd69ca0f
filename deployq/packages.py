"""Files for further runtimes in a bundle, beside the canonical one."""

from __future__ import annotations

from pathlib import Path

from deployq.errors import InputError, UnsupportedError
from deployq_exporters.adapters import ALL, Source, find_adapters

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
        entry: dict[str, object] = {"file": adapter.file_name, "left_out": None}
        path = folder / adapter.file_name
        try:
            if not path.exists():
                path.write_bytes(adapter.write(source))
        except (UnsupportedError, InputError) as error:
            if names != ALL:
                raise
            entry["left_out"] = error.as_dict()
        facts[adapter.name] = entry
    return {RUNTIMES: facts}
