"""A loss without gradient is an error that names loss, layer and rank; one with gradient is checked once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from c2d.core.errors import RunError
from c2d.distillation.gradient_check import PATIENCE, GradientCheck


def setting() -> tuple[nn.Linear, nn.Linear, dict[str, str]]:
    torch.manual_seed(0)
    teacher = nn.Linear(2, 1).requires_grad_(False)
    return nn.Linear(2, 1), teacher, {"loss_kd_icod_feat": "icod: feat"}


def check(
    gradient_check: GradientCheck, value: torch.Tensor, student: nn.Module, teacher: nn.Module, layers: dict[str, str]
) -> None:
    gradient_check.check({"loss_kd_icod_feat": value}, student, [teacher], layers)


def test_a_term_with_gradients_is_checked_once() -> None:
    student, teacher, layers = setting()
    gradient_check = GradientCheck()
    check(gradient_check, student(torch.ones(1, 2)).square().sum(), student, teacher, layers)
    assert gradient_check.passed == {"loss_kd_icod_feat"}
    assert student.weight.grad is None  # looking leaves no gradient behind
    check(gradient_check, torch.tensor(0.0), student, teacher, layers)


@pytest.mark.parametrize(
    ("dead", "fault"),
    [
        (lambda student: student(torch.ones(1, 2)).sum() * 0, "is exactly 0"),
        (lambda student: torch.tensor(3.0), "has no graph"),
        (lambda student: torch.ones((), requires_grad=True) * 3, "gives the student no gradient"),
    ],
)
def test_a_term_without_gradients_stops_the_run_after_some_steps(dead, fault: str) -> None:
    student, teacher, layers = setting()
    gradient_check = GradientCheck(rank=1)
    for _ in range(PATIENCE - 1):
        check(gradient_check, dead(student), student, teacher, layers)
    message = rf"loss_kd_icod_feat \(icod: feat, rank 1\) {fault} in its first {PATIENCE}"
    with pytest.raises(RunError, match=message) as caught:
        check(gradient_check, dead(student), student, teacher, layers)
    assert caught.value.failure_class == "config"


def test_nan_is_not_waited_for() -> None:
    student, teacher, layers = setting()
    with pytest.raises(RunError, match="is nan in its first step") as caught:
        check(GradientCheck(), student(torch.full((1, 2), float("nan"))).sum(), student, teacher, layers)
    assert caught.value.failure_class == "nan"


def test_a_teacher_that_learns_is_an_error() -> None:
    student, teacher, layers = setting()
    teacher.requires_grad_(True)
    with pytest.raises(RunError, match="teacher weight weight receives a gradient"):
        check(GradientCheck(), student(torch.ones(1, 2)).sum(), student, teacher, layers)
