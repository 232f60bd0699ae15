"""The rules of images, read from configs, and the size that a graph gives an image against mmcv's."""

from __future__ import annotations

from typing import Any

import mmcv
import pytest
import torch
from mmengine import Config

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError
from c2d.export.image_detector import ImageDetector
from c2d.export.image_preparation import ImagePreparation, image_preparation


def preparation_of(student: str, **steps: Any) -> ImagePreparation:
    config = load_student(student)
    pipeline = [{**step, **steps.get(step["type"], {})} for step in config.test_pipeline]
    return image_preparation(Config({"model": config.model, "test_dataloader": {"dataset": {"pipeline": pipeline}}}))


def test_rules_of_four_students() -> None:
    found = preparation_of("retinanet-r50")
    assert (found.long_side, found.short_side, found.keep_ratio, found.divisor) == (1333, 800, True, 32)
    assert found.reads_rgb
    assert found.canvas is None
    ssd = preparation_of("ssd300-vgg16")
    assert (ssd.long_side, ssd.short_side, ssd.keep_ratio, ssd.divisor) == (300, 300, False, 1)
    rtmdet = preparation_of("rtmdet-tiny")
    assert (rtmdet.canvas, rtmdet.canvas_value, rtmdet.reads_rgb) == ((640, 640), (114.0,) * 3, False)
    yolox = preparation_of("yolox-tiny")
    assert (yolox.canvas, yolox.mean, yolox.std) == ("square", (0.0,) * 3, (1.0,) * 3)


def test_the_hub_gets_red_first() -> None:
    """A network that reads blue first has its mean in that order; the hub's lists are in the order of the image."""
    hub = preparation_of("rtmdet-tiny").to_hub()
    assert hub["image_mean"] == [123.675, 116.28, 103.53]
    assert (hub["channel_order"], hub["do_normalize"], hub["do_rescale"]) == ("bgr", True, False)
    assert hub["pad_before_normalize"] == {"height": 640, "width": 640}
    assert preparation_of("yolox-tiny").to_hub()["do_normalize"] is False


def test_a_preprocessor_that_is_not_known_is_named() -> None:
    pipeline = load_student("retinanet-r18").test_pipeline

    def prepared(**preprocessor: Any) -> ImagePreparation:
        model = {"data_preprocessor": preprocessor}
        return image_preparation(Config({"model": model, "test_dataloader": {"dataset": {"pipeline": pipeline}}}))

    assert prepared(type="mmdet.DetDataPreprocessor", rgb_to_bgr=True).reads_rgb
    with pytest.raises(InputError, match="has the key gamma, which is not known here; export with --to folder"):
        prepared(type="DetDataPreprocessor", gamma=2)
    with pytest.raises(InputError, match="has the type BatchFixedSizePad"):
        prepared(type="BatchFixedSizePad")


def test_a_step_that_no_graph_holds_is_named() -> None:
    with pytest.raises(InputError, match=r"the step RandomFlip.*--to folder"):
        preparation_of("retinanet-r18", LoadAnnotations={"type": "RandomFlip"})
    with pytest.raises(InputError, match="no Resize with one scale"):
        preparation_of("retinanet-r18", Resize={"scale": [(1333, 800), (1333, 640), (9, 9)]})


@pytest.mark.parametrize("student", ["retinanet-r50", "retinanet-qr18", "ssd300-vgg16"])
def test_sizes_are_those_of_mmcv(student: str) -> None:
    how = preparation_of(student)
    detector = ImageDetector(torch.nn.Identity(), how)
    for width, height in ((640, 426), (375, 500), (640, 640), (97, 1300), (2048, 1365), (333, 500), (1, 900)):
        found = detector._new_size(torch.tensor(height), torch.tensor(width))
        scale = (how.long_side, how.short_side)
        expected = mmcv.rescale_size((width, height), scale) if how.keep_ratio else scale
        assert (int(found[1]), int(found[0])) == expected
