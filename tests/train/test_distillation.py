"""The distillation loss against its formula, and its limits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deployq.errors import InputError
from deployq.train import distillation_loss


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (4.0, 0.3), (2.5, 0.0)])
def test_the_loss_is_the_papers(temperature: float, weight: float) -> None:
    student, teacher = torch.randn(2, 6, 5)
    labels = torch.arange(6) % 5
    p, q = ((z / temperature).double().softmax(1) for z in (teacher, student))
    soft = (p * (p.log() - q.log())).sum() / 6
    hard = -torch.log(student.double().softmax(1)[torch.arange(6), labels]).mean()
    expected = weight * temperature**2 * soft + (1 - weight) * hard
    found = distillation_loss(student, teacher, labels, temperature, weight)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_gradients_reach_the_student_at_the_size_of_one_temperature() -> None:
    """At high temperatures, of centred scores: (student - teacher) / C (Hinton, section 2.1)."""
    student, teacher = (z - z.mean(1, keepdim=True) for z in torch.randn(2, 3, 4))
    student.requires_grad_()
    teacher.requires_grad_()
    distillation_loss(student, teacher, torch.zeros(3, dtype=torch.long), 1000.0, 1.0).backward()
    assert teacher.grad is None and student.grad is not None
    expected = (student - teacher).detach() / 4 / 3
    assert torch.allclose(student.grad, expected, rtol=1e-2, atol=1e-3)


def test_equal_scores_leave_the_labels() -> None:
    scores, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    found = distillation_loss(scores, scores, labels, 4.0, 0.5)
    assert float(found) == pytest.approx(float(F.cross_entropy(scores, labels)) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "match"),
    [((0.0, 0.5), "temperature: .*allowed: above 0"), ((4.0, 1.5), "weight: .*allowed: 0 to 1")],
)
def test_settings_out_of_range_are_refused(settings: tuple[float, float], match: str) -> None:
    with pytest.raises(InputError, match=f"(?s){match}.*next: correct"):
        distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), *settings)
