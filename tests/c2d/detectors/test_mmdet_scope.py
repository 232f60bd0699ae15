"""In the context in which configs are built, a config can neither import, evaluate nor unpickle."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import mmengine
import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "subprocess.Popen", "builtins.exec", "antigravity", "mmengine.utils.get_object_from_string",
        "mmengine.fileio.load", "torch.load", "torch.hub.load", "os", "c2d.training.train.train", "evil", "evil.Thing",
    ],
)  # fmt: skip
def test_a_type_that_is_not_registered_is_not_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/__init__.py").write_text(f"import os; os.mkdir({str(tmp_path / 'imported')!r})\n")
    (tmp_path / "evil/registry.py").write_text("")
    with mmdet_scope():
        from mmdet.registry import MODELS

        with pytest.raises(KeyError, match="is not in the mmdet::model registry"):
            MODELS.build({"type": name})
        with pytest.raises(KeyError, match="not in the"):
            MODELS.build({"type": name, "_scope_": "evil"})
    assert not (tmp_path / "imported").exists()


def test_import_paths_of_registered_types_are_found() -> None:
    """mmengine writes them when it dumps a config that has classes in it."""
    with mmdet_scope():
        from mmdet.models.detectors import RetinaNet
        from mmdet.registry import MODELS, OPTIMIZERS

        for name in ("RetinaNet", "mmdet.RetinaNet", "mmdet.models.RetinaNet", f"{RetinaNet.__module__}.RetinaNet"):
            assert MODELS.get(name) is RetinaNet
        assert MODELS.get("torch.nn.modules.conv.Conv2d") is nn.Conv2d
        assert OPTIMIZERS.get("torch.optim.SGD") is torch.optim.SGD


@pytest.mark.parametrize("text", ["__import__('os').system('x')", "os.system", "nms.__globals__", "", "nmsx", 5])
def test_the_kind_of_nms_is_not_evaluated(text: Any) -> None:
    with mmdet_scope():
        from mmcv.ops import batched_nms

        boxes, scores, labels = torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([0.5]), torch.tensor([0])
        kept, _ = batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.5})
        assert kept.shape == (1, 5)
        with pytest.raises((InputError, TypeError)):
            batched_nms(boxes, scores, labels, {"type": text, "iou_threshold": 0.5})


def test_the_motion_model_of_trackers_is_not_evaluated() -> None:
    with mmdet_scope():
        import cv2
        from mmdet.registry import TASK_UTILS

        built = TASK_UTILS.build({"type": "CameraMotionCompensation"})
        assert built.warp_mode == cv2.MOTION_EUCLIDEAN
        with pytest.raises(InputError, match=r"names 'print\(5\)', which"):
            TASK_UTILS.build({"type": "CameraMotionCompensation", "warp_mode": "print(5)"})


def test_mmengine_reads_no_pickle_and_no_tag(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    (tmp_path / "a.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'mark'}']\n")
    with mmdet_scope():
        from mmdet.registry import DATASETS

        with pytest.raises(InputError, match="names a pickle, which can hold code; give the data as JSON"):
            mmengine.load(tmp_path / "a.pkl")
        with pytest.raises(InputError, match="names a pickle"):
            DATASETS.build({"type": "BaseDetDataset", "ann_file": str(tmp_path / "a.pkl")})
        with pytest.raises(Exception, match="could not determine a constructor"):
            mmengine.load(tmp_path / "a.yaml")
    mmengine.dump({"a": [1]}, tmp_path / "b.pkl")
    mmengine.dump({"a": [1]}, tmp_path / "b.yaml")
    assert mmengine.load(tmp_path / "b.yaml") == {"a": [1]}
    assert not (tmp_path / "mark").exists()


def test_class_hierarchies_of_open_images_are_read_without_pickles(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "good.npy", np.arange(9.0).reshape(3, 3))
    np.save(tmp_path / "bad.npy", np.array([Evil(tmp_path / "mark")], dtype=object), allow_pickle=True)
    with mmdet_scope():
        from mmdet.datasets.openimages import OpenImagesChallengeDataset

        read = OpenImagesChallengeDataset._get_relation_matrix
        empty = type("Dataset", (), {"backend_args": None})()
        assert read(empty, str(tmp_path / "good.npy")).tolist() == [[4.0, 5.0], [7.0, 8.0]]
        with pytest.raises(ValueError, match="allow_pickle=False"):
            read(empty, str(tmp_path / "bad.npy"))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("where", ["backbone", "model", "https"])
def test_a_model_is_built_without_weight_files(where: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "a.pth")
    name = "https://example.org/a.pth" if where == "https" else str(tmp_path / "a.pth")
    backbone: dict[str, Any] = {"type": "ResNet", "depth": 18}
    model: dict[str, Any] = {"type": "TwoStageDetector", "backbone": backbone}
    (model if where == "model" else backbone)["init_cfg"] = {"type": "Pretrained", "checkpoint": name}
    with mmdet_scope():
        from mmdet.registry import MODELS

        with pytest.raises(InputError, match=r"would load the weight file .*a\.pth while its model is built"):
            MODELS.build(model).init_weights()


def test_mmengine_reads_tensors_alone_outside_of_it(tmp_path: Path) -> None:
    """mmdet used beside c2d in one process still loads weights, and no more than weights."""
    from mmengine.runner import load_checkpoint

    layer = nn.Linear(1, 1)
    with mmdet_scope():
        pass
    torch.save({"state_dict": {"weight": torch.ones(1, 1), "bias": torch.ones(1)}}, tmp_path / "a.pth")
    load_checkpoint(layer, str(tmp_path / "a.pth"))
    assert layer.weight.item() == 1
    torch.save({"state_dict": Evil(tmp_path / "mark")}, tmp_path / "evil.pth")
    for load in (lambda path: load_checkpoint(layer, path), lambda path: torch.load(path, weights_only=False)):
        with pytest.raises(pickle.UnpicklingError):
            load(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "mark").exists()


def test_worker_processes_read_weights_alone(tmp_path: Path) -> None:
    with mmdet_scope():
        torch.save(Evil(tmp_path / "mark"), tmp_path / "evil.pth")
    code = f"import torch; torch.load({str(tmp_path / 'evil.pth')!r}, weights_only=False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "UnpicklingError" in done.stderr
    assert not (tmp_path / "mark").exists()
