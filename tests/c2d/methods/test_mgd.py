"""MGD: the drawn cells, the slow reference, an image without boxes, what the term reaches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.methods.base import Context
from c2d.methods.mgd import MGD, MGDParams, generated_distance, kept_cells
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import deviation, stage, touched, without_adapters
from tests.reference import mgd_reference


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the term and its gradient in production from the literal one in fp64."""
    play = stage("mgd", student, size=48, levels=(8, 16), wide=student == "retinanet")
    view = play.view()
    masks = [sight.heat for sight in play.method.visualize(view)]  # the cells that `forward` draws next
    terms, _ = play.method(view)
    exact = copy.deepcopy(play.method).double()
    raw = [s.detach().double().requires_grad_() for s in view.student.neck[1:]]
    theirs = mgd_reference.mgd(
        [phi(s) for phi, s in zip(exact.phi.phi, raw, strict=True)], [t.double() for t in view.teacher.neck[1:]], masks,
        [mgd_reference.Generator(gen[0].weight, gen[0].bias, gen[2].weight, gen[2].bias) for gen in exact.gen],
    )  # fmt: skip
    return deviation(terms["gen"].value, view.student.neck[1:], theirs, raw)


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


def test_unit_difference_counts_the_elements_of_an_image() -> None:
    assert float(generated_distance(torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5))) == 60


def test_cells_are_blanked_with_the_given_probability() -> None:
    mask = kept_cells(torch.Size((2, 7, 200, 300)), 0.65, torch.Generator().manual_seed(0))
    assert mask.shape == (2, 1, 200, 300)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert float(1 - mask.mean()) == pytest.approx(0.65, abs=0.01)
    assert not torch.equal(mask[0], mask[1])
    assert kept_cells(torch.Size((1, 1, 9, 9)), 0.0, torch.Generator()).all()
    assert not kept_cells(torch.Size((1, 1, 9, 9)), 1.0, torch.Generator()).any()


def test_cells_follow_from_the_step_alone() -> None:
    play = stage("mgd")
    values = []
    for iteration in (0, 0, 1):
        play.model.iteration = iteration
        values.append(float(play.losses()["kd_mgd_gen_raw"]))
    assert values[0] == values[1] != values[2]


def test_student_equals_teacher_is_zero_only_without_a_mask_and_a_generator() -> None:
    play = without_adapters(stage("mgd", same=True, pad=0, lambda_mask=0.0))
    play.model.eval()  # one network, one mode
    assert float(play.terms()["gen"].detach()) > 1
    play.method.gen = nn.ModuleList(nn.Identity() for _ in play.method.gen)
    assert float(play.terms()["gen"].detach()) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("mgd", name)
    found = touched(play.model, play.terms()["gen"])
    assert any(n.startswith("student.backbone") for n in found)
    assert not any("head" in n for n in found)
    p = play.method.params
    assert (p.alpha, p.lambda_mask) == ((5e-7, 0.45) if name in ("faster", "cascade") else (2e-5, 0.65))


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
@pytest.mark.parametrize("share", [0.65, 1.0])
def test_every_weight_takes_part_whatever_is_drawn(counts: Any, share: float) -> None:
    play = stage("mgd", counts=counts, lambda_mask=share)
    terms, seen = play.method(play.view())
    terms["gen"].value.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters())
    assert all(w.grad is None for w in play.model.teachers.detector.network.parameters())
    assert float(seen["kept"]) == pytest.approx(1 - share, abs=0.1)


def test_nothing_is_trained_without_a_weight() -> None:
    play = stage("mgd", alpha=0.0)
    assert play.terms() == {}
    assert not list(play.method.parameters())


def test_other_families_are_paired_and_sights_are_the_cells() -> None:
    play = stage("mgd", "faster", "retinanet", levels=(8, 16))
    assert set(play.terms()) == {"gen"}
    assert [tuple(s.heat.shape) for s in play.method.visualize(play.view())] == [(2, 12, 12), (2, 6, 6)]


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match=r"mgd: no level of stride 128 .* closest that both have: .*stride 16"):
        stage("mgd", levels=(128,))
    with pytest.raises(InputError, match="mgd needs a detector teacher"):
        MGD(MGDParams(), Context(3))
