"""A few instances of each class that represent the training set in the necks of student and teacher.

Instances are chosen by a seed, and each gives one vector per neck level; `c2d.ops.matching_pursuit` selects the
prototypes among them. Under DDP every process reads its share of the images, and all end with all vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce, broadcast, get_dist_info
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import hooks
from c2d.detectors.batch import Batch
from c2d.detectors.normalization import Normalization
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.record_forward import feature_layers, split_maps
from c2d.detectors.training_images import TrainingImages
from c2d.ops import matching_pursuit
from c2d.ops.adapters import LevelPair
from c2d.ops.masks import cell_means

Maps = Sequence[Tensor]
Space = Callable[[Batch], Maps]


class SelectedInstances(NamedTuple):
    """Instances among which prototypes are selected.

    Attributes:
        images: their images, ascending.
        boxes: indices of the boxes, per image.
        labels: (N,) long, image by image.
    """

    images: list[int]
    boxes: list[list[int]]
    labels: Tensor


class SelectionRule(NamedTuple):
    """Rule by which instances are chosen, see `select_instances`.

    Attributes:
        images: maximum number of images per class.
        min_px: both sides of a box have to exceed it, in px of the file.
        seed: of the choice of the images.
    """

    images: int
    min_px: float
    seed: int


class Prototypes(nn.Module):
    """Tables of prototypes, rows of a class one after the other, kept with the weights of a run.

    Args:
        pairs: neck levels of student and teacher.
        teacher: a `DetectorTeacher`.
        count: prototypes per class and level.
        alpha: of the pursuit.
        rule: which instances take part.
    """

    valid: Tensor

    def __init__(
        self,
        pairs: Sequence[LevelPair],
        samples: TrainingImages | None,
        teacher: Any,
        num_classes: int,
        *,
        count: int,
        alpha: float,
        rule: SelectionRule,
    ) -> None:
        super().__init__()
        self.pairs, self.count, self.alpha, self.num_classes = tuple(pairs), count, alpha, num_classes
        self._samples, self._teacher, self._rule = samples, teacher, rule
        self._chosen: SelectedInstances | None = None
        self._theirs: list[Tensor] = []
        for pair in pairs:
            # Buffers, so that a checkpoint holds the tables: a resumed run goes on with the same ones.
            self.register_buffer(f"ours_{pair.stride}", torch.zeros(num_classes * count, pair.student.channels))
            self.register_buffer(f"theirs_{pair.stride}", torch.zeros(num_classes * count, pair.teacher.channels))
        self.register_buffer("valid", torch.zeros(num_classes * count, dtype=torch.bool))

    def tables(self) -> tuple[list[Tensor], list[Tensor]]:
        """Per level (P, M) of the student and of the teacher; rows that are not `valid` (P,) are 0."""
        strides = [pair.stride for pair in self.pairs]
        return [getattr(self, f"ours_{s}") for s in strides], [getattr(self, f"theirs_{s}") for s in strides]

    def of(self, labels: Tensor) -> Tensor:
        """Return (N, P) bool: the prototypes of the class of each label (N,)."""
        classes = torch.arange(len(self.valid), device=labels.device) // self.count
        return self.valid & (classes == labels[:, None])

    def update(self, student: Any) -> None:
        """Compute the tables with the student as it is now. The teacher's vectors are computed once.

        Raises:
            InputError: there are no training images, or no boxes in them.
        """
        if self._samples is None:
            raise InputError("prototypes need the training images, and none were given; build with `samples`")
        if self._chosen is None:
            self._chosen = select_instances(self._samples, self.num_classes, *self._rule)
        if not self._chosen.images:
            raise InputError("prototypes need boxes in the training images, and there are none; check the annotations")

        def ours(batch: Batch) -> Maps:
            maps = neck_maps(student, batch.images)
            return [maps[pair.s] for pair in self.pairs]

        def theirs(batch: Batch) -> Maps:
            maps = self._teacher.outputs(batch, Needs(neck=True)).neck
            return [maps[pair.t] for pair in self.pairs]

        spaces = [ours] if self._theirs else [ours, theirs]
        by_student, *rest = instance_vectors(
            self._samples, self._chosen, spaces, [p.stride for p in self.pairs], student
        )
        self._theirs = rest[0] if rest else self._theirs  # the teacher is frozen
        self.fill(by_student, self._theirs, self._chosen.labels)
        for buffer in self.buffers():
            broadcast(buffer)  # the same to the last bit everywhere

    def fill(self, by_student: Sequence[Tensor], by_teacher: Sequence[Tensor], labels: Tensor) -> None:
        """Select the prototypes of each class, and store their vectors as they are, not normalised.

        Args:
            by_student: per level (N, M_s).
            by_teacher: per level (N, M_t).
            labels: (N,) class of each instance.
        """
        levels = list(zip(by_student, by_teacher, *self.tables(), strict=True))
        for buffer in self.buffers():
            buffer.zero_()
        for label in labels.unique().tolist():
            rows, place = labels == label, slice(label * self.count, (label + 1) * self.count)
            self.valid[place] = True
            for s, t, table_s, table_t in levels:
                of_s, of_t = s[rows].to(table_s.device), t[rows].to(table_t.device)
                picks = matching_pursuit.select_prototypes(of_s, of_t, self.count, self.alpha)
                table_s[place], table_t[place] = of_s[picks], of_t[picks]


def select_instances(
    samples: TrainingImages, num_classes: int, images: int, min_px: float, seed: int
) -> SelectedInstances:
    """Per class at most `images` random images, all its boxes there with both sides above `min_px` px of the file.

    A class without such a box is represented by all its boxes: ours.
    """
    large: list[dict[int, list[int]]] = [{} for _ in range(num_classes)]
    every: list[dict[int, list[int]]] = [{} for _ in range(num_classes)]
    for number, (classes, sides) in enumerate(samples.labels()):
        for box, (label, side) in enumerate(zip(classes, sides, strict=True)):
            every[label].setdefault(number, []).append(box)
            if min(side) > min_px:
                large[label].setdefault(number, []).append(box)
    generator = torch.Generator().manual_seed(seed)
    taken: dict[int, list[tuple[int, int]]] = {}
    for label in range(num_classes):
        candidates = large[label] or every[label]
        numbers = list(candidates)
        for place in torch.randperm(len(numbers), generator=generator)[:images].tolist():
            taken.setdefault(numbers[place], []).extend((box, label) for box in candidates[numbers[place]])
    order = sorted(taken)
    rows = [sorted(taken[number]) for number in order]
    labels = torch.tensor([label for row in rows for _, label in row], dtype=torch.long)
    return SelectedInstances(order, [[box for box, _ in row] for row in rows], labels)


def instance_vectors(
    samples: TrainingImages, chosen: SelectedInstances, spaces: Sequence[Space], strides: Sequence[int], student: Any
) -> list[list[Tensor]]:
    """Average the maps over the cells of each box, every box on every level.

    Args:
        samples: the training images as at test time.
        chosen: N boxes in some of them.
        spaces: batch -> maps, finest first, one per stride.
        strides: px of the batch tensor per cell, one per level.
        student: its preprocessor makes the batches, one image each, so that no padding enters.

    Returns:
        Per space and level (N, M), fp32, on the CPU.
    """
    device = next(student.parameters()).device
    pixels = Normalization.from_preprocessor(student.data_preprocessor)
    rank, world = get_dist_info()
    vectors: list[list[Tensor]] = [[] for _ in spaces]
    first = 0
    for place, (number, boxes) in enumerate(zip(chosen.images, chosen.boxes, strict=True)):
        rows, first = slice(first, first + len(boxes)), first + len(boxes)
        # Every process reads the first image, from which the number of channels follows.
        if place and place % world != rank:
            continue
        batch = _batch(samples[number], boxes, student, pixels, device)
        for space, kept in zip(spaces, vectors, strict=True):
            # Without autocast: it would remember weights cast here, without a graph, for the step that follows.
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                pooled = [box_means(m, *batch.all_boxes(), s) for m, s in zip(space(batch), strides, strict=True)]
            kept.extend(p.new_zeros(len(chosen.labels), p.shape[1], device="cpu") for p in pooled if place == 0)
            for level, vector in zip(kept, pooled, strict=True):
                if place % world == rank:
                    level[rows] = vector.cpu()
    return [[_summed(level, device) for level in kept] for kept in vectors] if world > 1 else vectors


def box_means(maps: Tensor, boxes: Tensor, image: Tensor, stride: int) -> Tensor:
    """Return the means (G, M) of maps (B, M, h, w) over boxes (G, 4) xyxy px of the images (G,)."""
    return cell_means(maps, image, covered_cells(boxes, stride, *maps.shape[-2:]))


def covered_cells(boxes: Tensor, stride: float, height: int, width: int) -> Tensor:
    """Return the cells that boxes cover, both corners included. Coordinates count by their absolute value, as released.

    Args:
        boxes: (G, 4) xyxy px of the batch tensor.
        stride: px per cell.
        height: cells of the map.
        width: cells of the map.

    Returns:
        (G, 4) long: x0, y0, x1, y1, half-open, at least one cell.
    """
    x0, y0, x1, y1 = (boxes.abs() / stride).trunc().long().unbind(1)
    x0, y0 = x0.clamp(max=width - 1), y0.clamp(max=height - 1)
    x1, y1 = torch.maximum(x1, x0).clamp(max=width - 1), torch.maximum(y1, y0).clamp(max=height - 1)
    return torch.stack([x0, y0, x1 + 1, y1 + 1], 1)


@torch.no_grad()
def neck_maps(detector: Any, images: Tensor) -> tuple[Tensor, ...]:
    """Compute the neck's maps in fp32 and eval mode; every module's mode is restored.

    Args:
        detector: an mmdet detector.
        images: (B, 3, H, W), normalised.

    Returns:
        Per level (B, M, h, w).
    """
    # Per module, because frozen stages and norm_eval keep parts of a training detector in eval mode.
    modes = {module: module.training for module in detector.modules()}
    detector.eval()
    try:
        with hooks.record_outputs(detector, feature_layers(detector)) as seen:
            detector.extract_feat(images)
        return split_maps(seen)[0]
    finally:
        for module, training in modes.items():
            module.training = training


def _batch(one: Any, boxes: list[int], student: Any, normalization: Normalization, device: torch.device) -> Batch:
    data = student.data_preprocessor({"inputs": [one.inputs], "data_samples": [one.sample]}, False)
    height, width = one.sample.metainfo["img_shape"][:2]
    kept = torch.tensor(boxes, dtype=torch.long)
    return Batch(
        data["inputs"], (one.boxes[kept].to(device),), (one.labels[kept].to(device),), ((int(height), int(width)),),
        normalization, 0,
    )  # fmt: skip


def _summed(level: Tensor, device: torch.device) -> Tensor:
    """The sum over all processes: each has its own rows, the others' are zero."""
    moved = level.to(device)
    all_reduce(moved)
    return moved.cpu()
