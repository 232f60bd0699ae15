"""Soft labels as targets: numbers by hand, the literal reference, every head family, data sets without any."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.distillation.build_methods import build_methods
from c2d.methods.base import Context
from c2d.methods.soft_labels import kl_bernoulli, kl_softmax
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import Stage, stage, touched
from tests.reference import soft_labels_reference as reference

LN2 = math.log(2)


def _t(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def taught(family: str, **params: Any) -> Stage:
    return stage("soft_labels", family, **params)


# By hand


def test_a_softmax_head_by_hand() -> None:
    # p = (1/2, 1/4, 1/4), the last the background: sum y log(y / p) = 1/2 log(1) + 1/2 log(2).
    z = _t([2.0, 1.0, 1.0]) * LN2
    assert float(kl_softmax(z, _t([0.5, 0.5]), 0.0, 1.0)) == pytest.approx(0.5 * LN2)
    # All of it on the first class: log(1 / p) = log 2; with a quarter for the background p is met but for class 2.
    assert float(kl_softmax(z, _t([1.0, 0.0]), 0.0, 1.0)) == pytest.approx(LN2)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(1.0)
    assert float(kl_softmax(z, _t([1.0, 0.0]), 0.25, 1.0)) == pytest.approx(expected)
    # Temperature 2 makes z the half: p = (4, 3, 3) / 10 for the logits 2 log 4, 2 log 3, 2 log 3.
    z = 2 * _t([4.0, 3.0, 3.0]).log()
    assert float(kl_softmax(z, _t([1.0, 0.0]), 0.0, 2.0)) == pytest.approx(4 * math.log(10 / 4))


def test_a_sigmoid_head_by_hand() -> None:
    # p = (1/2, 1/4). For y = (1, 0): log 2 + log(4/3); for y = p nothing is left.
    z = _t([0.0, -math.log(3)])
    assert float(kl_bernoulli(z, _t([1.0, 0.0]), 1.0)) == pytest.approx(LN2 + math.log(4 / 3))
    assert float(kl_bernoulli(z, _t([0.5, 0.25]), 1.0)) == pytest.approx(0, abs=1e-12)
    assert float(kl_bernoulli(2 * z, _t([1.0, 0.0]), 2.0)) == pytest.approx(4 * (LN2 + math.log(4 / 3)))


def test_a_student_that_predicts_the_soft_label_has_neither_value_nor_gradient() -> None:
    y = _t([0.7, 0.2, 0.1], [0.1, 0.1, 0.8])
    z = torch.cat([(0.9 * y).log(), _t([0.1], [0.1]).log()], 1).requires_grad_()
    value = kl_softmax(z, y, 0.1, 1.0).sum()
    (gradient,) = torch.autograd.grad(value, z)
    assert float(value.detach()) == pytest.approx(0, abs=1e-12)
    assert float(gradient.abs().max()) < 1e-12
    z = y.logit().requires_grad_()
    value = kl_bernoulli(z, y, 1.0).sum()
    (gradient,) = torch.autograd.grad(value, z)
    assert float(value.detach()) == pytest.approx(0, abs=1e-12)
    assert float(gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("y", [[1.0, 0.0], [0.5, 0.5], [1.0001, 0.0]])
def test_extreme_logits_stay_finite(y: list[float]) -> None:
    z = torch.tensor([[300.0, -300, 300]], requires_grad=True)
    soft = torch.tensor([y])
    total = kl_softmax(z, soft, 0.0, 1.0).sum() + kl_bernoulli(z[:, :2], soft, 1.0).sum()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(z.grad).all()  # type: ignore[arg-type]


# The literal reference


def test_the_reference_by_hand() -> None:
    assert float(reference.of_softmax_head(_t([2.0, 1.0, 1.0])[0] * LN2, [0.5, 0.5])) == pytest.approx(0.5 * LN2)
    sigmoid = reference.of_sigmoid_head(_t([0.0, -math.log(3)])[0], [1, 0])
    assert float(sigmoid) == pytest.approx(LN2 + math.log(4 / 3))
    assert float(reference.soft([])) == 0


@pytest.mark.parametrize(("background", "T"), [(0.0, 1.0), (0.2, 3.0)])
def test_formulas_equal_the_reference_in_value_and_gradient(background: float, T: float) -> None:
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    y = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((5,))
    y[0] = _t([1.0, 0.0, 0.0])
    for ours, theirs, width in (
        (lambda a: kl_softmax(a, y, background, T).mean(),
         lambda a: reference.soft([reference.of_softmax_head(v, q.tolist(), background=background, T=T)
                                   for v, q in zip(a, y, strict=True)]), 4),
        (lambda a: kl_bernoulli(a, y, T).mean(),
         lambda a: reference.soft([reference.of_sigmoid_head(v, q.tolist(), T=T)
                                   for v, q in zip(a, y, strict=True)]), 3),
    ):  # fmt: skip
        sides = []
        for of in (ours, theirs):
            at = z[:, :width].clone().requires_grad_()
            value = of(at)
            sides.append((value.detach(), torch.autograd.grad(value, at)[0]))
        torch.testing.assert_close(sides[0], sides[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", [*tiny_detectors.NAMES, *tiny_detectors.NEWER])
def test_every_family_learns_the_soft_label_of_each_positives_object(family: str) -> None:
    play = taught(family, counts=(3, 2))
    view = play.view()
    found, seen = play.method(view)
    values = []
    for part in view.positives:
        rows = []
        for image, gt, z in zip(part.image.tolist(), part.gt.tolist(), part.logits.double(), strict=True):
            y = play.samples[image].gt_instances.soft_labels[gt].double().tolist()
            rows.append((reference.of_softmax_head if part.kind == "softmax" else reference.of_sigmoid_head)(z, y))
        assert rows
        values.append(reference.soft(rows))
    assert len(values) == (3 if family == "cascade" else 1)
    expected = torch.stack(values).mean()
    torch.testing.assert_close(found["soft"].value.double(), expected, rtol=1e-4, atol=1e-6)
    logits = [part.logits for part in view.positives]
    ours = torch.autograd.grad(found["soft"].value, logits, retain_graph=True)
    theirs = torch.autograd.grad(expected, logits)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert float(seen["positives"]) == sum(len(part.image) for part in view.positives)
    assert 0 <= float(seen["agreement"]) <= 1
    assert touched(play.model.student, found["soft"].value)


@pytest.mark.parametrize("family", tiny_detectors.NAMES)
def test_images_without_boxes_give_a_zero_on_the_students_graph(family: str) -> None:
    play = taught(family, counts=(0, 0))
    value = play.terms()["soft"]
    assert float(value.detach()) == 0
    value.backward()
    assert any(w.grad is not None for w in play.model.student.parameters())
    assert all(bool(torch.isfinite(w.grad).all()) for w in play.model.student.parameters() if w.grad is not None)


# Data sets with and without soft labels


@pytest.mark.parametrize("family", tiny_detectors.NAMES)
def test_soft_labels_beside_the_labels_change_no_loss_of_a_student(family: str) -> None:
    student: Any = tiny_detectors.build(family)
    inputs, samples = tiny_detectors.sample(2, 96, (3, 0))
    found = []
    for keep in (True, False):
        given = [sample.clone() for sample in samples]
        for sample in given if not keep else ():
            del sample.gt_instances.soft_labels
        torch.manual_seed(0)
        found.append(student.loss(inputs, given))
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        pairs = zip(value, found[1][key], strict=True) if isinstance(value, list) else [(value, found[1][key])]
        assert all(torch.equal(a, b) for a, b in pairs), key


def test_a_data_set_without_soft_labels_is_refused() -> None:
    with pytest.raises(
        InputError, match="soft_labels teaches the soft labels of the training boxes, and this data set"
    ):
        build_methods([{"soft_labels": {}}], Context(3))


def test_a_batch_without_soft_labels_is_no_batch_of_such_a_data_set() -> None:
    play = taught("retinanet")
    del play.samples[0].gt_instances.soft_labels
    view = play.view()
    assert view.batch.soft_labels is None
    with pytest.raises(RuntimeError, match="no soft labels"):
        play.method(view)
