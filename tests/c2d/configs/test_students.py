"""Every shipped student is built, trains one step and predicts; sizes, class counts and digests follow the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.configs.__main__ import render
from c2d.configs.student_config import load_student, student_digest, student_names
from c2d.core.errors import InputError
from c2d.detectors.iteration_state import resize_by_iteration
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.specs.catalog import student_catalog

SMALL = {
    name
    for name in student_names()
    if name.endswith(("-er18", "-qr18", "-hr18", "-r18", "-q", "-lite0")) or name == "ssdlite-mbv2"
}
LATER = ["rtmdet-q", "yolox-q", "yolof-qr18", "paa-qr18", "tood-qr18", "vfnet-qr18", "centernet-qr18"]
DEEPER = {
    "faster-rcnn-r101", "faster-rcnn-r152", "faster-rcnn-x101", "retinanet-r101", "retinanet-r152", "retinanet-x101",
    "cascade-rcnn-r50", "cascade-rcnn-r101", "cascade-rcnn-x101", "fcos-r101", "fcos-r101-caffe", "fcos-x101",
    "atss-r101", "gfl-r101", "gfl-r50-ms", "gfl-r34-800", "gfl-r18-800",
}  # fmt: skip
"""Heads of others of this list on another backbone; one step of a deep network takes seconds."""
PAPER = {"ssd300-vgg16", "ssd512-vgg16", "faster-rcnn-qr50", "faster-rcnn-mbv2", "faster-rcnn-r50", "retinanet-r50"}


def build(name: str, **options: Any) -> Any:
    """The student of a config, with the weights its code initialises."""
    from c2d.evaluation.stock_model import build_student

    torch.manual_seed(0)
    student = build_student(load_student(name, **options))
    resize_by_iteration(student, seed=0)
    return student


def batch(side: int, boxes: list[list[float]] | None = None) -> dict[str, Any]:
    """One random image with boxes of classes 1 and 3, as the data loader hands it over."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    given = torch.tensor([[10.0, 10, 60, 50], [30, 60, 110, 120]] if boxes is None else boxes).reshape(-1, 4)
    shape = (side, side)
    sample = DetDataSample(metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0), "img_id": 0})
    sample.gt_instances = InstanceData(bboxes=given, labels=torch.tensor([1, 3])[: len(given)])
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)
    return {"inputs": [image], "data_samples": [sample]}


def side_of(name: str) -> int:
    """A small image that the student can train on: SSD needs its own size, DINO as many cells as queries."""
    return {"ssd300-vgg16": 300, "ssd512-vgg16": 512, "dino-r50": 224}.get(name, 160 if name in SMALL else 128)


@pytest.mark.parametrize("name", [name for name in student_names() if name not in DEEPER])
def test_a_student_trains_one_step_and_predicts(name: str) -> None:
    student = build(name, num_classes=8, pretrained=False).train()
    data = student.data_preprocessor(batch(side_of(name)), True)
    loss, terms = student.parse_losses(student.loss(data["inputs"], data["data_samples"]))
    assert torch.isfinite(loss), terms
    loss.backward()
    untouched = [key for key, weight in student.named_parameters() if weight.grad is None]
    # MobileNetV2's last convolution is behind the maps that the FPN takes.
    assert [key for key in untouched if not key.startswith("backbone.conv2")] == []
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in student.parameters() if weight.grad is not None)
    student.eval()
    data = student.data_preprocessor(batch(side_of(name)), False)
    with torch.no_grad():
        (found,) = student.predict(data["inputs"], data["data_samples"])
    assert found.pred_instances.bboxes.shape[1] == 4
    assert len(found.pred_instances.scores) == len(found.pred_instances.bboxes)
    assert not len(found.pred_instances) or int(found.pred_instances.labels.max()) < 8


@pytest.mark.parametrize("name", sorted(DEEPER))
def test_the_neck_of_a_deeper_student_fits_its_backbone(name: str) -> None:
    model = load_student(name)["model"].to_dict()
    with mmdet_scope(), torch.device("meta"):  # shapes alone: no weight is allocated
        from mmdet.registry import MODELS

        maps = MODELS.build(model["neck"])(MODELS.build(model["backbone"])(torch.zeros(1, 3, 128, 128)))
    strides = (4, 8, 16, 32, 64) if "rcnn" in name else (8, 16, 32, 64, 128)
    assert [tuple(found.shape[1:3]) for found in maps] == [(256, 128 // stride) for stride in strides]


@pytest.mark.parametrize("name", ["retinanet-qr18", "fcos-qr18", "faster-rcnn-qr18", "ssdlite-mbv2", *LATER])
def test_an_image_without_boxes_trains(name: str) -> None:
    student = build(name, num_classes=8).train()
    data = student.data_preprocessor(batch(160, boxes=[]), True)
    loss, _ = student.parse_losses(student.loss(data["inputs"], data["data_samples"]))
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", ["dino-qr18", "detr-qr18"])
def test_a_model_leaves_its_config_as_it_was(name: str) -> None:
    """The constructors of the DETR family write into their config, which is stored and built again."""
    from c2d.evaluation.stock_model import build_student

    config = load_student(name, num_classes=8)
    before = json.dumps(config.to_dict())
    for _ in range(2):
        build_student(config)
    assert json.dumps(config.to_dict()) == before


def test_the_list_of_students_is_complete() -> None:
    others = {"fcos-r50", "atss-r50", "gfl-r50", "cascade-rcnn-r50", "deformable-detr-r50", "dino-r50"}
    rows = {"fcos-r50-caffe", *DEEPER}
    kitti = {"faster-rcnn-r18-800", "faster-rcnn-hr18-800"}
    lite = {"retinanet-lite0-800", "faster-rcnn-lite0-800"}
    modern = {"rtmdet-tiny", "yolox-tiny"}
    assert set(student_names()) == PAPER | others | rows | kitti | lite | modern | SMALL
    assert len(SMALL) == 31


def test_retinanet_qr18_has_about_1_3_million_parameters() -> None:
    count = sum(weight.numel() for weight in build("retinanet-qr18", num_classes=8).parameters())
    assert 1_200_000 < count < 1_400_000


def test_qr50_has_a_quarter_of_every_channel_count() -> None:
    quarter = build("faster-rcnn-qr50", num_classes=8).backbone.state_dict()
    whole = build("faster-rcnn-r50", num_classes=8).backbone.state_dict()
    assert list(quarter) == list(whole)
    for key, weight in whole.items():
        if weight.dim():
            assert weight.shape[0] == 4 * quarter[key].shape[0], key


@pytest.mark.parametrize(
    ("half", "whole"),
    [
        ("faster-rcnn-er18", "faster-rcnn-qr18"),
        ("retinanet-er18", "retinanet-qr18"),
        ("faster-rcnn-hr18", "faster-rcnn-r18"),
        ("faster-rcnn-hr18-800", "faster-rcnn-r18-800"),
    ],
)
def test_a_student_of_half_capacity_has_half_of_every_channel_count(half: str, whole: str) -> None:
    small, large = (build(name, num_classes=8, pretrained=False) for name in (half, whole))
    assert list(small.state_dict()) == list(large.state_dict())
    for key, weight in large.state_dict().items():
        other = small.state_dict()[key]
        for axis, (ours, theirs) in enumerate(zip(other.shape, weight.shape, strict=True)):
            # Colours and kernels, and what the head predicts, are no channels.
            is_output = axis == 0 and any(
                part in key for part in ("fc_cls", "fc_reg", "rpn_cls.", "rpn_reg.", "retina_")
            )
            same = axis > 1 or is_output or (axis == 1 and theirs == 3)
            assert ours == (theirs if same else theirs // 2), key
    counts = [sum(weight.numel() for weight in model.parameters()) for model in (small, large)]
    assert 0.22 < counts[0] / counts[1] < 0.3


@pytest.mark.parametrize("name", sorted(SMALL))
def test_small_students_have_nothing_frozen(name: str) -> None:
    student = build(name, num_classes=8).train()
    assert all(weight.requires_grad for weight in student.parameters())
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.training for norm in norms)
    assert load_student(name)["input_size"] == 160


def test_without_pretrained_weights_nothing_is_frozen() -> None:
    stock = build("retinanet-r50", num_classes=8).train()
    assert not stock.backbone.conv1.weight.requires_grad
    thawed = build("retinanet-r50", num_classes=8, pretrained=False).train()
    assert all(weight.requires_grad for weight in thawed.parameters())
    assert thawed.backbone.bn1.training


@pytest.mark.parametrize("name", student_names())
def test_nothing_is_downloaded_and_classes_are_set(name: str) -> None:
    config = load_student(name, num_classes=7)
    text = json.dumps(config.to_dict())
    assert "Pretrained" not in text
    assert "://" not in text
    heads = config["model"].get("bbox_head") or config["model"]["roi_head"]["bbox_head"]
    for head in heads if isinstance(heads, list) else [heads]:
        assert head["num_classes"] == 7
    rpn = config["model"].get("rpn_head", {})
    assert rpn.get("num_classes", 1) == 1


def test_the_catalog_equals_the_configs() -> None:
    assert render() == (Path(__file__).parents[3] / "c2d/configs/students/catalog.json").read_text("utf-8")


def test_a_digest_is_of_the_stock_student() -> None:
    assert student_catalog()["gfl-qr18"] == student_digest("gfl-qr18")
    assert len(set(student_catalog().values())) == len(student_names())


def test_input_size_moves_every_pixel_size() -> None:
    square = load_student("retinanet-qr18", input_size=96)
    assert square["input_size"] == 96
    assert tuple(square["train_pipeline"][2]["scale"]) == (96, 96)
    assert tuple(square["test_pipeline"][1]["scale"]) == (96, 96)
    long = load_student("faster-rcnn-r50", input_size=400)
    assert tuple(long["input_size"]) == (666, 400)
    assert tuple(long["train_pipeline"][2]["scale"]) == (666, 400)
    assert tuple(load_student("faster-rcnn-r50")["test_pipeline"][1]["scale"]) == (1333, 800)


def test_ssd_anchors_follow_the_input_size() -> None:
    stock = build("ssd300-vgg16", num_classes=8).bbox_head.prior_generator
    moved = build("ssd300-vgg16", num_classes=8, input_size=450)
    generator = moved.bbox_head.prior_generator
    assert generator.base_sizes == [1.5 * size for size in stock.base_sizes]
    data = moved.data_preprocessor(batch(450), True)
    maps = moved.extract_feat(data["inputs"])
    cells = [tuple(m.shape[-2:]) for m in maps]
    assert len(cells) == len(generator.strides)
    # Anchors of every map lie over the image: the last centre is within one stride of the border.
    for (_, width), (stride, _) in zip(cells, generator.strides, strict=True):
        assert abs(width * stride - 450) <= stride
    loss, _ = moved.parse_losses(moved.bbox_head.loss(maps, data["data_samples"]))
    assert torch.isfinite(loss)


def test_an_ssd_too_small_for_its_levels_is_refused() -> None:
    with pytest.raises(InputError, match="cannot have input size 160"):
        load_student("ssd300-vgg16", input_size=160)


def test_an_unknown_student_is_reported() -> None:
    with pytest.raises(InputError, match="did you mean 'retinanet-qr18'") as info:
        load_student("retinanet-q18")
    assert "mmdet::" in str(info.value)
    assert info.value.exit_code == 2


def test_any_mmdet_config_is_a_student() -> None:
    config = load_student("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", num_classes=3)
    ours = load_student("retinanet-r50", num_classes=3)
    assert config["model"].to_dict() == ours["model"].to_dict()
    assert tuple(config["input_size"]) == (1333, 800)
    wrapped = load_student("mmdet::ssd/ssd300_coco.py")  # its data set is inside a RepeatDataset
    assert [step["type"] for step in wrapped["train_pipeline"]] == [
        step["type"] for step in load_student("ssd300-vgg16")["train_pipeline"]
    ]
    assert wrapped["input_size"] == 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no `model`"),
        ("model = dict(type='RetinaNet')\n", "has no train pipeline"),
        ("model = (", "cannot read"),
    ],
)
def test_a_broken_config_is_reported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_student(str(path))


def test_a_missing_config_is_reported() -> None:
    with pytest.raises(InputError, match=r"cannot read the student config 'mmdet::retinanet/nothing\.py'"):
        load_student("mmdet::retinanet/nothing.py")
    with pytest.raises(InputError, match=r"no config no/such/config\.py; give an mmdet config"):
        load_student("no/such/config.py")


def test_schedules_are_valid() -> None:
    import yaml

    from c2d.specs.schedule import Schedule, ScheduleRef

    configs = Path(__file__).parents[3] / "c2d/configs"
    detectors = sorted((configs / "schedules").glob("*.yaml"))
    teachers = sorted((configs / "teachers").glob("*.yaml"))
    assert {path.stem for path in detectors} >= {"demo", "1x", "2x", "ssd", "trial", "smoke"}
    for path in detectors:
        if path.stem == "no-training":
            assert ScheduleRef.model_validate({"name": path.stem, "values": yaml.safe_load(path.read_text("utf-8"))})
            continue
        schedule = Schedule.model_validate(yaml.safe_load(path.read_text("utf-8")))
        assert all(milestone < schedule.iterations for milestone in schedule.milestones), path.name
    assert {path.stem for path in teachers} >= {"demo-classifier", "coco-general", "voc-small", "head", "linear-probe"}
    for path in teachers:
        values = yaml.safe_load(path.read_text("utf-8"))
        assert "min_top1" in values, path.name
        assert values["input"] >= 32
        ScheduleRef.model_validate({"name": path.stem, "values": values})
