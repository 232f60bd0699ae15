"""Keys and pixels of files of mmdet 2, and the table of the model zoo."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c2d.configs.student_config import load_student, student_names
from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.detectors.normalization import Normalization
from c2d.weights.zoo.detector_keys import detector_keys
from c2d.weights.zoo.zoo_table import zoo_file, zoo_files
from c2d.weights.zoo.zoo_weights import stated_pixels

CAFFE = Normalization((102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), "bgr")


def keys_of(student: str) -> list[str]:
    import torch

    with mmdet_scope(), torch.device("meta"):
        from mmdet.registry import MODELS

        return list(MODELS.build(load_student(student, num_classes=80)["model"].to_dict()).state_dict())


def test_ssd_before_its_neck_was_a_part_of_its_own() -> None:
    new = keys_of("ssd300-vgg16")
    extra = [key for key in new if key.startswith("neck.extra_layers.")]
    old = {f"backbone.extra.{at // 2}.{('weight', 'bias')[at % 2]}": key for at, key in enumerate(extra)}
    old["backbone.l2_norm.weight"] = "neck.l2_norm.weight"
    for key in new:
        if match := re.fullmatch(r"(bbox_head\.\w+_convs\.\d+)\.0\.(\w+)", key):
            old[f"{match[1]}.{match[2]}"] = key
    assert len(old) == 16 + 1 + 24
    rename = detector_keys(new)
    assert {key: rename(key) for key in old} == old
    assert [rename(key) for key in new] == new


def test_the_last_layers_of_fcos_had_its_name() -> None:
    rename = detector_keys(keys_of("fcos-qr18"))
    assert rename("bbox_head.fcos_cls.weight") == "bbox_head.conv_cls.weight"
    assert rename("bbox_head.fcos_centerness.bias") == "bbox_head.conv_centerness.bias"
    assert rename("ema_backbone_conv1_weight") is None
    assert rename("bbox_head.other.weight") == "bbox_head.other.weight"


@pytest.mark.parametrize(
    ("meta", "pixels"),
    [
        (
            {"config": "img_norm_cfg = dict(mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], to_rgb=False)"},
            CAFFE,
        ),
        ({"cfg": "mean=[\n102.9801,\n115.9465,\n122.7717,\n], std=[1.0, 1.0, 1.0], bgr_to_rgb=False"}, CAFFE),
        ({"cfg": "{'mean': [102.9801, 115.9465, 122.7717], 'std': [1, 1, 1], 'bgr_to_rgb': False}"}, CAFFE),
        ({"config": "mean=[1, 2, 3], std=[1, 1, 1], to_rgb=True\nmean=[0, 0, 0], std=[1, 1, 1], to_rgb=True"}, None),
        ({"config": "mean=[1, 2, 3]"}, None),
        ({"config": "mean=[1-, 2, 3], std=[1, 1, 1], to_rgb=True"}, None),
        ({"config": 7}, None),
        ({}, None),
    ],
)
def test_pixels_of_a_checkpoint(meta: dict[str, object], pixels: Normalization | None) -> None:
    assert stated_pixels({"meta": meta, "state_dict": {}}) == pixels


def test_a_checkpoint_that_divides_by_zero() -> None:
    with pytest.raises(InputError, match="divides pixels by std"):
        stated_pixels({"meta": {"config": "mean=[1, 2, 3], std=[0, 1, 1], to_rgb=True"}})


def test_the_table_names_files_as_the_publisher_does() -> None:
    assert len(zoo_files()) == 33
    for stem, entry in zoo_files().items():
        assert re.search(r"-[0-9a-f]{8}$", stem)
        assert entry.url.startswith("https://download.openmmlab.com/mmdetection/v")
        assert Path(entry.url).stem == stem
        assert entry.student in (*student_names(), f"mmdet::{entry.config}")
        assert 20 < entry.ap_percent < 50
    assert zoo_file("zoo:retinanet_r101_fpn_2x_coco_20200131-5560aee8").ap_percent == 38.9


def test_the_table_equals_the_metafiles_of_mmdet() -> None:
    import mmdet
    import yaml

    configs = Path(mmdet.__file__).parent / ".mim" / "configs"
    published = {}
    for folder in {Path(entry.config).parent for entry in zoo_files().values()}:
        for model in yaml.load((configs / folder / "metafile.yml").read_text(), yaml.CSafeLoader)["Models"]:
            published[model["Config"].removeprefix("configs/")] = model
    for entry in zoo_files().values():
        model = published[entry.config]
        assert model["Weights"] == entry.url
        assert model["Results"][0]["Metrics"]["box AP"] == entry.ap_percent
