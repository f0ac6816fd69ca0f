"""Plain sharpness-aware minimization, and what is done between full steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deployq.errors import InputError
from deployq.train import SAM


class Plane(nn.Module):
    """A loss whose maximiser in a ball is known: ``a . w`` rises most along ``a``."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.a = torch.tensor([3.0, 0.0, -4.0])

    def forward(self) -> Tensor:
        return self.a @ self.w


class Bowl(nn.Module):
    """``w . H w / 2``; its gradient at ``w + eps`` is ``H (w + eps)``."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.curvature = torch.tensor([1.0, 10.0])

    def forward(self) -> Tensor:
        return (self.curvature * self.w.square()).sum() / 2


def stepping(net: nn.Module, **settings: object) -> SAM:
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    return SAM(net, optimizer, radius=0.5, **settings)  # type: ignore[arg-type] # of any kind


def run(net: nn.Module) -> Tensor:
    loss: Tensor = net()
    loss.backward()
    return loss


def test_the_direction_is_the_maximiser_of_a_plane() -> None:
    net = Plane()
    step = stepping(net).step(lambda: run(net))
    assert step.perturbed is not None and step.norm is not None
    assert float(step.perturbed - step.loss) == pytest.approx(0.5 * 5.0, rel=1e-6)
    assert float(step.norm) == pytest.approx(5.0)
    assert torch.allclose(net.w, torch.tensor([1.0, -2.0, 0.5]) - 0.01 * net.a)


def test_the_optimizer_takes_the_gradient_of_the_second_pass() -> None:
    net = Bowl()
    plain = net.curvature * net.w.detach()
    moved = net.w.detach() + 0.5 * plain / plain.norm()
    wanted = net.w.detach() - 0.01 * net.curvature * moved
    stepping(net).step(lambda: run(net))
    torch.testing.assert_close(net.w.detach(), wanted)


def test_plain_steps_between_full_ones() -> None:
    net = Bowl()
    sam, passes = stepping(net, every=3), []

    def counted() -> Tensor:
        passes.append(1)
        return run(net)

    counts = []
    for _ in range(6):
        sam.step(counted)
        counts.append(len(passes))
    assert counts == [2, 3, 4, 6, 7, 8]


def test_a_used_perturbation_moves_the_only_pass() -> None:
    net = Bowl()
    sam = stepping(net, every=2, between="reuse")
    plain = net.curvature * net.w.detach()
    move = 0.5 * plain / plain.norm()
    sam.step(lambda: run(net))
    before = net.w.detach().clone()
    step = sam.step(lambda: run(net))
    assert step.perturbed is None
    torch.testing.assert_close(net.w.detach(), before - 0.01 * net.curvature * (before + move))


def test_looksam_turns_the_plain_gradient() -> None:
    net = Bowl()
    sam = stepping(net, every=2, between="looksam", look_rate=0.3)
    plain = net.curvature * net.w.detach()
    sharp = net.curvature * (net.w.detach() + 0.5 * plain / plain.norm())
    across = sharp - (sharp @ plain) / (plain @ plain) * plain
    sam.step(lambda: run(net))
    before = net.w.detach().clone()
    sam.step(lambda: run(net))
    grad = net.curvature * before
    turned = grad + 0.3 * grad.norm() / across.norm() * across
    torch.testing.assert_close(net.w.detach(), before - 0.01 * turned)


def test_a_module_that_learns_nothing() -> None:
    net = Plane().requires_grad_(False)
    with pytest.raises(InputError, match=r"(?s)at least one tensor.*found: none that learns"):
        SAM(net, torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1), radius=0.1)
