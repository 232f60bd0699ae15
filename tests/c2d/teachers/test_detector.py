"""A frozen detector as teacher: every key is audited, module outputs stop the forward pass, its own normalization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine import Config

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError
from c2d.detectors.normalization import IMAGENET, Normalization, renormalize
from c2d.evaluation.stock_model import build_student
from c2d.teachers.detector import DetectorTeacher


@pytest.fixture(scope="module", params=["retinanet-qr18", "faster-rcnn-qr18"])
def saved_detector(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Any, Path]:
    """(config, detector, checkpoint): the file holds the weights as mmengine writes them, under state_dict."""
    torch.manual_seed(0)
    config = load_student(request.param, num_classes=4)
    detector = build_student(config)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": detector.state_dict()}, path)
    return config, detector, path


def test_it_is_frozen_and_computes_the_same(saved_detector: tuple[Config, Any, Path]) -> None:
    config, detector, path = saved_detector
    teacher = DetectorTeacher.from_parts(config, path)
    assert teacher.audit is not None
    assert teacher.audit.loaded == len(detector.state_dict())
    assert not any(weight.requires_grad for weight in teacher.module.parameters())
    assert not any(module.training for module in teacher.module.modules())
    assert teacher.num_classes == 4
    assert not isinstance(teacher, torch.nn.Module)
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        detector.eval()
        wanted = detector.extract_feat(images)
    seen = teacher.module_outputs(images, ["backbone.layer2", "neck"])
    assert not seen["neck"][0].requires_grad
    for mine, theirs in zip(seen["neck"], wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_it_runs_only_to_the_deepest_module(saved_detector: tuple[Config, Any, Path]) -> None:
    config, _, path = saved_detector
    teacher = DetectorTeacher.from_parts(config, path)
    deeper: list[str] = []
    handle = teacher.network.get_submodule("backbone.layer3").register_forward_hook(lambda *_: deeper.append("layer3"))
    assert set(teacher.module_outputs(torch.randn(1, 3, 64, 64), ["backbone.layer1"])) == {"backbone.layer1"}
    assert deeper == []
    handle.remove()
    assert not any(module._forward_hooks for module in teacher.network.modules())


def test_the_heads_can_be_read_too(saved_detector: tuple[Config, Any, Path]) -> None:
    config, detector, path = saved_detector
    teacher = DetectorTeacher.from_parts(config, path)
    dense = hasattr(detector, "bbox_head")
    name = "bbox_head.retina_cls" if dense else "rpn_head.rpn_cls"
    images = torch.randn(1, 3, 64, 64)
    detector.eval()
    with torch.no_grad():
        head = detector.bbox_head if dense else detector.rpn_head
        scores, _ = head(detector.extract_feat(images))
    torch.testing.assert_close(teacher.module_outputs(images, [name])[name], scores[0])
    if dense:
        with pytest.raises(InputError, match="bbox_head is never called itself"):
            teacher.module_outputs(images, ["bbox_head"])


def test_it_has_its_own_pixels(saved_detector: tuple[Config, Any, Path]) -> None:
    config, _, path = saved_detector
    teacher = DetectorTeacher.from_parts(config, path)
    assert teacher.normalization == IMAGENET
    ssd = Normalization(IMAGENET.mean, (1.0, 1.0, 1.0), "rgb")
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(teacher.normalize(images, ssd), renormalize(images, ssd, IMAGENET))


def test_its_classes_are_those_of_the_checkpoint(saved_detector: tuple[Config, Any, Path], tmp_path: Path) -> None:
    """Checkpoint meta names the outputs; a config with another list, or another number of names, is refused."""
    config, detector, _ = saved_detector
    names = ("ant", "bee", "cat", "dog")
    torch.save({"meta": {"dataset_meta": {"classes": names}}, "state_dict": detector.state_dict()}, tmp_path / "t.pth")
    assert DetectorTeacher.from_parts(config, tmp_path / "t.pth").classes == names
    for classes, message in ((names[::-1], "differ from class 0 on"), (names[:3], "differ from class 3 on")):
        metainfo = {"test_dataloader": {"dataset": {"type": "CocoDataset", "metainfo": {"classes": classes}}}}
        with pytest.raises(InputError, match=message):
            DetectorTeacher.from_parts(Config({"model": config["model"], **metainfo}), tmp_path / "t.pth")


def test_missing_keys_stop(saved_detector: tuple[Config, Any, Path], tmp_path: Path) -> None:
    config, detector, _ = saved_detector
    state = {key: value for key, value in detector.state_dict().items() if not key.startswith("neck.")}
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(InputError, match=r"keys are missing: neck\."):
        DetectorTeacher.from_parts(config, tmp_path / "half.pth")


def test_a_teacher_is_loaded_from_its_run_folder(saved_detector: tuple[Config, Any, Path], tmp_path: Path) -> None:
    config, detector, _ = saved_detector
    with pytest.raises(InputError, match=r"has no config\.py"):
        DetectorTeacher.from_run(tmp_path)
    Config({"model": config["model"]}).dump(tmp_path / "config.py")
    torch.save(detector.state_dict(), tmp_path / "student.pth")
    teacher = DetectorTeacher.from_run(tmp_path)
    weights = teacher.network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in detector.state_dict().items())


def test_bad_configs_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config"):
        DetectorTeacher.from_parts(tmp_path / "none.py", tmp_path / "none.pth")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="has no `model`"):
        DetectorTeacher.from_parts(tmp_path / "empty.py", tmp_path / "none.pth")
