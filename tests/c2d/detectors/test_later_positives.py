"""Positives and dense outputs of RTMDet, YOLOX, YOLOF, PAA, TOOD, VFNet and CenterNetUpdate."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.outputs import DenseOutputs, Needs
from c2d.detectors.recording.anchors import Priors
from c2d.detectors.recording.layout import probe_layout
from c2d.detectors.recording.positives import Positives
from c2d.detectors.recording.record_forward import read_dense_outputs, record_forward
from tests.c2d import tiny_detectors
from tests.c2d.detectors.test_positives import batch_of, flat, record, state
from tests.reference.later_positives_reference import later_positives

INITIAL = "tood-initial"
KINDS = (*tiny_detectors.NEWER, INITIAL)


def build(kind: str) -> Any:
    """A tiny detector; `tood-initial` is a TOOD in its first epochs."""
    detector: Any = tiny_detectors.build(kind.removesuffix("-initial"))
    if kind == INITIAL:
        detector.bbox_head.initial_epoch = 4
        detector.bbox_head.train_cfg["initial_epoch"] = 4
    return detector


@pytest.fixture(autouse=True)
def _first_epoch() -> None:
    MessageHub.get_current_instance().update_info("epoch", 0)


def mixed_batch(seed: int = 0) -> tuple[Tensor, list[Any]]:
    """Three images: one that fills the batch tensor, a smaller one with padding, one without boxes."""
    inputs, samples = tiny_detectors.sample(3, 96, [4, 3, 0], seed=seed)
    inputs[1, :, 60:], inputs[1, :, :, 76:] = 0, 0
    samples[1].set_metainfo({"img_shape": (60, 76), "pad_shape": (64, 80)})
    boxes = samples[1].gt_instances.bboxes
    boxes[:, 0::2], boxes[:, 1::2] = boxes[:, 0::2] * 76 / 96, boxes[:, 1::2] * 60 / 96
    samples[0].gt_instances.labels[:2] = 1  # two boxes of one class: the label alone cannot tell them apart
    return inputs, samples


@pytest.mark.parametrize("kind", KINDS)
def test_positives_equal_the_reference(kind: str) -> None:
    student = build(kind)
    inputs, samples = mixed_batch(seed=3)
    wanted, places = later_positives(student, inputs, copy.deepcopy(samples))
    (found,), _ = record(student, inputs, samples)
    assert found.image.tolist() == wanted.image
    assert found.gt.tolist() == wanted.gt
    assert found.prior is not None
    assert found.prior.tolist() == places
    assert len({*zip(wanted.image, wanted.gt, strict=True)}) >= 5  # of seven objects
    assert found.per_image[2] == 0
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-5, rtol=1e-5)
    assert found.kind == "sigmoid"
    grads = []
    for one in (found, wanted):
        student.zero_grad()
        (one.logits.square().sum() + one.boxes.square().sum() / 1e3).backward()
        grads.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in student.parameters()])
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    assert sum(bool(grad.any()) for grad in grads[0]) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_the_student_stay_the_same(kind: str) -> None:
    student = build(kind)
    inputs, samples = mixed_batch()
    plain = flat(student.loss(inputs, copy.deepcopy(samples)))
    before = state(student)
    with record_forward(student, Needs(positives=True, dense=True)) as seen:
        recorded = flat(student.loss(inputs, copy.deepcopy(samples)))
    assert sum(seen.positives(batch_of(student, inputs, samples))[0].per_image) > 0
    assert plain.keys() == recorded.keys()
    for key, value in recorded.items():
        assert torch.equal(value, plain[key]), key
    assert state(student) == before
    assert "sample" not in vars(getattr(student.bbox_head, "sampler", student))
    for key, value in flat(student.loss(inputs, samples)).items():
        assert torch.equal(value, plain[key]), key


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_boxes_has_a_graph(kind: str) -> None:
    student = build(kind)
    (found,), _ = record(student, *tiny_detectors.sample(2, 64, 0))
    assert found.per_image == (0, 0)
    assert found.boxes.shape == (0, 4)
    (found.logits.sum() + found.boxes.sum()).backward()
    assert any(weight.grad is not None for weight in student.parameters())


# mmdet's own loss of VFNet fails under autocast: it writes fp32 overlaps into a map of half precision.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vfnet"])
def test_autocast_gives_fp32_boxes(kind: str) -> None:
    student = build(kind)
    inputs, samples = tiny_detectors.sample(1, 96, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16), record_forward(student, Needs(True, dense=True)) as seen:
        student.loss(inputs, samples)
    (found,), dense = seen.positives(batch_of(student, inputs, samples)), seen.outputs().dense
    assert dense is not None
    assert found.boxes.dtype == dense.scores[0].dtype == dense.deltas[0].dtype == torch.float32
    assert torch.isfinite(found.boxes).all()
    decoded = decoded_at(student, dense, found)
    torch.testing.assert_close(found.boxes.detach(), decoded, atol=1e-4, rtol=1e-4)
    (found.logits.float().sum() + found.boxes.sum()).backward()


def decoded_at(student: Any, dense: DenseOutputs, found: Positives) -> Tensor:
    assert found.prior is not None
    return Priors(student.bbox_head).decode(dense)[found.image, found.prior]


@pytest.mark.parametrize("kind", tiny_detectors.NEWER)
def test_dense_outputs_are_those_of_the_positives_and_of_the_prediction(kind: str) -> None:
    """In training at the positives, and in eval mode by mmdet's own prediction: every box and every score."""
    student = build(kind)
    inputs, samples = tiny_detectors.sample(1, 96, 3, seed=1)
    with record_forward(student, Needs(True, dense=True)) as seen:
        student.loss(inputs, copy.deepcopy(samples))
    (found,), dense = seen.positives(batch_of(student, inputs, samples)), seen.outputs().dense
    assert dense is not None
    assert found.prior is not None
    scores = dense.gather_scores(found.image, found.prior)
    if kind == "yolox":  # the score is the product of class and objectness
        assert (scores < found.logits).all()
    else:
        torch.testing.assert_close(scores, found.logits)
    torch.testing.assert_close(decoded_at(student, dense, found), found.boxes.detach(), atol=1e-4, rtol=1e-5)

    student.eval()
    with torch.no_grad():
        outputs = student.bbox_head(student.extract_feat(inputs))
        dense = read_dense_outputs(student.bbox_head, outputs)
        boxes = Priors(student.bbox_head).decode(dense)[0]
        cfg = copy.deepcopy(student.bbox_head.test_cfg)
        cfg.nms_pre, cfg.min_bbox_size, cfg.score_thr, cfg.max_per_img = 10**6, -1, 0.0, 10**6
        cfg.nms = {"type": "nms", "iou_threshold": 1.0}
        metas = [{**samples[0].metainfo, "img_shape": (10**6, 10**6)}]
        if kind == "paa":  # its score is the root of class times predicted IoU, and it merges boxes
            outputs, student.bbox_head.with_score_voting = (*outputs[:2], [9 + 0 * m for m in outputs[2]]), False
        (every,) = student.bbox_head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=cfg, rescale=False)
    flat_scores = tiny_detectors.flat_scores(dense)[0].sigmoid()
    best, label = flat_scores.max(1)
    inside = (boxes[:, :2] >= 0).all(1)  # prediction clips at the border of the image
    row = int((best * inside).argmax())
    distance = (every.bboxes - boxes[row]).abs().amax(1) + (every.labels != label[row]) * 10.0
    nearest = int(distance.argmin())
    assert distance[nearest] < 1e-3
    power = 2 if kind == "paa" else 1
    assert float(every.scores[nearest]) ** power == pytest.approx(float(best[row]), rel=2e-3)


def test_joint_logits_by_hand() -> None:
    """sigmoid(0) sigmoid(0) = 1/4, whose logit is -ln 3; a certain objectness leaves the class logit."""
    joint = heads.joint_logits(torch.tensor([0.0, 2.0, -80.0]).view(1, 3, 1, 1), torch.zeros(1, 1, 1, 1))
    assert float(joint[0, 0]) == pytest.approx(-1.0986123)
    certain = heads.joint_logits(torch.tensor([[[[2.0]]]]), torch.tensor([[[[60.0]]]]))
    assert float(certain) == pytest.approx(2.0)
    assert float(joint[0, 2]) == pytest.approx(-80.0 - 0.6931472)


def test_toods_probabilities_become_bounded_logits() -> None:
    family = heads.DENSE["tood"]
    logits = heads.as_logits(family, torch.tensor([0.0, 0.5, 0.9, 1.0]))
    assert logits.tolist() == pytest.approx([-15.9424, 0.0, 2.1972246, 15.9424], abs=1e-3)


def test_squares_of_yolox_lie_around_the_centres_of_cells() -> None:
    """It assigns by the centre of a cell, and decodes from its corner; RTMDet does both from the corner."""
    squares = Priors(build("yolox").bbox_head).anchors([(1, 1)] * 3, torch.device("cpu"))
    assert squares[0].tolist() == [[2.0 - 16, 2.0 - 16, 2.0 + 16, 2.0 + 16]]
    squares = Priors(build("rtmdet").bbox_head).anchors([(1, 1)] * 3, torch.device("cpu"))
    assert squares[0].tolist() == [[-16.0, -16.0, 16.0, 16.0]]


@pytest.mark.parametrize(
    ("kind", "scale", "in_px"),
    [("rtmdet", 1.0, True), ("yolox", 1.0, False), ("yolof", 1.0, False), ("paa", 1.0, False), ("tood", 1.0, False),
     ("vfnet", 1.0, True), ("centernet-update", 0.5, False), ("fcos", 0.5, True)],
)  # fmt: skip
def test_layout(kind: str, scale: float, in_px: bool) -> None:
    student: Any = tiny_detectors.build(kind)
    layout = probe_layout(student)
    assert layout.detector == kind
    assert layout.stages == "one-stage"
    assert layout.scale == scale
    assert layout.dense is not None
    assert layout.dense.kind == "sigmoid"
    assert set(layout.dense.box_channels) == {4}
    assert heads.regresses_px(student.bbox_head) is in_px


def test_tood_changes_its_assigner_with_the_epoch() -> None:
    student = build(INITIAL)
    inputs, samples = mixed_batch()
    by_epoch = {}
    for epoch in (3, 4):
        MessageHub.get_current_instance().update_info("epoch", epoch)
        (found,), _ = record(student, inputs, copy.deepcopy(samples))
        wanted, places = later_positives(student, inputs, copy.deepcopy(samples))
        assert found.prior is not None
        assert (found.prior.tolist(), found.gt.tolist()) == (places, wanted.gt)
        by_epoch[epoch] = places
    assert by_epoch[3] != by_epoch[4]
