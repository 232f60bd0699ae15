"""ICOD against the literal reference on handmade positives, in float64: degenerate boxes, and the shipped teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2d.detectors.batch import Batch
from c2d.detectors.recording.positives import Positives
from c2d.methods.base import Context, View
from c2d.methods.icod import ICOD, ICODParams
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.networks import build_network
from tests.c2d import tiny_detectors as tiny
from tests.c2d.methods.icod_parity import LAYERS, STUDENT, TEACHER, T, literal_convert, produced, relative, terms_of
from tests.reference import icod_reference as literal

OUTSIDE = [
    [-9.0, -4.0, 11.5, 30.0],  # over the top left corner
    [20.3, 18.1, 90.0, 77.0],  # over the bottom right corner
    [50.0, 5.0, 61.0, 12.0],  # beyond the right side
    [4.0, -20.0, 17.0, -3.0],  # above the image
    [12.2, 9.7, 12.2, 9.7],  # a point
    [30.1, 21.4, 22.6, 15.3],  # inside out
    [3.7, 2.2, 25.9, 19.4],
]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "scores"])
def test_boxes_outside_and_without_area_agree(kind: str) -> None:
    """Handmade positives in float64 on both sides, also for the other form for sigmoid students."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 32, 40, generator=generator, dtype=torch.float64)
    truth = torch.tensor([[2.0, 3.0, 21.0, 18.0], [15.5, 12.5, 39.0, 44.0]], dtype=torch.float64)
    image, gt = [0, 1, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 1, 0]
    logits = torch.randn(len(OUTSIDE), 3 + (kind == "softmax"), generator=generator, dtype=torch.float64)
    boxes = torch.tensor(OUTSIDE, dtype=torch.float64)
    case = literal.Case(
        images, [truth, truth[1:]], logits.clone().requires_grad_(), boxes.clone().requires_grad_(), image, gt, kind
    )
    theirs = terms_of(case, LAYERS["l1"])
    logits.requires_grad_(), boxes.requires_grad_()
    positives = Positives(
        logits, boxes, torch.tensor(image), torch.tensor(gt), "softmax" if kind == "softmax" else "sigmoid", (4, 3)
    )
    labels = (torch.tensor([0, 2]), torch.tensor([1]))
    batch = Batch(images, (truth, truth[1:]), labels, ((32, 40), (30, 40)), STUDENT, tiny.NUM_CLASSES)
    ours = produced(batch, [positives], LAYERS["l1"], sigmoid_kd="l1" if kind == "scores" else "bernoulli")
    for term, leaf, twin in (("cls", logits, case.logits), ("crop", boxes, case.boxes), ("feat", boxes, case.boxes)):
        assert relative(ours[term].detach(), theirs[term].detach()) < 1e-9
        (got,) = torch.autograd.grad(ours[term], leaf, retain_graph=True)
        (want,) = torch.autograd.grad(theirs[term], twin, retain_graph=True)
        assert relative(got, want) < 1e-6  # a sliver's gradient is 1e-3 px of rounding in 40 px


def test_the_shipped_teacher_agrees_with_the_whole_network() -> None:
    """A ResNet through `ClassifierTeacher`, which runs a rewritten copy and only as deep as needed."""
    torch.manual_seed(2)
    network: Any = build_network("resnet18", tiny.NUM_CLASSES, 48).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]
    network.fc.weight.data *= 10

    def whole(x: Tensor) -> dict[str, Tensor]:
        l0 = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        l1 = network.layer1(l0)
        deep = network.layer4(network.layer3(network.layer2(l1)))
        return {"logits": network.fc(network.avgpool(deep).flatten(1)), "l0": l0, "l1": l1}

    size, pooled = 24, {"crop": 4, "l0": 8, "l1": 4}
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(1, 3, 12, 16, generator=generator, dtype=torch.float64).repeat_interleave(3, 2)
    truth = torch.tensor([[1.0, 2.0, 13.0, 27.0], [4.5, 6.5, 15.5, 35.0]], dtype=torch.float64)
    boxes = torch.tensor([[2.3, 1.1, 12.6, 29.0], [3.2, 7.9, 14.1, 33.3], [-2.0, 4.2, 9.6, 30.7]], dtype=torch.float64)
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    case = literal.Case(
        images, [truth], logits.clone().requires_grad_(), boxes.clone().requires_grad_(), [0] * 3, [0, 1, 0], "softmax"
    )
    common: Any = {"size": size, "normaliser": "exact", "convert": literal_convert}
    theirs = {
        "cls": literal.kd_cls(case, whole, temperature=T, **common),
        **literal.kd_loc(case, whole, layers=LAYERS["l1"], pooled=pooled, **common),
    }

    teacher = ClassifierTeacher(network, ("a", "b", "c"), size, TEACHER)
    positives = Positives(
        logits.requires_grad_(), boxes.requires_grad_(), torch.zeros(3).long(), torch.tensor([0, 1, 0]), "softmax", (3,)
    )
    batch = Batch(images, (truth,), (torch.tensor([0, 2]),), ((36, 16),), STUDENT, tiny.NUM_CLASSES)
    options: dict[str, Any] = {"T": T, "layers": LAYERS["l1"], "pooling": pooled}
    distiller = ICOD(ICODParams(**options), Context(tiny.NUM_CLASSES, teacher))
    terms, _ = distiller(View(batch, [positives], teacher, None, torch.Generator()))
    for term, leaf, twin in (("cls", logits, case.logits), ("crop", boxes, case.boxes), ("feat", boxes, case.boxes)):
        assert relative(terms[term].value.detach(), theirs[term].detach()) < 1e-9
        (got,) = torch.autograd.grad(terms[term].value, leaf, retain_graph=True)
        (want,) = torch.autograd.grad(theirs[term], twin, retain_graph=True)
        assert relative(got, want) < 1e-9
