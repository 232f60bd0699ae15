"""Context of a teacher's crops in distillation: the same for true and predicted boxes, never for the pixels."""

from __future__ import annotations

from typing import Any

import torch

from c2d.detectors.batch import Batch
from c2d.detectors.normalization import IMAGENET
from c2d.ops.crop import crop_and_resize
from c2d.teachers.crop_teacher import CROP_LAYER, CropTeacher
from tests.c2d.tiny_teacher import TinyTeacher

SIZE = 32


def crop_teacher(context: float) -> CropTeacher:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, 64, 64, generator=generator)
    boxes = torch.tensor([[10.0, 12.0, 40.0, 50.0], [30.0, 5.0, 60.0, 30.0]])
    batch = Batch(images, (boxes,), (torch.tensor([0, 1]),), ((64, 64),), IMAGENET, 3)
    network: Any = TinyTeacher(3)
    network.context = context
    return CropTeacher(network, batch, SIZE, 16, None)


def test_true_and_predicted_boxes_get_the_context_and_pixels_none() -> None:
    wide, plain = crop_teacher(0.25), crop_teacher(0.0)
    boxes, image = wide.batch.all_boxes()
    layers = {CROP_LAYER: 4, "l0": 4}
    seen = crop_and_resize(wide.batch.images, boxes, image, SIZE, context=0.25)
    logits, truth = wide.ground_truth_outputs(torch.arange(2), layers, with_logits=True)
    assert logits is not None
    torch.testing.assert_close(logits, wide.network.logits(wide.network.normalize(seen, IMAGENET)))
    predicted = wide.pooled_features(boxes, image, layers)
    for name in layers:
        torch.testing.assert_close(predicted[name], truth[name])  # equal boxes, equal maps
    without = plain.pooled_features(boxes, image, layers)
    assert torch.equal(predicted[CROP_LAYER], without[CROP_LAYER])
    assert not torch.allclose(predicted["l0"], without["l0"])


def test_the_gradient_reaches_predicted_boxes_through_the_context() -> None:
    teacher = crop_teacher(0.25)
    given, image = teacher.batch.all_boxes()
    boxes = given.clone().requires_grad_()
    teacher.pooled_features(boxes, image, {"l0": 4})["l0"].square().sum().backward()
    assert boxes.grad is not None
    assert (boxes.grad != 0).all()
