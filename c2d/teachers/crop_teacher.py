"""A classifier teacher on boxes of a batch: predicted boxes with the gradient to the box, ground truth without.

Each box is cropped once and converted to the teacher's normalization; the teacher runs only to the deepest layer
needed. Maps are average-pooled, because the losses compare pooled maps only and these need less memory.

A teacher that was fitted on crops with context sees boxes with the same context. The layer `crop` never has context: it
is the pixels inside a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.ops.crop import crop_and_resize

CROP_LAYER = "crop"
"""Name of the crop itself among the layers; the teacher's own are l0, l1, ..."""


@dataclass
class CropTeacher:
    """A frozen classifier with the batch whose boxes it sees.

    Attributes:
        network: a `ClassifierTeacher` or an `EnsembleTeacher`; None where nothing but the crops themselves is compared.
        batch: with the images.
        size: side of the crops in px.
        chunk: boxes per forward pass; limits memory, does not change values.
        autocast_dtype: of the teacher, or None for fp32; see `student_autocast_dtype`.
    """

    network: Any
    batch: Batch
    size: int
    chunk: int
    autocast_dtype: torch.dtype | None

    def ground_truth_outputs(
        self, rows: Tensor, layers: dict[str, int], with_logits: bool
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Compute logits and pooled layers of ground-truth boxes; no gradients.

        Args:
            rows: (U,) long, indices into `batch.all_boxes()`.
            layers: layer -> side g of its pooled map.
            with_logits: whether logits are needed.

        Returns:
            Logits (U, C) or None, and layer -> (U, M, g, g).
        """
        members = getattr(self.network, "members", ())
        if with_logits and members:  # each with crops of its own
            logits = sum(weight * self._of_member(member, rows) for member, weight in members)
            assert isinstance(logits, Tensor)
            return logits, self.ground_truth_outputs(rows, layers, with_logits=False)[1] if layers else {}
        # Maps are not cached, so the layers need their own forward pass.
        if with_logits and getattr(self.network, "cache", None) is not None:
            logits = self._cached_logits(rows)
            return logits, self.ground_truth_outputs(rows, layers, with_logits=False)[1] if layers else {}
        boxes, image = self.batch.all_boxes()
        parts, pooled = [], []
        with torch.no_grad():
            for part in rows.split(self.chunk):
                z, maps = self._forward(boxes[part], image[part], layers, with_logits)
                pooled.append(maps)
                if z is not None:
                    parts.append(z)
        joined = {name: torch.cat([maps[name] for maps in pooled]) for name in layers}
        return (torch.cat(parts) if parts else None), joined

    def _of_member(self, member: Any, rows: Tensor) -> Tensor:
        """Logits (U, C) of one classifier of an ensemble for the ground truths `rows`."""
        alone = CropTeacher(member, self.batch, member.size, self.chunk, self.autocast_dtype)
        logits, _ = alone.ground_truth_outputs(rows, {}, with_logits=True)
        assert logits is not None
        return logits

    def _cached_logits(self, rows: Tensor) -> Tensor:
        """Logits (U, C) of the ground truths `rows`; the network computes those that are not in its cache."""
        boxes, image = (part[rows] for part in self.batch.all_boxes())
        paths = [self.batch.paths[i] for i in image.tolist()]

        def compute(missing: list[int]) -> Tensor:
            places = torch.tensor(missing, device=boxes.device).split(self.chunk)
            with torch.no_grad():
                outputs = [self._forward(boxes[part], image[part], {}, with_logits=True)[0] for part in places]
            return torch.cat([z for z in outputs if z is not None])

        view = f"{self.size} px, {self.autocast_dtype}"
        if self.network.context:
            view += f", context {self.network.context}"
        logits: Tensor = self.network.cache.logits(paths, boxes, view, compute)
        return logits

    def pooled_features(self, boxes: Tensor, image: Tensor, layers: dict[str, int]) -> dict[str, Tensor]:
        """Compute pooled layers with the graph to the boxes.

        Args:
            boxes: (k, 4) xyxy, px of the batch tensor.
            image: (k,) long.
            layers: layer -> side g of its pooled map.

        Returns:
            Layer -> (k, M, g, g).
        """
        return self._forward(boxes, image, layers, with_logits=False)[1]

    def _forward(self, boxes: Tensor, image: Tensor, layers: dict[str, int],
                 with_logits: bool) -> tuple[Tensor | None, dict[str, Tensor]]:  # fmt: skip
        features = [name for name in layers if name != CROP_LAYER]
        context = self.network.context if features or with_logits else 0.0
        crops = crop_and_resize(self.batch.images, boxes, image, self.size, context=context)
        maps, logits = {CROP_LAYER: crops}, None
        if context and CROP_LAYER in layers:
            maps[CROP_LAYER] = crop_and_resize(self.batch.images, boxes, image, self.size)
        if features or with_logits:
            inputs = self.network.normalize(crops, self.batch.normalization)
            with _teacher_autocast(crops.device.type, self.autocast_dtype):
                if not with_logits:
                    maps |= self.network.features(inputs, features)
                elif not features:
                    logits = self.network.logits(inputs)
                else:
                    logits, layer_maps = self.network.logits_and_features(inputs, features)
                    maps |= layer_maps
        dtype = crops.dtype  # not half precision, also under autocast
        pooled = {name: F.adaptive_avg_pool2d(maps[name].to(dtype), side) for name, side in layers.items()}
        return (None if logits is None else logits.to(dtype)), pooled


def student_autocast_dtype(device: str) -> torch.dtype | None:
    """Return the student's autocast dtype on CUDA; None elsewhere and without autocast (the teacher runs in fp32)."""
    return torch.get_autocast_dtype(device) if device == "cuda" and torch.is_autocast_enabled(device) else None


@contextmanager
def _teacher_autocast(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        yield
