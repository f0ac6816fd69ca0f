"""What a target refuses of layers: too much of them, wide biases."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.layer_placement import macs_of
from deployq.graph.operators import aten, onnx_type
from deployq.graph.rewrites.rule import argument
from deployq.graph.sites import Site
from deployq.graph.tensors import read_tensor
from deployq_targets import TargetProfile

POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")


def check_layers(
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], profile: TargetProfile
) -> None:
    """Refuse what the layers of a network may not be on a target.

    Raises:
        UnsupportedError: with the name of the layer or the sum.
    """
    _check_totals(module, sites, profile)
    for site in sites.values():
        if site.kind == "linear":
            _check_bias_channels(site, profile)


def _check_totals(
    module: fx.GraphModule, sites: Mapping[fx.Node, Site], profile: TargetProfile
) -> None:
    """Layers, parameters and multiply-accumulates of the whole network are within [limits]."""
    layers = [site.core for site in sites.values() if site.kind == "linear"]
    pools = [node for node in module.graph.nodes if onnx_type(module, node) in POOLS]
    totals = {
        "max_layers": len(layers) + len(pools),
        "max_params": sum(_parameters(module, core) for core in layers),
        "max_macs": sum(map(macs_of, layers)),
    }
    for key, total in totals.items():
        limit = getattr(profile.limits, key)
        if limit is not None and total > limit:
            raise UnsupportedError(
                f"{profile.name}: limits.{key}",
                "a network stays within the limits of its target",
                found=str(total),
                allowed=f"up to {limit}",
                next_step="make the network smaller, or choose another target",
            )


def _parameters(module: fx.GraphModule, core: fx.Node) -> int:
    """Weights, and a bias for each output channel."""
    return read_tensor(module, argument(core, 1, "weight")).numel() + _channels(core)


def _channels(core: fx.Node) -> int:
    """Output channels: axis 1 of a map, the last axis of a fully connected layer."""
    value = core.meta["val"]
    return int(value.shape[-1 if core.target is aten.linear.default else 1])


def _check_bias_channels(site: Site, profile: TargetProfile) -> None:
    """Every layer has few enough channels: the file has a bias for each, zeros where none was."""
    limit, channels = profile.bias.max_channels, _channels(site.core)
    if limit is not None and channels > limit:
        raise UnsupportedError(
            site.name,
            f"a layer with a bias has at most bias.max_channels output channels on {profile.name}",
            found=str(channels),
            allowed=f"up to {limit}",
            next_step="split the layer over its outputs",
        )
