"""compat: our ops, through mmcv's own functions, against formulas written out here and against compiled ones."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("mmdet", reason="mmdet is not installed")

from c2d.detectors import compat

REPORT = compat.prepare()
ops = importlib.import_module("mmcv.ops")  # only now: without compiled ops it needs the stand-in
stand_in_only = pytest.mark.skipif(REPORT.ext == "compiled", reason="this mmcv has compiled ops, nothing stands in")
compiled_only = pytest.mark.skipif(REPORT.ext != "compiled", reason="this mmcv has no compiled ops to compare with")
no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CUDA = pytest.param("cuda", marks=no_cuda)
DEVICES = ["cpu", CUDA]


def gradient(leaf: Tensor) -> Tensor:
    """The gradient that a backward pass left, on the CPU."""
    assert leaf.grad is not None
    return leaf.grad.cpu()


def random_boxes(n: int, seed: int, size: float = 60.0) -> Tensor:
    """(n, 4) xyxy with plenty of overlap."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * size / 2], dim=1)


# ---------------------------------------------------------------------------------------------------- nms


def greedy(boxes: list[list[float]], scores: list[float], threshold: float, offset: int) -> list[int]:
    """Non-maximum suppression as everybody writes it on the board."""

    def overlap(a: list[float], b: list[float]) -> float:
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
        area = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
        return width * height / (sum(area) - width * height)

    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda k: (-scores[k], k)):
        if all(overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("ties", [False, True])
def test_nms(device: str, dtype: torch.dtype, offset: int, ties: bool) -> None:
    if REPORT.ext == "compiled" and (ties or dtype is not torch.float32):
        pytest.skip("compiled nms leaves the order of equal scores open and knows fp32 only")
    for seed in range(4):
        boxes = random_boxes(80, seed).to(device, dtype)
        scores = torch.rand(80, generator=torch.Generator().manual_seed(seed)).to(device, dtype)
        scores = (scores * 5).round() / 5 if ties else scores
        wanted = greedy(boxes.double().tolist(), scores.double().tolist(), 0.5, offset)
        dets, kept = ops.nms(boxes, scores, 0.5, offset=offset)
        assert kept.tolist() == wanted
        assert dets.dtype == dtype
        assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], dim=1))


def test_nms_keeps_an_overlap_equal_to_the_threshold() -> None:
    """mmcv compares in single precision; 0.3 as a double is below 3 / 10 in single precision and would suppress."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 1.0], [0.0, 0.0, 3.0, 1.0]])  # overlap 3 / 10
    assert ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.3)[1].tolist() == [0, 1]
    assert ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.29)[1].tolist() == [0]


def test_nms_of_nothing_and_of_empty_boxes() -> None:
    dets, kept = ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.dtype == torch.long
    flat = torch.zeros(3, 4)  # no area: overlap is 0 / 0, nothing is suppressed
    assert len(ops.nms(flat, torch.ones(3), 0.5)[1]) == 3


def test_nms_options_of_the_wrapper() -> None:
    boxes, scores = random_boxes(50, 3), torch.rand(50, generator=torch.Generator().manual_seed(3))
    few = ops.nms(boxes, scores, 0.5, score_threshold=0.4, max_num=3)[1]
    wanted = [i for i in greedy(boxes.tolist(), scores.tolist(), 0.5, 0) if scores[i] > 0.4][:3]
    assert few.tolist() == wanted


def test_batched_nms_keeps_classes_apart() -> None:
    boxes, scores = random_boxes(60, 5), torch.rand(60, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(60) % 3
    kept = ops.batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.4})[1]
    wanted: set[int] = set()
    for label in range(3):
        mine = (labels == label).nonzero().flatten()
        wanted |= {int(mine[i]) for i in greedy(boxes[mine].tolist(), scores[mine].tolist(), 0.4, 0)}
    assert set(kept.tolist()) == wanted


# -------------------------------------------------------------------------------------------------- roi_align


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """Value of plane (H, W) at a real position; beyond one pixel outside it is 0, within it the border is repeated."""
    height, width = plane.shape
    if not (-1.0 <= y <= height and -1.0 <= x <= width):
        return plane.new_zeros(())
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = plane[top, left] * (1 - across) + plane[top, right] * across
    lower = plane[bottom, left] * (1 - across) + plane[bottom, right] * across
    return upper * (1 - down) + lower * down


def literal_roi_align(
    x: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    """He et al., "Mask R-CNN", section 3, one sample at a time; aligned shifts by half a pixel."""
    rows = []
    for roi in rois.tolist():
        x1, y1, x2, y2 = (value * scale - (0.5 if aligned else 0.0) for value in roi[1:])
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        step_y, step_x = height / size[0], width / size[1]
        n_y = ratio if ratio > 0 else math.ceil(step_y)
        n_x = ratio if ratio > 0 else math.ceil(step_x)
        for plane in x[int(roi[0])]:
            for i in range(size[0]):
                for j in range(size[1]):
                    samples = [
                        bilinear(plane, y1 + (i + (a + 0.5) / n_y) * step_y, x1 + (j + (b + 0.5) / n_x) * step_x)
                        for a in range(n_y)
                        for b in range(n_x)
                    ]
                    rows.append(torch.stack(samples).mean() if samples else plane.new_zeros(()))
    return torch.stack(rows).view(len(rois), x.shape[1], *size)


def roi_case(seed: int) -> tuple[Tensor, Tensor]:
    """Features (2, 2, 6, 7) and rois (5, 5), some of them partly outside and one tiny; exact in bf16."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 2, 6, 7, generator=generator, dtype=torch.float64)
    corner = torch.randint(-4, 16, (5, 2), generator=generator).double()
    extent = torch.randint(2, 24, (5, 2), generator=generator).double()
    extent[0] = 0.5
    image = torch.tensor([0, 1, 1, 0, 1], dtype=torch.float64)[:, None]
    return x, torch.cat([image, corner, corner + extent], dim=1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2])
def test_roi_align_values_and_gradients(device: str, aligned: bool, ratio: int) -> None:
    for seed in range(2):
        x, rois = roi_case(seed)
        mine = x.clone().to(device).requires_grad_()
        got = ops.roi_align(mine, rois.to(device), (2, 3), 0.25, ratio, "avg", aligned)
        weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        (got * weights.to(device)).sum().backward()
        literal = x.detach().clone().requires_grad_()
        wanted = literal_roi_align(literal, rois, (2, 3), 0.25, ratio, aligned)
        (wanted * weights).sum().backward()
        torch.testing.assert_close(got.detach().cpu(), wanted.detach(), atol=1e-10, rtol=0)
        torch.testing.assert_close(gradient(mine), gradient(literal), atol=1e-10, rtol=0)


@stand_in_only
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rois_half", [True, False])
def test_roi_align_in_half_precision(device: str, dtype: torch.dtype, rois_half: bool) -> None:
    """mmdet's extractor casts rois to the features' type; ours accepts both and computes in fp32 either way."""
    x, rois = roi_case(3)
    half = x.to(device, dtype).requires_grad_()
    got = ops.roi_align(half, rois.to(device, dtype if rois_half else torch.float32), (2, 2), 0.25, 0, "avg", True)
    assert got.dtype == dtype
    got.sum().backward()
    assert gradient(half).dtype == dtype
    literal = half.detach().cpu().double().requires_grad_()
    wanted = literal_roi_align(literal, rois, (2, 2), 0.25, 0, True)
    wanted.sum().backward()
    error = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(got.detach().cpu().double(), wanted.detach(), atol=error, rtol=error)
    torch.testing.assert_close(gradient(half).double(), gradient(literal), atol=error, rtol=error)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roi_extractor_under_autocast(device: str, dtype: torch.dtype) -> None:
    """A convolution before and a linear layer behind, as in a detector: the backward pass meets mixed types."""
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    if REPORT.ext == "compiled" and (device == "cpu" or dtype is torch.bfloat16):
        pytest.skip("mmcv's own kernel has no such type")
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 4, 3, padding=1).to(device), nn.Linear(4, 2).to(device)
    layer = {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 0}
    extractor = SingleRoIExtractor(layer, 4, [4]).to(device)
    image, rois = torch.randn(2, 3, 12, 12, device=device), torch.tensor([[0.0, 4, 4, 32, 40], [1, 0, 8, 16, 24]])

    def run(enabled: bool) -> tuple[Tensor, Tensor]:
        conv.zero_grad()
        with torch.autocast(device, dtype=dtype, enabled=enabled):
            out = head(extractor((conv(image),), rois.to(device)).mean((2, 3)))
        out.float().square().sum().backward()
        return out.detach().float(), gradient(conv.weight).clone()

    (half, half_grad), (full, full_grad) = run(True), run(False)
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.05)
    torch.testing.assert_close(half_grad, full_grad, atol=0.05, rtol=0.1)


def test_roi_align_without_rois() -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    out = ops.roi_align(x, torch.zeros(0, 5), (2, 2), 1.0, 0, "avg", True)
    assert out.shape == (0, 3, 2, 2)
    out.sum().backward()
    assert not gradient(x).any()


@stand_in_only
def test_roi_align_max_names_the_fix() -> None:
    with pytest.raises(compat.MissingOp, match=r"roi_align_forward.*pool_mode='max'.*pool_mode='avg'.*pip install"):
        ops.roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), (2, 2), 1.0, 0, "max", True)


# ------------------------------------------------------------------------------------------------- focal loss


def literal_focal(logits: Tensor, target: Tensor, gamma: float, alpha: float, weight: Tensor | None) -> Tensor:
    """Lin et al. 2017, equation 5, per class and in double precision; background (target C) has weight 1."""
    rows = []
    for row, label in zip(logits.double(), target.tolist(), strict=True):
        for column, z in enumerate(row):
            p = torch.sigmoid(z)
            hit = column == label
            p_t, alpha_t = (p, alpha) if hit else (1 - p, 1 - alpha)
            factor = 1.0 if weight is None or label >= len(weight) else float(weight[label])
            rows.append(-factor * alpha_t * (1 - p_t) ** gamma * torch.log(p_t))
    return torch.stack(rows).view(logits.shape)


focal_device = "cuda" if REPORT.ext == "compiled" else "cpu"  # mmcv compiles it for CUDA only


@pytest.mark.skipif(focal_device == "cuda" and not torch.cuda.is_available(), reason="mmcv's focal loss needs CUDA")
@pytest.mark.parametrize("device", [focal_device, CUDA] if focal_device == "cpu" else ["cuda"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
def test_sigmoid_focal_loss(device: str, weighted: bool, gamma: float, alpha: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(9, 4, generator=generator, dtype=torch.float64) * 3
    target = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0, 0] if weighted else [0, 1, 2, 3, 4, 4, 4, 4, 0])
    weight = torch.rand(4, generator=generator, dtype=torch.float64) + 0.5 if weighted else None
    for reduction, reduce in (("none", lambda v: v), ("sum", torch.sum), ("mean", lambda v: v.sum() / 9)):
        mine = logits.clone().to(device).requires_grad_()
        factor = None if weight is None else weight.to(device)
        got = ops.sigmoid_focal_loss(mine, target.to(device), gamma, alpha, factor, reduction)
        literal = logits.detach().clone().requires_grad_()
        wanted = reduce(literal_focal(literal, target, gamma, alpha, weight))
        torch.testing.assert_close(got.detach().cpu(), wanted.detach(), atol=1e-9, rtol=1e-6)
        got.sum().backward()
        wanted.sum().backward()
        torch.testing.assert_close(gradient(mine), gradient(literal), atol=1e-9, rtol=1e-6)


@stand_in_only
def test_focal_loss_of_background_rows_with_class_weights() -> None:
    """mmcv's kernel reads weight[C] there, past the end; ours gives background the weight 1."""
    logits, target = torch.randn(3, 2, generator=torch.Generator().manual_seed(2)), torch.tensor([2, 0, 1])
    weight = torch.tensor([2.0, 3.0])
    got = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    torch.testing.assert_close(got.double(), literal_focal(logits, target, 2.0, 0.25, weight), atol=1e-6, rtol=1e-5)


@stand_in_only
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_focal_loss_stays_finite_when_saturated(device: str, dtype: torch.dtype) -> None:
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], device=device, dtype=dtype, requires_grad=True)
    got = ops.sigmoid_focal_loss(logits, torch.tensor([1, 1], device=device), 2.0, 0.25, None, "none")
    assert got.dtype == dtype
    wanted = torch.tensor([[0.75 * 60, 0.25 * 60], [0.0, 0.0]], device=device)
    torch.testing.assert_close(got.detach().float(), wanted, atol=1e-6, rtol=0.01)
    got.sum().backward()
    assert gradient(logits).dtype == dtype
    torch.testing.assert_close(gradient(logits).float(), torch.tensor([[0.75, -0.25], [0.0, 0.0]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: mmdet calls mmcv's focal loss only there")
def test_mmdets_focal_loss_is_the_same_on_both_devices() -> None:
    from mmdet.models.losses import FocalLoss

    loss, logits, target = FocalLoss(), torch.randn(20, 5), torch.randint(0, 6, (20,))
    torch.testing.assert_close(loss(logits.cuda(), target.cuda()).cpu(), loss(logits, target))


# --------------------------------------------------------------------------------------------- compiled ops


@compiled_only
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_the_compiled_one(device: str, offset: int) -> None:
    for seed in range(20):
        boxes = random_boxes(100, seed).round().to(device)  # whole numbers: overlaps exactly at the threshold occur
        scores = torch.rand(100, generator=torch.Generator().manual_seed(seed)).to(device)
        for threshold in (0.3, 0.5, 0.7):
            wanted = ops.nms(boxes, scores, threshold, offset)[1]
            assert torch.equal(compat.nms(boxes, scores, threshold, offset), wanted)


@compiled_only
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_equals_the_compiled_one(device: str, aligned: bool, ratio: int) -> None:
    x, rois = (value.float().to(device) for value in roi_case(5))
    wanted_input = x.clone().requires_grad_()
    wanted = ops.roi_align(wanted_input, rois, (3, 2), 0.25, ratio, "avg", aligned)
    wanted.sum().backward()
    got, grad, none = torch.zeros_like(wanted), torch.zeros_like(x), x.new_zeros(0)
    options: dict[str, Any] = {"aligned_height": 3, "aligned_width": 2, "spatial_scale": 0.25, "sampling_ratio": ratio}
    compat.roi_align_forward(x, rois, got, none, none, **options, aligned=aligned)
    compat.roi_align_backward(torch.ones_like(got), rois, none, none, grad, **options, aligned=aligned)
    torch.testing.assert_close(got, wanted.detach(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(grad.cpu(), gradient(wanted_input), atol=1e-6, rtol=1e-6)


@compiled_only
@no_cuda
def test_focal_loss_equals_the_compiled_one() -> None:
    logits = torch.randn(50, 6, device="cuda", requires_grad=True)
    target, none = torch.randint(0, 7, (50,), device="cuda"), logits.new_zeros(0)
    wanted = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    wanted.sum().backward()
    got, grad = torch.zeros_like(wanted), torch.zeros_like(wanted)
    compat.sigmoid_focal_loss_forward(logits.detach(), target, none, got, gamma=2.0, alpha=0.25)
    compat.sigmoid_focal_loss_backward(logits.detach(), target, none, grad, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(got, wanted.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(grad.cpu(), gradient(logits), atol=1e-6, rtol=1e-5)


# ------------------------------------------------------------------------------------- deformable attention


def deformable_inputs(device: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two images, two heads of 3 channels, maps of 4 x 5 and 2 x 3 cells, 6 queries with 2 points a level."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[4, 5], [2, 3]])
    value = torch.randn(2, 26, 2, 3, generator=generator)
    at = torch.rand(2, 6, 2, 2, 2, 2, generator=generator) * 1.4 - 0.2  # some points outside the image
    weight = torch.rand(2, 6, 2, 2, 2, generator=generator)
    return (
        value.to(device).requires_grad_(),
        shapes.to(device),
        torch.tensor([0, 20], device=device),
        at.to(device).requires_grad_(),
        weight.to(device).requires_grad_(),
    )


def deformable_attention(value: Tensor, shapes: Tensor, at: Tensor, weight: Tensor) -> Tensor:
    """Eq. 3 of Deformable DETR cell by cell: a point at share x of a map of w cells lies at x w - 1/2."""
    images, queries, heads, levels, points, _ = at.shape
    result = torch.zeros(images, queries, heads, value.shape[3])
    places = [(b, q, h, m, p) for b in range(images) for q in range(queries) for h in range(heads)
              for m in range(levels) for p in range(points)]  # fmt: skip
    for b, q, h, m, p in places:
        height, width = shapes[m].tolist()
        first = int(shapes[:m].prod(1).sum())
        x, y = (float(at[b, q, h, m, p, axis]) * side - 0.5 for axis, side in ((0, width), (1, height)))
        for column in (math.floor(x), math.floor(x) + 1):
            for row in (math.floor(y), math.floor(y) + 1):
                if 0 <= column < width and 0 <= row < height:
                    share = (1 - abs(x - column)) * (1 - abs(y - row)) * float(weight[b, q, h, m, p])
                    result[b, q, h] += share * value[b, first + row * width + column, h].detach().cpu()
    return result.flatten(2)


@pytest.mark.parametrize("device", DEVICES)
def test_deformable_attention_of_mmcv_has_the_values_and_gradients_of_its_own_torch_form(device: str) -> None:
    """mmcv calls the op on GPUs alone; through its autograd function it runs on CPUs too."""
    module = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
    value, shapes, start, at, weight = deformable_inputs(device)
    ours = module.MultiScaleDeformableAttnFunction.apply(value, shapes, start, at, weight, 64)
    torch.testing.assert_close(ours.cpu(), deformable_attention(value, shapes, at, weight), rtol=1e-4, atol=1e-5)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).to(device)
    taken = torch.autograd.grad(ours, (value, at, weight), upstream)
    plain = module.multi_scale_deformable_attn_pytorch(value, shapes, at, weight)
    wanted = torch.autograd.grad(plain, (value, at, weight), upstream)
    for a, b in zip(taken, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    half = module.MultiScaleDeformableAttnFunction.apply(value.half(), shapes, start, at, weight, 64)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), ours, rtol=1e-2, atol=1e-2)
