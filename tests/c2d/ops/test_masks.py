"""P1, P2 and P3 by the numbers of their specification, and against loops on random boxes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.detectors.normalization import Normalization
from c2d.ops.masks import (
    assign_levels,
    cell_bounds,
    cell_masks,
    cell_means,
    max_per_image,
    object_masks,
    square_distance,
)

RAW = Normalization((0.0,) * 3, (1.0,) * 3, "rgb")


def raster(box: list[float], stride: float, height: int, width: int) -> Tensor:
    return cell_masks(cell_bounds(torch.tensor([box]), stride, height, width), height, width)[0]


@pytest.mark.parametrize(
    ("box", "level"),
    [
        ((0, 0, 55, 55), 0),
        ((8, 8, 40, 24), 0),
        ((0, 0, 111, 111), 1),
        ((0, 0, 112, 112), 1),
        ((10, 20, 300, 200), 2),
        ((0, 0, 447, 447), 3),
        ((0, 0, 5000, 5000), 4),
    ],
)
def test_p1_by_its_numbers(box: tuple[int, ...], level: int) -> None:
    assert assign_levels(torch.tensor([box]).float(), 56.0, 5).tolist() == [level]


def test_p2_by_its_numbers() -> None:
    found = raster([8, 8, 40, 24], 4, 16, 16)
    assert found.sum() == 32
    assert found.nonzero().amin(0).tolist() == [2, 2]
    assert found.nonzero().amax(0).tolist() == [5, 9]
    assert raster([9, 9, 11, 30], 4, 16, 16).nonzero().tolist() == [[2, 2]]


def test_a_box_at_the_far_border_of_a_divisible_map_keeps_a_cell() -> None:
    assert raster([63, 10, 64, 20], 4, 16, 16).any()
    assert raster([64, 64, 64, 64], 4, 16, 16).nonzero().tolist() == [[15, 15]]


@given(some.integers(0, 2**31), some.sampled_from([4, 8, 16]))
def test_p2_equals_the_loop_on_random_boxes(seed: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(6, 2, generator=generator) * 120
    boxes = torch.cat([corner, corner + torch.rand(6, 2, generator=generator) * 60], 1).clamp(max=127.9)
    side = 128 // stride
    found = cell_masks(cell_bounds(boxes, stride, side, side), side, side)
    for box, mask in zip(boxes.tolist(), found, strict=True):
        x0, y0 = math.trunc(box[0] / stride), math.trunc(box[1] / stride)
        x1, y1 = min(math.trunc(box[2] / stride), side), min(math.trunc(box[3] / stride), side)
        wanted = torch.zeros(side, side, dtype=torch.bool)
        if x0 == x1 or y0 == y1:
            wanted[y0, x0] = True
        else:
            wanted[y0:y1, x0:x1] = True
        assert torch.equal(mask, wanted)


def test_p3_is_the_mean_of_a_slice_with_its_gradient() -> None:
    maps = torch.randn(2, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cells, image = torch.tensor([[1, 2, 4, 9], [0, 0, 7, 1], [6, 8, 7, 9]]), torch.tensor([0, 1, 1])
    found = cell_means(maps, image, cells)
    rows = zip(cells.tolist(), image.tolist(), strict=True)
    wanted = torch.stack([maps[i, :, y0:y1, x0:x1].mean((1, 2)) for (x0, y0, x1, y1), i in rows])
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(v.square().sum(), maps)[0] for v in (found, wanted)))


def test_object_masks_put_a_box_only_on_its_level() -> None:
    boxes = (torch.tensor([[8.0, 8, 40, 24], [0, 0, 111, 111]]), torch.zeros(0, 4))
    labels = (torch.zeros(2).long(), torch.zeros(0).long())
    batch = Batch(torch.zeros(2, 3, 128, 128), boxes, labels, ((128, 128),) * 2, RAW, 3)
    maps = [torch.zeros(2, 1, 128 // s, 128 // s) for s in (4, 8)]
    fine, coarse = object_masks(batch, maps, (4, 8), 56.0)
    assert (fine[0].sum(), coarse[0].sum()) == (32, 13 * 13)
    assert fine[1].sum() == coarse[1].sum() == 0
    every = object_masks(batch, maps, (4, 8), 56.0, by_level=False)
    assert every[0][0].sum() == 27 * 27
    assert fine.shape == (2, 1, 32, 32)


def test_no_box_at_all_is_an_empty_mask() -> None:
    assert max_per_image(torch.zeros(0, 3, 3), torch.zeros(0).long(), 2).shape == (2, 3, 3)


def test_p6_sums_over_channels() -> None:
    assert square_distance(torch.zeros(1, 5, 2, 2), torch.full((1, 5, 2, 2), 2.0)).unique().tolist() == [20]
