"""Prepared models of older formats, brought to the present one step by step.

format 1    says neither which scales were chosen nor the digest of the tensors
format 2    ``calibrated`` in the configuration of every quantizer, and ``tensors_sha256``
format 3    ``bias`` of a layer, a BiasType, in the place of ``bias_bits``
format 4    ``lattice``, ``batched`` and ``learns_exponent`` of every quantizer
format 5    ``frozen_statistics`` of a layer
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.scales.lattice import FLOAT32_EXPONENTS
from deployq_targets.words import ScaleForm

FORMAT = 5
"""What is written."""

WEIGHT_QUANTIZER = ".weight_quantizer"

Facts: TypeAlias = dict[str, Any]
Upgrade: TypeAlias = Callable[[Facts, Mapping[str, Tensor], str], Facts]


def upgraded(facts: Facts, tensors: Mapping[str, Tensor], digest: str, where: str) -> Facts:
    """The facts in the present format; ``facts`` itself stays as it is.

    Args:
        facts: content of ``prepared.json``, of any format.
        tensors: the model's tensors by name.
        digest: SHA-256 of their file.
        where: name of the file, for the error.

    Raises:
        InputError: an unknown format.
        KeyError, TypeError: the facts are not what their format says.
    """
    version = facts.get("format")
    if version != FORMAT and (type(version) is not int or version not in UPGRADES):
        raise InputError(
            where,
            "the prepared model must be of a known format",
            found=repr(version),
            allowed=", ".join(str(known) for known in (*UPGRADES, FORMAT)),
            next_step="prepare the model again with this version",
        )
    while facts["format"] != FORMAT:
        facts = UPGRADES[facts["format"]](copy.deepcopy(facts), tensors, digest)
    return facts


def _one_to_two(facts: Facts, tensors: Mapping[str, Tensor], digest: str) -> Facts:
    """Calibration set all scales at once, so one that left its placeholder 1.0 speaks for all."""
    quantizers = dict(_quantizers(facts))
    free = [path for path, config in quantizers.items() if config["fixed_scale"] is None]
    chosen = any(bool(torch.any(tensors[f"{path}.scale"] != 1.0)) for path in free)
    for config in quantizers.values():
        config["calibrated"] = chosen or config["fixed_scale"] is not None
    return {**facts, "format": 2, "tensors_sha256": digest}


def _two_to_three(facts: Facts, tensors: Mapping[str, Tensor], digest: str) -> Facts:
    """Every layer had bias codes on the scale ``s_x s_w``."""
    for module in facts["graph"]["modules"].values():
        if module["type"] == "QuantizedLinear":
            config = module["config"]
            config["bias"] = {"bits": config.pop("bias_bits")}
    return {**facts, "format": 3}


def _three_to_four(facts: Facts, tensors: Mapping[str, Tensor], digest: str) -> Facts:
    """The profile says which scales are powers of two; one that learned as a real number stops."""
    learned = set(facts["learned"])
    for path, config in _quantizers(facts):
        batched = not path.endswith(WEIGHT_QUANTIZER)
        section = facts["profile"]["activation" if batched else "weight"]
        config["lattice"] = _lattice(section)
        learned -= {f"{path}.scale"} if config["lattice"] else set()
        config["batched"], config["learns_exponent"] = batched, False
    return {**facts, "format": 4, "learned": sorted(learned)}


def _four_to_five(facts: Facts, tensors: Mapping[str, Tensor], digest: str) -> Facts:
    """Nothing said that a model had been trained around the statistics that it has."""
    for module in facts["graph"]["modules"].values():
        if module["type"] == "QuantizedLinear":
            module["config"]["frozen_statistics"] = False
    return {**facts, "format": 5}


def _lattice(section: Mapping[str, Any]) -> dict[str, int] | None:
    if section["scale_form"] != ScaleForm.POW2:
        return None
    low, high = section["scale_exp_range"] or FLOAT32_EXPONENTS
    return {"low": low, "high": high}


def _quantizers(facts: Facts) -> Iterator[tuple[str, Facts]]:
    """Module path and configuration of every quantizer, those inside layers included."""
    for path, module in facts["graph"]["modules"].items():
        if module["type"] == "FakeQuantize":
            yield path, module["config"]
        if module["type"] == "QuantizedLinear":
            yield f"{path}{WEIGHT_QUANTIZER}", module["config"]["weight_quantizer"]


UPGRADES: dict[int, Upgrade] = {
    1: _one_to_two, 2: _two_to_three, 3: _three_to_four, 4: _four_to_five,
}  # fmt: skip
"""Format to the function that brings it to the next."""
