"""FitNets: paper and pencil, the slow reference, student equals teacher, an image without boxes."""

from __future__ import annotations

import pytest
import torch

from c2d.methods.fitnets import normalised_hint, plain_hint
from tests.c2d import tiny_detectors
from tests.c2d.methods.neck_parity import neck_parity
from tests.c2d.methods.tiny_setup import stage, touched, without_adapters
from tests.reference import fitnets_reference


def test_unit_difference_is_a_half() -> None:
    assert float(plain_hint(torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5))) == 0.5


@pytest.mark.parametrize("normalised", [False, True])
def test_equals_the_reference_in_value_and_gradient(normalised: bool) -> None:
    play = stage("fitnets", normalised=normalised)
    view = play.view()
    pairs = play.method.phi(view.student, view.teacher)
    adapted = [(s.detach().double().requires_grad_(), t.double()) for s, t in pairs]
    ours, theirs = (
        torch.stack([(normalised_hint if normalised else plain_hint)(s, t) for s, t in adapted]).mean(),
        (fitnets_reference.normalised_hint if normalised else fitnets_reference.hint)(
            [s for s, _ in adapted], [t for _, t in adapted]
        ),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(play.terms()["hint"].double(), ours, rtol=1e-5, atol=1e-7)
    maps = [s for s, _ in adapted]
    for a, b in zip(torch.autograd.grad(ours, maps), torch.autograd.grad(theirs, maps), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("fitnets", name)
    found = touched(play.model, play.terms()["hint"])
    assert any(n.startswith("student.backbone") for n in found)
    assert not any("head" in n for n in found)
    assert any(n.startswith("distillers.fitnets.phi") for n in found)


def test_student_equals_teacher_gives_zero() -> None:
    play = without_adapters(stage("fitnets", same=True, pad=0))
    play.model.eval()  # one network, one mode
    assert float(play.terms()["hint"].detach()) == pytest.approx(0, abs=1e-10)


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the production's fp32 terms, values and gradients, from the fp64 reference."""
    forms = {False: fitnets_reference.hint, True: fitnets_reference.normalised_hint}
    return max(
        neck_parity("fitnets", "hint", "phi", reference, student, normalised=normalised)
        for normalised, reference in forms.items()
    )


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_parity(student: str) -> None:
    assert parity(student) < 1e-5


def test_weight_0_leaves_the_method_out() -> None:
    play = stage("fitnets", lambda_hint=0)
    for _ in range(6):  # longer than the patience of the check for dead terms
        assert not [key for key in play.losses() if "kd" in key]
    assert not list(play.method.parameters())
