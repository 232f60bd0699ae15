"""FRS: paper and pencil, the slow reference, student equals teacher, images without boxes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.methods.frs import FRSParams, cross_entropy, richness, weighted
from c2d.ops.masks import square_distance
from tests.c2d import tiny_detectors
from tests.c2d.methods import tiny_setup
from tests.c2d.methods.tiny_setup import Stage, stage, touched, without_adapters
from tests.reference import frs_reference as literal

SMALL: dict[str, Any] = {"size": 40}  # the reference visits every channel of every cell


def gradient(value: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat([g.double().flatten() for g in torch.autograd.grad(value, leaves, retain_graph=True)])


def expected(play: Stage, view: Any) -> dict[str, tuple[Tensor, list[Tensor]]]:
    """Per term the reference in fp64 and its leaves: the student's neck maps, or its logits."""
    s, t = view.dense()
    neck, scores = ([m.detach().double().requires_grad_() for m in maps] for maps in (view.student.neck, s.scores))
    logits = [m.double() for m in t.scores]
    masks = [literal.richness(z, t.kind, t.classes - 1) for z in logits]
    phi = copy.deepcopy(play.method.phi).double()
    seen = type(view.student)
    pairs = phi(seen(neck=tuple(neck)), seen(neck=tuple(m.double() for m in view.teacher.neck)))
    feat = literal.l_feat([a for a, _ in pairs], [b for _, b in pairs], masks)
    return {"feat": (feat, neck), "cls": (literal.l_cls(scores, logits, masks), scores)}


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the production's fp32 terms, values and gradients, from the fp64 reference."""
    play = stage("frs", student, **SMALL)
    view, worst = play.view(), 0.0
    theirs, ours = expected(play, view), {"feat": view.student.neck, "cls": view.dense()[0].scores}
    for name, term in play.method(view)[0].items():
        value, leaves = theirs[name]
        a, b = gradient(term.value, list(ours[name])), gradient(value, leaves)
        worst = max(worst, float((term.value.double() - value).detach().abs() / value.detach()))
        worst = max(worst, float((a - b).norm() / b.norm()))
    return worst


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster", "fcos"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


def test_a_unit_difference_is_the_number_of_channels_whatever_the_mask() -> None:
    torch.manual_seed(0)
    maps, mask = torch.randn(2, 5, 3, 4), torch.rand(2, 3, 4)
    assert float(weighted(square_distance(maps + 1, maps)[:, 0], mask)) == pytest.approx(5)
    other = square_distance(maps, maps.flip(0))[:, 0]
    torch.testing.assert_close(weighted(other, 7 * mask), weighted(other, mask))
    assert float(weighted(other, 0 * mask)) == 0


def test_equal_scores_give_their_entropy_and_no_gradient() -> None:
    z = torch.tensor(0.3).logit().view(1, 1, 1, 1).requires_grad_()
    value = weighted(cross_entropy(z, z, 1, "sigmoid"), richness(z, 1, "sigmoid"))
    assert float(value.detach()) == pytest.approx(0.6109, abs=5e-5)
    assert float(torch.autograd.grad(value, z)[0]) == pytest.approx(0, abs=1e-7)


def test_mask_is_the_greatest_score_and_flips_with_the_map() -> None:
    z = torch.full((1, 6, 4, 5), -9.0)
    z[0, 4, 1, 2] = 2.0
    mask = richness(z, 3, "sigmoid")
    assert float(mask[0, 1, 2]) == pytest.approx(0.8808, abs=1e-4)
    assert float(mask.max()) == float(mask[0, 1, 2])
    assert torch.equal(richness(z.flip(-1), 3, "sigmoid"), mask.flip(-1))


def test_softmax_heads_leave_the_background_out_of_the_mask() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 2 * 4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(richness(z, 4, "softmax"), literal.richness(z, "softmax", 3))
    p = z.unflatten(1, (2, 4)).softmax(2)
    torch.testing.assert_close(cross_entropy(z, z, 4, "softmax"), -(p * p.log()).sum((1, 2)))


@pytest.mark.parametrize("student", [*tiny_detectors.NAMES, "rtmdet", "yolof", "paa", "vfnet", "centernet-update"])
@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_every_detector_is_taught_with_and_without_boxes(student: str, counts: tuple[int, ...]) -> None:
    play = stage("frs", student, counts=counts, ramp=0)
    losses = {k: v for k, v in play.losses().items() if k.startswith("loss_kd")}
    assert set(losses) == {"loss_kd_frs_feat", "loss_kd_frs_cls"}
    sum(losses.values()).backward()
    assert all(float(v.detach()) > 0 for v in losses.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in play.model.parameters())


@pytest.mark.parametrize("student", [*tiny_detectors.NAMES, "yolox", "tood"])
def test_student_equals_teacher(student: str) -> None:
    play = without_adapters(stage("frs", student, same=True, pad=0))
    play.model.eval()  # one network, one mode
    view = play.view()
    terms = {name: term.value for name, term in play.method(view)[0].items()}
    assert float(terms["feat"].detach()) == pytest.approx(0, abs=1e-8)
    assert float(terms["cls"].detach()) > 0
    slope = gradient(terms["cls"], list(view.dense()[0].scores))
    assert float(slope.abs().max()) < 1e-6


def test_terms_reach_what_they_should() -> None:
    play = stage("frs", "faster")
    feat, cls = (touched(play.model, play.terms()[name]) for name in ("feat", "cls"))
    assert any(n.startswith("student.backbone") for n in feat)
    assert {n.split(".")[4] for n in feat if "phi" in n} == {"0", "1", "2"}
    assert not any("head" in n for n in feat)
    assert any(n.startswith("student.rpn_head.rpn_cls") for n in cls)
    assert not any("roi_head" in n or "rpn_reg" in n or "phi" in n for n in cls)


def test_weights_are_the_detectors_and_zero_leaves_a_term_out() -> None:
    assert (stage("frs", "fcos").method.params.alpha, stage("frs", "cascade").method.params.gamma) == (0.01, 0.1)
    assert stage("frs", "gfl", alpha=0.3).method.params.alpha == 0.3
    assert FRSParams().ramp == 500
    play = stage("frs", alpha=0, levels=(8,))
    assert set(play.terms()) == {"cls"}
    assert list(play.method.parameters()) == []
    found, seen = play.method(play.view())
    assert set(seen) == {"richness_8"}
    assert found["cls"].weight == 0.02


@pytest.mark.parametrize(("student", "teacher"), [("faster", "retinanet"), ("gfl", "faster"), ("retinanet", "fcos")])
def test_features_alone_take_a_teacher_of_another_family(student: str, teacher: str) -> None:
    play = stage("frs", student, teacher, gamma=0)
    assert set(play.terms()) == {"feat"}
    assert any(n.startswith("student.neck") for n in touched(play.model, play.terms()["feat"]))
    with pytest.raises(InputError, match=r"bbox_head \(3 sigmoid logits.*gamma: 0"):
        stage("frs", student, teacher)


@pytest.mark.parametrize(
    ("student", "head", "change"),
    [("retinanet", "bbox_head", {"ratios": [2.0, 1.0, 0.5]}), ("faster", "rpn_head", {"scales": [8]}),
     ("ssd", "bbox_head", {"min_sizes": [20, 40, 60], "max_sizes": [40, 60, 90]})],
)  # fmt: skip
def test_other_anchors_are_refused(monkeypatch: pytest.MonkeyPatch, student: str, head: str, change: Any) -> None:
    config = tiny_detectors.config(student)
    config[head].anchor_generator.update(change)
    monkeypatch.setattr(tiny_setup, "teaching", lambda *_: tiny_detectors.MODELS.build(config))
    assert set(stage("frs", student, gamma=0).terms()) == {"feat"}
    with pytest.raises(InputError, match=r"other anchors or points.*gamma: 0"):
        stage("frs", student)


def test_visualised_maps_are_the_masks() -> None:
    play = stage("frs", "faster")
    visualizations = play.method.visualize(play.view())
    assert [s.name for s in visualizations] == ["richness, stride 4", "richness, stride 8", "richness, stride 16"]
    assert [tuple(s.heat.shape) for s in visualizations] == [(2, 24, 24), (2, 12, 12), (2, 6, 6)]
    assert all(float(s.heat.min()) > 0 and float(s.heat.max()) < 1 and not s.heat.requires_grad for s in visualizations)
