"""Positives of RTMDet, YOLOX, YOLOF, PAA, TOOD, VFNet and CenterNetUpdate, computed prior by prior.

Priors and boxes are computed here by loops. Assigners, box coders of anchors, PAA's losses and its mixture are the
host's. Nothing that the head does during its loss is recorded. It imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet.models.dense_heads import paa_head
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import Tensor

from tests.reference.positives_reference import ReferencePositives

Prior = tuple[int, int, int, int]
"""Level, row, column, number inside the cell."""


def later_positives(student: Any, inputs: Tensor, samples: list[Any]) -> tuple[ReferencePositives, list[int]]:
    """The positives of one batch, and the place of each among the flattened priors of its image."""
    head = student.bbox_head
    outputs = head(student.extract_feat(inputs))
    rule = RULES[type(head).__name__]
    logits, boxes, images, gts, flat = [], [], [], [], []
    for image, sample in enumerate(samples):
        view = _Image(head, [[maps[image] for maps in output] for output in outputs], sample)
        for number, gt in sorted(rule(view).items()):
            logits.append(view.logits(number))
            boxes.append(view.box(number))
            images.append(image)
            gts.append(gt)
            flat.append(number)
    return ReferencePositives(torch.stack(logits), torch.stack(boxes), images, gts, "sigmoid"), flat


class _Image:
    """One image: its priors in mmdet's order, its outputs, and its ground truth."""

    def __init__(self, head: Any, outputs: list[list[Tensor]], sample: Any) -> None:
        self.head, self.outputs = head, outputs
        self.kind = type(head).__name__
        self.truth = InstanceData(bboxes=sample.gt_instances.bboxes, labels=sample.gt_instances.labels)
        self.strides = [int(stride[0]) for stride in head.prior_generator.strides]
        self.classes = head.num_classes
        self.per_cell = outputs[0][0].shape[0] // self.classes
        self.places: list[Prior] = [
            (level, y, x, a)
            for level, maps in enumerate(outputs[0])
            for y in range(maps.shape[1])
            for x in range(maps.shape[2])
            for a in range(self.per_cell)
        ]
        height, width = sample.metainfo["pad_shape"]
        self.usable = [
            number
            for number, (level, y, x, _) in enumerate(self.places)
            if y < math.ceil(height / self.strides[level]) and x < math.ceil(width / self.strides[level])
        ]

    def numbers(self, output: int, number: int, width: int) -> Tensor:
        level, y, x, a = self.places[number]
        return self.outputs[output][level][a * width : (a + 1) * width, y, x]

    def logits(self, number: int) -> Tensor:
        row = self.numbers(0, number, self.classes)
        return (row / (1 - row)).log() if self.kind == "TOODHead" else row

    def point(self, number: int, offset: float = 0.0) -> Tensor:
        level, y, x, _ = self.places[number]
        return torch.tensor([x + offset, y + offset]) * self.strides[level]

    def anchor(self, number: int) -> Tensor:
        """A square around the corner of the cell, of a side that is a multiple of the stride."""
        level, _, _, a = self.places[number]
        multiple = [1, 2, 4][a] if self.kind == "YOLOFHead" else 8
        half = multiple * self.strides[level] / 2
        return torch.cat([self.point(number) - half, self.point(number) + half])

    def box(self, number: int) -> Tensor:
        stride = self.strides[self.places[number][0]]
        if self.kind in ("YOLOFHead", "PAAHead"):
            return self.head.bbox_coder.decode(self.anchor(number)[None], self.numbers(1, number, 4)[None])[0]
        if self.kind == "TOODHead":
            return self.numbers(1, number, 4) * stride
        if self.kind == "YOLOXHead":
            dx, dy, width, height = self.numbers(1, number, 4)
            x, y = self.point(number)
            cx, cy, w, h = x + dx * stride, y + dy * stride, width.exp() * stride, height.exp() * stride
            return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        update = self.kind == "CenterNetUpdateHead"
        x, y = self.point(number, 0.5 if update else 0.0)
        distances = self.numbers(2 if self.kind == "VFNetHead" else 1, number, 4) * (stride if update else 1)
        left, top, right, bottom = distances
        return torch.stack([x - left, y - top, x + right, y + bottom])

    def stack(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).detach()

    def positive(self, assigned: Any, numbers: list[int]) -> dict[int, int]:
        return {n: int(gt) - 1 for n, gt in zip(numbers, assigned.gt_inds, strict=True) if gt > 0}

    def by_overlap(self, assigner: Any) -> dict[int, int]:
        """ATSS: its assigner wants the number of priors of each level."""
        anchors = InstanceData(priors=self.stack([self.anchor(n) for n in self.usable]))
        levels = [sum(self.places[n][0] == level for n in self.usable) for level in range(len(self.strides))]
        return self.positive(assigner.assign(anchors, levels, self.truth), self.usable)


def _rtmdet(view: _Image) -> dict[int, int]:
    numbers = view.usable
    priors = [torch.cat([view.point(n), torch.full((2,), float(view.strides[view.places[n][0]]))]) for n in numbers]
    given = InstanceData(
        priors=view.stack(priors),
        scores=view.stack([view.logits(n) for n in numbers]),
        bboxes=view.stack([view.box(n) for n in numbers]),
    )
    return view.positive(view.head.assigner.assign(given, view.truth), numbers)


def _yolox(view: _Image) -> dict[int, int]:
    """All priors, those on padding too. A point is assigned by the centre of its cell, and decoded from its corner."""
    if len(view.truth) == 0:
        return {}
    numbers = list(range(len(view.places)))
    sides = [torch.full((2,), float(view.strides[view.places[n][0]])) for n in numbers]
    scores = [(view.logits(n).sigmoid() * view.numbers(2, n, 1).sigmoid()).sqrt() for n in numbers]
    given = InstanceData(
        priors=view.stack([torch.cat([view.point(n, 0.5), side]) for n, side in zip(numbers, sides, strict=True)]),
        scores=view.stack(scores),
        bboxes=view.stack([view.box(n) for n in numbers]),
    )
    return view.positive(view.head.assigner.assign(given, view.truth), numbers)


def _yolof(view: _Image) -> dict[int, int]:
    """Rows with index -1 are ignored: they are neither positive nor negative."""
    given = InstanceData(
        priors=view.stack([view.anchor(n) for n in view.usable]),
        decoder_priors=view.stack([view.box(n) for n in view.usable]),
    )
    return view.positive(view.head.assigner.assign(given, view.truth), view.usable)


def _tood(view: _Image) -> dict[int, int]:
    head = view.head
    if MessageHub.get_current_instance().get_info("epoch") < head.train_cfg["initial_epoch"]:
        return view.by_overlap(head.initial_assigner)
    given = InstanceData(
        priors=view.stack([view.anchor(n) for n in view.usable]),
        scores=view.stack([view.numbers(0, n, view.classes) for n in view.usable]),
        bboxes=view.stack([view.box(n) for n in view.usable]),
    )
    assigned = head.alignment_assigner.assign(given, view.truth, None, head.alpha, head.beta)
    return view.positive(assigned, view.usable)


def _vfnet(view: _Image) -> dict[int, int]:
    return view.by_overlap(view.head.assigner)


def _paa(view: _Image) -> dict[int, int]:
    """Kim and Lee, ECCV 2020, section 3: candidates by IoU, the best of each level by their loss, two Gaussians."""
    head = view.head
    given = InstanceData(priors=view.stack([view.anchor(n) for n in view.usable]))
    candidates = view.positive(head.assigner.assign(given, view.truth), view.usable)
    losses = {n: _paa_loss(view, n, gt) for n, gt in candidates.items()}
    kept: dict[int, int] = {}
    for gt in range(len(view.truth)):
        best: list[int] = []
        for level in range(len(view.strides)):
            mine = [n for n, owner in candidates.items() if owner == gt and view.places[n][0] == level]
            best += sorted(mine, key=lambda n: losses[n])[: head.topk]
        if len(best) < 2:
            continue
        best.sort(key=lambda n: losses[n])
        column = torch.tensor([losses[n] for n in best])[:, None].numpy()
        mixture = paa_head.skm.GaussianMixture(
            2, weights_init=[0.5, 0.5], means_init=column[[0, -1]], precisions_init=[[[1.0]], [[1.0]]],
            covariance_type="full",
        )  # fmt: skip
        mixture.fit(column)
        low = [n for n, part in zip(best, mixture.predict(column), strict=True) if part == 0]
        density = [
            d for d, part in zip(mixture.score_samples(column), mixture.predict(column), strict=True) if part == 0
        ]
        if low:  # those of the lower loss, up to the likeliest
            kept |= dict.fromkeys(low[: density.index(max(density)) + 1], gt)
    return kept


def _paa_loss(view: _Image, number: int, gt: int) -> float:
    head, label = view.head, view.truth.labels[gt : gt + 1]
    logits, box = view.logits(number)[None].detach(), view.box(number)[None].detach()
    focal = head.loss_cls(logits, label, torch.ones(1), avg_factor=1.0, reduction_override="none").sum()
    overlap = head.loss_bbox(box, view.truth.bboxes[gt : gt + 1], torch.ones(1, 4), avg_factor=1.0,
                             reduction_override="none")  # fmt: skip
    return float(focal + overlap.sum())


def _centernet_update(view: _Image) -> dict[int, int]:
    """Points of the 3x3 cells around a centre, inside the box, on the level of its size; the nearest centre of them."""
    head, owners = view.head, {}
    for number, (level, y, x, _) in enumerate(view.places):
        stride, (low, high) = view.strides[level], head.regress_ranges[level]
        px, py = (x + 0.5) * stride, (y + 0.5) * stride
        best = math.inf
        for gt, (x1, y1, x2, y2) in enumerate(view.truth.bboxes.tolist()):
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            column, row = int(cx / stride), int(cy / stride)
            size = math.hypot(x2 - x1, y2 - y1) / 2
            inside = x1 < px < x2 and y1 < py < y2
            if not (inside and abs(x - column) <= 1 and abs(y - row) <= 1 and low <= size <= high):
                continue
            radius = max(head.delta**2 * 2 * (x2 - x1) * (y2 - y1), head.hm_min_radius**2)
            distance = 0.0 if (x, y) == (column, row) else ((px - cx) ** 2 + (py - cy) ** 2) / radius
            if distance < best:
                best, owners[number] = distance, gt
    return owners


RULES = {
    "RTMDetSepBNHead": _rtmdet,
    "YOLOXHead": _yolox,
    "YOLOFHead": _yolof,
    "PAAHead": _paa,
    "TOODHead": _tood,
    "VFNetHead": _vfnet,
    "CenterNetUpdateHead": _centernet_update,
}
