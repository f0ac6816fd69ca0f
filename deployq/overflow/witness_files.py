"""Witnesses on disk: a folder that is whole at every instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from deployq.bundle import check_replaceable, read_bundle, write_manifest
from deployq.errors import InputError
from deployq.overflow.proof import Witness
from deployq.qparams import IntArray
from deployq.staging import replacing_folder

FACT = "witnesses"
"""The fact of the manifest that lists them: no other folder is replaced."""


def write_witnesses(
    found: Iterable[tuple[Witness, Mapping[str, IntArray]]], folder: Path, target: str
) -> tuple[Witness, ...]:
    """One ``.npz`` for each witness, and a manifest that lists them, all or nothing.

    A file holds the codes of each input of the layer as ``codes/<tensor>``, and ``layer``,
    ``channel`` (-1 where all are alike), ``position`` and ``sum``.

    Raises:
        InputError: something else than an older folder of witnesses is there, or the file system
            refuses.
    """
    listed: dict[str, Witness] = {}
    with replacing_folder(folder, _check_replaceable) as staging:
        for witness, codes in found:
            name = f"{len(listed):04d}.npz"
            np.savez_compressed(staging / name, allow_pickle=False, **_arrays(witness, codes))
            listed[name] = witness
        facts = [{"file": name, **asdict(witness)} for name, witness in listed.items()]
        write_manifest(staging, {"target": target, FACT: facts})
    return tuple(listed.values())


def _arrays(witness: Witness, codes: Mapping[str, IntArray]) -> dict[str, IntArray]:
    facts = {
        "layer": np.asarray(witness.layer),
        "channel": np.asarray(-1 if witness.channel is None else witness.channel),
        "position": np.asarray(witness.position),
        "sum": np.asarray(witness.bound),
    }
    return facts | {f"codes/{name}": array for name, array in codes.items()}


def _check_replaceable(path: Path) -> None:
    check_replaceable(path)
    if path.is_dir() and any(path.iterdir()) and FACT not in read_bundle(path).facts:
        raise InputError(
            str(path),
            "only a folder of witnesses or an empty one is replaced",
            found="a bundle",
            allowed="a new path, an empty folder or older witnesses",
            next_step="choose another path",
        )
