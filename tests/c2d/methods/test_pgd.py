"""PGD: regions by pencil, the slow reference, student equals teacher, images without boxes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.heads import dense_head
from c2d.detectors.recording.anchors import Priors
from c2d.methods.parts.pgd_regions import cell_quality, gaussian_weights
from c2d.methods.pgd import region_distance, spatial_attention
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import deviation, stage, touched
from tests.c2d.tiny_detectors import flat_scores
from tests.reference import pgd_reference as literal

TAUGHT = ("retinanet", "atss", "gfl", "fcos")
TERMS = {"cls_fg", "cls_bg", "cls_att", "reg_fg", "reg_att"}


def literal_masks(play: Any, view: Any) -> list[list[tuple[dict[Any, float], dict[Any, float]]]]:
    """Per level and image M_fg and M_bg as {(row, col): value}."""
    dense, priors = view.teacher.dense, Priors(dense_head(play.model.teachers.detector.network))
    sizes = [tuple(s.shape[-2:]) for s in dense.scores]
    anchors = priors.anchors(sizes, torch.device("cpu"))
    scores, predicted = flat_scores(dense).double().sigmoid(), priors.decode(dense).double()
    cell, centres, places = [], [], []
    for level, (height, width) in enumerate(sizes):
        per_cell = len(anchors[level]) // (height * width)
        for row in range(height):
            for col in range(width):
                first = anchors[level][(row * width + col) * per_cell].double()
                centres.append([float(first[0] + first[2]) / 2, float(first[1] + first[3]) / 2])
                cell += [len(centres) - 1] * per_cell
                places.append((level, row, col))
    found: list[list[Any]] = [[] for _ in sizes]
    for image, (boxes, labels) in enumerate(zip(view.batch.boxes, view.batch.labels, strict=True)):
        p = play.method.params
        given = scores[image].tolist(), predicted[image].tolist(), cell, centres, boxes.double().tolist()
        fg, bg = literal.regions(*given, labels.tolist(), p.K, p.xi)
        for level in range(len(sizes)):
            here = [n for n, place in enumerate(places) if place[0] == level]
            found[level].append(({places[n][1:]: fg[n] for n in here}, {places[n][1:]: bg[n] for n in here}))
    return found


def parity(name: str = "retinanet") -> float:
    """Largest relative deviation of the terms and their gradients in production from the literal ones in fp64."""
    play = stage("pgd", name, size=40, wide=False, K=5)
    view = play.view()
    masks, T = literal_masks(play, view), play.method.params.T
    terms = {key: term.value for key, term in play.method(view)[0].items()}
    assert set(terms) == TERMS
    student, teacher = view.towers()
    cls, reg = ([m.detach().double().requires_grad_() for m in maps]
                for maps in (student.classification[-1], student.regression[-1]))  # fmt: skip
    theirs: dict[str, list[Tensor]] = {key: [] for key in TERMS}
    for level, of_images in enumerate(masks):
        t = teacher.classification[-1][level].double()
        theirs["cls_fg"].append(literal.cls_attended(cls[level], t, [fg for fg, _ in of_images], T))
        theirs["cls_bg"].append(literal.cls_attended(cls[level], t, [bg for _, bg in of_images], T))
        theirs["cls_att"].append(literal.cls_attention(cls[level], t, T))
        pair = literal.reg_terms(reg[level], teacher.regression[-1][level].double(), [fg for fg, _ in of_images], T)
        theirs["reg_fg"].append(pair[0])
        theirs["reg_att"].append(pair[1])
    worst = 0.0
    for key, value in terms.items():
        ours, there = (student.classification[-1], cls) if key.startswith("cls") else (student.regression[-1], reg)
        worst = max(worst, deviation(value, ours, torch.stack(theirs[key]).sum(), there))
    return worst


@pytest.mark.parametrize("name", TAUGHT)
def test_equals_the_reference_in_value_and_gradient(name: str) -> None:
    assert parity(name) < 1e-5


def test_quality_by_pencil() -> None:
    """p = 0.25 and IoU = 0.5 at xi 0.5: sqrt(0.125); the better prior of a cell counts, priors outside do not."""
    boxes, labels = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([1])
    predicted = torch.tensor([[0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 10.0, 10.0]])
    scores = torch.tensor([[0.9, 0.25], [0.9, 0.9], [0.9, 1.0]])
    inside = torch.tensor([[True, True, False]])
    q = cell_quality(scores, predicted, boxes, labels, inside, torch.tensor([0, 0, 1]), 3, 0.5)
    assert q.tolist() == [[pytest.approx(0.125**0.5), 0.0, 0.0]]


def test_gaussian_by_pencil() -> None:
    """Locations 0, 4 and 8 on a line: mean 4, variance 32 / 3; one location alone counts whole."""
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [8.0, 0.0], [50.0, 50.0]])
    weights = gaussian_weights(torch.tensor([[0.5, 0.4, 0.3, 0.0]]), centres, 4)
    outer = float(torch.exp(torch.tensor(-16 / (2 * (32 / 3 + 0.01)))))
    assert weights.tolist() == [pytest.approx(outer, abs=1e-5), pytest.approx(1), pytest.approx(outer, abs=1e-5), 0.0]
    assert gaussian_weights(torch.tensor([[0.5, 0.4, 0.3, 0.0]]), centres, 1).tolist() == [1.0, 0.0, 0.0, 0.0]
    both = gaussian_weights(torch.tensor([[0.5, 0.4, 0.3, 0.0], [0.0, 0.0, 0.1, 0.0]]), centres, 4)
    assert float(both[2]) == pytest.approx(1)  # of overlapping objects the greatest
    assert gaussian_weights(torch.zeros(0, 4), centres, 4).tolist() == [0.0] * 4


def test_losses_by_pencil() -> None:
    """A unit difference under uniform attention: the weights' mean; the spatial attention sums to the cells."""
    rows = torch.zeros(3, 4)
    assert float(region_distance(rows + 1, rows, torch.tensor([1.0, 0.5, 0.0]), 0.5)) == pytest.approx(0.5)
    assert float(region_distance(rows[:0], rows[:0], rows[:0, 0], 0.5)) == 0
    torch.manual_seed(0)
    assert spatial_attention(torch.randn(2, 3, 4, 5), 0.8).sum((1, 2)).tolist() == [pytest.approx(20)] * 2


@pytest.mark.parametrize("name", TAUGHT)
def test_student_equals_teacher_is_zero(name: str) -> None:
    play = stage("pgd", name, same=True, pad=0)
    play.model.eval()  # one network, one mode
    assert {key: float(value.detach()) for key, value in play.terms().items()} == {
        key: pytest.approx(0, abs=1e-8) for key in TERMS
    }


@pytest.mark.parametrize("name", TAUGHT)
@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_every_weight_takes_part_with_and_without_boxes(name: str, counts: tuple[int, ...]) -> None:
    play = stage("pgd", name, counts=counts)
    terms, seen = play.method(play.view())
    sum(term.value for term in terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in play.model.parameters())
    assert (float(seen["cells"]) > 0) == (sum(counts) > 0)
    assert (float(terms["reg_fg"].value.detach()) > 0) == (sum(counts) > 0)
    assert float(terms["cls_bg"].value.detach()) > 0


def test_terms_reach_their_tower_alone() -> None:
    play = stage("pgd", "atss")
    for term, value in play.terms().items():
        found = touched(play.model, value)
        assert any(n.startswith("student.backbone") for n in found)
        assert any("cls_convs" in n for n in found) == term.startswith("cls")
        assert any("reg_convs" in n for n in found) == term.startswith("reg")
        assert not any("atss_cls" in n or "atss_reg" in n for n in found)


def test_a_wider_tower_gets_an_adapter_and_no_weight_no_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_detectors.config("retinanet", feat_channels=20)
    from tests.c2d.methods import tiny_setup

    monkeypatch.setattr(tiny_setup, "teaching", lambda *_: tiny_detectors.MODELS.build(config))
    play = stage("pgd", delta=0.0, gamma=0.0)
    assert [tuple(p.shape) for p in play.method.parameters()] == [(20, 16, 1, 1), (20,)]
    assert set(play.terms()) == {"cls_fg", "cls_bg"}
    assert "cls tower, strides [4, 8, 16]: 16 -> 20 by a 1x1 convolution" in play.method.notes


def test_another_family_teaches_and_masks_are_shown() -> None:
    play = stage("pgd", "retinanet", "fcos", K=4)
    assert set(play.terms()) == TERMS
    shown = play.method.visualize(play.view())
    assert [v.name for v in shown] == [f"key predictive region, stride {stride}" for stride in (4, 8, 16)]
    assert [tuple(v.heat.shape) for v in shown] == [(2, 24, 24), (2, 12, 12), (2, 6, 6)]
    assert sum(int((v.heat[0] > 0).sum()) for v in shown) <= 3 * 4
    assert sum(float(v.heat[1].sum()) for v in shown) == 0


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match="pgd does not teach faster-rcnn students; it teaches retinanet"):
        stage("pgd", "faster")
    with pytest.raises(InputError, match="those of faster-rcnn cannot be read; choose a teacher of retinanet"):
        stage("pgd", "retinanet", "faster")
