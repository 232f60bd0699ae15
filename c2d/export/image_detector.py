"""A detector as one module from an image to its detections: resize, normalisation, padding, network, NMS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from c2d.export.image_preparation import ImagePreparation
from c2d.export.integer_resize import resize

OUTPUTS = ("boxes", "scores", "labels")


class _Sides(tuple[Tensor, ...]):
    """Height and width in px. mmengine copies what it is given, and the copy of a tensor would leave the trace."""

    def __deepcopy__(self, memo: Any) -> _Sides:
        return self


class ImageDetector(nn.Module):
    """One image in, its detections out; every size is a tensor, so that a trace holds for images of all sizes."""

    def __init__(self, detector: Any, preparation: ImagePreparation) -> None:
        """Keep the detector.

        Args:
            detector: mmdet's, in eval mode, from `tracing.prepare_thresholds`.
            preparation: of its images.
        """
        super().__init__()
        self.detector = detector
        self.preparation = preparation
        self.mean, self.std, self.canvas_value = (
            torch.tensor(values).view(1, 3, 1, 1)
            for values in (preparation.mean, preparation.std, preparation.canvas_value)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect objects.

        Args:
            image: (H, W, 3) uint8, red first.

        Returns:
            Boxes (n, 4) float32, xyxy in px of `image`; scores (n,) float32; labels (n,) int64. Best first.
        """
        from mmdet.structures import DetDataSample

        height, width = (torch.as_tensor(side) for side in image.shape[:2])
        new_height, new_width = self._new_size(height, width)
        pixels = resize(image, new_height, new_width).permute(2, 0, 1)[None].float()
        if not self.preparation.reads_rgb:
            pixels = pixels.flip(1)
        pixels, shape = self._on_canvas(pixels, new_height, new_width)
        pixels = (pixels - self.mean) / self.std
        # Of positive numbers alone: for the floor of negative ones ONNX has no operator.
        divisor = max(1, self.preparation.divisor)
        padded = [torch.div(side + divisor - 1, divisor, rounding_mode="trunc") * divisor for side in shape]
        pixels = _padded(pixels, padded[0] - shape[0], padded[1] - shape[1], self.preparation.value)
        sample = DetDataSample(
            metainfo={
                "img_shape": _Sides(shape),
                "ori_shape": _Sides((height, width)),
                "pad_shape": _Sides(padded),
                "batch_input_shape": _Sides(padded),
                "scale_factor": (1.0, 1.0),
            }
        )
        found = self.detector.predict(pixels, [sample], rescale=False)[0].pred_instances
        boxes = getattr(found.bboxes, "tensor", found.bboxes)
        ratio_x, ratio_y = new_width.float() / width.float(), new_height.float() / height.float()
        return boxes / torch.stack([ratio_x, ratio_y, ratio_x, ratio_y]), found.scores, found.labels

    def _new_size(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Return height and width after the resize: mmcv's rule in whole numbers, rounded half up."""
        how = self.preparation
        if not how.keep_ratio:
            return torch.as_tensor(how.short_side), torch.as_tensor(how.long_side)
        longer, shorter = torch.maximum(height, width), torch.minimum(height, width)
        by_long = how.long_side * shorter <= how.short_side * longer
        above = torch.where(by_long, torch.tensor(how.long_side), torch.tensor(how.short_side))
        below = torch.where(by_long, longer, shorter)
        new = [torch.div(2 * side * above + below, 2 * below, rounding_mode="trunc") for side in (height, width)]
        return new[0], new[1]

    def _on_canvas(self, pixels: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the pixels padded before the normalisation, and (height, width) of what counts as the image."""
        canvas = self.preparation.canvas
        if canvas is None:
            return pixels, [height, width]
        if isinstance(canvas, str):
            sides = [torch.maximum(height, width)] * 2
        else:
            sides = [torch.as_tensor(side) for side in canvas]
        # Shifted so that the value of the padding is zero.
        shifted = pixels - self.canvas_value
        return _padded(shifted, sides[0] - height, sides[1] - width, 0.0) + self.canvas_value, sides


def _padded(pixels: Tensor, below: Tensor, right: Tensor, value: float) -> Tensor:
    """Pad (1, 3, H, W) at the bottom and on the right, by numbers of pixels that are 0-dim long."""
    return nn.functional.pad(pixels, (0, right, 0, below), value=value)  # type: ignore[arg-type]
