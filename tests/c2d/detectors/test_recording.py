"""What a student computes is recorded once; a teacher runs only as deep as needed, in its own normalization."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.heads import dense_head, roi_head
from c2d.detectors.normalization import Normalization
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.anchors import Priors
from c2d.detectors.recording.record_forward import record_forward
from c2d.detectors.recording.roi_stage import predict_on_proposals, predict_same_rois
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors

EVERY = Needs(neck=True, backbone=True, dense=True)


def setting(name: str, seed: int = 0, pad: int = 8):
    detector = tiny_detectors.build(name, seed=seed)
    inputs, samples = tiny_detectors.sample(2, 96, [3, 0], seed, pad=pad)
    batch = batch_from_mmdet(inputs, samples, Normalization.from_preprocessor(detector.data_preprocessor), 3)
    return detector, inputs, samples, batch


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_a_teacher_with_the_students_weights_computes_what_the_student_does(name: str) -> None:
    student, inputs, samples, batch = setting(name)
    teacher = DetectorTeacher(copy.deepcopy(student))
    with record_forward(student, EVERY) as recorder:
        student.loss(inputs, copy.deepcopy(samples))
    ours, theirs = recorder.outputs(), teacher.outputs(batch, EVERY)
    pairs = [*zip(ours.neck, theirs.neck, strict=True), *zip(ours.backbone, theirs.backbone, strict=True)]
    assert ours.dense is not None
    assert theirs.dense is not None
    pairs += [*zip(ours.dense.scores, theirs.dense.scores, strict=True)]
    pairs += [*zip(ours.dense.deltas, theirs.dense.deltas, strict=True)]  # FCOS: in strides, though one trains
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert a.requires_grad
        assert not b.requires_grad
    assert tiny_detectors.flat_scores(ours.dense).shape[:2] == ours.dense.flat_deltas().shape[:2]


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_decoded_boxes_agree_with_the_positives_recording(name: str) -> None:
    student, inputs, samples, batch = setting(name)
    dense = name in ("ssd", "retinanet", "atss", "gfl", "fcos")
    with record_forward(student, Needs(dense=True, positives=dense)) as recorder:
        student.loss(inputs, copy.deepcopy(samples))
    seen = recorder.outputs().dense
    assert seen is not None
    priors = Priors(dense_head(student))
    boxes = priors.decode(seen)
    sizes = [tuple(s.shape[-2:]) for s in seen.scores]
    counts = [len(level) for level in priors.anchors(sizes, inputs.device)]  # type: ignore[arg-type]
    count = sum(counts)
    assert count == boxes.shape[1]
    assert count == tiny_detectors.flat_scores(seen).shape[1]
    if dense:
        (found,) = recorder.positives(batch)
        gaps = torch.cdist(found.boxes.detach(), boxes.reshape(-1, 4), compute_mode="donot_use_mm_for_euclid_dist").min(
            1
        )
        assert float(gaps.values.max()) < 1e-3


@pytest.mark.parametrize("name", ["faster", "cascade"])
def test_both_second_stages_see_the_same_rois(name: str) -> None:
    student, inputs, samples, batch = setting(name)
    teacher = DetectorTeacher(tiny_detectors.build(name, seed=5))
    needs = Needs(neck=True, rois=True)
    with record_forward(student, needs) as recorder:
        student.loss(inputs, copy.deepcopy(samples))
    ours, maps = recorder.outputs().rois, teacher.outputs(batch, needs).neck
    assert ours is not None
    theirs = predict_same_rois(teacher.network, maps, ours)
    assert theirs.logits.shape == ours.logits.shape == (len(ours.rois), 4)
    assert torch.equal(theirs.rois, ours.rois)
    assert ours.positive.any()
    assert not ours.positive[ours.rois[:, 0] == 1].any()  # the image without boxes
    assert (ours.labels[~ours.positive] == 3).all()
    assert ours.class_deltas(ours.labels).shape == (len(ours.rois), 4)
    assert ours.logits.requires_grad
    assert not theirs.logits.requires_grad
    generator = torch.Generator().manual_seed(1)
    state = torch.random.get_rng_state()
    pair = predict_on_proposals(teacher.network, maps, student, recorder.outputs().neck, batch, samples, generator)
    assert torch.equal(state, torch.random.get_rng_state())  # the student's random numbers are not disturbed
    assert torch.equal(pair[0].rois, pair[1].rois)
    assert pair[0].logits.requires_grad
    assert not pair[1].logits.requires_grad


def test_padding_is_zero_for_a_teacher_of_other_pixels() -> None:
    _, inputs, _, batch = setting("retinanet")
    network: Any = tiny_detectors.build("retinanet", seed=1)
    other: Any = copy.deepcopy(network)
    other.data_preprocessor.mean += 10.0
    seen: list[torch.Tensor] = []
    for net in (network, other):
        handle = net.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        DetectorTeacher(net).outputs(batch, Needs(neck=True))
        handle.remove()
    assert torch.equal(seen[0], inputs)
    assert not torch.equal(seen[1][..., :88, :88], inputs[..., :88, :88])
    assert float(seen[1][..., 88:].abs().max()) == float(seen[1][:, :, 88:].abs().max()) == 0


def test_missing_heads_are_named() -> None:
    retinanet = tiny_detectors.build("retinanet")
    with pytest.raises(InputError, match="RetinaNet has no second stage"):
        roi_head(retinanet)
    retinanet.bbox_head = torch.nn.Identity()
    with pytest.raises(
        InputError, match="dense outputs can be read from RetinaNet with Identity: its head Identity is of another kind"
    ):
        dense_head(retinanet)
