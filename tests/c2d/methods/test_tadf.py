"""TADF: the worked numbers, the slow reference, student equals teacher, images without boxes, what it touches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.detectors.heads import roi_boxes
from c2d.detectors.outputs import DetectorOutputs
from c2d.distillation.weight_schedule import weight_factor
from c2d.methods.tadf import (
    TADF,
    feature_loss,
    gated_mean,
    gaussian_1d,
    gaussian_masks,
    log_complement,
    soft_bce,
    teacher_more_confident,
)
from tests.c2d.methods.tiny_setup import Stage, deviation, stage, touched, without_adapters
from tests.reference import tadf_reference as reference

TERMS = set(TADF.WEIGHTS)
OPEN: dict[str, Any] = {"size": 64, "seed": 4}  # a step in which both gates are open for some RoIs
STRIDES, SIZES = [4, 8, 16, 32, 64], [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


def second_stage(play: Stage, view: Any) -> tuple[Any, ...]:
    """In fp64: leaves for logits and deltas of all RoIs, then value of the class and the box term."""
    s, t = play.method.roi_outputs(view)
    kept = s.positive
    logits, deltas = (x.detach().double().requires_grad_() for x in (s.logits, s.deltas))
    labels = s.labels[kept]
    by_s, by_t = (replace(r, deltas=d).class_deltas(r.labels)[kept] for r, d in ((s, deltas), (t, t.deltas.double())))
    truths = [view.batch.boxes[int(i)][int(g)] for i, g in zip(t.rois[kept, 0], t.gt[kept], strict=True)]
    head = play.model.teachers.detector.network.roi_head.bbox_head
    head = head[-1] if isinstance(head, torch.nn.ModuleList) else head
    decoded = roi_boxes(head, t.deltas[kept], t.rois[kept, 1:], labels)
    gate = reference.box_gate(decoded, t.rois[kept, 1:], torch.stack(truths))
    cls = reference.classification(logits[kept], t.logits[kept].double(), labels)
    return logits, deltas, cls, reference.box(by_s, by_t, gate)


def parity(student: str = "faster", **params: Any) -> float:
    """Largest relative deviation of the terms and their gradients, as trained, from the literal ones in fp64."""
    play = stage("tadf", student, **OPEN, base_px=20.0, **params)
    with torch.no_grad():
        for weight in play.method.parameters():  # away from zero, where no student map matters
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    view, phi = play.view(), play.method.phi
    leaves = [m.detach().double().requires_grad_() for m in view.student.neck]
    teacher = DetectorOutputs(neck=tuple(m.double() for m in view.teacher.neck))
    pairs = copy.deepcopy(phi).double()(DetectorOutputs(neck=tuple(leaves)), teacher)
    sizes = [tuple(t.shape[-2:]) for _, t in pairs]
    masks = reference.gaussian_masks(view.batch.boxes, phi.strides, sizes, 20.0)
    whole = play.method.params.normaliser == "elements"
    feat = reference.feature([s for s, _ in pairs], [t for _, t in pairs], masks, per_channel=whole)
    logits, deltas, cls, box = second_stage(play, view)
    s, _ = play.method.roi_outputs(view)
    ours = {name: term.value for name, term in play.method(view)[0].items()}
    assert set(ours) == TERMS
    found = [
        deviation(ours["feat"], view.student.neck, feat, leaves),
        deviation(ours["cls"], [s.logits], cls, [logits]),
        deviation(ours["box"], [s.deltas], box, [deltas]),
    ]
    return float(torch.tensor(found).max())


@pytest.mark.parametrize("params", [{}, {"normaliser": "elements", "proposals": "teacher"}])
@pytest.mark.parametrize("student", ["faster", "cascade"])
def test_equals_the_reference_in_value_and_gradient(student: str, params: dict[str, Any]) -> None:
    assert parity(student, **params) < 1e-5


def test_bell_is_one_in_the_middle_and_0_6065_at_an_edge() -> None:
    low, high = torch.tensor([0.5, 2.2]), torch.tensor([4.5, 2.4])
    found = gaussian_1d(low, high, torch.tensor([0, 2]), torch.tensor([5, 3]), 6)
    assert found[0].tolist() == pytest.approx([0.6065, 0.8825, 1, 0.8825, 0.6065, 0], abs=5e-5)
    assert float(found[0, 0] ** 2) == pytest.approx(0.3679, abs=5e-5)  # a corner
    assert found[1].tolist() == pytest.approx([0, 0, torch.tensor(-0.5 * 0.4**2).exp().item(), 0, 0, 0])


@pytest.mark.parametrize("boxes", [[[8, 8, 28, 28], [16, 8, 36, 28], [0, 0, 111, 111], [9, 9, 11, 30]], []])
def test_masks_and_features_equal_the_reference(boxes: list[list[float]]) -> None:
    rows = torch.tensor(boxes).reshape(-1, 4).double()
    batch = replace(stage("tadf", "faster").view().batch, boxes=(rows, rows[1:]))
    ours, theirs = gaussian_masks(batch, SIZES, STRIDES, 56.0), reference.gaussian_masks(batch.boxes, STRIDES, SIZES)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a[:, 0].double(), b, rtol=1e-6, atol=1e-7)
    ones = [torch.ones(2, 3, *size, requires_grad=True) for size in SIZES]
    value = feature_loss([(s, torch.zeros_like(s)) for s in ones], ours)
    value.backward()
    assert float(value.detach()) == pytest.approx(2 * 1.5 if boxes else 0)  # two levels have boxes


def test_class_term_equals_the_reference_also_where_one_class_has_it_all() -> None:
    numbers = torch.Generator().manual_seed(0)
    s, t = (torch.randn(5, 4, generator=numbers, dtype=torch.float64) for _ in range(2))
    s[1] = torch.tensor([60.0, -60, 0, 0])
    s.requires_grad_()
    labels = torch.tensor([0, 1, 2, 1, 3])
    gate = teacher_more_confident(s, t, labels)
    assert torch.equal(gate, reference.classification_gate(s, t, labels))
    ours, theirs = gated_mean(soft_bce(s, t), gate), reference.classification(s, t, labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(v, s)[0] for v in (ours, theirs)))
    assert float(log_complement(torch.tensor([[1000.0, 0, 0]]))[0, 0]) == pytest.approx(-999.3069)
    closed = gated_mean(soft_bce(s, t), gate & ~gate)
    assert float(closed.detach()) == 0
    assert closed.requires_grad


def test_student_equals_teacher_gives_zero() -> None:
    play = without_adapters(stage("tadf", "faster", same=True, pad=0))
    play.model.eval()  # one network, one mode
    assert [float(v.detach()) for v in play.terms().values()] == pytest.approx([0] * 3, abs=1e-9)


@pytest.mark.parametrize("name", ["faster", "cascade"])
@pytest.mark.parametrize("proposals", ["student", "teacher"])
def test_features_reach_the_neck_and_the_rest_the_second_stage(name: str, proposals: str) -> None:
    play = stage("tadf", name, **OPEN, proposals=proposals)
    terms, seen = play.method(play.view())
    reached = {term: touched(play.model, value.value) for term, value in terms.items()}
    assert all(any(n.startswith("student.neck") for n in found) for found in reached.values())
    assert not any("head" in n for n in reached["feat"])
    assert any(n.startswith("distillers.tadf.phi") for n in reached["feat"])
    for term in ("cls", "box"):
        assert any("roi_head.bbox_head" in n for n in reached[term])
        assert not any("rpn_head" in n or "phi" in n for n in reached[term])
        assert 0 < float(seen[f"{term}_kept"]) <= float(seen["positives"])


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
@pytest.mark.parametrize("params", [{}, {"lambda_feat": 0.0}, {"lambda_cls": 0.0}, {"lambda_box": 0.0}])
def test_images_without_boxes_give_finite_terms(counts: Any, params: dict[str, Any]) -> None:
    play = stage("tadf", "faster", counts=counts, **params)
    terms, _ = play.method(play.view())
    assert set(terms) == {term for term, name in TADF.WEIGHTS.items() if name not in params}
    torch.stack([term.value for term in terms.values()]).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters())
    if not any(counts):
        assert all(float(term.value.detach()) == 0 for term in terms.values())


def test_weight_falls_linearly() -> None:
    params = stage("tadf", "faster").method.params
    assert [weight_factor(params, epoch - 1, 12) for epoch in (1, 12)] == pytest.approx(
        [reference.decay(epoch, 12) for epoch in (1, 12)]
    )


def test_sights_are_bells_and_taught_boxes() -> None:
    play = stage("tadf", "faster", **OPEN)
    view = play.view()
    *bells, boxes = play.method.visualize(view)
    assert [b.heat.shape for b in bells] == [(2, 16, 16), (2, 8, 8), (2, 4, 4)]
    assert sum(len(rows) for rows in boxes.boxes) == 9 == int(play.method(view)[1]["box_kept"])


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match="tadf does not teach retinanet students; it teaches faster-rcnn"):
        stage("tadf", "retinanet")
    with pytest.raises(InputError, match=r"tadf compares second stages; teacher: RetinaNet has no second stage"):
        stage("tadf", "faster", "retinanet")
    with pytest.raises(InputError, match=r"the student's box coder is .*0.1, .* set method.tadf.lambda_box to 0"):
        stage("tadf", "faster", "cascade")
    assert set(stage("tadf", "faster", "cascade", lambda_box=0.0).terms()) == {"feat", "cls"}
