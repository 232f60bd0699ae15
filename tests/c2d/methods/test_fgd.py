"""FGD: the worked boxes, the slow reference, student equals teacher, images without boxes, what every term reaches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.methods.base import Context
from c2d.methods.fgd import FGD, FGDParams, attended, attention_distance, background, foreground, relation_distance
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import Stage, deviation, stage, touched, without_adapters
from tests.reference import fgd_reference

TERMS = {"fg", "bg", "att", "rel"}


def disturbed(play: Stage) -> Stage:
    """Layers away from their starting point, whose zeros would hide half of a context block."""
    numbers = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in play.method.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=numbers))
    return play


def literal(block: Any) -> fgd_reference.GlobalContext:
    return fgd_reference.GlobalContext(
        block.mask.weight.flatten(), block.mask.bias[0], block.reduce.weight, block.reduce.bias, block.norm.weight,
        block.norm.bias, block.expand.weight, block.expand.bias, block.norm.eps,
    )  # fmt: skip


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the terms and their gradients in production from the literal ones in fp64."""
    play = disturbed(stage("fgd", student, size=48))
    view = play.view()
    terms, _ = play.method(view)
    exact = copy.deepcopy(play.method).double()
    raw = [s.detach().double().requires_grad_() for s in view.student.neck]
    theirs = fgd_reference.fgd(
        [phi(s) for phi, s in zip(exact.phi.phi, raw, strict=True)], [t.double() for t in view.teacher.neck],
        view.batch.boxes, view.batch.sizes, [literal(gc) for gc in exact.gc_s], [literal(gc) for gc in exact.gc_t],
        temperature=play.method.params.T,
    )  # fmt: skip
    assert set(terms) == set(theirs) == TERMS
    return max(deviation(terms[name].value, view.student.neck, theirs[name], raw) for name in TERMS)


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


@pytest.mark.parametrize("frame", ["authors", "padded"])
def test_both_frames_give_the_masks_of_the_reference(frame: str) -> None:
    play = stage("fgd", counts=(5, 2), frame=frame)
    view = play.view()
    for sight in play.method.visualize(view)[::2]:
        for fg, boxes, size in zip(sight.heat, view.batch.boxes, view.batch.sizes, strict=True):
            theirs = fgd_reference.foreground_mask(boxes, size if frame == "authors" else (96, 96), tuple(fg.shape))
            torch.testing.assert_close(fg.double(), theirs, rtol=1e-6, atol=0)
            torch.testing.assert_close(background(fg[None])[0].double(), fgd_reference.background_mask(theirs))


def masks(boxes: list[list[float]], frame: tuple[int, int] = (64, 64)) -> tuple[Tensor, Tensor]:
    """Foreground and background (8, 8) of one image."""
    rows = torch.tensor(boxes).reshape(-1, 4)
    fg = foreground(rows, torch.zeros(len(rows), dtype=torch.long), torch.tensor([frame]).float(), 8, 8)
    return fg[0], background(fg)[0]


def test_masks_of_worked_boxes() -> None:
    fg, bg = masks([[8, 8, 23, 31]])
    assert int((fg > 0).sum()) == 12
    assert float(fg[1, 1]) == pytest.approx(1 / 12)
    assert float(fg.sum()) == pytest.approx(1)
    assert int((bg > 0).sum()) == 52
    assert float(bg.max()) == pytest.approx(1 / 52)
    assert not ((fg > 0) & (bg > 0)).any()
    border, _ = masks([[32, 32, 64, 64]])
    assert int((border > 0).sum()) == 16
    assert float(border.max()) == pytest.approx(1 / 25)
    assert float(border.sum()) == pytest.approx(0.64)


def test_masks_of_overlaps_of_no_box_and_of_an_unpadded_frame() -> None:
    both, none_left = masks([[0, 0, 63, 63], [8, 8, 23, 31]])
    assert float(both[2, 2]) == pytest.approx(1 / 12)
    assert float(both[6, 6]) == pytest.approx(1 / 81)
    assert not none_left.any()
    nothing, everywhere = masks([])
    assert not nothing.any()
    assert torch.equal(everywhere, torch.full((8, 8), 1 / 64))
    stretched, _ = masks([[8, 8, 23, 31]], (64, 32))
    assert (stretched[1:5, 2:7] > 0).all()
    assert float(stretched.max()) == pytest.approx(1 / 20)


def test_terms_of_constants_count_their_masks() -> None:
    t = torch.full((2, 4, 8, 8), 2.0)  # attention is one everywhere
    apart = attended(t + 1, t, 0.5)
    torch.testing.assert_close(apart, torch.full((2, 8, 8), 4.0))
    fg, bg = masks([[8, 8, 23, 31]])
    assert float((fg * apart[0]).sum()) == pytest.approx(4)
    assert float((bg * apart[0]).sum()) == pytest.approx(4)
    assert float(attention_distance(t + 1, t, 0.5)) == pytest.approx(0, abs=1e-5)
    assert float(relation_distance(t + 1, t)) == 4 * 64


def test_relation_is_the_squared_difference_at_first() -> None:
    play = stage("fgd")
    view = play.view()
    apart = sum(float((s - t).detach().square().sum()) for s, t in play.method.phi(view.student, view.teacher))
    assert float(play.method(view)[0]["rel"].value.detach()) == pytest.approx(apart / 2, rel=1e-5)


def test_student_equals_teacher_gives_zero() -> None:
    play = without_adapters(stage("fgd", same=True, pad=0))
    play.model.eval()  # one network, one mode
    assert all(float(value.detach()) == pytest.approx(0, abs=1e-10) for value in play.terms().values())


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("fgd", name)
    terms = play.terms()
    assert set(terms) == TERMS
    for value in terms.values():
        found = touched(play.model, value)
        assert any(n.startswith("student.backbone") for n in found)
        assert not any("head" in n for n in found)
    p = play.method.params
    expected = {"fcos": (0.8, 1.6e-3, 8e-6), "faster": (0.5, 5e-5, 5e-7), "cascade": (0.5, 5e-5, 5e-7)}
    assert (p.T, p.alpha, p.lambda_rel) == expected.get(name, (0.5, 1e-3, 5e-6))


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
@pytest.mark.parametrize("params", [{}, {"alpha": 0.0}, {"beta": 0.0}, {"gamma": 0.0}, {"lambda_rel": 0.0}])
def test_every_weight_takes_part_and_terms_without_weight_do_not(counts: Any, params: dict[str, Any]) -> None:
    play = stage("fgd", counts=counts, **params)
    terms, seen = play.method(play.view())
    assert set(terms) == {term for term, name in FGD.WEIGHTS.items() if name not in params}
    torch.stack([term.value for term in terms.values()]).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters())
    assert all(w.grad is None for w in play.model.teachers.detector.network.parameters())
    assert (float(seen["fg_mask"]) > 0) == any(counts)
    assert float(seen["bg_mask"]) == pytest.approx(1)
    if not any(counts) and "fg" in terms:
        assert float(terms["fg"].value.detach()) == 0


def test_other_families_are_paired_and_sights_are_masks() -> None:
    play = stage("fgd", "faster", "retinanet", levels=(8, 16))
    assert set(play.terms()) == TERMS
    found = play.method.visualize(play.view())
    assert [s.name for s in found[:2]] == ["foreground, stride 8", "attention, stride 8"]
    assert [tuple(s.heat.shape) for s in found] == [(2, 12, 12)] * 2 + [(2, 6, 6)] * 2
    assert not any(s.heat.requires_grad for s in found)


def test_nothing_is_trained_without_weights() -> None:
    play = stage("fgd", alpha=0.0, beta=0.0, gamma=0.0, lambda_rel=0.0)
    assert play.terms() == {}
    assert not list(play.method.parameters())


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match=r"fgd: no level of stride 128 .* closest that both have: .*stride 16"):
        stage("fgd", levels=(128,))
    with pytest.raises(InputError, match="fgd needs a detector teacher"):
        FGD(FGDParams(), Context(3))
