"""Fallbacks for three compiled ops of mmcv: nms, average roi_align and sigmoid focal loss.

They have the signatures of the functions of `mmcv._ext`, run on CPU and CUDA in fp32, fp64, fp16 and bf16, and use
torchvision's kernels or plain torch. `compat` installs them where mmcv has no compiled ops; copy both files together.
This file imports nothing else of c2d.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Suppress boxes greedily by overlap.

    Among equal scores the lower index comes first, on every machine; mmcv's own sort leaves that open.

    Args:
        bboxes: (N, 4) xyxy, px.
        scores: (N,).
        iou_threshold: boxes with a larger IoU are dropped.
        offset: 0, or 1 for the old convention that a box includes its last pixel: width = x2 - x1 + 1.

    Returns:
        (K,) long, indices of the kept boxes, best first.
    """
    import torchvision.ops

    boxes, values = _full_precision(bboxes), _full_precision(scores)
    if offset:
        # One more pixel to the right and below gives exactly the areas and overlaps of offset 1.
        boxes = boxes + boxes.new_tensor([0.0, 0.0, offset, offset])
    # mmcv compares in single precision: an overlap of exactly 0.3 is kept at a threshold of 0.3.
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torchvision.ops.nms(boxes, values.to(boxes.dtype), threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Compute RoIAlign with average pooling into `output`.

    Args:
        input: (N, C, H, W) feature maps.
        rois: (K, 5): image index, then xyxy in px of the image, which is `input` / `spatial_scale`.
        output: (K, C, h, w), overwritten; h = `aligned_height`, w = `aligned_width`.
        argmax_y, argmax_x: unused, any shape; only max pooling fills them.
        spatial_scale: cells per px.
        sampling_ratio: samples per bin side; 0: as many as the bin has cells.
        aligned: shift by half a cell.
    """
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    maps = _full_precision(input)
    args = (spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned)
    output.copy_(torch.ops.torchvision.roi_align(maps, rois.to(maps.dtype), *args))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Compute the gradient of `roi_align_forward` into `grad_input`.

    Args:
        grad_output: (K, C, h, w).
        rois: (K, 5), as in the forward pass.
        argmax_y, argmax_x: unused, any shape.
        grad_input: (N, C, H, W), overwritten.
        aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned: as in the forward pass.
    """
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    upstream = _full_precision(grad_output)  # under autocast grad and rois differ in type; the kernel wants one type
    size = (spatial_scale, aligned_height, aligned_width, *grad_input.shape)
    grad = torch.ops.torchvision._roi_align_backward(upstream, rois.to(upstream.dtype), *size, sampling_ratio, aligned)
    grad_input.copy_(grad)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Compute the focal loss per row and class into `output`.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5, per class: -a (1-p)^g log p where the class
    is the target, -(1-a) p^g log(1-p) elsewhere.

    Args:
        input: (N, C) logits.
        target: (N,) long in [0, C]; C is background.
        weight: (C,) factor per target class, or empty (0,).
        output: (N, C), overwritten.
        gamma, alpha: g and a of the formula.
    """
    logits, hit = _full_precision(input), _one_hot(input, target)
    prob = logits.sigmoid()
    positive = -alpha * (1 - prob) ** gamma * torch.nn.functional.logsigmoid(logits)
    negative = -(1 - alpha) * prob**gamma * torch.nn.functional.logsigmoid(-logits)
    output.copy_(torch.where(hit, positive, negative) * _class_weight(weight, target, logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Compute the derivative of `sigmoid_focal_loss_forward` by its logits into `grad_input` (N, C)."""
    logits, hit = _full_precision(input), _one_hot(input, target)
    prob = logits.sigmoid()
    log_p, log_q = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    positive = -alpha * (1 - prob) ** gamma * (1 - prob - gamma * prob * log_p)
    negative = -(1 - alpha) * prob**gamma * (gamma * (1 - prob) * log_q - prob)
    grad_input.copy_(torch.where(hit, positive, negative) * _class_weight(weight, target, logits))


def _full_precision(tensor: Tensor) -> Tensor:
    """fp16 and bf16 to fp32: torchvision's CPU kernels have no half types, and its CUDA kernels no bf16."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _one_hot(input: Tensor, target: Tensor) -> Tensor:
    """(N, C) bool: column c of row n is the target of n; a background row (target C) is False throughout."""
    return target[:, None] == torch.arange(input.shape[1], device=input.device)[None]


def _class_weight(weight: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """(N, 1) factor of each row. Background has no class weight: 1 (mmcv's kernel reads past the end there)."""
    if not weight.numel():
        return logits.new_ones(())
    padded = torch.cat([weight.to(logits), logits.new_ones(1)])
    return padded[target.clamp(max=weight.numel())][:, None]
