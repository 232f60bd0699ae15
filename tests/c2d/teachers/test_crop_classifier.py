"""The classifier that is trained on crops: its losses by hand, its batches, pipelines and score on held-out crops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.structures import InstanceData
from PIL import Image

from c2d.core.errors import InputError, RunError
from c2d.detectors import compat
from c2d.detectors.normalization import Normalization
from c2d.evaluation import loader_processes
from c2d.ops.seeding import temporary_seed
from c2d.teachers.crop_classifier import CropClassifier
from c2d.teachers.fitting.joint_loss import joint_loss
from c2d.teachers.pipelines import KINDS, teacher_pipeline
from tests.c2d.evaluation.forked_ranks import run_ranks

compat.prepare()


def classifier(**changes: Any) -> CropClassifier:
    torch.manual_seed(0)
    return CropClassifier(**{"network": "resnet18", "num_classes": 3, "input": 32, **changes})


def batch(*boxes: Any, crowd: bool = False) -> dict[str, Any]:
    """One 64 x 64 image per list of boxes (labels 0, 1, 2, 0, ...), as the loader hands it over."""
    from mmdet.structures import DetDataSample

    images, samples = [], []
    generator = torch.Generator().manual_seed(0)
    for given in boxes:
        sample = DetDataSample(metainfo={"img_shape": (64, 64), "ori_shape": (64, 64), "scale_factor": (1.0, 1.0)})
        tensor = torch.tensor(given).reshape(-1, 4)
        sample.gt_instances = InstanceData(bboxes=tensor, labels=torch.arange(len(tensor)) % 3)
        ignored = torch.tensor([[0.0, 0, 64, 64]]) if crowd else torch.zeros(0, 4)
        sample.ignored_instances = InstanceData(bboxes=ignored, labels=torch.zeros(len(ignored), dtype=torch.long))
        images.append(torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8))
        samples.append(sample)
    return {"inputs": images, "data_samples": samples}


BOXES = [[[0.0, 0, 20, 20], [10, 10, 60, 50]], [[5, 5, 40, 60]]]


def test_the_joint_loss_by_hand() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 2])
    ce, bce = joint_loss(logits, labels)
    first = math.log(math.exp(2) + 1 + math.exp(-1)) - 2
    assert float(ce) == pytest.approx((first + math.log(3)) / 2)
    one = (math.log(1 + math.exp(-2)) + math.log(2) + math.log(1 + math.exp(-1))) / 3
    assert float(bce) == pytest.approx((one + math.log(2)) / 2)


def test_a_step_trains_every_weight() -> None:
    model = classifier().train()
    data = model.data_preprocessor(batch(*BOXES), True)
    losses = model(**data, mode="loss")
    assert set(losses) == {"loss_ce", "loss_bce", "acc", "crops"}
    assert float(losses["crops"]) == 3
    total, _ = model.parse_losses(losses)
    assert float(total) == pytest.approx(float(losses["loss_ce"] + losses["loss_bce"]))
    total.backward()
    assert all(weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in model.network.parameters())


def test_the_loss_weights_multiply_the_terms() -> None:
    plain = classifier().train()
    data = plain.data_preprocessor(batch(*BOXES), True)
    one = plain(**data, mode="loss")
    other = classifier(loss={"ce": 0.5, "bce": 0.0}).train()(**data, mode="loss")
    assert float(other["loss_ce"]) == pytest.approx(0.5 * float(one["loss_ce"]), rel=1e-5)
    assert float(other["loss_bce"]) == 0


def test_the_network_sees_its_own_pixels() -> None:
    model = classifier(normalisation={"mean": [0, 0, 0], "std": [255, 255, 255], "order": "bgr"})
    assert model.normalization == Normalization((0, 0, 0), (255, 255, 255), "bgr")
    given = batch(*BOXES)
    data = model.data_preprocessor(given, False)
    torch.testing.assert_close(data["inputs"][0], given["inputs"][0] / 255)
    assert Normalization.from_preprocessor(model.data_preprocessor) == model.normalization


def test_an_image_without_boxes_gives_an_attached_zero() -> None:
    model = classifier().train()
    data = model.data_preprocessor(batch([]), True)
    total, _ = model.parse_losses(model(**data, mode="loss"))
    total.backward()
    assert float(total) == 0
    assert all(weight.grad is not None and not bool(weight.grad.any()) for weight in model.network.parameters())


def test_one_crop_alone_trains() -> None:
    model = classifier().train()  # at 32 px the last map is one cell, and batch norm wants two values
    losses = model(**model.data_preprocessor(batch([[0.0, 0, 30, 30]]), True), mode="loss")
    assert float(losses["crops"]) == 1
    assert torch.isfinite(losses["loss_ce"])


def test_crowds_are_no_crops_and_per_image_limits() -> None:
    model = classifier(per_image=1).train()
    losses = model(**model.data_preprocessor(batch(*BOXES, crowd=True), True), mode="loss")
    assert float(losses["crops"]) == 2


def test_a_nan_stops() -> None:
    model = classifier()
    with pytest.raises(RunError, match="loss_ce") as info:
        model.parse_losses({"loss_ce": torch.tensor(float("nan")), "acc": torch.tensor(1.0)})
    assert info.value.failure_class == "nan"


def test_exported_keys_are_stock() -> None:
    import torchvision

    keys = [key.removeprefix("network.") for key in classifier().state_dict() if key.startswith("network.")]
    assert keys == list(torchvision.models.resnet18().state_dict())
    assert all(key.startswith("network.") for key in classifier().state_dict())


def test_predict_scores_every_box() -> None:
    model = classifier(per_image=1).eval()
    logits, labels, area = model(**model.data_preprocessor(batch(*BOXES), False), mode="predict")
    assert logits.shape == (3, 3)
    assert labels.tolist() == [0, 1, 0]
    assert area.tolist() == [400, 2000, 35 * 55]
    assert not logits.requires_grad
    empty, none, _ = model(**model.data_preprocessor(batch([]), False), mode="predict")
    assert empty.shape == (0, 3)
    assert none.shape == (0,)


@pytest.mark.parametrize("size", [None, 16])
def test_a_crop_needs_a_size(size: int | None) -> None:
    with pytest.raises(InputError, match="classifier input"):
        classifier(input=size)


def picture(folder: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (48, 96, 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """Five pictures of 96 x 48 px, two boxes each but none in the last, and one crowd region."""
    images = tmp_path / "val"
    images.mkdir()
    boxes = []
    for n in range(5):
        picture(images, f"{n}.png", n)
        if n < 4:
            boxes += [(n, 0, [4.0, 4, 30, 30], 0), (n, 1, [40.0, 10, 50, 30], 0)]
    boxes.append((0, 1, [0.0, 0, 90, 40], 1))
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 96, "height": 48} for n in range(5)],
        "annotations": [
            {"id": i, "image_id": n, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
            for i, (n, c, box, crowd) in enumerate(boxes)
        ],
        "categories": [{"id": 0, "name": "ant"}, {"id": 1, "name": "bee"}],
    }
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(content))
    return path, images


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("imagenet")])  # these take whole images
def test_pipelines_deliver_boxes(kind: str, coco: tuple[Path, Path]) -> None:
    from c2d.evaluation.datasets import build_dataset

    annotations, images = coco
    dataset = build_dataset(
        {
            "type": "CocoDataset",
            "ann_file": str(annotations),
            "data_prefix": {"img": str(images)},
            "metainfo": {"classes": ("ant", "bee")},
            "filter_cfg": {"filter_empty_gt": True},
            "pipeline": teacher_pipeline(kind, 64),
        }
    )
    assert len(dataset) == 4
    for index in range(4):
        with temporary_seed(index):  # SSD's random crop may keep the crowd alone
            item = dataset[index]
        assert tuple(item["inputs"].shape) == ((3, 64, 64) if kind == "ssd" else (3, 32, 64))
        assert len(item["data_samples"].gt_instances.bboxes) >= 1


def test_an_unknown_pipeline_is_reported() -> None:
    with pytest.raises(InputError, match="did you mean 'general'"):
        teacher_pipeline("genral", 64)


class Card:
    """The part of a loaded data card that the evaluation uses."""

    evaluation_split = "val"

    def __init__(self, annotations: Path, images: Path, classes: list[str]) -> None:
        self.card = type("Fields", (), {"classes": classes, "name": "made-up"})()
        self._paths = annotations, images

    def annotations(self, split: str) -> Path:
        assert split == "val"
        return self._paths[0]

    def images(self, split: str) -> Path:
        assert split == "val"
        return self._paths[1]


def test_the_shipped_file_is_scored_on_held_out_crops(
    coco: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2d.evaluation.datasets import coco_dataset
    from c2d.evaluation.evaluate_classifier import evaluate_classifier

    card: Any = Card(*coco, ["ant", "bee"])
    model: dict[str, Any] = {
        "network": "resnet18",
        "num_classes": 2,
        "input": 32,
        "loss": None,
        "per_image": 1,
        "normalisation": None,
    }
    dataset = coco_dataset(card, "val", teacher_pipeline("held-out", 96), test=True)
    config = Config({"model": model, "test_dataloader": {"batch_size": 2, "num_workers": 0, "dataset": dataset}})
    torch.manual_seed(3)
    trained = CropClassifier(**model)
    state = trained.network.state_dict()
    state["fc.weight"].zero_()
    state["fc.bias"].copy_(torch.tensor([1.0, 0.0]))
    torch.save(trained.network.state_dict(), tmp_path / "classifier.pth")
    beats: list[int] = []
    result = evaluate_classifier(config, tmp_path / "classifier.pth", card, "cpu", lambda: beats.append(1))
    # It always says ant: right on the first box of each of four pictures, wrong on the other; the crowd is no crop.
    assert result["n"] == 8
    assert result["top1"] == 0.5
    assert result["per_class"] == {"ant": {"n": 4, "top1": 1.0}, "bee": {"n": 4, "top1": 0.0}}
    assert result["ece"] == pytest.approx(1 / (1 + math.exp(-1)) - 0.5)
    assert result["classes"] == ["ant", "bee"]
    assert result["audit"]["missing"] == []
    assert len(beats) == 3
    json.dumps(result, allow_nan=False)

    def on_rank(_: int) -> dict[str, Any]:
        found = evaluate_classifier(config, tmp_path / "classifier.pth", card, "cpu", workers=1)
        return {key: value for key, value in found.items() if key != "seconds"}

    (tmp_path / "ranks").mkdir()
    expected = {key: value for key, value in result.items() if key != "seconds"}
    monkeypatch.setattr(loader_processes, "IMAGES_A_WORKER", 1)
    assert run_ranks(2, on_rank, tmp_path / "ranks") == [expected, {}]
    with pytest.raises(InputError, match="are not those of data set"):
        evaluate_classifier(config, tmp_path / "classifier.pth", Card(*coco, ["ant", "fly"]), "cpu")  # type: ignore[arg-type]
