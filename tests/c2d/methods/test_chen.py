"""Chen et al.: paper and pencil, the slow reference, student equals teacher, the RPN's draw, no boxes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.methods.chen import assign_anchors, bounded_regression, sample_anchors, soft_classes, soft_objectness
from c2d.ops.boxes import broadcast_iou
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import stage, teaching, touched, without_adapters
from tests.reference import chen_reference as reference

TERMS = {"hint", "rpn_cls", "rpn_reg", "roi_cls", "roi_reg"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_box_better_than_the_teachers_by_the_margin_has_no_loss() -> None:
    y = torch.zeros(4, 4)
    student = torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 0], [3.0, 0, 0, 0]])
    teacher = torch.tensor([[2.0, 0, 0, 0], [1.2, 0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 0]])
    value, gate = bounded_regression(student, teacher, y, 1.0)
    assert value.tolist() == [0, 1, 0, 9]  # squared distances 1 < 4, 1 + 1 > 1.44, 0 + 1 = 1, 9 > 0
    assert gate.tolist() == [False, True, False, True]


@pytest.mark.parametrize("T", [1.0, 2.5])
def test_formulas_equal_the_reference_in_value_and_gradient(T: float) -> None:
    z_s, z_t = noise(7, 4).requires_grad_(), noise(7, 4, seed=1)
    o_s, o_t, y = noise(7, seed=2).requires_grad_(), noise(7, seed=3), noise(7, 4, seed=4)
    pairs = [
        (soft_classes(z_s, z_t, 1.5, T).mean(), reference.soft_classification(z_s, z_t, 1.5, T), z_s),
        (soft_objectness(o_s, o_t, 1.5, T).mean(), reference.soft_objectness(o_s, o_t, 1.5, T), o_s),
        (bounded_regression(z_s, z_t, y, 0.4)[0].mean(), reference.bounded_regression(z_s, z_t, y, 0.4), z_s),
    ]
    for ours, theirs, leaf in pairs:
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(torch.autograd.grad(ours, leaf), torch.autograd.grad(theirs, leaf))


def test_soft_classes_are_smallest_where_both_agree() -> None:
    z = noise(5, 4)
    entropy = -(z.softmax(1) * z.log_softmax(1)).sum(1)
    torch.testing.assert_close(soft_classes(z, z, 1.0, 1.0), entropy)
    assert bool((soft_classes(z + noise(5, 4, seed=1), z, 1.0, 1.0) > entropy).all())
    leaf = z.clone().requires_grad_()
    assert float(torch.autograd.grad(soft_classes(leaf, z, 1.0, 1.0).sum(), leaf)[0].abs().max()) < 1e-12


def test_anchors_are_positive_by_overlap_or_as_the_best_of_a_box() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [40, 40, 50, 50], [90, 90, 99, 99]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [40, 40, 50, 56]])
    gt, positive, negative = assign_anchors(anchors, boxes, (80, 80))
    assert positive.tolist() == [True, True, True, True, False]  # IoU 1, 0.8, best with 0.25, best with 0.625
    assert gt[:4].tolist() == [0, 0, 1, 2]
    assert negative.tolist() == [False, False, False, False, False]  # the last lies in the padding
    none = assign_anchors(anchors, torch.zeros(0, 4), (80, 80))
    assert not none[1].any()
    assert none[2].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(("positives", "wanted"), [(2, (2, 14)), (50, (8, 8)), (0, (0, 16)), (95, (8, 5))])
def test_a_minibatch_is_half_positive_at_most(positives: int, wanted: tuple[int, int]) -> None:
    positive = torch.arange(100) < positives
    place, kept, taken = sample_anchors(positive, ~positive, 16, generator())
    assert (int(taken.sum()), int((kept & ~taken).sum())) == wanted
    assert bool(positive[place[taken]].all())
    assert not positive[place[kept & ~taken]].any()
    assert len(place[kept].unique()) == sum(wanted)
    again = sample_anchors(positive, ~positive, 16, generator())
    assert torch.equal(again[0], place)


def apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    a, b = (torch.cat([t.detach().double().flatten() for t in of]) for of in (ours, theirs))
    return float((a - b).norm() / b.norm())


def parity(student: str = "faster", **params: Any) -> float:
    """The largest relative deviation of a step's terms and their gradients (fp32) from the reference (fp64)."""
    play = stage("chen", student, size=48, m=0.05, rpn_batch=64, **params)
    view = play.view()
    method, s, t = play.method, view.student, view.teacher
    assert s.dense is not None
    assert t.dense is not None
    assert s.rois is not None
    assert t.rois is not None

    def leaves(dtype: torch.dtype) -> list[list[Tensor]]:
        groups = [s.neck, s.dense.scores, s.dense.deltas, [s.rois.logits], [s.rois.deltas]]  # type: ignore[union-attr]
        return [[m.detach().to(dtype).requires_grad_() for m in group] for group in groups]

    neck, scores, deltas, logits, boxes = leaves(torch.float32)
    dense = replace(s.dense, scores=tuple(scores), deltas=tuple(deltas))
    seen = replace(s, neck=tuple(neck), dense=dense, rois=replace(s.rois, logits=logits[0], deltas=boxes[0]))
    state = view.generator.get_state()
    ours = {name: term.value for name, term in method(replace(view, student=seen))[0].items()}
    view.generator.set_state(state)
    small = [neck, scores, deltas, logits, boxes]
    neck64, scores64, deltas64, logits64, boxes64 = exact = leaves(torch.float64)
    phi = copy.deepcopy(method.phi.phi).double()
    adapted = [layer(m) for layer, m in zip(phi, neck64, strict=True)]
    theirs = {"hint": reference.hint(adapted, [m.double() for m in t.neck])}
    dense64 = replace(s.dense, scores=tuple(scores64), deltas=tuple(deltas64))
    anchors = torch.cat(method.priors.anchors([(m.shape[-2], m.shape[-1]) for m in s.dense.scores], neck[0].device))
    rows: dict[str, list[Tensor]] = {"z_s": [], "z_t": [], "d_s": [], "d_t": [], "y": []}
    for i, (truth, size) in enumerate(zip(view.batch.boxes, view.batch.sizes, strict=True)):
        gt, positive, negative = assign_anchors(anchors, truth, size)
        place, kept, taken = sample_anchors(positive, negative, 64, view.generator)
        rows["z_s"].append(tiny_detectors.flat_scores(dense64)[i, place[kept], 0])
        rows["z_t"].append(tiny_detectors.flat_scores(t.dense)[i, place[kept], 0].double())
        at = place[taken]
        rows["d_s"].append(dense64.flat_deltas()[i, at])
        rows["d_t"].append(t.dense.flat_deltas()[i, at].double())
        rows["y"].append(method.rpn.encode(anchors[at].double(), truth[gt[at]].double()).reshape(-1, 4))
    z_s, z_t, d_s, d_t, y = (torch.cat(part) for part in rows.values())
    theirs["rpn_cls"] = reference.soft_objectness(z_s, z_t)
    theirs["rpn_reg"] = reference.bounded_regression(d_s, d_t, y, 0.05, average=len(z_s))
    rois64, kept = replace(s.rois, logits=logits64[0], deltas=boxes64[0]), s.rois.positive
    theirs["roi_cls"] = reference.soft_classification(rois64.logits, t.rois.logits.double())
    pairs = zip(s.rois.rois[kept], s.rois.gt[kept], strict=True)
    truths = torch.stack([view.batch.boxes[int(roi[0])][gt] for roi, gt in pairs])
    y = method.coder.encode(s.rois.rois[kept, 1:].double(), truths.double())
    d_s, d_t = rois64.class_deltas(s.rois.labels)[kept], t.rois.class_deltas(s.rois.labels)[kept].double()
    theirs["roi_reg"] = reference.bounded_regression(d_s, d_t, y, 0.05, average=len(s.rois.rois))
    assert set(ours) == set(theirs) == TERMS
    worst = 0.0
    for name, value in theirs.items():
        grads, right = (
            torch.autograd.grad(v, [m for g in of for m in g], allow_unused=True, materialize_grads=True)
            for v, of in ((ours[name], small), (value, exact))
        )
        worst = max(worst, apart([ours[name]], [value]), apart(grads, right))
    return worst


@pytest.mark.parametrize("student", ["faster", "cascade"])
def test_a_step_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


@pytest.mark.parametrize("name", ["faster", "cascade"])
def test_each_term_reaches_its_part(name: str) -> None:
    play = stage("chen", name, m=1e9)  # every gate is open
    terms = play.terms()
    assert set(terms) == TERMS
    found = {term: touched(play.model, value) for term, value in terms.items()}
    assert all(any(n.startswith("student.backbone") for n in names) for names in found.values())
    assert not any("head" in n for n in found["hint"])
    assert any(n.startswith("distillers.chen.phi") for n in found["hint"])
    for term, layer in (("rpn_cls", "rpn_cls"), ("rpn_reg", "rpn_reg"), ("roi_cls", "fc_cls"), ("roi_reg", "fc_reg")):
        assert any(layer in n for n in found[term]), term
        assert not any(("roi_head" if "rpn" in term else "rpn_head") in n for n in found[term]), term


def test_no_boxes_at_all_is_a_finite_step() -> None:
    play = stage("chen", "faster", counts=(0, 0))
    terms = play.terms()
    assert all(value.requires_grad for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert float(terms["rpn_reg"].detach()) == float(terms["roi_reg"].detach()) == 0
    assert all(bool(w.grad.isfinite().all()) for w in play.model.parameters() if w.grad is not None)


def test_student_equals_teacher_leaves_nothing_but_entropy() -> None:
    play = without_adapters(stage("chen", "faster", same=True, pad=0, w_bg=1.0))
    play.model.student.backbone.eval()
    terms = play.terms()
    assert float(terms["hint"].detach()) == pytest.approx(0, abs=1e-10)
    soft, weights = terms["roi_cls"] + terms["rpn_cls"], list(play.model.student.parameters())
    grads = torch.autograd.grad(soft, weights, allow_unused=True)
    assert max(float(g.abs().max()) for g in grads if g is not None) < 1e-5


def test_positives_of_the_rpn_overlap_their_boxes() -> None:
    play = stage("chen", "faster")
    view = play.view()
    _, seen = play.method(view)
    assert 0 < float(seen["rpn_positives"]) <= float(seen["rpn_batch"]) <= 2 * play.method.params.rpn_batch
    sizes = [(m.shape[-2], m.shape[-1]) for m in view.student.dense.scores]  # type: ignore[union-attr]
    anchors = torch.cat(play.method.priors.anchors(sizes, view.batch.images.device))
    gt, positive, _ = assign_anchors(anchors, view.batch.boxes[0], view.batch.sizes[0])
    shared = broadcast_iou(view.batch.boxes[0][:, None], anchors)
    assert set(gt[positive].tolist()) == {0, 1, 2}  # each box has its best anchor
    assert bool((shared[gt[positive], positive.nonzero()[:, 0]] > 0).all())


@pytest.mark.parametrize("teacher", ["retinanet", "ssd"])
def test_the_hint_alone_has_teachers_of_any_family(teacher: str) -> None:
    play = stage("chen", "faster", teacher=teacher, mu_soft=0, nu=0)
    assert set(play.terms()) == {"hint"}
    assert not play.method.needs.dense


@pytest.mark.parametrize(("student", "params", "words"), [
    ("retinanet", {}, "does not teach retinanet students"),
    ("faster", {"teacher": "retinanet"}, "dense heads prediction by prediction"),
    ("cascade", {"teacher": "faster"}, "RoI head have other means and deviations"),
])  # fmt: skip
def test_refusals(student: str, params: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        stage("chen", student, **params)


def test_other_anchors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: Any) -> Any:
        config = tiny_detectors.config("faster")
        config.rpn_head.anchor_generator.scales = [8]
        return tiny_detectors.MODELS.build(config)

    monkeypatch.setattr("tests.c2d.methods.tiny_setup.teaching", other)
    with pytest.raises(InputError, match="the anchors differ"):
        stage("chen", "faster")
    assert teaching is not other
