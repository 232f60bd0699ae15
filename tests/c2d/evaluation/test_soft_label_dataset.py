"""Soft labels stay with their boxes through every training pipeline, and change nothing else."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from c2d.configs.image_mixing import resolve_mixing, typed_dicts
from c2d.configs.plain_config import to_plain
from c2d.configs.student_config import load_student, student_names
from c2d.core.errors import InputError
from c2d.data.card import LoadedCard
from c2d.data.make_card import make_card
from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.normalization import IMAGENET
from c2d.evaluation.datasets import build_dataset, coco_dataset
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.teachers.pipelines import teacher_pipeline

IMAGES, BOXES = 3, 6
CLASSES = [f"class{number}" for number in range(IMAGES * BOXES)]
"""A class for each annotation, so that the label, which mmdet keeps beside the box, names the annotation."""
WIDTH, HEIGHT = 120, 90
LOAD: list[Any] = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True}]
PACK: list[Any] = [{"type": "PackDetInputs"}]


def soft_label(annotation: int) -> list[float]:
    """0.75 for its own class and 0.25 for the next one: no two annotations have the same."""
    label = [0.0] * len(CLASSES)
    label[annotation], label[(annotation + 1) % len(CLASSES)] = 0.75, 0.25
    return label


def card(root: Path, soft: bool = True) -> LoadedCard:
    """Images with six annotations each; of the last image one is a crowd region and two are skipped by mmdet."""
    rng = np.random.default_rng(0)
    (root / "train").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image in range(IMAGES):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "train" / f"{image}.png")
        images.append({"id": image, "file_name": f"{image}.png", "width": WIDTH, "height": HEIGHT})
        for place in range(BOXES):
            w, h = (int(v) for v in rng.integers(15, 50, 2))
            x, y = int(rng.integers(0, WIDTH - w)), int(rng.integers(0, HEIGHT - h))
            number = image * BOXES + place
            row = {"id": number + 1, "image_id": image, "category_id": number + 1, "iscrowd": 0}
            rows.append(
                row | {"bbox": [x, y, w, h], "area": w * h} | ({"soft_label": soft_label(number)} if soft else {})
            )
    odd: list[dict[str, Any]] = [{"bbox": [3, 3, 0.5, 9]}, {"iscrowd": 1}, {"bbox": [WIDTH + 9, 0, 9, 9]}]
    for place, changes in enumerate(odd):
        rows[(IMAGES - 1) * BOXES + place].update(changes)
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    (root / "train.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return LoadedCard(make_card(root, "x", CLASSES, {"train": (root / "train.json", root / "train")}), root)


def smaller(value: Any) -> Any:
    """A pipeline with every size of 300 px and more divided by 8: the same steps on fewer pixels."""
    if isinstance(value, dict):
        return {key: smaller(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(smaller(item) for item in value)
    return value // 8 if type(value) is int and value >= 300 else value


@cache
def pipelines() -> dict[str, list[Any]]:
    """The different training pipelines of the suite, each under the name of one of its students, and some more."""
    found: dict[str, list[Any]] = {}
    for name in student_names():
        steps = to_plain(load_student(name)["train_pipeline"])
        if steps not in found.values():
            found[name] = steps
    found = {name: smaller(steps) for name, steps in found.items()}
    found["teacher-ssd"] = teacher_pipeline("ssd", 96)
    more: dict[str, list[Any]] = {
        "crop": [{"type": "RandomCrop", "crop_size": (60, 60), "allow_negative_crop": True}],
        "affine": [{"type": "RandomAffine", "max_rotate_degree": 0.0, "max_translate_ratio": 0.4}],
        "choice": [{"type": "RandomChoiceResize", "scales": [(80, 60), (160, 120)], "keep_ratio": True}],
        "filter": [{"type": "FilterAnnotations", "min_gt_bbox_wh": (30, 30), "keep_empty": False}],
    }
    mosaic, mixup = ({"type": kind, "img_scale": (64, 64)} for kind in ("Mosaic", "MixUp"))
    more["mixed"] = [mosaic, *more["affine"], mixup]
    return found | {name: resolve_mixing([*LOAD, *steps, *PACK], name) for name, steps in more.items()}


def built(loaded: LoadedCard, steps: list[Any], *, soft_labels: bool) -> Any:
    return build_dataset(coco_dataset(loaded, "train", copy.deepcopy(steps), test=False), soft_labels=soft_labels)


NAMES = [
    "atss-r101", "atss-qr18", "fcos-r101-caffe", "gfl-r101", "ssd300-vgg16", "ssd512-vgg16", "ssdlite-mbv2",
    "teacher-ssd", "crop", "affine", "choice", "filter", "mixed", "rtmdet-tiny", "yolox-tiny", "deformable-detr-r50",
]  # fmt: skip


def test_every_pipeline_of_the_suite_is_tested() -> None:
    assert set(pipelines()) == set(NAMES)
    types = {step["type"] for steps in pipelines().values() for step in typed_dicts(steps)}
    assert types >= {"RandomFlip", "Resize", "Expand", "MinIoURandomCrop", "PhotoMetricDistortion"}


@pytest.mark.parametrize("name", NAMES)
def test_each_box_keeps_its_soft_label(name: str, tmp_path: Path) -> None:
    loaded = card(tmp_path)
    ours, plain = (built(loaded, pipelines()[name], soft_labels=flag) for flag in (True, False))
    assert ours.has_soft_labels
    assert len(ours) == len(plain) == IMAGES
    surviving = set()
    short = {"rtmdet-tiny": 2, "yolox-tiny": 2} | dict.fromkeys(
        ["atss-r101", "deformable-detr-r50", "ssd300-vgg16", "ssd512-vgg16"], 9
    )
    for position in range(short.get(name, 18)):
        key = (position, position % IMAGES)
        found, expected = SeededDataset(ours, 3)[key], SeededDataset(plain, 3)[key]
        assert torch.equal(found["inputs"], expected["inputs"])
        a, b = found["data_samples"], expected["data_samples"]
        for mine, theirs in ((a.gt_instances, b.gt_instances), (a.ignored_instances, b.ignored_instances)):
            assert torch.equal(mine.bboxes.tensor, theirs.bboxes.tensor)
            assert torch.equal(mine.labels, theirs.labels)
            assert mine.labels.dtype == theirs.labels.dtype
        wanted = torch.tensor([soft_label(label) for label in b.gt_instances.labels.tolist()]).reshape(-1, len(CLASSES))
        assert torch.equal(a.gt_instances.soft_labels, wanted)
        assert a.metainfo.keys() == b.metainfo.keys()
        surviving.add(len(wanted))
    if name in ("ssd300-vgg16", "teacher-ssd", "crop", "affine", "filter", "mixed"):
        assert len(surviving) > 1  # boxes were dropped


def test_a_batch_has_the_soft_labels_of_its_boxes(tmp_path: Path) -> None:
    data = built(card(tmp_path), pipelines()["atss-qr18"], soft_labels=True)
    samples = [data[index]["data_samples"] for index in range(IMAGES)]
    batch = batch_from_mmdet(torch.zeros(IMAGES, 3, 160, 160), samples, IMAGENET, len(CLASSES))
    assert batch.soft_labels is not None
    for boxes, labels, soft in zip(batch.boxes, batch.labels, batch.soft_labels, strict=True):
        assert soft.shape == (len(boxes), len(CLASSES))
        assert soft.argmax(1).tolist() == labels.tolist()
    del samples[0].gt_instances.soft_labels
    assert batch_from_mmdet(torch.zeros(IMAGES, 3, 160, 160), samples, IMAGENET, len(CLASSES)).soft_labels is None


def test_data_without_soft_labels_are_as_before(tmp_path: Path) -> None:
    data = built(card(tmp_path, soft=False), pipelines()["atss-qr18"], soft_labels=True)
    assert not data.has_soft_labels
    sample = data[0]["data_samples"]
    assert "soft_labels" not in sample.gt_instances
    assert sample.gt_instances.labels.tolist() == list(range(BOXES))


def test_an_image_without_boxes_has_no_rows(tmp_path: Path) -> None:
    loaded = card(tmp_path)
    coco = json.loads((tmp_path / "train.json").read_text())
    coco["annotations"] = [row for row in coco["annotations"] if row["image_id"] != 1]
    (tmp_path / "train.json").write_text(json.dumps(coco))
    config = coco_dataset(loaded, "train", copy.deepcopy(pipelines()["atss-qr18"]), test=False)
    data = build_dataset({**config, "filter_cfg": None}, soft_labels=True)
    assert data[1]["data_samples"].gt_instances.soft_labels.shape == (0, len(CLASSES))


def test_a_pipeline_that_loses_labels_is_refused(tmp_path: Path) -> None:
    data = built(card(tmp_path), LOAD, soft_labels=True)
    with pytest.raises(InputError, match="this pipeline ends without the labels of its boxes"):
        data[0]
