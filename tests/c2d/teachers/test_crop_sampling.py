"""Which boxes of a batch become crops, and that a crop holds the pixels of its box."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from c2d.detectors.batch import Batch
from c2d.detectors.normalization import IMAGENET
from c2d.teachers import crop_sampling
from c2d.teachers.crop_sampling import crop_boxes, sample_boxes


def batch(*boxes: Any, size: int = 64) -> Batch:
    """One image per list of boxes; labels count up; the image tensor is 64 x 64, the images themselves `size`."""
    images = torch.arange(64.0).expand(len(boxes), 3, 64, 64).contiguous()
    tensors = tuple(torch.tensor(b).reshape(-1, 4) for b in boxes)
    labels = tuple(torch.arange(len(b)) for b in tensors)
    return Batch(images, tensors, labels, ((size, size),) * len(boxes), IMAGENET, 5)


def test_every_box_is_chosen_in_order() -> None:
    chosen = sample_boxes(batch([[0, 0, 10, 10], [5, 5, 30, 20]], [[1, 1, 4, 4]]))
    assert chosen.image.tolist() == [0, 0, 1]
    assert chosen.labels.tolist() == [0, 1, 0]
    assert chosen.areas().tolist() == [100, 375, 9]


def test_boxes_without_two_pixels_inside_the_image_are_left_out() -> None:
    thin, outside, clipped = [0, 0, 1.5, 30], [50, 0, 60, 10], [30, 0, 60, 10]
    chosen = sample_boxes(batch([thin, outside, clipped], size=40))
    assert chosen.labels.tolist() == [2]
    assert chosen.boxes.tolist() == [[30, 0, 40, 10]]


def test_at_most_per_image_boxes_are_drawn_without_replacement() -> None:
    many = [[float(i), 0.0, i + 10.0, 10.0] for i in range(20)]
    generator = torch.Generator().manual_seed(0)
    chosen = sample_boxes(batch(many, many[:2]), per_image=4, generator=generator)
    assert chosen.image.tolist() == [0, 0, 0, 0, 1, 1]
    first = chosen.labels[:4].tolist()
    assert len(set(first)) == 4
    assert first == sorted(first)
    again = sample_boxes(batch(many, many[:2]), per_image=4, generator=torch.Generator().manual_seed(0))
    assert again.labels.tolist() == chosen.labels.tolist()
    other = sample_boxes(batch(many, many[:2]), per_image=4, generator=torch.Generator().manual_seed(1))
    assert other.labels.tolist() != chosen.labels.tolist()


def test_every_box_is_drawn_equally_often() -> None:
    many = batch([[float(i), 0.0, i + 10.0, 10.0] for i in range(10)])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(500):
        counts[sample_boxes(many, per_image=2, generator=generator).labels] += 1
    # 100 expected of each, standard deviation 9: four of them either way.
    assert counts.sum() == 1000
    assert ((counts - 100).abs() < 36).all()


def test_an_image_without_boxes_gives_no_crop() -> None:
    empty = batch([], [[0, 0, 16, 16]])
    chosen = sample_boxes(empty)
    assert chosen.image.tolist() == [1]
    assert crop_boxes(empty, chosen, 8).shape == (1, 3, 8, 8)
    nothing = batch([])
    assert crop_boxes(nothing, sample_boxes(nothing), 8).shape == (0, 3, 8, 8)


def test_a_crop_holds_the_pixels_of_its_box() -> None:
    ramp = batch([[16, 0, 32, 16]])  # the value of a pixel is its column; 16 px into 8 samples of 2 px
    columns = crop_boxes(ramp, sample_boxes(ramp), 8)[0, 0, 0]
    torch.testing.assert_close(columns, 16.5 + 2 * torch.arange(8.0))


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (5, 5), (16, 16), (17, 16), (47, 32)])
def test_truncation_keeps_a_multiple_and_boxes_with_their_labels(given: int, kept: int) -> None:
    rows = torch.arange(given)
    chosen = crop_sampling.CropBoxes(rows[:, None].float().expand(-1, 4), rows, rows)
    part = crop_sampling.truncate_to_multiple(chosen, 16)
    assert len(part.labels) == kept
    assert torch.equal(part.boxes[:, 0].long(), part.labels)
    assert torch.equal(part.image, part.labels)
    assert len(part.labels.unique()) == kept
