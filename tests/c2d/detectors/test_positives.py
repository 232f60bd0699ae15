"""Positives of every head family, checked against the head's own assignment and its own prediction."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.batch import Batch, batch_from_mmdet
from c2d.detectors.normalization import Normalization
from c2d.detectors.recording.positives import Positives
from c2d.detectors.recording.record_positives import record_positives
from tests.c2d import tiny_detectors

DENSE = ["ssd", "retinanet", "atss", "gfl", "fcos"]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in tiny_detectors.NAMES),
    ("fcos", {"norm_on_bbox": True, "center_sampling": True}),
    ("retinanet", {"reg_decoded_bbox": True, "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0}}),
    ("retinanet", {"loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}}),
    ("retinanet", {"type": "RetinaSepBNHead", "num_ins": 3}),
    ("ssd", {"reg_decoded_bbox": True}),
    ("faster", {"reg_class_agnostic": True}),
    ("faster", {"reg_decoded_bbox": True, "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0}}),
]
IDS = [name + "".join(f"-{key}" for key in head) for name, head in VARIANTS]


def batch_of(student: nn.Module, inputs: Tensor, samples: Any) -> Batch:
    pixels = Normalization.from_preprocessor(student.data_preprocessor)
    return batch_from_mmdet(inputs, samples, pixels, tiny_detectors.NUM_CLASSES)


def record(student: Any, inputs: Tensor, samples: Any, stages: Any = "last") -> tuple[list[Positives], dict[str, Any]]:
    torch.manual_seed(7)  # RoI samplers draw from the global generator
    with record_positives(student, stages) as seen:
        losses = student.loss(inputs, samples)
    return seen.positives(batch_of(student, inputs, samples)), losses


def flat(losses: dict[str, Any]) -> dict[str, Tensor]:
    return {k: torch.stack(list(v)) if isinstance(v, list | tuple) else v for k, v in losses.items()}


def state(student: nn.Module) -> tuple[Any, ...]:
    modules = list(student.named_modules())
    return (
        list(student.state_dict()),
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for _, m in modules],
        [sorted(vars(m)) for _, m in modules],
    )


@pytest.mark.parametrize(("name", "head"), VARIANTS, ids=IDS)
def test_losses_and_the_student_stay_the_same(name: str, head: dict[str, Any]) -> None:
    student: Any = tiny_detectors.build(name, **head)
    inputs, samples = tiny_detectors.sample(2, 96, [3, 0], pad=8)
    before = state(student)
    torch.manual_seed(7)
    plain = flat(student.loss(inputs, copy.deepcopy(samples)))
    _, recorded = record(student, inputs, copy.deepcopy(samples))
    assert plain.keys() == recorded.keys()
    for key, value in flat(recorded).items():
        assert torch.equal(value, plain[key]), key
    assert state(student) == before
    torch.manual_seed(7)
    for key, value in flat(student.loss(inputs, samples)).items():
        assert torch.equal(value, plain[key]), key


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_shadows_are_removed_after_an_error(name: str) -> None:
    student = tiny_detectors.build(name)
    before = state(student)
    with pytest.raises(ZeroDivisionError), record_positives(student):
        raise ZeroDivisionError
    assert state(student) == before


@pytest.mark.parametrize(("name", "head"), VARIANTS, ids=IDS)
def test_shapes_kinds_and_graph(name: str, head: dict[str, Any]) -> None:
    student = tiny_detectors.build(name, **head)
    inputs, samples = tiny_detectors.sample(2, 96, [3, 2], pad=8)
    (found,), _ = record(student, inputs, samples)
    count = sum(found.per_image)
    softmax = name in ("ssd", "faster", "cascade") or "loss_cls" in head
    assert count > 0
    assert found.kind == ("softmax" if softmax else "sigmoid")
    assert found.logits.shape == (count, tiny_detectors.NUM_CLASSES + softmax)
    assert found.boxes.shape == (count, 4)
    assert found.boxes.dtype == torch.float32
    assert found.image.tolist() == [0] * found.per_image[0] + [1] * found.per_image[1]
    assert found.image.dtype == found.gt.dtype == torch.long
    for i, sample in enumerate(samples):
        assert found.gt[found.image == i].max() < len(sample.gt_instances)
    (found.logits.square().sum() + found.boxes.square().sum()).backward()
    touched = [p for p in student.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert touched


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_batch_without_boxes_has_no_positives_but_a_graph(name: str) -> None:
    student = tiny_detectors.build(name)
    inputs, samples = tiny_detectors.sample(2, 96, 0)
    (found,), _ = record(student, inputs, samples)
    assert found.per_image == (0, 0)
    assert found.logits.shape[0] == found.gt.shape[0] == 0
    assert found.boxes.shape == (0, 4)
    (found.logits.sum() + found.boxes.sum()).backward()
    assert any(p.grad is not None for p in student.parameters())


class Spy:
    """Keeps what a method returned, call by call."""

    def __init__(self, owner: Any, name: str) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
        original = getattr(owner, name)

        def kept(*args: Any, **kwargs: Any) -> Any:
            out = original(*args, **kwargs)
            self.calls.append((args, kwargs, out))
            return out

        setattr(owner, name, kept)


def head_maps(student: Any, inputs: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Class scores (B, P, C) flattened as the losses flatten them, and the raw class and box maps."""
    cls_scores, bbox_preds, *_ = student.bbox_head(student.extract_feat(inputs))
    channels = student.bbox_head.cls_out_channels
    scores = torch.cat([c.permute(0, 2, 3, 1).reshape(len(inputs), -1, channels) for c in cls_scores], 1)
    return scores, cls_scores, bbox_preds


def priors_of(student: Any, cls_scores: list[Tensor]) -> Tensor:
    """Anchors (P, 4) or points (P, 2) of an image."""
    sizes = [maps.shape[-2:] for maps in cls_scores]
    return torch.cat(student.bbox_head.prior_generator.grid_priors(sizes, device="cpu"))


def decoded(head: Any, image: int, cls_scores: list[Tensor], bbox_preds: list[Tensor]) -> Tensor:
    """All boxes (P, 4) of an image in prior order, written out as each head's `_predict_by_feat_single` has it."""
    priors = head.prior_generator.grid_priors([s.shape[-2:] for s in cls_scores], device="cpu")
    boxes = []
    for level, (prior, maps) in enumerate(zip(priors, bbox_preds, strict=True)):
        raw = maps[image].permute(1, 2, 0)
        if type(head).__name__ == "GFLHead":
            distances = head.integral(raw) * head.prior_generator.strides[level][0]
            boxes.append(head.bbox_coder.decode(head.anchor_center(prior), distances))
        else:
            boxes.append(head.bbox_coder.decode(prior, raw.reshape(-1, 4)))
    return torch.cat(boxes)


@pytest.mark.parametrize("name", ["ssd", "retinanet", "atss", "gfl"])
def test_anchor_heads_follow_the_assigner(name: str) -> None:
    """With anchors outside the image dropped (allowed_border 0), so that flat and assigned indices differ."""
    student: Any = tiny_detectors.build(name)
    student.bbox_head.train_cfg["allowed_border"] = 0
    inputs, samples = tiny_detectors.sample(2, 96, [3, 4], seed=3, pad=8)
    scores, cls_scores, bbox_preds = head_maps(student, inputs)
    spy = Spy(student.bbox_head.assigner, "assign")
    (found,), _ = record(student, inputs, samples)
    assert len(spy.calls) == 2
    for i, (args, kwargs, assigned) in enumerate(spy.calls):
        inside = (args[0] if args else kwargs["pred_instances"]).priors
        rows = found.image == i
        positive = assigned.gt_inds > 0
        assert torch.equal(found.gt[rows], assigned.gt_inds[positive] - 1)
        # The flat index of each positive, found by the anchor itself.
        anchors = torch.cat(
            student.bbox_head.prior_generator.grid_priors([s.shape[-2:] for s in cls_scores], device="cpu")
        )
        flat_index = torch.tensor([int((anchors == a).all(1).nonzero()[0]) for a in inside[positive]])
        assert len(inside) < len(anchors)
        torch.testing.assert_close(found.logits[rows], scores[i, flat_index])
        boxes = decoded(student.bbox_head, i, cls_scores, bbox_preds)
        torch.testing.assert_close(found.boxes[rows], boxes[flat_index])


@pytest.mark.parametrize("head", [{}, {"norm_on_bbox": True}, {"center_sampling": True}])
def test_fcos_recovers_the_ground_truth_of_each_point(head: dict[str, Any]) -> None:
    student: Any = tiny_detectors.build("fcos", **head)
    inputs, samples = tiny_detectors.sample(2, 96, [5, 3], seed=5)
    samples[0].gt_instances.labels[:] = 1  # several boxes of one class: the label alone cannot tell them apart
    scores, cls_scores, bbox_preds = head_maps(student, inputs)
    spy = Spy(student.bbox_head, "get_targets")
    (found,), _ = record(student, inputs, samples)
    points = torch.cat(student.bbox_head.prior_generator.grid_priors([s.shape[-2:] for s in cls_scores], device="cpu"))
    strides = torch.cat(
        [torch.full((s.shape[2] * s.shape[3],), float(d)) for s, d in zip(cls_scores, (4, 8, 16), strict=True)]
    )
    labels, targets = spy.calls[0][2]
    for i, sample in enumerate(samples):
        label = torch.cat([level.view(2, -1)[i] for level in labels])
        target = torch.cat([level.view(2, -1, 4)[i] for level in targets])
        positive = (label < 3).nonzero().squeeze(1)
        rows = found.image == i
        truth = sample.gt_instances
        assert torch.equal(truth.labels[found.gt[rows]], label[positive])
        # Each point's regression target leads back to the box it was given.
        scale = strides[positive, None] if head.get("norm_on_bbox") else 1.0
        reached = student.bbox_head.bbox_coder.decode(points[positive], target[positive] * scale)
        torch.testing.assert_close(truth.bboxes[found.gt[rows]], reached, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.logits[rows], scores[i, positive])
        raw = torch.cat([p[i].permute(1, 2, 0).reshape(-1, 4) for p in bbox_preds])[positive] * scale
        centre = points[positive]
        want = torch.cat([centre - raw[:, :2], centre + raw[:, 2:]], 1)
        torch.testing.assert_close(found.boxes[rows], want)


@pytest.mark.parametrize("name", ["retinanet", "gfl", "fcos"])
def test_decoded_boxes_are_those_the_head_predicts(name: str) -> None:
    student: Any = tiny_detectors.build(name, **({"norm_on_bbox": True} if name == "fcos" else {}))
    inputs, samples = tiny_detectors.sample(1, 96, 3, seed=1)
    (found,), _ = record(student, inputs, samples)
    student.eval()  # all normalisation layers of these students are frozen or group norms
    with torch.no_grad():
        outs = student.bbox_head(student.extract_feat(inputs))
        cfg = copy.deepcopy(student.bbox_head.test_cfg)
        cfg.nms_pre, cfg.min_bbox_size = 10**6, -1  # every box, empty ones too
        metas = [{**samples[0].metainfo, "img_shape": (10**6, 10**6)}]
        every = student.bbox_head.predict_by_feat(*outs, batch_img_metas=metas, cfg=cfg, rescale=False, with_nms=False)[
            0
        ]
    predicted = getattr(every.bboxes, "tensor", every.bboxes)
    inside = found.boxes.detach()
    inside = inside[(inside[:, :2] > 0).all(1)]  # prediction clips at the image border, positives are not clipped
    assert len(inside) > 0
    nearest = (inside[:, None] - predicted[None]).abs().amax(-1).amin(1)
    assert nearest.max() < 1e-3


@pytest.mark.parametrize(("name", "stages"), [("faster", "last"), ("cascade", "last"), ("cascade", "all")])
def test_roi_heads_read_the_sampled_rois(name: str, stages: str) -> None:
    student: Any = tiny_detectors.build(name)
    inputs, samples = tiny_detectors.sample(2, 96, [3, 4], seed=2)
    spy = Spy(student.roi_head, "bbox_loss")
    found, _ = record(student, inputs, samples, stages)
    calls = spy.calls if stages == "all" else spy.calls[-1:]
    assert len(found) == len(calls)
    for entry, (args, _, results) in zip(found, calls, strict=True):
        sampled = args[-1]
        bbox_head = student.roi_head.bbox_head[args[0]] if name == "cascade" else student.roi_head.bbox_head
        row, logits, boxes, gt = 0, [], [], []
        for result in sampled:
            for k in range(len(result.pos_priors)):
                label = int(result.pos_gt_labels[k])
                delta = results["bbox_pred"][row + k]
                delta = delta if bbox_head.reg_class_agnostic else delta[4 * label : 4 * label + 4]
                boxes.append(bbox_head.bbox_coder.decode(result.pos_priors[k][None], delta[None])[0])
                logits.append(results["cls_score"][row + k])
                gt.append(int(result.pos_assigned_gt_inds[k]))
            row += len(result.priors)
        assert entry.per_image == tuple(len(r.pos_priors) for r in sampled)
        assert entry.gt.tolist() == gt
        torch.testing.assert_close(entry.logits, torch.stack(logits))
        torch.testing.assert_close(entry.boxes, torch.stack(boxes))


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_autocast_gives_fp32_boxes(name: str) -> None:
    student = tiny_detectors.build(name)
    inputs, samples = tiny_detectors.sample(1, 96, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,), _ = record(student, inputs, samples)
    assert found.boxes.dtype == torch.float32
    assert torch.isfinite(found.boxes).all()
    (found.logits.float().sum() + found.boxes.sum()).backward()


def test_unsupported_heads_are_named_together_with_those_that_work() -> None:
    student: Any = nn.Module()
    student.bbox_head = nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"head Linear is of another kind; supported families: ssd \(SSDHead\), ret"):
        record_positives(student).__enter__()


def test_subclass_with_its_own_loss_is_not_taken_for_its_parent() -> None:
    from mmdet.models.dense_heads import RetinaHead

    student: Any = tiny_detectors.build("retinanet")

    class Same(RetinaHead):
        """Keeps everything."""

    class Other(RetinaHead):
        def loss_by_feat(self, *args: Any, **kwargs: Any) -> Any:
            return super().loss_by_feat(*args, **kwargs)

    student.bbox_head.__class__ = Same
    with record_positives(student):
        pass
    student.bbox_head.__class__ = Other
    with pytest.raises(InputError, match="its head Other has its own loss_by_feat"):
        record_positives(student).__enter__()


def test_reading_before_the_loss_is_an_error() -> None:
    student = tiny_detectors.build("ssd")
    inputs, samples = tiny_detectors.sample(1, 96, 1)
    with record_positives(student) as seen:
        pass
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        seen.positives(batch_of(student, inputs, samples))
