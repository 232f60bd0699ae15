"""BCKD: paper and pencil, the slow reference, student equals teacher, no boxes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.recording.layout import probe_layout
from c2d.methods.base import Context
from c2d.methods.bckd import BCKD, BCKDParams, binary_distillation, box_distillation
from tests.c2d import tiny_detectors
from tests.c2d.methods.literal_boxes import boxes_of, rows
from tests.c2d.methods.tiny_setup import deviation, stage, touched
from tests.reference import bckd_reference as literal
from tests.reference import box_overlap_reference as overlap

STUDENTS = ("retinanet", "atss", "gfl", "fcos")


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_one_location_by_hand() -> None:
    # Class 0: p_s 0.5, p_t 0.8, w 0.3, BCE = log 2. Class 1: both 0.2, w 0.
    student = torch.tensor([[[0.0, logit(0.2)]]], requires_grad=True)
    value, gap = binary_distillation(student, torch.tensor([[[logit(0.8), logit(0.2)]]]))
    assert float(value.detach()) == pytest.approx(0.3 * math.log(2), rel=1e-6)
    assert gap.tolist() == [[pytest.approx(0.3)]]
    # d/dz of w BCE: w (p_s - p_t) - p_s (1 - p_s) BCE, as w = p_t - p_s.
    (gradient,) = torch.autograd.grad(value, student)
    assert gradient[0, 0].tolist() == pytest.approx([-0.3 * 0.3 - 0.25 * math.log(2), 0], abs=1e-6)
    boxes, target = torch.tensor([[[0.0, 0, 2, 2]]]), torch.tensor([[[1.0, 0, 3, 2]]])
    assert float(box_distillation(boxes, target, gap, "iou")) == pytest.approx(0.3 * 2 / 3, rel=1e-6)
    apart = target + torch.tensor([2.0, 0, 2, 0])  # IoU 0, one of five columns between them
    assert float(box_distillation(boxes, apart, gap, "giou")) == pytest.approx(0.3 * 1.2, rel=1e-6)


def parity(student: str = "retinanet", iou: Any = "giou") -> float:
    """Largest relative deviation of the trained terms and their gradients from the reference."""
    play = stage("bckd", student, size=32, pad=0, counts=(2, 1), iou=iou)
    view = play.view()
    dense, teacher = view.dense()
    deltas, scores = ([m.detach().requires_grad_() for m in maps] for maps in (dense.deltas, dense.scores))
    view.student = replace(view.student, dense=replace(dense, deltas=tuple(deltas), scores=tuple(scores)))
    terms, seen = play.method(view)
    exact, exact_scores = ([m.detach().double().requires_grad_() for m in maps] for maps in (deltas, scores))
    z_s, z_t = rows(exact_scores, 3), rows([m.double() for m in teacher.scores], 3)
    positives = len(view.positives[-1].image)
    assert float(seen["positives"]) == positives > 0
    heads = play.model.student.bbox_head, play.model.teachers.detector.network.bbox_head
    boxes, target = boxes_of(heads[0], exact), boxes_of(heads[1], [m.double() for m in teacher.deltas])
    theirs = literal.localisation(boxes, target, z_s, z_t, getattr(overlap, iou), positives)
    found = deviation(terms["loc"].value, deltas, theirs, exact)
    wanted = literal.classification(z_s, z_t, positives)
    assert not any(
        g.abs().any() for g in torch.autograd.grad(terms["loc"].value, scores, allow_unused=True) if g is not None
    )
    assert (terms["cls"].weight, terms["loc"].weight) == (1.0, 4.0)
    return max(found, deviation(terms["cls"].value, scores, wanted, exact_scores))


@pytest.mark.parametrize(("student", "iou"), [*((name, "giou") for name in STUDENTS), ("fcos", "iou")])
def test_what_is_trained_equals_the_reference(student: str, iou: Any) -> None:
    assert parity(student, iou) < 1e-4


@pytest.mark.parametrize("student", STUDENTS)
def test_student_equals_teacher_gives_zero(student: str) -> None:
    assert {name: float(value.detach()) for name, value in stage("bckd", student, same=True).terms().items()} == {
        "cls": 0.0,
        "loc": 0.0,
    }


@pytest.mark.parametrize(("term", "inside", "outside"), [("cls", "gfl_cls", "gfl_reg"), ("loc", "gfl_reg", "gfl_cls")])
def test_which_weights_a_term_touches(term: str, inside: str, outside: str) -> None:
    play = stage("bckd", "gfl")
    found = touched(play.model, play.terms()[term])
    assert any(inside in name for name in found)
    assert not any(outside in name for name in found)
    assert any(name.startswith("student.backbone") for name in found)


def test_a_batch_without_boxes_teaches_nothing_and_one_image_without_does_not_matter() -> None:
    for counts in ((3, 0), (0, 0)):
        play = stage("bckd", "retinanet", counts=counts)
        for value in play.terms().values():
            assert (float(value.detach()) > 0) == (sum(counts) > 0)
            grads = torch.autograd.grad(value, list(play.model.parameters()), retain_graph=True, allow_unused=True)
            assert all(torch.isfinite(g).all() for g in grads if g is not None)
            assert value.requires_grad


@pytest.mark.parametrize("off", ["alpha_1", "alpha_2"])
def test_weight_zero_leaves_a_term_out(off: str) -> None:
    switched: dict[str, Any] = {off: 0.0}
    assert set(stage("bckd", "fcos", **switched).terms()) == {{"alpha_1": "loc", "alpha_2": "cls"}[off]}


def test_visualizations_are_the_differences_of_scores() -> None:
    play = stage("bckd", "retinanet", pad=0)
    drawn = play.method.visualize(play.view())
    assert [(one.name[-8:], one.heat.shape) for one in drawn] == [
        ("stride 4", (2, 24, 24)), ("stride 8", (2, 12, 12)), ("tride 16", (2, 6, 6))
    ]  # fmt: skip
    assert float(play.method(play.view())[1]["class_gap"]) >= float(sum(one.heat.sum() for one in drawn))


def other_layout(play: Any, **dense: Any) -> Context:
    student, teacher = play.model.student, play.model.teachers.detector
    layout = probe_layout(teacher.network)
    assert layout.dense is not None
    changed = replace(layout, dense=replace(layout.dense, **dense))
    return Context(3, None, teacher, student, probe_layout(student), changed)


def test_refusals() -> None:
    play = stage("bckd", "retinanet")
    with pytest.raises(InputError, match=r"3 sigmoid logits.*5 sigmoid logits"):
        BCKD(BCKDParams(), other_layout(play, classes=5))
    with pytest.raises(InputError, match="they differ"):
        stage("bckd", "retinanet", "faster")
    student = play.model.student
    softmax = tiny_detectors.build("retinanet", loss_cls={"type": "CrossEntropyLoss", "use_sigmoid": False})
    play.model.teachers.detector.network = softmax
    layout = probe_layout(softmax)
    with pytest.raises(InputError, match="use sigmoid heads"):
        BCKD(BCKDParams(), Context(3, None, play.model.teachers.detector, softmax, layout, layout))
    play.model.teachers.detector.network = other = tiny_detectors.build(
        "retinanet", anchor_generator={**tiny_detectors.OCTAVE, "ratios": [0.5, 1.0, 3.0]}
    )
    with pytest.raises(InputError, match="priors of student and teacher differ"):
        BCKD(
            BCKDParams(),
            Context(3, None, play.model.teachers.detector, student, probe_layout(student), probe_layout(other)),
        )


def test_giou_of_equal_and_of_empty_boxes() -> None:
    from c2d.ops.boxes import broadcast_giou

    boxes = torch.tensor([[0.0, 0, 4, 2], [3.0, 3, 3, 3]], requires_grad=True)
    value = broadcast_giou(boxes, boxes.detach())
    assert value.tolist() == [1, 0]
    gradient: Tensor = torch.autograd.grad(value.sum(), boxes)[0]
    assert torch.isfinite(gradient).all()
