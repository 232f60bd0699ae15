"""DeFeat: the worked numbers, the slow reference, student equals teacher, images without boxes, what it touches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.outputs import DetectorOutputs
from c2d.methods.defeat import DeFeat, proposal_losses, region_losses, resized_masks
from c2d.ops.adapters import FeatureAdapter
from c2d.ops.masks import object_masks
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import deviation, stage, touched, without_adapters
from tests.reference import defeat_reference as reference

STRIDES, SIZES = [4, 8, 16, 32, 64], [32, 16, 8, 4, 2]
NECK = {"obj", "bg"}
BACKBONE: dict[str, Any] = {"backbone_obj": 1.0, "backbone_bg": 1.0, "backbone_levels": None}
PROPOSALS: dict[str, Any] = {"b_obj": 2.0, "b_bg": 2.0, "T_obj": 2.0}


def exact(phi: FeatureAdapter, view: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """In fp64: leaf tensors in place of the student's maps, their adapted maps, and the teacher's maps."""
    leaves = [m.detach().double().requires_grad_() for m in getattr(view.student, phi.source)]
    student: dict[str, Any] = {phi.source: tuple(leaves)}
    teacher: dict[str, Any] = {phi.source: tuple(m.double() for m in getattr(view.teacher, phi.source))}
    pairs = copy.deepcopy(phi).double()(DetectorOutputs(**student), DetectorOutputs(**teacher))
    return leaves, [s for s, _ in pairs], [t for _, t in pairs]


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of all terms and their gradients, as trained, from the literal ones in fp64."""
    two_stage = student in ("faster", "cascade")
    play = stage("defeat", student, size=64, base_px=20.0, **BACKBONE, **(PROPOSALS if two_stage else {}))
    with torch.no_grad():
        for weight in play.method.parameters():  # away from zero, where no student map matters
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    view: Any = play.view()
    method = play.method
    backbone = tuple(m.detach().requires_grad_() for m in view.student.backbone)  # as given, not each from the last
    view.student = replace(view.student, backbone=backbone)
    ours, _ = method(view)
    neck, s, t = exact(method.phi, view)
    strides = method.phi.strides
    theirs = dict(zip(("obj", "bg"), reference.neck(s, t, view.batch.boxes, strides, 20.0), strict=True))
    leaves, s, t = exact(method.phi_backbone, view)
    finest = tuple(view.teacher.neck[0].shape[-2:])
    values = reference.backbone(s, t, view.batch.boxes, strides[0], finest)
    theirs |= dict(zip(("backbone_obj", "backbone_bg"), values, strict=True))
    at = dict.fromkeys(NECK, (view.student.neck, neck))
    at |= dict.fromkeys(("backbone_obj", "backbone_bg"), (backbone, leaves))
    if two_stage:
        mine, other = view.student.proposals, view.teacher.proposals
        logits = mine.logits.detach().double().requires_grad_()
        values = reference.proposals(logits, other.logits.double(), mine.labels < 3, 2.0, 1.0)
        theirs |= dict(zip(("cls_obj", "cls_bg"), values, strict=True))
        at |= {name: ([mine.logits], [logits]) for name in ("cls_obj", "cls_bg")}
    assert set(ours) == set(theirs)
    found = [deviation(ours[name].value, at[name][0], theirs[name], at[name][1]) for name in theirs]
    return float(torch.tensor(found).max())


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


@pytest.mark.parametrize(("boxes", "obj"), [([[8, 8, 40, 24]], 0.1), ([[8, 8, 40, 24], [0, 0, 111, 111]], 0.2),
                                            ([[8, 8, 40, 24]] * 2, 0.1), ([], 0.0)])  # fmt: skip
def test_unit_differences_weigh_half_per_level_with_objects(boxes: list[list[float]], obj: float) -> None:
    batch = replace(stage("defeat").view().batch, boxes=(torch.tensor(boxes).reshape(-1, 4).float(),))
    zeros = [torch.zeros(1, 3, n, n) for n in SIZES]
    masks = object_masks(batch, zeros, STRIDES, 56.0)
    for k in (1, 3):
        found = region_losses([(z + k, z) for z in zeros], masks)
        assert [float(v) for v in found] == pytest.approx([k**2 * obj, k**2 * 0.5])


def test_backbone_masks_are_drawn_once_and_resized() -> None:
    drawn = reference.raster(torch.tensor([3.0, 9.0, 50.0, 90.0]), 4, 25, 30)[None]
    found = resized_masks(drawn[:, None].float(), [torch.zeros(1, 2, 13, 15), torch.zeros(1, 5, 25, 30)])
    assert torch.equal(found[0][:, 0].bool(), reference.nearest(drawn, 13, 15))
    assert torch.equal(found[1][:, 0].bool(), drawn)


def test_proposals_are_two_groups() -> None:
    numbers = torch.Generator().manual_seed(0)
    s, t = (torch.randn(6, 4, generator=numbers, dtype=torch.float64) for _ in range(2))
    positive = torch.tensor([True, True, False, False, False, True])
    obj, bg = proposal_losses(s, t, positive, 2.0, 2.0)
    torch.testing.assert_close((obj, bg), reference.proposals(s, t, positive, 2.0, 2.0))
    assert proposal_losses(s, t, ~positive, 2.0, 2.0) == (bg, obj)
    order = torch.randperm(6, generator=numbers)
    torch.testing.assert_close(proposal_losses(s[order], t[order], positive[order], 2.0, 2.0), (obj, bg))
    assert proposal_losses(t, t, positive, 1.0, 3.0) == (0, 0)
    assert proposal_losses(s, t, positive | True, 1.0, 1.0)[1] == 0
    assert proposal_losses(s[:0], t[:0], positive[:0], 1.0, 1.0) == (0, 0)


def test_student_equals_teacher_gives_zero() -> None:
    play = without_adapters(stage("defeat", "faster", same=True, pad=0, **BACKBONE, **PROPOSALS))
    play.model.eval()  # one network, one mode
    terms = play.terms()
    assert set(terms) == set(DeFeat.WEIGHTS)
    assert [float(v.detach()) for v in terms.values()] == pytest.approx([0] * 6, abs=1e-8)


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("defeat", name)
    terms, seen = play.method(play.view())
    assert set(terms) == NECK
    assert (terms["obj"].weight, terms["bg"].weight) == (3, 12)
    assert float(seen["object_cells"]) > 0
    for term in terms.values():
        found = touched(play.model, term.value)
        assert any(n.startswith("student.backbone") for n in found)
        assert any(n.startswith("distillers.defeat.phi") for n in found)
        assert not any("head" in n for n in found)


@pytest.mark.parametrize("name", ["faster", "cascade"])
def test_proposal_terms_reach_the_second_stage(name: str) -> None:
    play = stage("defeat", name, a_obj=0.0, a_bg=0.0, **PROPOSALS)
    terms = play.terms()
    assert set(terms) == {"cls_obj", "cls_bg"}
    for value in terms.values():
        found = touched(play.model, value)
        assert any("roi_head.bbox_head" in n for n in found)
        assert any(n.startswith("student.neck") for n in found)
        assert not any("rpn_head" in n for n in found)
    assert not list(play.method.parameters())


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
@pytest.mark.parametrize("params", [{}, {"a_obj": 0.0}, {"a_bg": 0.0}])
def test_images_without_boxes_are_background(counts: Any, params: dict[str, Any]) -> None:
    play = stage("defeat", "faster", counts=counts, **params, **BACKBONE, **PROPOSALS)
    terms, _ = play.method(play.view())
    assert set(terms) == {term for term, name in DeFeat.WEIGHTS.items() if name not in params}
    torch.stack([term.value for term in terms.values()]).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters())
    if not any(counts):
        assert all(float(term.value.detach()) == 0 for name, term in terms.items() if name.endswith("obj"))


def test_another_family_teaches_and_sights_are_masks() -> None:
    play = stage("defeat", "faster", "retinanet", levels=(8, 16))
    assert set(play.terms()) == NECK
    assert "below 64 px belong to stride 8" in play.method.notes[0]
    assert [s.heat.shape for s in play.method.visualize(play.view())] == [(2, 12, 12), (2, 6, 6)]
    play = stage("defeat", "faster", **BACKBONE, **PROPOSALS)
    masks, boxes = play.method.visualize(play.view())[:4], play.method.visualize(play.view())[4:]
    assert [s.name for s in boxes] == ["positive proposals of the teacher", "negative proposals of the teacher"]
    assert not any(s.heat.requires_grad for s in masks)
    assert all(len(s.boxes) == 2 for s in boxes)


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match=r"defeat: no level of stride 128 .*closest that both have: .*stride 16"):
        stage("defeat", levels=(128,))
    with pytest.raises(InputError, match=r"\(backbone\): no level of stride 32 in the student"):
        stage("defeat", backbone_bg=1.0)
    with pytest.raises(InputError, match=r"b_obj or b_bg compares second stages; student: RetinaNet has no second"):
        stage("defeat", b_bg=2.0)
    with pytest.raises(InputError, match=r"compares second stages; teacher: RetinaNet has no second stage"):
        stage("defeat", "faster", "retinanet", b_obj=2.0)
