"""What two searches must share for one to go on from the other's checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from deployq.arithmetic.contract import Contract
from deployq.graph.float_tensors import tensor_bytes
from deployq.graph.preparation import PreparedModel
from deployq_calibration.evolq.batches import Batch
from deployq_calibration.evolq.settings import EvolveSettings
from deployq_calibration.evolq.sites import SearchBlock

SETTINGS = "settings"
FREE = ("passes", "device", "together")
"""Settings that a search may go on with others of."""


def search_identity(
    prepared: PreparedModel,
    blocks: Sequence[SearchBlock],
    batches: Sequence[Batch],
    settings: EvolveSettings,
    contract: Contract,
) -> dict[str, Any]:
    """Plain data under readable names, of a network that no search has touched yet.

    The number of passes is none of it, nor is where it runs: a search may go on for more, and
    elsewhere.
    """
    stated = {name: value for name, value in settings.to_json().items() if name not in FREE}
    state = prepared.module.state_dict()
    profile = prepared.profile.model_dump_json()
    return {
        SETTINGS: stated,
        "blocks": [block.name for block in blocks],
        "calibration data": _digest(tensor for batch in batches for tensor in batch.inputs),
        "teacher outputs": _digest(tensor for batch in batches for tensor in batch.outputs),
        "weights or scales at the start": _digest(state[name] for name in sorted(state)),
        "target or arithmetic": hashlib.sha256(f"{contract}{profile}".encode()).hexdigest(),
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of what differs; settings alone where they do, since other things follow from them."""
    ours, theirs = wanted[SETTINGS], found[SETTINGS]
    if ours != theirs:
        keys = sorted({*ours, *theirs})
        return [f"{SETTINGS}: {key}" for key in keys if ours.get(key) != theirs.get(key)]
    return [name for name in wanted if found.get(name) != wanted[name]]


def _digest(tensors: Iterable[Tensor]) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor_bytes(tensor))
    return sha.hexdigest()
