"""Losses with targets that were assigned once equal mmdet's own `detector.loss`, which assigns them on every call."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.hooks import replace_method
from c2d.impressions.pixels.priors import BatchNormStatistics
from c2d.impressions.pixels.teacher_losses import TeacherLosses
from c2d.impressions.sampling.adaptive_targets import detect_objects
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors

DENSE = ("retinanet", "gfl", "fcos", "ssd", "atss")
TWO_STAGE = ("faster", "cascade")
SIZE = 96


def parts(family: str, objects: int | Sequence[int] = 3) -> tuple[DetectorTeacher, Tensor, list[Any]]:
    """A frozen teacher whose batch norms have moved statistics, two images, and their data samples."""
    network = tiny_detectors.build(family)
    for name, statistic in network.named_buffers():
        if name.endswith("running_mean"):
            statistic.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(len(name)))
        if name.endswith("running_var"):
            statistic.uniform_(0.5, 2, generator=torch.Generator().manual_seed(len(name)))
    return DetectorTeacher(network), *tiny_detectors.sample(2, SIZE, objects)


def assign(losses: TeacherLosses, images: Tensor, samples: Sequence[Any], soft: Sequence[Tensor] | None = None) -> None:
    boxes = [one.gt_instances.bboxes for one in samples]
    labels = [one.gt_instances.labels for one in samples]
    hard = [F.one_hot(one, tiny_detectors.NUM_CLASSES).float() for one in labels]
    torch.manual_seed(7)  # the samplers of RPN and RoI head
    losses.assign(images, boxes, labels, soft or hard)


@contextmanager
def in_strides(network: Any) -> Iterator[None]:
    """Let FCOS predict strides, as in training: the one flag on which a loss of these heads depends."""
    head = getattr(network, "bbox_head", None)
    if head is not None:
        head.training = True
    yield
    if head is not None:
        head.training = False


def mmdet_losses(network: Any, images: Tensor, samples: Sequence[Any]) -> dict[str, Tensor]:
    """mmdet's own losses, each as its sum over the levels."""
    torch.manual_seed(7)
    with in_strides(network):
        found = network.loss(images, copy.deepcopy(list(samples)))
    return {
        name: torch.stack(value).sum() if isinstance(value, list) else value
        for name, value in found.items()
        if "loss" in name
    }


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor], images: Tensor) -> None:
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert value.item() == pytest.approx(theirs[name].item(), rel=1e-6, abs=1e-6), name
    gradients = [torch.autograd.grad(sum(each.values()), images)[0] for each in (ours, theirs)]  # type: ignore[arg-type]
    # SSD draws three negatives for each positive, so without any box there is no loss at all.
    assert gradients[0].abs().max() > 0 or not any(value.item() for value in theirs.values())
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-6 * gradients[1].abs().max()


@pytest.mark.parametrize("objects", [3, (0, 2), 0], ids=["boxes", "one_image_without", "none"])
@pytest.mark.parametrize("family", [*DENSE, *TWO_STAGE])
def test_losses_equal_those_of_mmdet(family: str, objects: int | Sequence[int]) -> None:
    teacher, images, samples = parts(family, objects)
    images.requires_grad_()
    with TeacherLosses(teacher) as losses:
        assign(losses, images.detach(), samples)
        ours = losses.compute(images)
    assert_equal(ours, mmdet_losses(teacher.network, images, samples), images)


@pytest.mark.parametrize("family", DENSE)
def test_targets_of_dense_heads_stay_right_while_images_change(family: str) -> None:
    teacher, images, samples = parts(family)
    with TeacherLosses(teacher) as losses:
        assign(losses, images, samples)
        for seed in range(2):
            later = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
            ours = losses.compute(later)
            theirs = mmdet_losses(copy.deepcopy(parts(family)[0]).network, later, samples)
            assert_equal(ours, theirs, later)


def test_a_two_stage_teacher_keeps_proposals_and_samples_while_images_change() -> None:
    teacher, images, samples = parts("faster")
    reference: Any = parts("faster")[0].network
    later = (images + 0.3).requires_grad_()
    with TeacherLosses(teacher) as losses:
        assign(losses, images, samples)
        ours = losses.compute(later)
    rpn = reference.rpn_head
    kept: list[Any] = []
    predict = rpn.predict_by_feat

    def remember(*args: Any, **kwargs: Any) -> Any:
        kept.extend(predict(*args, **kwargs))
        return copy.deepcopy(kept)

    with replace_method(rpn, "predict_by_feat", remember):
        mmdet_losses(reference, images, samples)
    with replace_method(rpn, "predict_by_feat", lambda *_, **__: copy.deepcopy(kept)):
        theirs = mmdet_losses(reference, later, samples)
    assert_equal(ours, theirs, later)


def test_a_second_assignment_replaces_the_first() -> None:
    teacher, images, samples = parts("retinanet")
    others = tiny_detectors.sample(2, SIZE, (2, 4), seed=5)[1]
    images.requires_grad_()
    with TeacherLosses(teacher) as losses:
        assign(losses, images.detach(), samples)
        losses.compute(images)
        assign(losses, images.detach(), others)
        ours = losses.compute(images)
    assert_equal(ours, mmdet_losses(teacher.network, images, others), images)


@pytest.mark.parametrize("family", ["retinanet", "fcos", "faster"])
def test_the_teacher_stays_what_it_was_and_only_pixels_get_a_gradient(family: str) -> None:
    teacher, images, samples = parts(family)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in teacher.network.named_modules()}
    images.requires_grad_()
    with TeacherLosses(teacher, soft_labels=True) as losses:
        assign(losses, images.detach(), samples)
        sum(losses.compute(images).values()).backward()  # type: ignore[union-attr]
    assert images.grad is not None
    assert images.grad.abs().max() > 0
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.network.parameters())
    assert {name: set(vars(module)) for name, module in teacher.network.named_modules()} == attributes
    assert not any(module.training for module in teacher.network.modules())


def test_an_error_inside_the_block_restores_the_teacher() -> None:
    teacher, _, _ = parts("fcos")
    with pytest.raises(ValueError, match="stop"), TeacherLosses(teacher):
        raise ValueError("stop")
    head: Any = teacher.network.bbox_head
    assert not head.training
    assert "get_targets" not in vars(head)


def test_a_teacher_without_batch_norm() -> None:
    torch.manual_seed(0)
    config = tiny_detectors.config("retinanet")
    config.backbone.norm_cfg = {"type": "GN", "num_groups": 4, "requires_grad": True}
    teacher = DetectorTeacher(tiny_detectors.MODELS.build(config))
    assert BatchNormStatistics(teacher.network).layers == []
    images, samples = tiny_detectors.sample(2, SIZE, 3)
    images.requires_grad_()
    with TeacherLosses(teacher) as losses:
        assign(losses, images.detach(), samples)
        ours = losses.compute(images)
    assert_equal(ours, mmdet_losses(teacher.network, images, samples), images)


@pytest.mark.parametrize("family", [*DENSE, *TWO_STAGE])
def test_soft_labels_are_the_distance_to_the_scores_of_the_positives(family: str) -> None:
    teacher, images, samples = parts(family)
    labels = [one.gt_instances.labels for one in samples]
    soft = [F.one_hot(one, 3).float() * 0.7 + 0.1 for one in labels]
    with TeacherLosses(teacher, soft_labels=True) as losses:
        assign(losses, images, samples, soft)
        found = losses.compute(images)["loss_soft_labels"].item()
        logits, wanted = losses._positives.logits, losses._soft
    # Recorded by another way, while the targets were assigned.
    if losses._positives.kind == "sigmoid":
        p = logits.sigmoid()
        literal = (wanted * (wanted / p).log() + (1 - wanted) * ((1 - wanted) / (1 - p)).log()).sum() / len(p)
    else:
        p = logits.softmax(1)[:, :3]
        literal = (wanted * (wanted / p).log()).sum() / len(p)
    assert len(logits) > 2
    assert found == pytest.approx(literal.item(), rel=1e-4)
    assert wanted.sum(1).tolist() == pytest.approx([1.0] * len(wanted))


@pytest.mark.parametrize("family", ["retinanet", "faster"])
def test_soft_labels_without_targets_are_zero(family: str) -> None:
    teacher, images, samples = parts(family, 0)
    with TeacherLosses(teacher, soft_labels=True) as losses:
        assign(losses, images, samples)
        assert losses.compute(images.requires_grad_())["loss_soft_labels"].item() == 0


@pytest.mark.parametrize("family", ["fcos", "faster"])
def test_the_teacher_detects_inside_the_block_as_outside(family: str) -> None:
    teacher, images, samples = parts(family)
    if family == "fcos":
        heads.dense_head(teacher.network).norm_on_bbox = True
    outside = detect_objects(teacher, images)
    with TeacherLosses(teacher) as losses:
        assign(losses, images, samples)
        inside = detect_objects(teacher, images)
    for before, after in zip(outside, inside, strict=True):
        assert torch.allclose(before.boxes, after.boxes, atol=1e-5)
        assert torch.allclose(before.scores, after.scores, atol=1e-5)
