"""Class order and count of foreign models, on a detector that finds every box and has outputs as its weight says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from c2d.core.errors import InputError
from c2d.data.make_card import make_card
from c2d.detectors.compat import prepare

prepare()

from mmdet.models.detectors import BaseDetector  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

from c2d.evaluation.evaluate_files import evaluate_files  # noqa: E402

CARD = ("ant", "bee", "cat")
# One box of each class on each of two images; image 2 has the same boxes elsewhere.
BOXES = {1: [(4, 4, 20, 20), (30, 4, 24, 16), (8, 36, 40, 20)], 2: [(30, 30, 24, 24), (2, 2, 20, 12), (26, 4, 30, 20)]}


class _Head(nn.Module):
    """Output k of the head is category `category[k]` of the annotation file; 0: a class that no image has."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.category = nn.Parameter(torch.zeros(num_classes))


@MODELS.register_module()
class AllSeeing(BaseDetector):
    """Finds every box of `BOXES` with the score 0.9, under the outputs that its weights name."""

    def __init__(self, num_classes: int, init_cfg: Any = None) -> None:
        super().__init__(data_preprocessor={"type": "DetDataPreprocessor"}, init_cfg=init_cfg)
        self.bbox_head = _Head(num_classes)

    def predict(self, batch_inputs: Any, batch_data_samples: Any, rescale: bool = True) -> Any:
        for sample in batch_data_samples:
            output = {int(category): k for k, category in enumerate(self.bbox_head.category.tolist())}
            found = [(box, output[c]) for c, box in enumerate(BOXES[sample.img_id], start=1) if c in output]
            corners = [[x, y, x + w, y + h] for (x, y, w, h), _ in found]
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
                labels=torch.tensor([label for _, label in found], dtype=torch.long),
                scores=torch.full((len(found),), 0.9),
            )
        return batch_data_samples

    def _forward(self, *_args: Any, **_kwargs: Any) -> Any: ...

    def loss(self, *_args: Any, **_kwargs: Any) -> Any: ...

    def extract_feat(self, *_args: Any, **_kwargs: Any) -> Any: ...


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return _card(tmp_path / "insects", CARD)


def _card(root: Path, classes: Sequence[str]) -> Path:
    """Two images with a box of each of ant, bee, cat; the file lists the categories as `classes` does."""
    (root / "val").mkdir(parents=True)
    number = {name: i for i, name in enumerate(CARD, start=1)}
    categories = [{"id": number.get(name, 10 + i), "name": name} for i, name in enumerate(classes)]
    images, boxes = [], []
    for image, rows in BOXES.items():
        Image.new("RGB", (64, 64), (40 * image, 90, 120)).save(root / "val" / f"{image}.png")
        images.append({"id": image, "file_name": f"{image}.png", "width": 64, "height": 64})
        for category, (x, y, w, h) in enumerate(rows, start=1):
            row = {"image_id": image, "category_id": category, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, **row})
    (root / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    make_card(root, "insects", classes, {"val": (root / "boxes.json", root / "val")})
    return root


PIPELINE = """[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]"""


def _config(root: Path, outputs: int, metainfo: str = "", dataset: str = "", more: str = "") -> Path:
    leaf = f"dict(type='CocoDataset', ann_file='a.json', pipeline={PIPELINE}{metainfo and f', metainfo={metainfo}'})"
    path = root / "config.py"
    path.write_text(
        # Nothing is downloaded: the checkpoint has every weight. A card has no masks, so none are loaded.
        f"model = dict(type='AllSeeing', num_classes={outputs},"
        " init_cfg=dict(type='Pretrained', checkpoint='http://127.0.0.1:9/x.pth'))\n"
        f"test_dataloader = dict(dataset={dataset.replace('LEAF', leaf) or leaf})\n{more}\n"
    )
    return path


def _checkpoint(root: Path, names: Sequence[str], meta: dict[str, Any] | None = None) -> Path:
    """Weights of a model whose outputs are the named classes."""
    category = torch.tensor([float(CARD.index(name) + 1) if name in CARD else 0.0 for name in names])
    content: dict[str, Any] = {"state_dict": {"bbox_head.category": category}}
    torch.save({**content, "meta": meta} if meta else content, root / "weights.pth")
    return root / "weights.pth"


def _evaluate(config: Path, checkpoint: Path, card: Path, classes: str | None = None) -> tuple[dict[str, Any], str]:
    result, lines = evaluate_files(config, checkpoint, str(card), card.parent / "runs", False, classes)
    return result, "\n".join(lines)


def _refused(config: Path, checkpoint: Path, card: Path, classes: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        _evaluate(config, checkpoint, card, classes)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _names(names: Sequence[str]) -> str:
    return f"dict(classes={tuple(names)!r})"


@pytest.mark.parametrize(
    "meta",
    [
        {"dataset_meta": {"classes": ("cat", "ant", "bee")}},
        {"dataset_meta": {"CLASSES": ["cat", "ant", "bee"]}},
        {"CLASSES": ("cat", "ant", "bee")},
    ],
)
def test_the_checkpoint_names_the_outputs(tmp_path: Path, card: Path, meta: dict[str, Any]) -> None:
    order = ("cat", "ant", "bee")
    result, lines = _evaluate(_config(tmp_path, 3), _checkpoint(tmp_path, order, meta), card)
    assert result["AP"] == 1.0
    assert "3 of the card's 3 classes by name, in another order" in lines
    assert result["class_map"]["class_of_output"] == [2, 0, 1]
    assert result["class_map"]["outputs"] == ["cat", "ant", "bee"]


@pytest.mark.parametrize(
    ("dataset", "more"),
    [
        ("", ""),
        ("dict(type='ConcatDataset', datasets=[LEAF, LEAF])", ""),
        ("dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=LEAF)", ""),
        ("[LEAF, LEAF]", ""),
        ("dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[LEAF]))", ""),
        ("", "train_dataloader = dict(dataset=dict(type='CocoDataset', metainfo=dict(classes=('bee', 'cat', 'ant'))))"),
        ("", "metainfo = dict(classes=('bee', 'cat', 'ant'), palette=[])"),
        ("", "class_name = ('bee', 'cat', 'ant')"),
    ],
)
def test_the_config_names_the_outputs(tmp_path: Path, card: Path, dataset: str, more: str) -> None:
    order = ("bee", "cat", "ant")
    config = _config(tmp_path, 3, "" if more else _names(order), dataset, more)
    result, lines = _evaluate(config, _checkpoint(tmp_path, order), card)
    assert result["AP"] == 1.0
    assert "in another order" in lines


def test_an_equal_list_is_said_to_be_equal(tmp_path: Path, card: Path) -> None:
    result, lines = _evaluate(_config(tmp_path, 3, _names(CARD)), _checkpoint(tmp_path, CARD), card)
    assert result["AP"] == 1.0
    assert "the card's, in its order" in lines


def test_nothing_names_the_outputs(tmp_path: Path, card: Path) -> None:
    """CocoDataset's own 80 classes are no statement about a model of 3."""
    config, checkpoint = _config(tmp_path, 3), _checkpoint(tmp_path, CARD)
    line = _refused(config, checkpoint, card)
    assert "nothing names the 3 outputs" in line
    assert "--classes card" in line
    result, lines = _evaluate(config, checkpoint, card, "card")
    assert result["AP"] == 1.0
    assert result["class_map"]["source"] == "--classes card"
    assert "--classes card" in lines


def test_names_that_are_stated(tmp_path: Path, card: Path) -> None:
    order = ("cat", "bee", "ant")
    config, checkpoint = _config(tmp_path, 3, _names(CARD)), _checkpoint(tmp_path, order)
    (tmp_path / "names.txt").write_text("\ufeffcat\nbee\nant\n\n", encoding="utf-8")
    assert _evaluate(config, checkpoint, card, "cat, bee, ant")[0]["AP"] == 1.0
    assert _evaluate(config, checkpoint, card, str(tmp_path / "names.txt"))[0]["AP"] == 1.0
    assert "gives 2 names" in _refused(config, checkpoint, card, "cat,bee")


def test_more_outputs_than_classes(tmp_path: Path, card: Path) -> None:
    order = ("dog", "cat", "eel", "ant", "bee")
    result, lines = _evaluate(_config(tmp_path, 5, _names(order)), _checkpoint(tmp_path, order), card)
    assert result["AP"] == 1.0
    assert "2 outputs are no class of the card" in lines
    assert result["class_map"]["unused_outputs"] == ["dog", "eel"]


def test_fewer_outputs_than_classes(tmp_path: Path, card: Path) -> None:
    """Two of three classes are found whole, the third has no output: AP 2/3, and it is said."""
    order = ("cat", "ant")
    result, lines = _evaluate(_config(tmp_path, 2, _names(order)), _checkpoint(tmp_path, order), card)
    assert result["AP"] == pytest.approx(2 / 3)
    assert "warning: 1 classes of the card have no output" in lines
    assert result["class_map"]["classes_without_output"] == ["bee"]


def test_a_dummy_class_in_front(tmp_path: Path) -> None:
    """A class without any box has no AP, so the mean is that of the others."""
    card = _card(tmp_path / "insects", ("background", *CARD))
    result, lines = _evaluate(_config(tmp_path, 3, _names(CARD)), _checkpoint(tmp_path, CARD), card)
    assert result["AP"] == 1.0
    assert "'background'" in lines


@pytest.mark.parametrize(
    ("outputs", "metainfo", "meta", "expected"),
    [
        (3, _names(("ant", "cat", "bee")), ("ant", "bee", "cat"), "differ from class 1 on"),
        (3, _names(CARD), ("ant", "bee"), "differ from class 2 on"),
        (4, _names(CARD), None, "the model has 4 classes, and"),
        (4, "", CARD, "the model has 4 classes, and"),
        (3, _names(("x", "y", "z")), None, "no output of the model is a class of insects"),
        (3, _names(("Ant", "bee", "cat")), None, "differ in spelling alone"),
        (3, _names(("unicorn", "bee", "cat")), None, "outputs 'unicorn'"),
        (3, _names(("ant", "ant", "cat")), None, "twice"),
        (3, "dict(classes='banded')", None, "names 1 ('banded')"),
        (3, "dict(classes='made/classes.txt')", None, "no file here"),
        (3, "dict(classes={0: 'ant'})", None, "is a dict"),
        (3, "dict(classes=('ant', '', 'cat'))", None, "a name of its own"),
    ],
)
def test_what_contradicts_is_refused(
    tmp_path: Path, card: Path, outputs: int, metainfo: str, meta: Sequence[str] | None, expected: str
) -> None:
    names = [*CARD, "x"][:outputs]
    content = {"dataset_meta": {"classes": tuple(meta)}} if meta else None
    line = _refused(_config(tmp_path, outputs, metainfo), _checkpoint(tmp_path, names, content), card)
    assert expected in line


def test_a_class_list_in_a_file(tmp_path: Path, card: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\nant\nbee\n")
    config = _config(tmp_path, 3, "dict(classes='classes.txt')")  # beside the config
    assert _evaluate(config, _checkpoint(tmp_path, ("cat", "ant", "bee")), card)[0]["AP"] == 1.0


def test_one_class_as_a_text(tmp_path: Path, card: Path) -> None:
    result, _ = _evaluate(_config(tmp_path, 1, "dict(classes='bee')"), _checkpoint(tmp_path, ("bee",)), card)
    assert result["AP"] == pytest.approx(1 / 3)


def test_names_in_another_order_than_the_outputs(tmp_path: Path, card: Path) -> None:
    """mmdet numbers the classes as the annotation file lists them: a list in another order misnames the outputs."""
    config = _config(tmp_path, 3, _names(("cat", "ant", "bee")))
    line = _refused(config, _checkpoint(tmp_path, CARD), card)
    assert "AP 0.000 by name, 1.000 with the outputs in the card's order" in line
    assert _evaluate(config, _checkpoint(tmp_path, CARD), card, "card")[0]["AP"] == 1.0


def test_different_pipelines_in_one_test_set(tmp_path: Path, card: Path) -> None:
    other = "dict(type='CocoDataset', pipeline=[dict(type='LoadImageFromFile')])"
    config = _config(tmp_path, 3, _names(CARD), f"dict(type='ConcatDataset', datasets=[LEAF, {other}])")
    assert "have different pipelines" in _refused(config, _checkpoint(tmp_path, CARD), card)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number(tmp_path: Path, card: Path, value: float) -> None:
    torch.save({"bbox_head.category": torch.tensor([1.0, value, 3.0])}, tmp_path / "weights.pth")
    line = _refused(_config(tmp_path, 3, _names(CARD)), tmp_path / "weights.pth", card)
    assert "1 of 1 tensors hold NaN or infinite values: bbox_head.category (1 of 3)" in line


def test_a_config_of_mmdet_2_is_named(tmp_path: Path, card: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text("model = dict(type='AllSeeing', num_classes=3)\ndata = dict(test=dict(type='CocoDataset'))\n")
    line = _refused(config, _checkpoint(tmp_path, CARD), card)
    assert "is a config of mmdet 2 (it has `data`)" in line
