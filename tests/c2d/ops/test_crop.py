"""Crops by box: the spatial transformer, its geometry and its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.ops.boxes import clip_to_image
from c2d.ops.crop import crop_and_resize


def random_boxes(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([width * 0.6, height * 0.6])
    side = 3 + torch.rand(count, 2, generator=generator) * torch.tensor([width * 0.35, height * 0.35])
    return torch.cat([corner, corner + side], 1)


def repeated(images: Tensor, boxes: Tensor, image: Tensor, size: int) -> Tensor:
    """The literal form: one copy of the image per box and torch's own affine grid."""
    height, width = images.shape[-2:]
    x1, y1, x2, y2 = clip_to_image(boxes, height, width).unbind(1)
    zero = torch.zeros_like(x1)
    rows = [(x2 - x1) / width, zero, -1 + (x1 + x2) / width, zero, (y2 - y1) / height, -1 + (y1 + y2) / height]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [len(boxes), 3, size, size], align_corners=False)
    return F.grid_sample(images[image], grid, align_corners=False)


def test_full_image_box_is_the_identity() -> None:
    image = torch.rand(1, 3, 24, 24)
    got = crop_and_resize(image, torch.tensor([[0.0, 0.0, 24.0, 24.0]]), torch.tensor([0]), 24)
    assert (got - image).abs().max() < 1e-5


def test_flipped_image_with_mirrored_box_is_the_flipped_crop() -> None:
    image, index = torch.rand(1, 3, 20, 30), torch.tensor([0])
    box = torch.tensor([[3.2, 4.0, 17.7, 15.5]])
    mirrored = torch.tensor([[30 - 17.7, 4.0, 30 - 3.2, 15.5]])
    torch.testing.assert_close(
        crop_and_resize(image.flip(-1), mirrored, index, 16),
        crop_and_resize(image, box, index, 16).flip(-1),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("counts", [(4, 4, 4), (9, 0, 1)], ids=["one call", "a call per image"])
def test_folded_crops_equal_repeated_images(counts: tuple[int, ...]) -> None:
    images = torch.rand(len(counts), 3, 40, 52, dtype=torch.float64)
    index = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
    index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(1))]
    boxes = random_boxes(len(index), 40, 52).double()
    results = []
    for form in (crop_and_resize, repeated):
        leaf = boxes.clone().requires_grad_()
        out = form(images, leaf, index, 14)
        (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)).sum().backward()
        results.append((out, leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_padding_a_batch_of_grids_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, index = torch.rand(3, 3, 30, 30), torch.tensor([0, 2, 0, 0, 1])
    boxes = random_boxes(5, 30, 30)
    results = []
    for waste in (0.0, 100.0):
        monkeypatch.setattr("c2d.ops.crop.MAX_WASTE", waste)
        leaf = boxes.clone().requires_grad_()
        out = crop_and_resize(images, leaf, index, 8)
        out.square().sum().backward()
        assert leaf.grad is not None
        results.append((out.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_do_not_change_the_value(chunk: int) -> None:
    images, boxes = torch.rand(2, 3, 30, 30), random_boxes(7, 30, 30)
    index = torch.tensor([1, 0, 1, 1, 0, 0, 0])
    assert torch.equal(crop_and_resize(images, boxes, index, 8, chunk=chunk), crop_and_resize(images, boxes, index, 8))


def test_gradient_reaches_the_box_and_not_the_image() -> None:
    images = torch.rand(1, 3, 30, 30, requires_grad=True)
    boxes = random_boxes(2, 30, 30).requires_grad_()
    crop_and_resize(images, boxes, torch.tensor([0, 0]), 8).square().sum().backward()
    assert images.grad is None
    assert boxes.grad is not None
    assert (boxes.grad != 0).all()


def test_gradient_equals_finite_differences_of_a_smooth_image() -> None:
    # Bilinear sampling has kinks; a plane has none, so the difference quotient is exact.
    ys, xs = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    images = torch.stack([xs, ys, 2 * xs - ys]).double()[None]
    boxes = torch.tensor([[5.3, 6.1, 20.2, 17.9], [10.0, 3.0, 30.0, 29.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda b: crop_and_resize(images, b, torch.tensor([0, 0]), 4), (boxes,), eps=1e-4, atol=1e-6
    )


def test_coordinates_beyond_the_image_have_no_gradient_and_no_effect() -> None:
    images = torch.rand(1, 3, 20, 20)
    outside = torch.tensor([[-3.0, 2.0, 27.0, 15.0]], requires_grad=True)
    got = crop_and_resize(images, outside, torch.tensor([0]), 8)
    assert torch.equal(got, crop_and_resize(images, torch.tensor([[0.0, 2.0, 20.0, 15.0]]), torch.tensor([0]), 8))
    got.square().sum().backward()
    assert outside.grad is not None
    assert (outside.grad[0] == 0).tolist() == [True, False, True, False]


@pytest.mark.parametrize("box", [[30.0, 5.0, 40.0, 9.0], [-9.0, -9.0, -2.0, -1.0], [8.0, 8.0, 8.0, 8.0]])
def test_box_outside_or_without_area_is_a_sliver_with_finite_gradient(box: list[float]) -> None:
    boxes = torch.tensor([box], requires_grad=True)
    x1, y1, x2, y2 = clip_to_image(boxes, 20, 20)[0].tolist()
    assert x2 - x1 >= 0.9e-3
    assert y2 - y1 >= 0.9e-3
    out = crop_and_resize(torch.rand(1, 3, 20, 20), boxes, torch.tensor([0]), 4)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert boxes.grad is not None
    assert torch.isfinite(boxes.grad).all()


def test_no_box_gives_an_empty_crop_with_a_graph() -> None:
    boxes = torch.zeros(0, 4, requires_grad=True)
    out = crop_and_resize(torch.rand(2, 3, 8, 8), boxes, torch.zeros(0, dtype=torch.long), 5)
    assert out.shape == (0, 3, 5, 5)
    out.sum().backward()
    assert boxes.grad is not None


def test_autocast_leaves_crops_in_fp32() -> None:
    images, boxes, index = torch.rand(1, 3, 30, 30), random_boxes(3, 30, 30), torch.tensor([0, 0, 0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = crop_and_resize(images, boxes, index, 8)
    assert got.dtype == torch.float32
    assert torch.equal(got, crop_and_resize(images, boxes, index, 8))


def test_context_moves_each_side_by_its_share() -> None:
    images, index = torch.rand(1, 3, 16, 16), torch.tensor([0])
    box, wider = torch.tensor([[4.0, 6.0, 12.0, 10.0]]), torch.tensor([[2.0, 5.0, 14.0, 11.0]])
    got = crop_and_resize(images, box, index, 8, context=0.25)  # 8 and 4 px: 2 px and 1 px on each side
    assert torch.equal(got, crop_and_resize(images, wider, index, 8))
    assert torch.equal(crop_and_resize(images, box, index, 8, context=0.0), crop_and_resize(images, box, index, 8))


def test_context_outside_the_image_is_zero_and_the_box_is_clipped_first() -> None:
    ones, index = torch.ones(1, 1, 8, 8), torch.tensor([0])
    # The box is clipped to 0..4 and grows to -2..6: samples at -1, 1, 3 and 5 px.
    got = crop_and_resize(ones, torch.tensor([[-3.0, -9.0, 4.0, 4.0]]), index, 4, context=0.5)[0, 0]
    expected = torch.tensor([0.0, 1.0, 1.0, 1.0])
    assert torch.equal(got, expected[:, None] * expected[None])


def test_gradient_with_context_equals_finite_differences() -> None:
    ys, xs = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    images = torch.stack([xs, ys, 2 * xs - ys]).double()[None]
    boxes = torch.tensor([[9.3, 8.1, 20.2, 17.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda b: crop_and_resize(images, b, torch.tensor([0]), 4, context=0.3), (boxes,), eps=1e-4, atol=1e-6
    )
