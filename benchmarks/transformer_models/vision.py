"""Transformers of timm and their kin, one an architecture, cut to a few blocks where timm can.

The list was fixed before any of them had been exported. Left out: architectures without a
constructor for small images, and near relatives of what is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from benchmarks import torchvision_shapes
from benchmarks.data import Floats
from benchmarks.transformer_models.weights import GAIN, draw_wider

SMALL_FACTOR = 0.01
"""A factor of a branch that begins below this stands for 1."""


@dataclass(frozen=True)
class Cut:
    """One architecture.

    Args:
        size: height and width of the input in pixels.
        options: what timm's constructor takes beside the name.
        gain: of random weights; see :func:`draw_wider`.
        normed: images that BatchNorm has its statistics of; a few are far from others' where maps
            end in few cells.
        factors: on parameters, by the end of their name: at a temperature of 1 the shares of 32
            cosines are uniform, and a class token is nothing beside the tokens it joins late.
    """

    size: int = 64
    options: Mapping[str, Any] = field(default_factory=dict)
    gain: float = GAIN
    normed: int = 32
    factors: Mapping[str, float] = field(default_factory=dict)


def _plain(size: int = 96, **options: Any) -> Cut:
    """Two blocks, where the constructor knows the size of an image and their number."""
    return Cut(size, {"img_size": size, "depth": 2, **options})


_STAGES = {"depths": (1, 1, 1, 1)}
_WINDOWS = {"img_size": 64, "depths": (2, 2), "num_heads": (3, 6)}

NETWORKS: Mapping[str, Cut] = {
    "vit_tiny_patch16_224": _plain(),
    "vit_relpos_small_patch16_224": _plain(),
    "vit_base_patch16_rope_reg1_gap_256": _plain(embed_dim=96, num_heads=3),
    "deit_tiny_distilled_patch16_224": _plain(),
    "deit3_small_patch16_224": _plain(),
    "beit_base_patch16_224": _plain(embed_dim=96, num_heads=3),
    "cait_xxs24_224": _plain(),
    "eva02_tiny_patch14_224": _plain(98),
    "xcit_nano_12_p16_224": replace(_plain(), factors={"temperature": 4.0}),
    "tnt_s_legacy_patch16_224": _plain(),
    "convit_tiny": _plain(depth=3, local_up_to_layer=2),
    "swin_tiny_patch4_window7_224": Cut(64, {**_WINDOWS, "window_size": 4, "embed_dim": 48}),
    "swinv2_tiny_window8_256": Cut(64, {**_WINDOWS, "window_size": 4, "embed_dim": 48}),
    "swinv2_cr_tiny_ns_224": Cut(64, {**_WINDOWS, "embed_dim": 48}),
    "pit_ti_224": Cut(64, {"img_size": 64}),
    "levit_128s": Cut(128, {"img_size": 128, "depth": (1, 1, 1)}, normed=200),
    "mixer_s16_224": Cut(64, {"img_size": 64}),
    "resmlp_12_224": Cut(64, {"img_size": 64}),
    "coat_tiny": Cut(64, {"img_size": 64, "serial_depths": (1, 1, 1, 1), "parallel_depth": 1}),
    "crossvit_tiny_240": Cut(240),
    "twins_pcpvt_small": Cut(64, {"img_size": 64, **_STAGES}),
    "twins_svt_small": Cut(64, {"img_size": 64, "depths": (1, 1, 2, 1)}),
    "pvt_v2_b0": Cut(64, _STAGES),
    "poolformer_s12": Cut(),
    "caformer_s18": Cut(),
    "davit_tiny": Cut(64, _STAGES, gain=1.0),  # attention of channels sums over all positions
    "mobilevit_xxs": Cut(128),
    "mobilevitv2_050": Cut(128),
    "efficientformer_l1": Cut(224),
    "edgenext_xx_small": Cut(64, {"depths": (1, 1, 2, 1)}, factors={"temperature": 4.0}),
    "coatnet_pico_rw_224": Cut(64, {"img_size": 64}),
    "volo_d1_224": Cut(64, {"img_size": 64}, factors={"cls_token": 50.0}),
    "visformer_tiny": Cut(64, {"img_size": 64, "depth": (2, 1, 1)}),
    "nest_tiny": Cut(64, {"img_size": 64}),
    "gcvit_xxtiny": Cut(64, {"img_size": 64}),
    "sequencer2d_s": Cut(64, {"img_size": 64, "layers": (1, 1, 1, 1)}),
}


def network(name: str, images: Floats) -> nn.Module:
    """Random weights (seed 0), BatchNorm statistics of ``images``, in evaluation mode.

    Factors of branches that timm starts at 0 or next to it become 1: a branch that does nothing
    shows nothing of how it is computed.

    Args:
        name: of :data:`NETWORKS`.
        images: (N, 3, H, W), of which the first are taken.
    """
    with torchvision_shapes.skipped():
        import timm
    torch.manual_seed(0)
    cut = NETWORKS[name]
    model: nn.Module = timm.create_model(name, pretrained=False, drop_rate=0.0, **cut.options)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    for key, parameter in model.named_parameters():
        if bool(parameter.abs().max() < SMALL_FACTOR) and not key.endswith(("bias", "beta")):
            nn.init.ones_(parameter)
    draw_wider(model, cut.gain)
    for key, parameter in model.named_parameters():
        parameter.data *= math.prod(f for end, f in cut.factors.items() if key.endswith(end))
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(images[: cut.normed]))
    return model.eval()
