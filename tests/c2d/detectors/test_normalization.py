"""Normalisations and the way from one to another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.normalization import IMAGENET, Normalization, renormalize
from tests.c2d import tiny_detectors

CAFFE = Normalization((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "bgr")
MEAN_ONLY = Normalization((123.675, 116.28, 103.53), (1.0, 1.0, 1.0), "rgb")


def det_preprocessor(**options: Any) -> Any:
    return tiny_detectors.MODELS.build({"type": "DetDataPreprocessor", **options})


def normalised(rgb: torch.Tensor, as_: Normalization) -> torch.Tensor:
    values = rgb if as_.order == "rgb" else rgb.flip(-3)
    return (values - torch.tensor(as_.mean)[:, None, None]) / torch.tensor(as_.std)[:, None, None]


@pytest.mark.parametrize("src", [IMAGENET, CAFFE, MEAN_ONLY])
@pytest.mark.parametrize("dst", [IMAGENET, CAFFE, MEAN_ONLY])
def test_convert_equals_normalising_the_image_anew(src: Normalization, dst: Normalization) -> None:
    rgb = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 255
    torch.testing.assert_close(renormalize(normalised(rgb, src), src, dst), normalised(rgb, dst), rtol=1e-5, atol=1e-4)


def test_converting_to_the_same_normalisation_copies_nothing() -> None:
    images = torch.rand(1, 3, 4, 4)
    assert renormalize(images, IMAGENET, IMAGENET) is images


def test_zero_is_the_mean_colour_of_the_source() -> None:
    shown = renormalize(torch.zeros(1, 3, 2, 2), CAFFE, MEAN_ONLY)
    assert shown.abs().max() < 1e-4  # both means are the same colour


@pytest.mark.parametrize(("swap", "order"), [(True, "rgb"), (False, "bgr")])
def test_normalisation_of_a_preprocessor_describes_what_it_hands_out(swap: bool, order: str) -> None:
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    preprocessor = det_preprocessor(mean=mean, std=std, bgr_to_rgb=swap)
    read = Normalization.from_preprocessor(preprocessor)
    assert (read.mean, read.std, read.order) == (tuple(mean), tuple(std), order)
    bgr = torch.randint(0, 256, (3, 6, 6), dtype=torch.uint8)
    _, samples = tiny_detectors.sample(1, 6, 0)
    out = preprocessor({"inputs": [bgr], "data_samples": samples}, training=True)["inputs"][0]
    torch.testing.assert_close(out, normalised(bgr.float().flip(0), read), rtol=1e-5, atol=1e-4)


def test_preprocessor_without_mean_leaves_pixels_as_they_are() -> None:
    assert Normalization.from_preprocessor(det_preprocessor()) == Normalization((0.0,) * 3, (1.0,) * 3, "bgr")


def test_batch_holds_plain_boxes_and_unpadded_sizes() -> None:
    from mmdet.structures.bbox import HorizontalBoxes

    inputs, samples = tiny_detectors.sample(3, 32, [2, 0, 1], pad=5)
    plain = [s.gt_instances.bboxes.clone() for s in samples]
    for sample in samples:
        sample.gt_instances.bboxes = HorizontalBoxes(sample.gt_instances.bboxes)
    batch = batch_from_mmdet(inputs, samples, IMAGENET, 3)
    assert [len(b) for b in batch.boxes] == [2, 0, 1]
    assert all(type(b) is torch.Tensor and torch.equal(b, p) for b, p in zip(batch.boxes, plain, strict=True))
    assert batch.sizes == ((27, 27),) * 3
    boxes, image = batch.all_boxes()
    assert image.tolist() == [0, 0, 2]
    assert batch.offsets().tolist() == [0, 2, 2]
    assert torch.equal(boxes[batch.offsets()[2]], plain[2][0])
