"""Rules between the figures of the machine."""

from __future__ import annotations

from collections.abc import Iterator

from deployq_targets.profile import TargetProfile
from deployq_targets.rules.clash import Clash
from deployq_targets.words import BlockPart


def every_product_has_its_figures(profile: TargetProfile) -> Iterator[Clash]:
    """What the profile states of products, it states of each of them, in their order."""
    align = profile.align
    count = len(align.products) or 1
    for name, stated in (
        ("product_uses", align.product_uses),
        ("block_inputs", align.block_inputs),
    ):
        if stated and len(stated) != count:
            yield Clash(f"align.{name}", f"{len(stated)} of them", f"{count}, as align.products")


def buffers_belong_to_blocks(profile: TargetProfile) -> Iterator[Clash]:
    """Buffers belong to blocks; inputs and sums share one or have one each."""
    buffers = profile.memory.block_buffers
    if profile.align.block is None and buffers:
        yield Clash("memory.block_buffers", ", ".join(buffers), "nothing without align.block")
    if BlockPart.TOGETHER in buffers and len(buffers) > 1:
        allowed = "together, or inputs and sums"
        yield Clash("memory.block_buffers", ", ".join(buffers), allowed)


RULES = (every_product_has_its_figures, buffers_belong_to_blocks)
