"""Overrides that contradict the classes or the checks of the data set are refused before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2d.configs.closing_phase import closing_start
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.card_lookup import find_card
from c2d.specs.resolve_spec import resolve_spec
from c2d.training import config
from tests.c2d.conftest import TinyStore


def _resolve(store: TinyStore, runs: Path, overrides: dict[str, Any], **model: Any) -> Any:
    given = {"dataset": "scenes", "schedule": "smoke", "overrides": overrides, **model}
    spec = resolve_spec(given, where="test", runs=runs, data=store.data)
    card = find_card(spec.dataset.name, spec.dataset.digest, store.data)
    return config.resolve(spec, card, RunFolder(runs / spec.id))


CLASSES = ("banded", "spotted", "chequered", "saddled", "striped", "ringed", "chevroned", "paired")
BOX_HEAD = {"type": "Shared2FCBBoxHead", "num_classes": 3}


@pytest.mark.parametrize(
    ("student", "overrides", "expected"),
    [
        ("retinanet-qr18", {"model.bbox_head.num_classes": 1}, "model.bbox_head.num_classes is 1"),
        ("retinanet-qr18", {"model.bbox_head.num_classes": "8"}, "model.bbox_head.num_classes' is '8'"),
        ("faster-rcnn-qr18", {"model.roi_head.bbox_head.num_classes": 9}, "roi_head.bbox_head.num_classes is 9"),
        ("faster-rcnn-qr18", {"model.roi_head.bbox_head": BOX_HEAD}, "roi_head.bbox_head.num_classes is 3"),
        ("cascade-rcnn-qr18", {"model.roi_head.bbox_head.2.num_classes": 7}, "bbox_head.2.num_classes is 7"),
        ("faster-rcnn-qr18", {"model.roi_head.mask_head": {"type": "FCNMaskHead", "num_classes": 80}},
         "mask_head.num_classes is 80"),
        ("retinanet-qr18", {"train_dataloader.dataset.metainfo.classes": ["a", "b"]}, "metainfo.classes is"),
        ("retinanet-qr18", {"train_dataloader.dataset.pipeline.0": {"type": "CachedMixUp", "img_scale": [64, 64]}},
         "with these overrides the run: step 0 of the pipeline (CachedMixUp) has partner_steps 0"),
        ("yolox-tiny", {"train_cfg.closing_share": 2}, "override train_cfg.closing_share is 2"),
        ("retinanet-qr18", {"train_cfg.closing_share": 0.1}, "train_cfg.closing_share"),
        ("retinanet-qr18", {"train_dataloader.dataset.pipeline.0.imdecode_backend": "pillow"},
         "reads images with imdecode_backend 'pillow'"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused(
    tiny_store: TinyStore, tmp_path: Path, student: str, overrides: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        _resolve(tiny_store, tmp_path, overrides, student=student)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_classifier_has_the_classes_of_its_data(tiny_store: TinyStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.num_classes is 3, and data set scenes has 8 classes"):
        _resolve(tiny_store, tmp_path, {"model.num_classes": 3}, network="resnet18", schedule="demo-classifier")


def test_the_rpn_has_one_class(tiny_store: TinyStore, tmp_path: Path) -> None:
    overrides = {"model.rpn_head.num_classes": 1, "model.roi_head.bbox_head.num_classes": 8}
    found = _resolve(tiny_store, tmp_path, overrides, student="faster-rcnn-qr18")
    assert found.train["model"]["roi_head"]["bbox_head"]["num_classes"] == 8


def test_overrides_may_mix_images_and_move_the_closing_phase(tiny_store: TinyStore, tmp_path: Path) -> None:
    step = {"type": "CachedMixUp", "img_scale": [64, 64], "max_cached_images": 9}
    mixed = _resolve(
        tiny_store, tmp_path, {"train_dataloader.dataset.pipeline.2": step}, student="retinanet-qr18"
    ).train["train_dataloader"]["dataset"]
    assert mixed["pipeline"][2] == {"type": "MixUp", "img_scale": (64, 64), "partner_steps": 2}
    assert "closing_pipeline" not in mixed
    stock = _resolve(tiny_store, tmp_path, {}, student="yolox-tiny").train
    assert stock["train_cfg"]["closing_share"] == 16 / 300
    assert [step["type"] for step in stock["train_dataloader"]["dataset"]["closing_pipeline"]][2] == "YOLOXHSVRandomAug"
    open_end = _resolve(tiny_store, tmp_path, {"train_cfg.closing_share": None}, student="yolox-tiny").train
    assert closing_start(open_end["train_cfg"]) is None
    inner = {"type": "CocoDataset", "metainfo": {"classes": list(CLASSES)}, "pipeline": []}
    wrapper = {"type": "MultiImageMixDataset", "dataset": inner, "pipeline": [step]}
    with pytest.raises(InputError, match="mixes images inside MultiImageMixDataset"):
        _resolve(tiny_store, tmp_path, {"train_dataloader.dataset": wrapper}, student="retinanet-qr18")
