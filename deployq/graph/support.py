"""Does deployq prepare models for a profile today? For lists; preparation itself refuses."""

from __future__ import annotations

from dataclasses import dataclass

from deployq.errors import ProfileError
from deployq.graph.obeyed import refuse_unobeyed
from deployq.graph.simulated import unsimulated_operators
from deployq_targets import TargetProfile

ESSENTIAL = ("Conv", "Gemm")
"""Without all of these no network is left."""


@dataclass(frozen=True)
class Support:
    """Whether a model can be prepared for a target.

    Args:
        prepared: models are prepared, save those with an operator of ``refused``.
        reason: the first word that stands in the way; "" where nothing does.
        refused: operators whose arithmetic the simulator does not carry.
    """

    prepared: bool
    reason: str
    refused: tuple[str, ...]

    def __str__(self) -> str:
        if not self.prepared:
            return f"no: {self.reason}"
        return f"yes, without {', '.join(self.refused)}" if self.refused else "yes"


def support(profile: TargetProfile) -> Support:
    """What preparation does with a profile, without a model."""
    try:
        refuse_unobeyed(profile)
    except ProfileError as error:
        key = error.where.removeprefix(f"{profile.name}: ")
        return Support(False, f"{key} = {error.found}", ())
    refused = unsimulated_operators(profile)
    essential = [operator for operator in ESSENTIAL if operator in refused]
    if len(essential) == len(ESSENTIAL):
        return Support(False, refused[essential[0]].partition(", ")[0], tuple(refused))
    return Support(True, "", tuple(refused))
