"""Sixty families of convolutional networks in timm, the smallest variant of each.

The list was fixed before any of them had been prepared. Each model file of timm for convolutional
networks gives one; a file with several published families gives several. Left out: hybrids with
attention, networks named after their token mixer (metaformer, focalnet, mambaout, fastvit), and
near relatives of what is here (spnasnet, tinynet, cspresnet, mobilenet_edgetpu). Size: the smallest
of 64, 96 and 128 pixels that the network accepts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One architecture.

    Args:
        model: timm's name of it.
        size: height and width of the input in pixels.
    """

    model: str
    size: int = 64


_LARGER = {"inception_resnet_v2": 96, "inception_v3": 96, "inception_v4": 96}

FAMILIES = tuple(
    Family(model, _LARGER.get(model, 64))
    for model in (
        "gernet_s", "mobileone_s0", "repvgg_a0", "regnetz_b16",  # byobnet
        "convmixer_768_32",
        "convnext_atto", "convnextv2_atto",
        "cs3darknet_focus_s", "darknet17",  # cspnet
        "cspnext_tiny",
        "densenet121",
        "dla46_c",
        "dpn48b",
        "efficientnet_b0", "efficientnet_lite0", "efficientnetv2_rw_t", "fbnetc_100",
        "mixnet_s", "mnasnet_small", "mobilenetv1_100",
        "mobilenetv2_035",  # efficientnet
        "fasternet_t0",
        "ghostnet_050", "ghostnetv2_100",
        "hardcorenas_a",
        "hgnet_tiny",
        "hrnet_w18_small",
        "inception_next_atto",
        "inception_resnet_v2",
        "inception_v3",
        "inception_v4",
        "lcnetv2_small",
        "fbnetv3_b", "lcnet_035", "mobilenetv3_small_050", "mobilenetv4_conv_small_035",
        "nasnetalarge",
        "nf_resnet26",
        "pnasnet5large",
        "rdnet_tiny",
        "regnetx_002", "regnety_002",
        "repghostnet_050",
        "repvit_m0_9",
        "res2net50_14w_8s",
        "resnest14d",
        "resnet10t", "resnext50_32x4d", "ecaresnet26t",  # resnet
        "resnetv2_18",
        "rexnet_100",
        "selecsls42b",
        "legacy_seresnet18",
        "skresnet18",
        "starnet_s050",
        "tresnet_m",
        "vgg11_bn",
        "ese_vovnet19b_slim_dw",
        "legacy_xception",
        "xception41",
    )
)  # fmt: skip
