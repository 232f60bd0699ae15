"""Steps that mix images are found wherever they stand, and each says which images it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.logging import MessageHub

from c2d.configs.closing_phase import closing_start
from c2d.configs.image_mixing import mixes_images, mixing_steps, refuse_wrapped_mixing, resolve_mixing
from c2d.configs.student_config import config_text, kept_student, load_student, student_digest
from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope

READ = {"type": "LoadImageFromFile"}
FLIP = {"type": "RandomFlip", "prob": 0.5}
MOSAIC = {"type": "Mosaic", "img_scale": (64, 64)}
MIXUP = {"type": "MixUp", "img_scale": (64, 64)}
CACHED_MOSAIC = {"type": "CachedMosaic", "img_scale": (64, 64), "max_cached_images": 20, "random_pop": False}
CACHED_MIXUP = {"type": "CachedMixUp", "img_scale": (64, 64), "prob": 0.5, "max_cached_images": 10}
TEST = "[dict(type='Resize', scale=(64, 64))]"
STOCK = {
    "rtmdet-tiny": "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "yolox-tiny": "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py",
}


class KeepsImages:
    """A user's transform that pastes objects of earlier images."""

    def __init__(self) -> None:
        self.results_cache: list[Any] = []


class AsksForImages:
    """A user's transform in the form of mmdet's Mosaic."""

    def get_indexes(self, dataset: Any) -> int:
        return 0

    def transform(self, results: dict[str, Any]) -> Any:
        return results["mix_results"]


def partner_steps(pipeline: Any) -> list[int]:
    return [step["partner_steps"] for step in mixing_steps(pipeline)]


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
        {"type": AsksForImages},
        {"type": "RandomApply", "transforms": [FLIP, MOSAIC], "prob": 0.1},
        {"type": "RandomChoice", "transforms": [[FLIP], [FLIP, {"type": "CopyPaste"}]]},
        {"type": "MultiBranch", "branch_field": ["sup"], "sup": [{"type": "RandomOrder", "transforms": [MOSAIC]}]},
        {"type": "KeyMapper", "transforms": ({"type": "RandomApply", "transforms": [MOSAIC]},)},
    ],
)
def test_it_is_found_wherever_it_stands(step: dict[str, Any]) -> None:
    assert partner_steps(resolve_mixing([READ, FLIP, step], "'x'")) == [2]


def test_further_images_pass_the_steps_that_mmdet_gives_them() -> None:
    # MultiImageMixDataset: those of the data set inside it; without a wrapper those before the first that mixes.
    assert partner_steps(resolve_mixing([READ, FLIP, MOSAIC, FLIP, MIXUP], "'x'")) == [2, 2]
    wrapped = resolve_mixing([READ, FLIP, MOSAIC, FLIP, MIXUP], "'x'", partner_steps=[None, 1, 1, 1, 1])
    assert partner_steps(wrapped) == [1, 1]
    # A cache: all steps before it.
    cached = resolve_mixing([READ, CACHED_MOSAIC, FLIP, CACHED_MIXUP], "'x'")
    assert cached[1] == MOSAIC | {"partner_steps": 1}
    assert cached[3] == MIXUP | {"prob": 0.5, "partner_steps": 3}
    assert resolve_mixing(cached, "'x'") == cached
    assert resolve_mixing([READ, MOSAIC | {"img_scale": [64, 64]}], "'x'")[1]["img_scale"] == (64, 64)


def test_steps_on_one_image_stay_as_they_are() -> None:
    steps = [FLIP, {"type": "RandomChoice", "transforms": [[{"type": "CutOut", "n_holes": 1}], [{"type": "Expand"}]]}]
    assert resolve_mixing(steps, "'x'") == steps
    unknown = [*steps, {"type": "NoSuchTransform"}]  # reported where the pipeline is built
    assert resolve_mixing(unknown, "'x'") == unknown


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([READ, {"type": KeepsImages}], r"keeps images of earlier steps \(KeepsImages\)"),
        ([MOSAIC, READ], r"step 0 of the pipeline \(Mosaic\) has partner_steps 0"),
        ([READ, MOSAIC | {"partner_steps": 2}], "partner_steps 2"),
        ([READ, MOSAIC | {"partner_steps": True}], "partner_steps True"),
    ],
)
def test_what_cannot_be_repeated_is_refused(steps: list[Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        resolve_mixing(steps, "'x'")


def test_a_wrapper_that_mixes_is_refused() -> None:
    inner = {"type": "CocoDataset", "pipeline": [READ]}
    refuse_wrapped_mixing({"type": "RepeatDataset", "times": 2, "dataset": inner}, "'x'")
    for wrapper in (
        {"type": "MultiImageMixDataset", "dataset": inner, "pipeline": [FLIP]},
        {"type": "RepeatDataset", "times": 2, "dataset": inner | {"pipeline": [READ, MOSAIC]}},
    ):
        with pytest.raises(InputError, match="mixes images inside"):
            refuse_wrapped_mixing(wrapper, "'x'")


@pytest.mark.parametrize("name", STOCK)
def test_a_shipped_student_is_mmdets(name: str, tmp_path: Path) -> None:
    shipped = load_student(name)
    assert shipped.to_dict() == load_student(STOCK[name]).to_dict()
    assert not list(mixing_steps(shipped.closing_pipeline))
    # 300 epochs of ten iterations: the hooks close the last 20, and the last 15 and one.
    start = closing_start({"max_iters": 3000, "closing_share": shipped.closing_share})
    assert start == {"rtmdet-tiny": 2800, "yolox-tiny": 2840}[name]
    # As the store keeps the config of a student.
    (tmp_path / "kept.py").write_text(config_text(name))
    assert kept_student(tmp_path / "kept.py", student_digest(name)).closing_share == shipped.closing_share


def test_sizes_follow_the_input() -> None:
    small = load_student("yolox-tiny", input_size=208)
    mosaic, affine = small.train_pipeline[2:4]
    assert (mosaic["img_scale"], affine["border"]) == ((320, 320), (-160, -160))
    assert small.closing_pipeline[4]["scale"] == (320, 320)
    assert small.model.data_preprocessor.batch_augments[0].random_size_range == (160, 320)


@pytest.mark.parametrize("own", [True, False])
def test_a_config_of_ones_own_mixes_images(tmp_path: Path, own: bool) -> None:
    nested = "dict(type='RandomApply', transforms=[dict(type='CachedMosaic', img_scale=(64, 64))])"
    steps = f"[dict(type='LoadImageFromFile'), {nested}]"
    (tmp_path / "mine.py").write_text(
        f"model = dict(type='RetinaNet')\ninput_size = 64\ntrain_pipeline = {steps}\ntest_pipeline = {TEST}\n"
        if own
        else f"model = dict(type='RetinaNet')\ntrain_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=["
        f"dict(type='CocoDataset', pipeline={steps})]))\ntest_dataloader = dict(dataset=dict(pipeline={TEST}))\n"
    )
    found = load_student(str(tmp_path / "mine.py"))
    assert found.train_pipeline[1]["transforms"] == [MOSAIC | {"partner_steps": 1}]
    assert "closing_pipeline" not in found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("closing_share = 0.1", "has closing_share 0.1 and a closing_pipeline of type NoneType"),
        ("closing_share = 1.5\nclosing_pipeline = [dict(type='RandomFlip')]", "has closing_share 1.5"),
        ("closing_share = True\nclosing_pipeline = [dict(type='RandomFlip')]", "has closing_share True"),
    ],
)  # fmt: skip
def test_a_closing_phase_without_end_or_pipeline_is_refused(tmp_path: Path, lines: str, expected: str) -> None:
    (tmp_path / "mine.py").write_text(
        f"model = dict(type='RetinaNet')\ninput_size = 64\ntrain_pipeline = [dict(type='RandomFlip', prob=0.5)]\n"
        f"test_pipeline = {TEST}\n{lines}\n"
    )
    with pytest.raises(InputError) as caught:
        load_student(str(tmp_path / "mine.py"))
    assert expected in str(caught.value)


@pytest.mark.parametrize("hook", ["type='YOLOXModeSwitchHook'", "type='PipelineSwitchHook', switch_epoch=9"])
def test_a_hook_counts_in_configs_of_mmdets_form_alone(tmp_path: Path, hook: str) -> None:
    form = (
        f"train_dataloader = dict(dataset=dict(pipeline=[dict(type='RandomFlip', prob=0.5)]))\ntest_pipeline = {TEST}\n"
    )
    text = f"model = dict(type='RetinaNet')\n{form}custom_hooks = [dict({hook}, switch_pipeline=[])]\n"
    (tmp_path / "mmdets.py").write_text(f"{text}train_cfg = dict(max_epochs=9)\n")
    with pytest.raises(InputError, match="switches its pipeline by epochs, and its train_cfg has max_epochs 9"):
        load_student(str(tmp_path / "mmdets.py"))
    (tmp_path / "own.py").write_text(f"{text}input_size = 64\ntrain_pipeline = [dict(type='RandomFlip', prob=0.5)]\n")
    assert "closing_share" not in load_student(str(tmp_path / "own.py"))


def test_a_model_with_a_loop_of_its_own_is_refused(tmp_path: Path) -> None:
    model = "type='KnowledgeDistillationSingleStageDetector', teacher_config='x.py', teacher_ckpt='https://x/y.pth'"
    (tmp_path / "mine.py").write_text(
        f"model = dict({model})\ninput_size = 64\ntrain_pipeline = []\ntest_pipeline = {TEST}\n"
    )
    with pytest.raises(InputError, match=r"a teacher of its own \(teacher_ckpt, teacher_config\)"):
        load_student(str(tmp_path / "mine.py"))


class ResizesByRunner:
    """A user's augmentation of batches that reads the iteration of mmengine's Runner."""

    def forward(self, inputs: Any) -> Any:
        return inputs[: MessageHub.get_current_instance().get_info("iter")]


def test_batches_that_change_by_a_runner_are_refused_but_mmdets_own(tmp_path: Path) -> None:
    with mmdet_scope():
        from mmdet.registry import MODELS

        MODELS.register_module(module=ResizesByRunner)
    text = "input_size = 64\ntrain_pipeline = [dict(type='RandomFlip', prob=0.5)]\n" + f"test_pipeline = {TEST}\n"
    for kind in ("BatchSyncRandomResize", "ResizesByRunner"):
        augments = f"dict(batch_augments=[dict(type='{kind}', random_size_range=(32, 64))])"
        (tmp_path / f"{kind}.py").write_text(f"model = dict(type='YOLOF', data_preprocessor={augments})\n{text}")
    try:
        load_student(str(tmp_path / "BatchSyncRandomResize.py"))
        with pytest.raises(InputError, match=r"iteration that mmengine's Runner counts \(ResizesByRunner\)"):
            load_student(str(tmp_path / "ResizesByRunner.py"))
    finally:
        del MODELS.module_dict["ResizesByRunner"]
