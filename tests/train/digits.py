"""A tiny digits network that every target takes, and short training on a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq.graph.capture import capture
from deployq.graph.preparation import PreparedModel, prepare_graph
from deployq.graph.recipe import Recipe
from deployq_calibration import calibrate_model
from deployq_targets import TargetProfile, load_profile
from examples.digits import digits, fit
from tests.graph.networks import Net, conv, profile_with

PROFILES: dict[str, Callable[[], TargetProfile]] = {
    "int4-npu": lambda: load_profile("int4-npu"),
    "lowbit-vlsi": lambda: load_profile("lowbit-vlsi"),
    "int2-vlsi": lambda: load_profile("int2-vlsi"),
    "max78000": lambda: load_profile("max78000"),
    "around-128": lambda: profile_with(  # as ryzenai-xint8, whose arithmetic is the vendor's own
        "lowbit-vlsi", activation__bits=[8], activation__types=["u8"], activation__zero_point="mid",
        activation__scale_form="pow2", activation__scale_exp_range=[-12, -1],
        weight__granularity=["tensor"], weight__axis={}, weight__scale_form="pow2",
        requant__kind="shift", requant__multiplier_bits=None, requant__shift_max=16,
        requant__by_op={},
    ),
}  # fmt: skip
"""One of each form: any scale, short multipliers, a shared shift, powers of two of two kinds."""


@cache
def data() -> tuple[Tensor, Tensor]:
    """256 images and labels."""
    images, labels = digits()
    return torch.from_numpy(images[:256]), torch.from_numpy(labels[:256])


def _body(m: Net, x: Tensor) -> Tensor:
    x = F.relu(m.norm_a(m.a(x)))
    x = F.max_pool2d(F.relu(m.norm_b(m.b(x))), 2)
    return m.head(x.flatten(1))


@cache
def trained() -> Net:
    """The float network after three epochs."""
    torch.manual_seed(0)
    net = Net(
        _body, a=conv(1, 8), norm_a=nn.BatchNorm2d(8), b=conv(8, 8), norm_b=nn.BatchNorm2d(8),
        head=nn.Linear(128, 10),
    )  # fmt: skip
    x, y = data()
    fit(net, net.parameters(), x.numpy(), y.numpy(), rate=2e-2, epochs=3)
    return net.eval()


def prepared_on(profile: TargetProfile, recipe: Recipe | None = None) -> PreparedModel:
    """Prepared and calibrated."""
    prepared = prepare_graph(capture(trained(), [data()[0][:2]]), profile, recipe)
    calibrate_model(prepared, lambda: [(data()[0],)], activations="minmax")
    return prepared


def train_on(
    prepared: PreparedModel,
    parameters: Iterable[nn.Parameter] | None = None,
    *,
    steps: int = 8,
    rate: float = 3e-3,
    after: Callable[[], object] = lambda: None,
) -> list[float]:
    """Losses of some steps of Adam on all images at once; the network ends in evaluation mode.

    Without ``parameters`` all learn, exponents at a rate that takes them to other powers.
    """
    named = [*prepared.module.named_parameters()]
    exponents = [p for name, p in named if name.endswith(".exponent")]
    rest = [p for name, p in named if p.requires_grad and not name.endswith(".exponent")]
    groups = [{"params": rest}, {"params": exponents, "lr": 0.12}]
    optimizer = torch.optim.Adam(groups if parameters is None else parameters, rate)
    x, y = data()
    prepared.module.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(prepared.module(x), y)
        loss.backward()
        optimizer.step()
        after()
        losses.append(float(loss.detach()))
    prepared.module.eval()
    return losses
