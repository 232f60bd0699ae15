"""GID: paper and pencil, the slow reference, student equals teacher, no boxes and no instances."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.recording.anchors import match_max_iou, points_inside
from c2d.methods.gid import (
    edge_distances,
    feature_loss,
    general_instances,
    gi_scores,
    normalised_distances,
    pool_instances,
    pooling_level,
    relation_loss,
    response_cls,
    response_reg,
)  # fmt: skip
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import Stage, stage, touched, without_adapters
from tests.reference import gid_reference as literal

STUDENTS = ("retinanet", "fcos", "atss", "gfl", "faster", "cascade")
FINE: dict[str, Any] = {"min_side": 1.0, "K": 4, "candidates": 300}  # boxes of the tiny FCOS are a few pixels


def numbers(raw: Tensor, stride: Tensor, in_px: bool) -> Tensor:
    """Box numbers in fp64, by a loop: as they are, in strides, or the means of GFL's distributions."""
    rows = []
    for row, s in zip(raw, stride, strict=True):
        sides = [side.softmax(0) for side in row.unflatten(0, (4, -1))] if len(row) > 4 else []
        means = [torch.stack([p * i for i, p in enumerate(side)]).sum() for side in sides]
        rows.append(torch.stack(means) if sides else row / s if in_px else row)
    return torch.stack(rows)


def selected(play: Stage, view: Any) -> list[Tensor]:
    """The general instances by the reference, from the same raw outputs."""
    method, p, (s, t) = play.method, play.method.params, view.dense()
    z = tiny_detectors.flat_scores(s).double(), tiny_detectors.flat_scores(t).double()
    decoded = method.ours.decode(s), method.theirs.decode(t)
    found = []
    for i, size in enumerate(view.batch.sizes):
        form = {"classwise": "paper", "objectness": "code"}[p.score]
        gi, from_teacher = literal.scores(z[0][i], z[1][i], form)
        boxes = literal.boxes_of(decoded[0][i], decoded[1][i], from_teacher)
        _, kept = literal.select(
            [gi], [boxes], size, candidates=p.candidates, min_side=p.min_side, threshold=p.overlap, keep=p.K
        )
        found.append(kept)
    return found


def expected(play: Stage, view: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """(terms of the reference in fp64, its leaves: the student's neck maps, logits and box numbers)."""
    method, p, (s, t) = play.method, play.method.params, view.dense()
    double = lambda maps: [m.detach().double().requires_grad_() for m in maps]  # noqa: E731
    neck, scores, deltas = double(view.student.neck), double(s.scores), double(s.deltas)
    rois = torch.cat(
        [torch.cat([b.new_full((len(b), 1), i), b], 1) for i, b in enumerate(selected(play, view))]
    ).double()
    phi = copy.deepcopy(method.phi).double()
    paired = phi(
        type(view.student)(neck=tuple(neck)), type(view.teacher)(neck=tuple(m.double() for m in view.teacher.neck))
    )
    pooled = [pool_instances(maps, phi.strides, rois) for maps in zip(*paired, strict=True)]
    dense = type(s)(tuple(scores), tuple(deltas), s.classes, s.kind, s.strides)
    anchors = torch.cat(method.ours.anchors([(m.shape[2], m.shape[3]) for m in scores], rois.device))
    taken = torch.zeros(len(scores[0]), len(anchors), dtype=torch.bool)
    for image, *box in rois.tolist():
        overlap = [literal.iou(anchor, box) for anchor in anchors.tolist()]
        for r, (x1, y1, x2, y2) in enumerate(anchors.tolist()):
            inside = box[0] < (x1 + x2) / 2 < box[2] and box[1] < (y1 + y2) / 2 < box[3]
            taken[int(image), r] |= inside if method.ours.point_based else overlap[r] >= min(0.5, max(overlap) - 1e-6)
    flat = (
        tiny_detectors.flat_scores(dense)[taken],
        tiny_detectors.flat_scores(t).double()[taken],
        dense.flat_deltas()[taken],
    )
    stride = torch.cat(
        [torch.full((m[0].numel() // s.classes,), float(x)) for m, x in zip(scores, s.strides, strict=True)]
    )
    stride = stride.expand(len(taken), -1)[taken]
    d_s, d_t = (numbers(d, stride, method.in_px) for d in (flat[2], t.flat_deltas().double()[taken]))
    every = torch.ones(len(stride), dtype=torch.bool)
    cls, reg = literal.response(flat[0], flat[1], d_s, d_t, every, smooth_beta=p.smooth)
    form = {"squared": "code", "plain": "paper"}[p.norm]
    terms = {
        "feature": literal.feature(pooled[0], pooled[1], form),
        "relation": literal.relation(*pooled),
        "cls": cls,
        "reg": reg,
    }
    return terms, [*neck, *scores, *deltas]


def flat_gradient(value: Tensor, leaves: list[Tensor]) -> Tensor:
    found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    parts = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
    return torch.cat([part.double().flatten() for part in parts])


def parity(student: str = "retinanet", **params: Any) -> float:
    """Largest relative deviation of the production's fp32 terms, values and gradients, from the fp64 reference."""
    play = stage("gid", student, size=64, **{**FINE, **params})
    view = play.view()
    terms, (s, _) = play.method(view)[0], view.dense()
    theirs, leaves = expected(play, view)
    ours, neck, worst = [*view.student.neck, *s.scores, *s.deltas], len(view.student.neck), 0.0
    for name, term in terms.items():
        part = slice(0, neck) if name in ("feature", "relation") else slice(neck, None)
        a, b = flat_gradient(term.value, ours[part]), flat_gradient(theirs[name], leaves[part])
        worst = max(worst, float((term.value.double() - theirs[name]).abs().detach() / theirs[name].detach()))
        worst = max(worst, float((a - b).norm() / b.norm()))
    return worst


@pytest.mark.parametrize("student", STUDENTS[:5])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


def test_other_forms_equal_the_reference() -> None:
    assert parity(score="objectness", norm="plain", smooth=0.1) < 1e-5


def test_selection_equals_the_reference() -> None:
    play = stage("gid", candidates=200)
    view = play.view()
    ours = play.method.select(view)[1]
    for image, (a, b) in enumerate(zip(ours, selected(play, view), strict=True)):
        torch.testing.assert_close(a[:, 1:], b, rtol=0, atol=1e-4)
        assert len(a) > 3
        assert (a[:, 0] == image).all()


def test_the_prediction_that_differs_is_the_first_instance() -> None:
    student = torch.zeros(1, 2 * 3, 2, 2)
    teacher = student.clone()
    teacher[0, 1 * 3 + 2, 1, 0] = 2.0  # prior 1, class 2, row 1, column 0
    gi, from_teacher = gi_scores(student, teacher, 3, "classwise")
    assert gi.shape == (1, 2, 2, 2)
    assert int(gi.argmax()) == (1 * 2 + 0) * 2 + 1
    assert from_teacher.sum() == 1
    boxes = torch.tensor([[0.0, 0, 20, 20], [1, 1, 21, 21], [30, 30, 60, 60], [-9, 40, 8, 90], [50, 0, 99, 40]])
    found = general_instances(torch.tensor([0.1, 0.5, 0.2, 0.9, 0.3]), boxes, (64, 64), 99, 10.0, 0.3, 99)
    # The fourth is 8 px wide after clipping, the first overlaps the second.
    assert found.tolist() == [[1, 1, 21, 21], [50, 0, 64, 40], [30, 30, 60, 60]]


def test_classwise_and_objectness_differ() -> None:
    z_s, z_t = torch.tensor([2.0, -2.0]).view(1, 2, 1, 1), torch.tensor([-2.0, 2.0]).view(1, 2, 1, 1)
    assert float(gi_scores(z_s, z_t, 2, "classwise")[0]) == pytest.approx(0.76159, abs=1e-5)
    assert float(gi_scores(z_s, z_t, 2, "objectness")[0]) == 0


def test_pooling_levels_are_those_of_strides() -> None:
    side = torch.tensor([10.0, 111, 112, 223, 224, 448, 900, 2000])
    boxes = torch.stack([side * 0, side * 0, side, side], 1)
    assert pooling_level(boxes, [8, 16, 32, 64, 128]).tolist() == [literal.pooling_level(b) - 3 for b in boxes]
    assert pooling_level(boxes, [4, 8, 16, 32, 64]).tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    assert pooling_level(boxes, [8, 32]).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def test_relation_on_a_line_and_its_invariances() -> None:
    line = lambda *x: torch.tensor(x, dtype=torch.float64).view(-1, 1)  # noqa: E731
    assert float(relation_loss(line(0, 1, 2), line(0, 1, 3))) == pytest.approx(0.0208333, abs=1e-7)
    assert normalised_distances(line(0, 1, 3))[0].tolist() == pytest.approx([0, 0.5, 1.5])
    torch.manual_seed(0)
    rows = torch.randn(5, 2, 3, 3)
    assert float(relation_loss(10 * rows + 5, rows)) == pytest.approx(0, abs=1e-10)
    same = torch.ones(4, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(relation_loss(same, torch.randn(4, 7)), same)
    assert torch.isfinite(gradient).all()
    assert float(relation_loss(line(0, 1), line(0, 3))) == 0


def test_matching() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [40, 40, 50, 50], [44, 44, 54, 54]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [47, 47, 60, 60], [80, 80, 90, 90]])
    assert match_max_iou(boxes, anchors, 0.5).tolist() == [
        [True, True, False, False],
        [False, False, False, True],
        [False] * 4,
    ]
    assert points_inside(boxes, anchors).tolist() == [
        [True, True, False, False],
        [False, False, False, True],
        [False] * 4,
    ]
    bins = torch.zeros(1, 4, 5).index_fill_(2, torch.tensor([3]), 100.0)
    assert edge_distances(bins.flatten(1)).tolist() == [[3.0] * 4]


@pytest.mark.parametrize("student", [*STUDENTS, "rtmdet", "yolox", "tood"])
def test_student_equals_teacher(student: str) -> None:
    play = without_adapters(stage("gid", student, same=True, pad=0, **FINE))
    play.model.eval()  # one network, one mode
    view = play.view()
    terms = {name: float(term.value.detach()) for name, term in play.method(view)[0].items()}
    assert [terms[name] for name in ("feature", "relation", "reg")] == pytest.approx([0, 0, 0], abs=1e-6)
    rois = torch.cat(play.method.select(view)[1])
    z, _ = play.method.matched_predictions(view.dense()[1], play.method.match(view.dense()[1], rois))
    q = z.double().sigmoid()
    entropy = -(q * q.log() + (1 - q) * (1 - q).log()).sum() / len(z)
    assert terms["cls"] == pytest.approx(float(entropy), rel=1e-5)


@pytest.mark.parametrize("student", [*STUDENTS, "yolof", "vfnet", "centernet-update"])
@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes_are_taught_as_well(student: str, counts: tuple[int, ...]) -> None:
    play = stage("gid", student, counts=counts, **FINE)
    losses = {k: v for k, v in play.losses().items() if k.startswith("loss_kd")}
    assert len(losses) == 4
    sum(losses.values()).backward()
    assert all(float(v.detach()) > 0 for v in losses.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in play.model.parameters())


@pytest.mark.parametrize("student", ["retinanet", "fcos", "gfl"])
def test_no_instance_gives_zeros_on_the_graph(student: str) -> None:
    play = stage("gid", student, min_side=1000.0)
    terms, seen = play.method(play.view())
    assert float(seen["instances"]) == float(seen["matched"]) == 0
    assert all(float(term.value.detach()) == 0 for term in terms.values())
    sum(term.value for term in terms.values()).backward()
    assert all(p.grad is not None for p in play.method.parameters())


def test_terms_reach_what_they_should() -> None:
    play = stage("gid", "retinanet")
    terms = play.terms()
    for name in ("feature", "relation"):
        found = touched(play.model, terms[name])
        assert any(n.startswith("student.backbone") for n in found)
        assert any(n.startswith("distillers.gid.phi") for n in found)
        assert not any("head" in n for n in found)
    assert any("retina_cls" in n for n in touched(play.model, terms["cls"]))
    assert not any("retina_cls" in n for n in touched(play.model, terms["reg"]))


def test_a_weight_of_zero_leaves_a_term_out() -> None:
    play = stage("gid", lambda_1=0, lambda_2=0, alpha=0)
    assert set(play.terms()) == {"reg"}
    assert list(play.method.parameters()) == []
    assert not play.method.needs.neck


def test_sights_are_boxes_and_disagreement() -> None:
    play = stage("gid", **FINE)
    boxes, *heat = play.method.visualize(play.view())
    assert [len(b) for b in boxes.boxes] == [4, 4]
    assert [tuple(h.heat.shape) for h in heat] == [(2, 24, 24), (2, 12, 12), (2, 6, 6)]


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [("retinanet", "atss", "3 priors a cell.*1 priors a cell"), ("atss", "gfl", "in 4 numbers.*in 36 numbers"),
     ("fcos", "atss", "decode the same numbers to different boxes"), ("retinanet", "faster", "bbox_head.*rpn_head"),
     ("ssd", None, "does not teach ssd")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(student: str, teacher: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stage("gid", student, teacher)


def test_equal_terms_of_plain_tensors() -> None:
    unit = torch.ones(3, 2, 10, 10)
    assert float(feature_loss(unit, 0 * unit, "squared")) == pytest.approx(2)
    assert float(feature_loss(unit, 0 * unit, "plain")) == pytest.approx(200**0.5)
    assert float(response_cls(torch.zeros(2, 4), torch.zeros(2, 4))) == pytest.approx(4 * 0.693147)
    assert float(response_reg(torch.ones(2, 4), torch.zeros(2, 4), 0.0)) == 4
