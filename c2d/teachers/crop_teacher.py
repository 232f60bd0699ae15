"""A classifier teacher looks at boxes of a batch: predicted ones with the gradient to the box, true ones without.

Each box is cropped once, converted to the teacher's pixels, and shown to the teacher no deeper than asked. Maps come
back average-pooled, which is all that the losses compare and far less to keep.
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

#: The name of the crop itself among the layers; the teacher's own are l0, l1, ...
PIXELS = "crop"


@dataclass
class CropTeacher:
    """The frozen teacher in front of one batch.

    Attributes:
        network: a `ClassifierTeacher`.
        batch: whose images are looked at.
        size: side of the crops in px.
        chunk: boxes per pass; bounds memory, does not change values.
        precision: autocast dtype of the teacher, or None for fp32; see `student_precision`.
    """

    network: Any
    batch: Batch
    size: int
    chunk: int
    precision: torch.dtype | None

    def truth(self, rows: Tensor, layers: dict[str, int], with_logits: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Logits (U, C) and pooled layers (U, M, g, g) of the ground truths `rows`, each cropped once; no gradients."""
        if with_logits and getattr(self.network, "cache", None) is not None:
            return self._known(rows), self.truth(rows, layers, with_logits=False)[1] if layers else {}
        boxes, image = self.batch.all_boxes()
        logits, pooled = [], []
        with torch.no_grad():
            for part in rows.split(self.chunk):
                z, maps = self._look(boxes[part], image[part], layers, with_logits)
                pooled.append(maps)
                if z is not None:
                    logits.append(z)
        joined = {name: torch.cat([maps[name] for maps in pooled]) for name in layers}
        return (torch.cat(logits) if logits else None), joined

    def _known(self, rows: Tensor) -> Tensor:
        """Logits (U, C) of the ground truths `rows`; the network is asked for those that its cache does not know."""
        boxes, image = (part[rows] for part in self.batch.all_boxes())
        paths = [self.batch.paths[i] for i in image.tolist()]

        def ask(unknown: list[int]) -> Tensor:
            places = torch.tensor(unknown, device=boxes.device).split(self.chunk)
            with torch.no_grad():
                looks = [self._look(boxes[part], image[part], {}, with_logits=True)[0] for part in places]
            return torch.cat([z for z in looks if z is not None])

        found: Tensor = self.network.cache.logits(paths, boxes, f"{self.size} px, {self.precision}", ask)
        return found

    def pooled(self, boxes: Tensor, image: Tensor, layers: dict[str, int]) -> dict[str, Tensor]:
        """Pooled layers (k, M, g, g) of boxes (k, 4), with the graph to the boxes."""
        return self._look(boxes, image, layers, with_logits=False)[1]

    def _look(self, boxes: Tensor, image: Tensor, layers: dict[str, int],
              with_logits: bool) -> tuple[Tensor | None, dict[str, Tensor]]:  # fmt: skip
        crops = crop_and_resize(self.batch.images, boxes, image, self.size)
        features = [name for name in layers if name != PIXELS]
        maps, logits = {PIXELS: crops}, None
        if features or with_logits:
            shown = self.network.normalize(crops, self.batch.normalization)
            with _teacher_precision(crops.device.type, self.precision):
                if not with_logits:
                    maps |= self.network.features(shown, features)
                elif not features:
                    logits = self.network.logits(shown)
                else:
                    logits, found = self.network.logits_and_features(shown, features)
                    maps |= found
        wide = crops.dtype
        pooled = {name: F.adaptive_avg_pool2d(maps[name].to(wide), side) for name, side in layers.items()}
        return (None if logits is None else logits.to(wide)), pooled


def student_precision(device: str) -> torch.dtype | None:
    """The student's autocast dtype on CUDA; None elsewhere and without autocast: the teacher then runs in fp32."""
    return torch.get_autocast_dtype(device) if device == "cuda" and torch.is_autocast_enabled(device) else None


@contextmanager
def _teacher_precision(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        yield
