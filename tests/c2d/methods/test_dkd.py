"""DKD: paper and pencil, the slow reference, its sum with weights is ordinary distillation, student equals teacher."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.methods.dkd import decoupled_kl, split_logits
from tests.c2d.methods.tiny_setup import deviation, stage, touched
from tests.reference import dkd_reference as literal


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_three_classes_by_hand() -> None:
    # Teacher (1/2, 1/4, 1/4), student (1/4, 1/4, 1/2); target is the first.
    z_t, z_s = torch.tensor([[2.0, 1, 1]]).log(), torch.tensor([[1.0, 1, 2]]).log()
    target, others = decoupled_kl(z_s, z_t, torch.tensor([0]), 1.0)
    assert float(target) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), rel=1e-6)
    assert float(others) == pytest.approx(0.5 * math.log(0.5 * 3) + 0.5 * math.log(0.5 * 1.5), rel=1e-6)
    own, beside, rest = split_logits(z_s, torch.tensor([2]))
    assert (own.exp().tolist(), rest.exp().tolist()) == ([pytest.approx(0.5)], [pytest.approx(0.5)])
    assert beside.exp()[0].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_the_formulas_equal_the_reference_and_add_up_to_ordinary_distillation(T: float) -> None:
    z_s, z_t, y = noise(6, 4).requires_grad_(), noise(6, 4, seed=1), torch.tensor([0, 1, 2, 3, 3, 0])
    ours = [part.mean() for part in decoupled_kl(z_s, z_t, y, T)]
    for mine, theirs in zip(ours, literal.terms(z_s, z_t, y, T), strict=True):
        assert deviation(mine, [z_s], theirs, [z_s]) < 1e-10
    target, others = decoupled_kl(z_s, z_t, y, T)
    rest = 1 - (z_t / T).softmax(1).gather(1, y[:, None])[:, 0]
    whole = [literal.ordinary_kd(s, t, T) for s, t in zip(z_s, z_t, strict=True)]
    torch.testing.assert_close(target + rest * others, torch.stack(whole))


def test_logits_of_a_thousand_stay_finite() -> None:
    z = torch.tensor([[1000.0, 0, -1000]], requires_grad=True)
    target, others = decoupled_kl(z, torch.tensor([[-1000.0, 0, 1000]]), torch.tensor([0]), 1.0)
    assert torch.isfinite(target + others).all()
    assert torch.isfinite(torch.autograd.grad((target + others).sum(), z)[0]).all()


def parity(student: str = "faster") -> float:
    """Largest relative deviation of the trained terms and their gradients from the reference."""
    play = stage("dkd", student, size=64)
    view = play.view()
    s, t = view.student.rois, view.teacher.rois
    assert s is not None
    assert t is not None
    assert torch.equal(s.rois, t.rois)
    assert {0, 1} <= {int(one) for one in s.rois[:, 0]}  # both images, the one without boxes too
    assert bool((s.labels == 3).any())
    assert bool(s.positive.any())
    logits = s.logits.detach().requires_grad_()
    view.student = replace(view.student, rois=replace(s, logits=logits))
    terms, seen = play.method(view)
    exact = logits.detach().double().requires_grad_()
    theirs = literal.terms(exact, t.logits.double(), s.labels)
    pairs = zip(("tckd", "nckd"), theirs, strict=True)
    worst = max(deviation(terms[name].value, [logits], value, [exact]) for name, value in pairs)
    assert (terms["tckd"].weight, terms["nckd"].weight) == (1.0, 0.25)
    assert float(seen["rois"]) == len(s.rois)
    probability = t.logits.softmax(1)[torch.arange(len(s.labels)), s.labels].mean()
    assert float(seen["teacher_target"]) == pytest.approx(float(probability), rel=1e-5)
    return worst


@pytest.mark.parametrize("student", ["faster", "cascade"])
def test_what_is_trained_equals_the_reference(student: str) -> None:
    assert parity(student) < 1e-4


@pytest.mark.parametrize("student", ["faster", "cascade"])
def test_student_equals_teacher_gives_zero(student: str) -> None:
    assert all(
        float(value.detach()) == pytest.approx(0, abs=1e-7)
        for value in stage("dkd", student, same=True).terms().values()
    )


def test_the_class_layer_is_taught_and_the_boxes_are_not() -> None:
    play = stage("dkd", "faster")
    for value in play.terms().values():
        found = touched(play.model, value)
        assert any("fc_cls" in name for name in found)
        assert not any("fc_reg" in name or "rpn_head" in name for name in found)
        assert any(name.startswith("student.backbone") for name in found)


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes_teach_their_background(counts: tuple[int, ...]) -> None:
    play = stage("dkd", "faster", counts=counts)
    losses = play.losses()
    for term, weight in (("tckd", 1.0), ("nckd", 0.25)):
        value = losses[f"loss_kd_dkd_{term}"]
        assert torch.isfinite(value)
        assert float(value.detach()) > 0
        assert float(value.detach()) == pytest.approx(weight * float(losses[f"kd_dkd_{term}_raw"]))


def test_one_class_has_nothing_beside_the_target() -> None:
    target, others = decoupled_kl(noise(5, 2), noise(5, 2, seed=1), torch.tensor([0, 1, 1, 0, 1]), 1.0)
    assert float(target.min()) > 0
    assert others.tolist() == [0] * 5
    play = stage("dkd", "faster")
    play.method.other_classes = False
    assert set(play.terms()) == {"tckd"}


@pytest.mark.parametrize("off", ["alpha", "beta"])
def test_weight_zero_leaves_a_term_out(off: str) -> None:
    switched: dict[str, Any] = {off: 0.0}
    assert set(stage("dkd", "faster", **switched).terms()) == {{"alpha": "nckd", "beta": "tckd"}[off]}


def test_visualizations_are_the_rois() -> None:
    play = stage("dkd", "faster")
    view = play.view()
    objects, background = play.method.visualize(view)
    assert view.student.rois is not None
    count = sum(len(boxes) for one in (objects, background) for boxes in one.boxes or [])
    assert count == len(view.student.rois.rois)
    assert len((objects.boxes or [])[1]) == 0


def test_a_teacher_without_a_second_stage_is_refused() -> None:
    with pytest.raises(InputError, match="dkd compares second stages; teacher"):
        stage("dkd", "faster", "retinanet")
