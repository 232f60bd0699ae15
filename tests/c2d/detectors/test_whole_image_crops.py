"""The crops of ImageNet's recipe, compared with torchvision's transforms of the same names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, RandomResizedCrop, Resize
from torchvision.transforms import functional as stock

from c2d.core.errors import InputError
from c2d.detectors import compat, whole_image_crops
from c2d.ops.seeding import temporary_seed

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 97, 3), dtype=np.uint8)


def sample(*boxes: tuple[float, ...]) -> dict[str, Any]:
    compat.prepare()
    from mmdet.structures.bbox import HorizontalBoxes

    given = np.array(boxes or [(0, 0, 97, 60)], dtype=np.float32)
    return {"img": IMAGE, "gt_bboxes": HorizontalBoxes(given), "gt_bboxes_labels": np.array([3])}


@pytest.mark.parametrize(("size", "short"), [(32, 37), (48, 48), (41, 80)])
def test_the_centre_is_torchvisions(size: int, short: int) -> None:
    found = whole_image_crops.ResizedCenterCrop(size, short).transform(sample())
    wanted = Compose([Resize(short), CenterCrop(size)])(Image.fromarray(IMAGE))
    assert (found["img"] == np.asarray(wanted)).all()
    assert found["gt_bboxes"].tensor.tolist() == [[0, 0, size, size]]
    assert found["img_shape"] == (size, size)


def test_a_random_part_is_resized_as_torchvisions() -> None:
    transform = whole_image_crops.RandomResizedCrop(24)
    for seed in range(20):
        with temporary_seed(seed):
            left, top, width, height = transform._part(97, 60)
        with temporary_seed(seed):
            found = transform.transform(sample())
        wanted = stock.resized_crop(Image.fromarray(IMAGE), top, left, height, width, [24, 24])
        assert (found["img"] == np.asarray(wanted)).all()
        assert found["gt_bboxes"].tensor.tolist() == [[0, 0, 24, 24]]


def test_parts_have_torchvisions_distribution() -> None:
    transform, image, draws = whole_image_crops.RandomResizedCrop(24), torch.zeros(3, 60, 97), 4000
    with temporary_seed(1):
        ours = np.array([transform._part(97, 60) for _ in range(draws)], dtype=float)
        parts = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(draws)]
    theirs = np.array([(left, top, width, height) for top, left, height, width in parts], dtype=float)
    for place in range(4):
        error = np.hypot(ours[:, place].std(), theirs[:, place].std()) / draws**0.5
        assert abs(ours[:, place].mean() - theirs[:, place].mean()) < 4 * error
    assert (ours[:, 0] + ours[:, 2] <= 97).all()
    assert (ours[:, 1] + ours[:, 3] <= 60).all()


@pytest.mark.parametrize("shape", [(400, 8), (8, 400)])
def test_very_long_images_give_their_centre(shape: tuple[int, int]) -> None:
    transform = whole_image_crops.RandomResizedCrop(24, scale=(0.99, 1.0))
    left, top, width, height = transform._part(*shape)
    wanted = RandomResizedCrop.get_params(torch.zeros(3, shape[1], shape[0]), [0.99, 1.0], [3 / 4, 4 / 3])
    assert (top, left, height, width) == wanted


@pytest.mark.parametrize("boxes", [[(0, 0, 97, 30)], [(0, 0, 97, 60), (1, 1, 9, 9)]])
def test_images_with_other_boxes_are_refused(boxes: list[tuple[float, ...]]) -> None:
    with pytest.raises(InputError, match="take pipeline: general"):
        whole_image_crops.RandomResizedCrop(24).transform(sample(*boxes))
