"""Positives computed step by step with mmdet's own assigners, samplers and coders.

For every head family the assignment is computed again from the head's priors, by loops and without recording what the
head did. Assigners, samplers and coders are the host's; the row of each prior in the output, the ground truth it
belongs to and the box it predicts are computed here. It imports nothing of the package it checks.

RoI heads draw RoIs at random: seed torch before `reference_positives`, as before `student.loss`, and both draw the
same ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.dense_heads import FCOSHead, GFLHead
from mmdet.models.dense_heads.atss_head import ATSSHead
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.utils import unpack_gt_instances
from mmengine.structures import InstanceData
from torch import Tensor


@dataclass
class ReferencePositives:
    """Positives of one head (one stage of a cascade).

    Attributes:
        logits: (K, C) or (K, C + 1), with graph.
        boxes: (K, 4) xyxy in pixels of the input, with graph.
        image: K image indices.
        gt: K indices of ground truths inside their image.
        kind: "softmax" or "sigmoid".
    """

    logits: Tensor
    boxes: Tensor
    image: list[int]
    gt: list[int]
    kind: str


def reference_positives(
    student: Any, inputs: Tensor, data_samples: list[Any], all_stages: bool = False
) -> list[ReferencePositives]:
    """The positives of one batch; one entry, or one per stage of a cascade with all_stages."""
    samples = copy.deepcopy(data_samples)
    for sample in samples:
        boxes = sample.gt_instances.bboxes
        sample.gt_instances.bboxes = boxes if isinstance(boxes, Tensor) else boxes.tensor
    features = student.extract_feat(inputs)
    if hasattr(student, "roi_head"):
        return _two_stage(student, features, samples, all_stages)
    head = student.bbox_head
    if isinstance(head, FCOSHead):
        return [_points(head, features, samples)]
    return [_anchors(head, features, samples)]


# ------------------------------------------------------------------------------------------------- dense heads


def _where(sizes: list[tuple[int, int]], per_cell: int) -> list[tuple[int, int, int, int]]:
    """For each prior in mmdet's flat order: (level, y, x, number inside the cell)."""
    return [
        (level, y, x, a)
        for level, (height, width) in enumerate(sizes)
        for y in range(height)
        for x in range(width)
        for a in range(per_cell)
    ]


def _row(maps: list[Tensor], image: int, place: tuple[int, int, int, int], channels: int) -> Tensor:
    """The `channels` numbers that belong to one prior."""
    level, y, x, a = place
    return maps[level][image, a * channels : (a + 1) * channels, y, x]


def _stack(rows: list[Tensor], maps: list[Tensor], channels: int) -> Tensor:
    return torch.stack(rows) if rows else maps[0].reshape(-1)[:0].reshape(0, channels)


def _anchors(head: Any, features: tuple[Tensor, ...], samples: list[Any]) -> ReferencePositives:
    """SSD, RetinaNet, ATSS, GFL."""
    outs = head(features)
    cls_maps, box_maps = list(outs[0]), list(outs[1])
    sizes = [(m.shape[-2], m.shape[-1]) for m in cls_maps]
    per_level = head.prior_generator.grid_priors(sizes, device=cls_maps[0].device)
    channels = head.cls_out_channels
    box_channels = 4 * (head.reg_max + 1) if isinstance(head, GFLHead) else 4
    places = []
    for level, size in enumerate(sizes):
        per_cell = cls_maps[level].shape[1] // channels
        places += [(level, y, x, a) for _, y, x, a in _where([size], per_cell)]
    priors = torch.cat(list(per_level))
    assert len(places) == len(priors)

    logits: list[Tensor] = []
    boxes: list[Tensor] = []
    images: list[int] = []
    gts: list[int] = []
    truths, ignored, metas = unpack_gt_instances(samples)
    for i, meta in enumerate(metas):
        usable = _usable(head, per_level, sizes, meta)
        numbers = [n for n in range(len(priors)) if usable[n]]
        candidates = InstanceData(priors=priors[numbers])
        if isinstance(head, (ATSSHead, GFLHead)):
            kept_per_level = [sum(1 for n in numbers if places[n][0] == level) for level in range(len(sizes))]
            assigned = head.assigner.assign(candidates, kept_per_level, truths[i], ignored[i])
        else:
            assigned = head.assigner.assign(candidates, truths[i], ignored[i])
        for position, number in enumerate(numbers):
            one_based = int(assigned.gt_inds[position])
            if one_based <= 0:
                continue
            place = places[number]
            logits.append(_row(cls_maps, i, place, channels))
            boxes.append(_decode(head, priors[number], _row(box_maps, i, place, box_channels), place[0]))
            images.append(i)
            gts.append(one_based - 1)
    kind = "sigmoid" if channels == head.num_classes else "softmax"
    return ReferencePositives(_stack(logits, cls_maps, channels), _stack(boxes, box_maps, 4), images, gts, kind)


def _usable(head: Any, per_level: list[Tensor], sizes: list[tuple[int, int]], meta: dict[str, Any]) -> list[bool]:
    """Priors of cells that lie in the padded image, and inside the image itself where the head wants that."""
    flags = torch.cat(list(head.prior_generator.valid_flags(sizes, meta["pad_shape"], device=per_level[0].device)))
    border = head.train_cfg["allowed_border"]
    height, width = meta["img_shape"][:2]
    out = []
    for flag, prior in zip(flags.tolist(), torch.cat(list(per_level)).tolist(), strict=True):
        x1, y1, x2, y2 = prior
        inside = x1 >= -border and y1 >= -border and x2 < width + border and y2 < height + border
        out.append(bool(flag) and (border < 0 or inside))
    return out


def _decode(head: Any, prior: Tensor, raw: Tensor, level: int) -> Tensor:
    """The predicted box (4,) of one anchor, in pixels."""
    if not isinstance(head, GFLHead):
        return head.bbox_coder.decode(prior[None], raw[None])[0]
    stride = head.prior_generator.strides[level][0]
    centre = torch.stack([(prior[0] + prior[2]) / 2, (prior[1] + prior[3]) / 2])
    distances = []
    for side in range(4):  # the expectation of a discrete distribution over 0 .. reg_max strides
        bins = raw[side * (head.reg_max + 1) : (side + 1) * (head.reg_max + 1)]
        p = bins.softmax(dim=0)
        distances.append(sum(n * p[n] for n in range(head.reg_max + 1)))
    left, top, right, bottom = (stride * d for d in distances)
    return torch.stack([centre[0] - left, centre[1] - top, centre[0] + right, centre[1] + bottom])


def _points(head: Any, features: tuple[Tensor, ...], samples: list[Any]) -> ReferencePositives:
    """FCOS: no assigner; the smallest ground truth that holds the point and fits its level's range."""
    outs = head(features)
    cls_maps, box_maps = list(outs[0]), list(outs[1])
    sizes = [(m.shape[-2], m.shape[-1]) for m in cls_maps]
    points = torch.cat(list(head.prior_generator.grid_priors(sizes, device=cls_maps[0].device)))
    places = _where(sizes, 1)
    logits: list[Tensor] = []
    boxes: list[Tensor] = []
    images: list[int] = []
    gts: list[int] = []
    truths, _, metas = unpack_gt_instances(samples)
    for i in range(len(metas)):
        targets = truths[i].bboxes.tolist()
        for point, place in zip(points, places, strict=True):
            level = place[0]
            stride = head.strides[level]
            x, y = point.tolist()
            owner = _owner(head, x, y, targets, head.regress_ranges[level], stride)
            if owner is None:
                continue
            distances = _row(box_maps, i, place, 4)
            if head.norm_on_bbox:  # in training the head's output counts strides
                distances = distances * stride
            logits.append(_row(cls_maps, i, place, head.cls_out_channels))
            boxes.append(
                torch.stack([x - distances[0], y - distances[1], x + distances[2], y + distances[3]]),
            )
            images.append(i)
            gts.append(owner)
    kind = "sigmoid" if head.cls_out_channels == head.num_classes else "softmax"
    return ReferencePositives(
        _stack(logits, cls_maps, head.cls_out_channels), _stack(boxes, box_maps, 4), images, gts, kind
    )


def _owner(
    head: Any, x: float, y: float, truths: list[list[float]], allowed: tuple[float, float], stride: float
) -> int | None:
    best, best_area = None, float("inf")
    for j, (x1, y1, x2, y2) in enumerate(truths):
        sides = (x - x1, y - y1, x2 - x, y2 - y)
        if head.center_sampling:
            reach = stride * head.center_sample_radius
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            inner = (
                x - max(cx - reach, x1),
                y - max(cy - reach, y1),
                min(cx + reach, x2) - x,
                min(cy + reach, y2) - y,
            )
        else:
            inner = sides
        if min(inner) <= 0 or not allowed[0] <= max(sides) <= allowed[1]:
            continue
        area = (x2 - x1) * (y2 - y1)
        if area < best_area:
            best, best_area = j, area
    return best


# --------------------------------------------------------------------------------------------------- RoI heads


def _two_stage(
    student: Any, features: tuple[Tensor, ...], samples: list[Any], all_stages: bool
) -> list[ReferencePositives]:
    """Faster and Cascade R-CNN: the RPN's proposals, sampled by the head's samplers in mmdet's order."""
    rpn_samples = copy.deepcopy(samples)
    for sample in rpn_samples:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
    config = student.train_cfg.get("rpn_proposal", student.test_cfg.rpn)
    _, proposals = student.rpn_head.loss_and_predict(features, rpn_samples, proposal_cfg=config)

    roi = student.roi_head
    truths, ignored, metas = unpack_gt_instances(samples)
    if not isinstance(roi, CascadeRoIHead):
        draws = _draw(roi.bbox_assigner, roi.bbox_sampler, proposals, truths, ignored, features)
        out = roi._bbox_forward(features, _rois(draws))
        return [_of_stage(roi.bbox_head, draws, out["cls_score"], out["bbox_pred"])]

    stages = []
    for stage in range(roi.num_stages):
        draws = _draw(roi.bbox_assigner[stage], roi.bbox_sampler[stage], proposals, truths, ignored, features)
        rois = _rois(draws)
        out = roi._bbox_forward(stage, features, rois)
        head = roi.bbox_head[stage]
        stages.append(_of_stage(head, draws, out["cls_score"], out["bbox_pred"]))
        if stage + 1 == roi.num_stages:
            break
        labels = []
        for draw in draws:
            labels += [int(c) for c in draw.pos_gt_labels] + [head.num_classes] * len(draw.neg_priors)
        with torch.no_grad():
            results = {**out, "rois": rois, "bbox_targets": (torch.tensor(labels),)}
            proposals = head.refine_bboxes(draws, results, metas)
    return stages if all_stages else stages[-1:]


def _draw(
    assigner: Any, sampler: Any, proposals: list[Any], truths: list[Any], ignored: list[Any], features: Any
) -> list[Any]:
    draws = []
    for i, proposal in enumerate(proposals):
        candidates = InstanceData(priors=proposal.bboxes)
        assigned = assigner.assign(candidates, truths[i], ignored[i])
        draws.append(sampler.sample(assigned, candidates, truths[i], feats=[level[i][None] for level in features]))
    return draws


def _rois(draws: list[Any]) -> Tensor:
    """(N, 5): image number and box; per image the positives first, then the negatives."""
    rows = [
        torch.cat([prior.new_tensor([float(i)]), prior])
        for i, draw in enumerate(draws)
        for prior in [*draw.pos_priors, *draw.neg_priors]
    ]
    return torch.stack(rows)


def _of_stage(head: Any, draws: list[Any], scores: Tensor, deltas: Tensor) -> ReferencePositives:
    logits: list[Tensor] = []
    boxes: list[Tensor] = []
    images: list[int] = []
    gts: list[int] = []
    row = 0
    for i, draw in enumerate(draws):
        for k in range(len(draw.pos_priors)):
            four = deltas[row + k]
            if not head.reg_class_agnostic:
                label = int(draw.pos_gt_labels[k])
                four = four[4 * label : 4 * label + 4]
            logits.append(scores[row + k])
            boxes.append(head.bbox_coder.decode(draw.pos_priors[k][None], four[None])[0])
            images.append(i)
            gts.append(int(draw.pos_assigned_gt_inds[k]))
        row += len(draw.pos_priors) + len(draw.neg_priors)
    assert row == len(scores)
    kind = "softmax" if scores.shape[1] == head.num_classes + 1 else "sigmoid"
    return ReferencePositives(_stack(logits, [scores], scores.shape[1]), _stack(boxes, [deltas], 4), images, gts, kind)
