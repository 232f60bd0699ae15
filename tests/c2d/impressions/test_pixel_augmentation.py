"""Shift, flip and cutout move image and boxes together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2d.impressions.pixels.pixel_augmentation import Draw, draw
from c2d.specs.impressions_schedule import PixelAugmentation

SIZE = 16


def picture_of(box: list[int]) -> torch.Tensor:
    """Black, with 1 inside the box (x1, y1, x2, y2)."""
    image = torch.zeros(1, 3, SIZE, SIZE)
    x1, y1, x2, y2 = box
    image[..., y1:y2, x1:x2] = 1
    return image


def extent(image: torch.Tensor) -> list[float]:
    rows, cols = image[0, 0].nonzero(as_tuple=True)
    return [float(cols.min()), float(rows.min()), float(cols.max()) + 1, float(rows.max()) + 1]


@given(
    st.integers(-4, 4), st.integers(-4, 4), st.booleans(),
    st.integers(4, 7), st.integers(4, 7), st.integers(1, 4), st.integers(1, 4),
)  # fmt: skip
def test_boxes_follow_the_picture(right: int, down: int, flip: bool, x: int, y: int, w: int, h: int) -> None:
    box = [x, y, x + w, y + h]
    changed = Draw(right, down, flip)
    moved, stays = changed.apply_boxes(torch.tensor([box], dtype=torch.float32), SIZE)
    if x + right > 0 and y + down > 0 and x + w + right < SIZE and y + h + down < SIZE:  # edges would be repeated
        assert extent(changed.apply_images(picture_of(box))) == moved[0].tolist()
        assert stays.tolist() == [True]


def test_a_flip_twice_is_nothing() -> None:
    images, boxes = torch.randn(2, 3, SIZE, SIZE), torch.tensor([[1.0, 2.0, 5.0, 9.0]])
    flipped = Draw(flip=True)
    assert torch.equal(flipped.apply_images(flipped.apply_images(images)), images)
    once, _ = flipped.apply_boxes(boxes, SIZE)
    assert once.tolist() == [[11.0, 2.0, 15.0, 9.0]]
    assert torch.equal(flipped.apply_boxes(once, SIZE)[0], boxes)


def test_a_box_that_leaves_by_more_than_half_is_left_out() -> None:
    boxes = torch.tensor([[12.0, 0.0, 16.0, 4.0], [8.0, 0.0, 12.0, 4.0]])
    moved, stays = Draw(right=3).apply_boxes(boxes, SIZE)
    assert stays.tolist() == [False, True]
    assert moved.tolist() == [[15.0, 0.0, 16.0, 4.0], [11.0, 0.0, 15.0, 4.0]]


def test_edge_pixels_fill_what_a_shift_uncovers() -> None:
    row = torch.arange(4.0).expand(1, 3, 4, 4)
    assert Draw(right=2).apply_images(row)[0, 0, 0].tolist() == [0, 0, 0, 1]
    assert Draw(right=-1).apply_images(row)[0, 0, 0].tolist() == [1, 2, 3, 3]


def test_cutout_is_a_square_of_the_mean_colour_in_each_image() -> None:
    recipe = PixelAugmentation(jitter=0, flip=False, cutout=0.25, interval=1)
    one = draw(recipe, 3, SIZE, np.random.default_rng(0))
    holes = one.apply_images(torch.ones(3, 3, SIZE, SIZE)) == 0
    assert holes.sum(dim=(2, 3)).tolist() == [[16, 16, 16]] * 3
    assert len(set(one.holes)) > 1


@pytest.mark.parametrize(("jitter", "flip"), [(0, False), (3, True)])
def test_draws_stay_in_range(jitter: int, flip: bool) -> None:
    recipe = PixelAugmentation(jitter=jitter, flip=flip, cutout=0, interval=1)
    rng = np.random.default_rng(1)
    drawn = [draw(recipe, 2, SIZE, rng) for _ in range(200)]
    assert {one.right for one in drawn} == {one.down for one in drawn} == set(range(-jitter, jitter + 1))
    assert {one.flip for one in drawn} == ({False, True} if flip else {False})
    assert all(not one.holes for one in drawn)
