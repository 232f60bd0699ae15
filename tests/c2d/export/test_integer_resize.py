"""The resize of exported graphs against OpenCV's, on images with every value."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from c2d.export.integer_resize import resize


@pytest.mark.parametrize("size", [(107, 160), (37, 300), (213, 320), (1, 1), (200, 640)])
def test_shrinking_equals_opencv(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (426, 640, 3), dtype=np.uint8)
    height, width = size
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    found = resize(torch.from_numpy(image), torch.tensor(height), torch.tensor(width))
    assert np.array_equal(found.numpy(), expected)


def test_enlarging_is_one_level_away_at_most() -> None:
    image = np.random.default_rng(0).integers(0, 256, (61, 47, 3), dtype=np.uint8)
    expected = cv2.resize(image, (160, 211), interpolation=cv2.INTER_LINEAR).astype(int)
    found = resize(torch.from_numpy(image), torch.tensor(211), torch.tensor(160)).numpy()
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.004


def test_the_same_size_is_the_same_image() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert np.array_equal(resize(torch.from_numpy(image), torch.tensor(5), torch.tensor(7)).numpy(), image)
