"""Positives of the DETR family and of Sparse R-CNN: the matched queries of each layer, against a literal reference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import families, heads
from c2d.detectors.batch import Batch, batch_from_mmdet
from c2d.detectors.normalization import Normalization
from c2d.detectors.outputs import DetectorOutputs, Needs
from c2d.detectors.recording.layout import probe_layout
from c2d.detectors.recording.positives import Positives
from c2d.detectors.recording.record_forward import ForwardRecorder, record_forward
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors, tiny_query_detectors
from tests.c2d.detectors.test_positives import flat, state
from tests.reference.query_positives_reference import reference_queries

SHARED = [name for name in tiny_query_detectors.DETRS if name != "ddq"]
FAMILIES = {"detr": "detr", "conditional": "conditional-detr", "dab": "dab-detr", "deformable": "deformable-detr",
            "deformable-two-stage": "deformable-detr", "dino": "dino", "ddq": "ddq-detr",
            "sparse": "sparse-rcnn"}  # fmt: skip


def case(name: str, counts: Any = (3, 0, 2)) -> tuple[Any, Tensor, Any, Batch]:
    """A detector, three images of 88 x 80 px in a batch tensor of 96 x 88 px, one without objects."""
    detector: Any = tiny_query_detectors.build(name)
    inputs, samples = tiny_detectors.sample(len(counts), (96, 88), list(counts), pad=8)
    pixels = Normalization.from_preprocessor(detector.data_preprocessor)
    return detector, inputs, samples, batch_from_mmdet(inputs, samples, pixels, tiny_detectors.NUM_CLASSES)


def record(student: Any, inputs: Tensor, samples: Any, needs: Needs,
           stages: Any = "all") -> tuple[ForwardRecorder, dict[str, Any]]:  # fmt: skip
    torch.manual_seed(7)  # denoising queries are drawn from the global generator
    with record_forward(student, needs, stages) as recorder:
        losses = student.loss(inputs, copy.deepcopy(samples))
    return recorder, losses


def whole_state(student: Any) -> Any:
    head = student.bbox_head if hasattr(student, "bbox_head") else None
    return state(student), sorted(vars(head.assigner)) if head is not None else None


@pytest.mark.parametrize("name", tiny_query_detectors.NAMES)
def test_positives_are_those_of_the_literal_reference(name: str) -> None:
    """Indices equal, boxes to 1e-5 of the image; the losses equal to the last bit, and the student as it was."""
    student, inputs, samples, batch = case(name)
    assert families.detector_family(student) == FAMILIES[name]
    torch.manual_seed(7)
    plain = flat(student.loss(inputs, copy.deepcopy(samples)))
    before = whole_state(student)  # DDQ's decoder gets the head's auxiliary branches in its first loss
    recorder, losses = record(student, inputs, samples, Needs(positives=True))
    assert plain.keys() == losses.keys()
    for key, value in flat(losses).items():
        assert torch.equal(value, plain[key]), key
    assert whole_state(student) == before
    found = recorder.positives(batch)
    torch.manual_seed(7)
    layers = reference_queries(student, inputs, copy.deepcopy(samples))
    assert len(found) == len(layers) == tiny_query_detectors.LAYERS
    for ours, theirs in zip(found, layers, strict=True):
        assert ours.kind == ("softmax" if name == "detr" else "sigmoid")
        assert ours.per_image == (3, 0, 2)
        assert ours.image.tolist() == theirs.image
        assert ours.gt.tolist() == theirs.gt
        torch.testing.assert_close(ours.logits, torch.stack(theirs.logits), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.boxes / 96, torch.stack(theirs.boxes) / 96, rtol=0, atol=1e-5)
        literal = gradient(student, torch.stack(theirs.boxes), torch.stack(theirs.logits))
        taught = gradient(student, ours.boxes, ours.logits)
        torch.testing.assert_close(taught, literal, rtol=1e-3, atol=1e-4 * float(literal.abs().max()))


def gradient(student: nn.Module, boxes: Tensor, logits: Tensor) -> Tensor:
    """The gradient of a sum of boxes and logits by the neck's first weight."""
    weight = next(student.neck.parameters())  # type: ignore[union-attr]
    (found,) = torch.autograd.grad(boxes.square().sum() / 96 + logits.square().sum(), weight, retain_graph=True)
    return found


def test_duplicates_that_ddq_drops_are_no_positives() -> None:
    """Large proposals of one another's cells overlap, so that queries of the second layer are dropped."""
    student: Any = tiny_query_detectors.build("ddq", seed=2)
    student.dqs_cfg["iou_threshold"] = 0.05
    with torch.no_grad():
        for branch in student.bbox_head.cls_branches:
            branch.weight.mul_(4)
        student.bbox_head.reg_branches[tiny_query_detectors.LAYERS][-1].bias[2:] = 1.5
    inputs, samples = tiny_detectors.sample(3, (96, 88), [3, 0, 2], seed=2, pad=8)
    recorder, _ = record(student, inputs, samples, Needs(positives=True))
    kept = student.cache_dict["distinct_query_mask"][0][:: student.cache_dict["num_heads"], 0]
    assert 0 < int(kept.sum()) < kept.numel()
    torch.manual_seed(7)
    layers = reference_queries(student, inputs, copy.deepcopy(samples))
    assert recorder.positives_recorder is not None
    assert recorder.positives_recorder.read is not None
    for ours, theirs in zip(recorder.positives_recorder.read(), layers, strict=True):
        assert ours.gt.tolist() == theirs.gt
        torch.testing.assert_close(ours.boxes / 96, torch.stack(theirs.boxes) / 96, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["detr", "dino", "ddq", "sparse"])
def test_a_batch_without_objects_has_no_positives_but_a_graph(name: str) -> None:
    student, inputs, samples, batch = case(name, (0, 0))
    recorder, losses = record(student, inputs, samples, Needs(positives=True), "last")
    (found,) = recorder.positives(batch)
    assert found.per_image == (0, 0)
    assert found.boxes.shape == (0, 4)
    assert all(torch.isfinite(value).all() for value in flat(losses).values())
    (found.logits.sum() + found.boxes.sum()).backward()
    assert any(weight.grad is not None for weight in student.parameters())


@pytest.mark.parametrize("name", ["detr", "deformable", "dino", "sparse"])
def test_boxes_are_decoded_in_full_precision_under_autocast(name: str) -> None:
    student, inputs, samples, batch = case(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorder, losses = record(student, inputs, samples, Needs(positives=True, queries=name != "sparse"))
        found = recorder.positives(batch)[-1]
    assert found.per_image == (3, 0, 2)
    assert found.boxes.dtype == torch.float32
    assert name == "sparse" or not torch.equal(found.boxes, found.boxes.bfloat16().float())
    assert all(torch.isfinite(value).all() for value in flat(losses).values())
    queries = recorder.outputs().queries
    assert queries is None or (queries.boxes.dtype == queries.logits.dtype == queries.features.dtype == torch.float32)


@pytest.mark.parametrize("name", SHARED)
def test_queries_of_a_student_and_of_its_copy_as_a_teacher(name: str) -> None:
    """The same numbers; the matched queries are the positives; the teacher, in eval mode, has no denoising queries."""
    student, inputs, samples, batch = case(name)
    teacher = DetectorTeacher(copy.deepcopy(student))
    runs: list[str] = []
    for part in ("backbone", "encoder"):
        teacher.network.get_submodule(part).register_forward_hook(lambda *_, part=part: runs.append(part))
    needs = Needs(queries=True, neck=True, positives=True)
    recorder, _ = record(student, inputs, samples, needs)
    ours, theirs = recorder.outputs().queries, teacher.outputs(batch, needs).queries
    assert runs == ["backbone", "encoder"]  # one forward pass
    assert ours is not None
    assert theirs is not None
    assert theirs.gt is None
    assert ours.gt is not None
    assert ours.kind == theirs.kind
    shape = (tiny_query_detectors.LAYERS, 3, tiny_query_detectors.QUERIES)
    assert ours.boxes.shape == theirs.boxes.shape == (*shape, 4)
    assert ours.gt.shape == shape
    assert ours.logits.shape[:3] == ours.features.shape[:3] == shape
    for a, b in ((ours.logits, theirs.logits), (ours.boxes, theirs.boxes), (ours.features, theirs.features)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
        assert a.requires_grad
        assert not b.requires_grad
    for layer, found in enumerate(recorder.positives(batch)):
        check_positives(found, ours.boxes[layer], ours.logits[layer], ours.gt[layer])


def check_positives(found: Positives, boxes: Tensor, logits: Tensor, gt: Tensor) -> None:
    image, query = (gt >= 0).nonzero(as_tuple=True)
    assert torch.equal(found.image, image)
    assert torch.equal(found.gt, gt[image, query])
    assert torch.equal(found.boxes, boxes[image, query])
    assert torch.equal(found.logits, logits[image, query])


def test_outputs_that_a_detector_does_not_have_are_refused() -> None:
    dino, ddq, sparse = (tiny_query_detectors.build(name) for name in ("dino", "ddq", "sparse"))
    with pytest.raises(InputError, match="no dense outputs can be read from DINO: its head predicts for object quer"):
        heads.dense_head(dino)
    with pytest.raises(InputError, match="DINO has no second stage"):
        heads.roi_head(dino)
    with pytest.raises(InputError, match="DDQDETR: each of its decoder layers drops other queries as duplicates"):
        heads.query_head(ddq)
    with pytest.raises(InputError, match="SparseRCNN: its head has no decoder with object queries; supported famil"):
        heads.query_head(sparse)
    with pytest.raises(InputError, match="SparseRCNN: its stages need the features of its own learned proposals"):
        heads.roi_head(sparse)
    with pytest.raises(InputError, match="its RPN EmbeddingRPNHead has its own loss"):
        heads.dense_head(sparse)


def test_the_layout_of_detectors_with_queries() -> None:
    dino = probe_layout(tiny_query_detectors.build("dino"))
    assert (dino.detector, dino.stages, dino.dense) == ("dino", "one-stage", None)
    assert [level.stride for level in dino.neck] == [8, 16]
    sparse = probe_layout(tiny_query_detectors.build("sparse"))
    assert (sparse.detector, sparse.stages, sparse.dense) == ("sparse-rcnn", "two-stage", None)
    assert [level.stride for level in sparse.neck] == [4, 8, 16]


def test_nothing_is_recorded_that_no_method_needs() -> None:
    student, inputs, samples, batch = case("dino")
    recorder, _ = record(student, inputs, samples, Needs(neck=True))
    assert recorder.outputs().queries is None
    assert len(recorder.outputs().neck) == 2
    assert recorder.positives(batch) == []
    assert DetectorOutputs().queries is None
