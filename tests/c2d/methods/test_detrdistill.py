"""DETRDistill: matching by pencil, the slow reference, student equals teacher, images without boxes, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.methods.detrdistill import partners, target_mask
from c2d.methods.parts.detrdistill_matching import Predictions, Weights, box_losses, class_losses, match_targets
from tests.c2d.methods.tiny_setup import deviation, stage, touched
from tests.reference import detrdistill_reference as literal

TAUGHT = ("detr", "conditional", "dab", "deformable", "dino")
TERMS = {"pos", "neg", "feat"}
UNIT = Weights(1.0, 1.0, 1.0)


def literal_terms(play: Any, view: Any) -> tuple[dict[str, torch.Tensor], dict[str, list[torch.Tensor]]]:
    """The terms of the reference in fp64, and their leaves: logits and boxes, or the neck's maps."""
    student, teacher = view.queries()
    p, batch = play.method.params, view.batch
    weights = (p.lambda_cls, p.lambda_l1, p.lambda_giou)
    logits, boxes = (x.detach().double().requires_grad_() for x in (student.logits, student.boxes))
    truths, labels = [b.double() for b in batch.boxes], [one.tolist() for one in batch.labels]
    z_t, b_t = teacher.logits.double(), teacher.boxes.double()
    per_layer = [
        literal.layer((logits[k], boxes[k]), (z_t[k], b_t[k]), truths, labels, batch.sizes, weights, student.kind)
        for k in range(len(logits))
    ]
    neck = [m.detach().double().requires_grad_() for m in view.student.neck]
    levels = []
    for s, t in zip(neck, view.teacher.neck, strict=True):
        masks = []
        for b, size in enumerate(batch.sizes):
            given = z_t[-1, b], b_t[-1, b], list(truths[b]), labels[b], size, weights, student.kind
            matched = literal.pairs(*given) if len(truths[b]) else []
            queries = [teacher.features[-1, b, q].double() for q, _ in matched]
            quality = [
                float(literal.probabilities(z_t[-1, b, q], student.kind)[labels[b][g]]) ** p.gamma
                * float(literal.overlap(b_t[-1, b, q], truths[b][g])[0]) ** (1 - p.gamma)
                for q, g in matched
            ]
            masks.append(literal.mask(queries, quality, t[b].double()))
        levels.append(literal.feat(s, t.double(), masks))
    found = {"pos": torch.stack([one for one, _ in per_layer]).sum(),
             "neg": torch.stack([one for _, one in per_layer]).sum(), "feat": torch.stack(levels).sum()}  # fmt: skip
    return found, {"pos": [logits, boxes], "neg": [boxes], "feat": neck}


@pytest.mark.parametrize("name", ["detr", "deformable", "dino"])
def test_equals_the_reference_in_value_and_gradient(name: str) -> None:
    play = stage("detrdistill", name, size=40, counts=(3, 1))
    view = play.view()
    theirs, leaves = literal_terms(play, view)
    student, _ = view.queries()
    ours = {"pos": [student.logits, student.boxes], "neg": [student.boxes], "feat": view.student.neck}
    terms = play.method(view)[0]
    assert set(terms) == TERMS
    for key, term in terms.items():
        assert float(theirs[key].detach()) > 0, key
        assert deviation(term.value, ours[key], theirs[key], leaves[key]) < 2e-5, key


def test_matching_and_losses_by_pencil() -> None:
    """Two boxes of equal score swap places; boxes that share half their width: L1 0.25 + 0.25, IoU 1/2, GIoU 1/2."""
    left, right = [0.0, 0.0, 4.0, 8.0], [4.0, 0.0, 8.0, 8.0]
    found = Predictions(torch.zeros(2, 3), torch.tensor([right, left]), "sigmoid")
    rows, columns = match_targets(found, torch.tensor([left, right]), torch.tensor([0, 0]), (8, 8), UNIT)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    whole = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    value = box_losses(torch.tensor([left]), whole, (8, 8), UNIT)
    assert float(value) == pytest.approx(0.25 + 0.5 + 0.5, abs=1e-5)  # centre, width, 1 - GIoU
    # p_s = p_t: nothing; p_t = 0.5 and p_s = 0.75: 0.25^2 times the cross-entropy
    one = Predictions(torch.tensor([[0.0]]), whole, "sigmoid")
    other = Predictions(torch.tensor([[0.75]]).logit(), whole, "sigmoid")
    assert float(class_losses(one, one)) == 0
    expected = 0.0625 * -(0.5 * torch.tensor(0.75).log() + 0.5 * torch.tensor(0.25).log())
    assert float(class_losses(other, one)) == pytest.approx(float(expected))
    softmax = Predictions(torch.tensor([[0.0, 0.0]]), whole, "softmax")
    peaked = Predictions(torch.tensor([[3.0, 1.0]]).log(), whole, "softmax")
    kl = 0.5 * (torch.tensor(0.5 / 0.75).log() + torch.tensor(0.5 / 0.25).log())
    assert float(class_losses(peaked, softmax)) == pytest.approx(float(kl))


def test_layers_and_masks_by_pencil() -> None:
    assert partners(2, 6) == [2, 5]
    assert partners(6, 6) == [0, 1, 2, 3, 4, 5]
    assert partners(6, 3) == [0, 0, 1, 1, 2, 2]
    maps = torch.tensor([[[1.0, 0.0, -2.0]], [[0.0, 3.0, 0.0]]])  # cells (1, 0), (0, 3), (-2, 0)
    queries, quality = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0.8, 0.4])
    assert target_mask(queries, quality, maps).tolist() == [[pytest.approx(0.4), pytest.approx(0.2), 0.0]]
    assert target_mask(queries[:0], quality[:0], maps).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", ["detr", "dab"])
def test_student_equals_teacher_is_zero(name: str) -> None:
    play = stage("detrdistill", name, same=True, pad=0)
    play.model.eval()  # one network, one mode
    assert {key: float(value.detach()) for key, value in play.terms().items()} == {
        key: pytest.approx(0, abs=1e-4) for key in TERMS
    }


@pytest.mark.parametrize("name", TAUGHT)
@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_every_family_is_taught_with_and_without_boxes(name: str, counts: tuple[int, ...]) -> None:
    play = stage("detrdistill", name, counts=counts)
    terms, seen = play.method(play.view())
    torch.stack([term.value for term in terms.values()]).sum().backward()
    assert all(w.grad is None or w.grad.isfinite().all() for w in play.model.parameters())
    assert (float(terms["pos"].value.detach()) > 0) == (sum(counts) > 0)
    assert float(terms["neg"].value.detach()) > 0
    assert float(seen["positives"]) == sum(counts) / len(counts)
    assert play.method.params.lambda_cls == (1.0 if name == "detr" else 2.0)


def test_terms_reach_what_they_should() -> None:
    play = stage("detrdistill", "deformable")
    pos, neg, feat = (touched(play.model, play.terms()[term]) for term in ("pos", "neg", "feat"))
    for reached in (pos, neg):
        assert any("decoder.layers.0." in n for n in reached)
        assert any("reg_branches." in n for n in reached)
    assert any("cls_branches" in n for n in pos)
    assert not any("cls_branches" in n for n in neg)
    assert any(n.startswith("student.neck") for n in feat)
    assert not any("coder" in n or "head" in n for n in feat)


def test_another_family_and_more_queries_teach() -> None:
    play = stage("detrdistill", "deformable", "dino", levels=(8,))
    assert set(play.terms()) == TERMS
    shown = play.method.visualize(play.view())
    assert [(v.name, tuple(v.heat.shape)) for v in shown] == [("target-aware mask, stride 8", (2, 12, 12))]
    assert float(shown[0].heat[1].abs().sum()) == 0  # no boxes, no queries


def test_a_term_without_weight_is_left_out() -> None:
    play = stage("detrdistill", "deformable", lambda_feat=0.0, beta=0.0)
    assert set(play.terms()) == {"pos"}
    assert not play.method.needs.neck
    assert play.method.visualize(play.view()) == []
    assert not list(play.method.parameters())


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match="detrdistill does not teach retinanet students; it teaches detr"):
        stage("detrdistill", "retinanet")
    with pytest.raises(InputError, match="no queries can be read from RetinaNet"):
        stage("detrdistill", "deformable", "retinanet", wide=False)
    with pytest.raises(InputError, match="the student's are sigmoid, the teacher's softmax"):
        stage("detrdistill", "deformable", "detr")
