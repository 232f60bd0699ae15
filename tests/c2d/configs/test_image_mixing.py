"""Transforms that mix images are found by what they do, wherever they stand in a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2d.configs.image_mixing import mixes_images, refuse_mixing
from c2d.configs.student_config import load_student
from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope

MOSAIC = {"type": "Mosaic", "img_scale": (64, 64)}
FLIP = {"type": "RandomFlip", "prob": 0.5}


class KeepsImages:
    """A user's transform that pastes objects of earlier images."""

    def __init__(self) -> None:
        self.results_cache: list[Any] = []


def test_of_all_transforms_five_mix_images() -> None:
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS

        found = {name for name, kind in TRANSFORMS.module_dict.items() if mixes_images(kind)}
        assert len(TRANSFORMS.module_dict) > 60
    assert found == {"Mosaic", "MixUp", "CopyPaste", "CachedMosaic", "CachedMixUp"}


@pytest.mark.parametrize(
    "step",
    [
        MOSAIC,
        {"type": "mmdet.CachedMixUp", "img_scale": (64, 64)},
        {"type": KeepsImages},
        {"type": "RandomApply", "transforms": [FLIP, MOSAIC], "prob": 0.1},
        {"type": "RandomChoice", "transforms": [[FLIP], [FLIP, {"type": "CopyPaste"}]]},
        {"type": "MultiBranch", "branch_field": ["sup"], "sup": [{"type": "RandomOrder", "transforms": [MOSAIC]}]},
        {"type": "KeyMapper", "transforms": ({"type": "RandomApply", "transforms": [MOSAIC]},)},
        {"type": "MultiImageMixDataset", "dataset": {"type": "CocoDataset", "pipeline": [FLIP]}, "pipeline": [MOSAIC]},
    ],
)
def test_it_is_refused_wherever_it_stands(step: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="several images at once"):
        refuse_mixing([FLIP, step], "'x'")


def test_steps_on_one_image_pass() -> None:
    steps = [FLIP, {"type": "RandomChoice", "transforms": [[{"type": "CutOut", "n_holes": 1}], [{"type": "Expand"}]]}]
    refuse_mixing(steps, "'x'")
    refuse_mixing([*steps, {"type": "NoSuchTransform"}], "'x'")  # reported where the pipeline is built


@pytest.mark.parametrize("own", [True, False])
def test_a_student_that_mixes_images_is_refused(tmp_path: Path, own: bool) -> None:
    nested = "dict(type='RandomApply', transforms=[dict(type='CachedMosaic', img_scale=(64, 64))])"
    steps = f"[dict(type='LoadImageFromFile'), {nested}]"
    test = "[dict(type='Resize', scale=(64, 64))]"
    (tmp_path / "mine.py").write_text(
        f"model = dict(type='RetinaNet')\ninput_size = 64\ntrain_pipeline = {steps}\ntest_pipeline = {test}\n"
        if own
        else f"model = dict(type='RetinaNet')\ntrain_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=["
        f"dict(type='CocoDataset', pipeline={steps})]))\ntest_dataloader = dict(dataset=dict(pipeline={test}))\n"
    )
    with pytest.raises(InputError, match="CachedMosaic"):
        load_student(str(tmp_path / "mine.py"))


def test_rtmdet_is_refused_as_yolox_is() -> None:
    with pytest.raises(InputError, match=r"several images at once \(CachedMosaic\)"):
        load_student("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("type='KnowledgeDistillationSingleStageDetector', teacher_config='x.py', teacher_ckpt='https://x/y.pth'",
         "a teacher of its own (teacher_ckpt, teacher_config)"),
        ("type='YOLOF', data_preprocessor=dict(batch_augments=[dict(type='BatchSyncRandomResize', interval=10)])",
         "BatchSyncRandomResize"),
    ],
)  # fmt: skip
def test_a_model_with_a_loop_of_its_own_is_refused(tmp_path: Path, model: str, expected: str) -> None:
    (tmp_path / "mine.py").write_text(
        f"model = dict({model})\ninput_size = 64\ntrain_pipeline = []\n"
        "test_pipeline = [dict(type='Resize', scale=(64, 64))]\n"
    )
    with pytest.raises(InputError) as caught:
        load_student(str(tmp_path / "mine.py"))
    assert expected in str(caught.value)
