"""Types in overrides are registered names, and every type of mmdet's own configs is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.training.override_types import check_override_types, registered_names


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.backbone.type", "ResNett", "'model.backbone.type' is 'ResNett', .* did you mean 'ResNet'"),
        ("model.backbone", {"type": "os"}, "no type of that name is registered for model"),
        ("model.test_cfg.nms", {"type": "exec"}, "no type of that name"),
        ("model.neck", [{"type": "FPN"}, {"type": "antigravity"}], r"'model\.neck\.1\.type' is 'antigravity'"),
        ("train_dataloader.dataset.pipeline.0", {"type": "RandomFlipp"}, "did you mean 'RandomFlip'"),
        ("train_dataloader.dataset.pipeline.0.type", "SGD", "registered for train_dataloader"),
        ("optim_wrapper.optimizer.type", "AdamWW", "did you mean 'AdamW'"),
        ("optim_wrapper.constructor", "print", "OPTIM_WRAPPER_CONSTRUCTORS"),
        ("param_scheduler.0", {"type": "Step"}, "registered for param_scheduler"),
        ("elsewhere.type", "ResNet", "registered for elsewhere"),
    ],
)
def test_an_unregistered_type_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_override_types({key: value})
    assert "\n" not in str(caught.value)


def test_registered_types_are_allowed() -> None:
    check_override_types(
        {
            "model.backbone": {"type": "ResNet", "norm_cfg": {"type": "BN"}, "init_cfg": {"type": "Kaiming"}},
            "model.train_cfg.assigner.type": "MaxIoUAssigner",
            "model.test_cfg.nms": {"type": "soft_nms"},
            "model.roi_head.bbox_roi_extractor.roi_layer": {"type": "RoIAlign"},
            "train_dataloader.dataset.pipeline.2": {"type": "Albu", "transforms": [{"type": "NotRegistered"}]},
            "train_dataloader.dataset.type": "CocoDataset",
            "optim_wrapper.type": "AmpOptimWrapper",
            "optim_wrapper.optimizer.type": "AdamW",
            "param_scheduler.0.type": "MultiStepLR",
        }
    )


def test_types_of_students_could_be_written_as_overrides() -> None:
    """The check is not narrower than mmdet: everything that the shipped students name passes."""
    from c2d.configs.student_config import STUDENTS, load_student

    for path in sorted(Path(STUDENTS).glob("[a-z]*.py")):
        config = load_student(path.stem)
        check_override_types({"model": config["model"].to_dict(), "train_dataloader.x": config["train_pipeline"]})
    assert {"RetinaNet", "MaxIoUAssigner", "nms", "Kaiming"} <= registered_names("model")
