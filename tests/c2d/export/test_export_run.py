"""A run given away: the files, what they say, and that they work for a colleague without c2d."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.export.export_run import ExportOptions, export_run
from c2d.export.exported_facts import RunFacts
from c2d.export.model_card import WITH_ONNX, WITH_OPENVINO, model_card
from c2d.training.train import train
from tests.c2d.conftest import TinyStore

pytest.importorskip("onnxruntime")
BLOCK = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is not for this process")
sys.meta_path.insert(0, Refused())
"""
PRINT = "\nimport json; print(json.dumps([boxes.tolist(), scores.tolist(), labels.tolist()]))\n"
OURS = ("c2d", "analysis", "sweeps", "benchmarks")


class Export:
    """An export of a finished run, once for this file."""

    def __init__(self, run: RunFolder, out: Path, lines: list[str]) -> None:
        self.run, self.out, self.lines = run, out, lines

    def text(self, name: str) -> str:
        return (self.out / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def export(tiny_store: TinyStore, tmp_path_factory: pytest.TempPathFactory) -> Export:
    # A large step: scores that are equal may come in any order.
    values = {"iterations": 6, "batch": 4, "optimizer": {"type": "AdamW", "lr": 0.02}}
    run = tiny_store.create_run(seed=5, schedule={"name": "smoke", "values": values})
    train(run, tiny_store.options())
    out, lines = tmp_path_factory.mktemp("exports") / "student", []
    kinds = ("folder", "onnx", "openvino") if has_openvino() else ("folder", "onnx")
    options = ExportOptions(kinds, tiny_store.data, images=3, check=True, licence="apache-2.0")
    export_run(run, out, tiny_store.runs, options, lines.append)
    return Export(run, out, lines)


def has_openvino() -> bool:
    """Whether the extra `openvino` is installed, which is no part of `dev`."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


def test_the_files_and_their_digests(export: Export) -> None:
    names = {path.name for path in export.out.iterdir()}
    assert names >= {
        "README.md", "LICENSE", "classes.txt", "config.json", "config.py", "model.onnx", "model.safetensors",
        "preprocessor_config.json", "provenance.json", "student.pth",
    }  # fmt: skip
    found = json.loads(export.text("provenance.json"))
    assert set(found["files"]) == names - {"provenance.json"}
    for name, digest in found["files"].items():
        assert hashlib.sha256((export.out / name).read_bytes()).hexdigest() == digest
    assert found["spec"]["seed"] == 5
    assert found["result"]["AP"] == read_json(export.run.result)["AP"]
    assert list(export.out.parent.iterdir()) == [export.out]
    modes = {path.stat().st_mode for path in export.out.iterdir()}
    assert len(modes) == 1, "others may read some files and not the rest"


def test_graphs_agree_and_have_the_ap_of_the_run(export: Export) -> None:
    ap = read_json(export.run.result)["AP"]
    for parity in json.loads(export.text("provenance.json"))["parity"]:
        assert parity["detections"] > 20
        assert parity["unmatched"] == 0
        assert parity["box_px"] < 0.01
        assert parity["ap"] == pytest.approx(ap, abs=1e-6)
    assert f"AP {100 * ap:.2f} from the image files, the run has {100 * ap:.2f}" in export.lines[1]


def test_the_card_is_what_the_hub_reads(export: Export) -> None:
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(export.text("README.md")).data
    assert (data.license, data.pipeline_tag, data.library_name) == ("apache-2.0", "object-detection", "mmdet")
    result = next(item for item in data.eval_results if item.metric_type == "AP50")
    assert result.metric_value == round(100 * read_json(export.run.result)["AP50"], 2)
    classes = export.text("classes.txt").split()
    config = json.loads(export.text("config.json"))
    assert [config["id2label"][str(index)] for index in range(len(classes))] == classes
    assert config["label2id"][classes[1]] == 1


def test_nothing_names_this_machine(export: Export, tiny_store: TinyStore) -> None:
    assert str(tiny_store.data) in export.run.config.read_text()
    for path in export.out.iterdir():
        content = path.read_bytes()
        for place in (tiny_store.data, tiny_store.runs, Path.home() / "x", export.out):
            assert str(place.parent).encode() not in content, path.name


def test_the_card_names_members_of_an_ensemble_and_runs_that_are_no_teachers() -> None:
    teachers = {"classifier": ["net-a", "net-b"], "classifier_weights": [0.25, 0.75], "detector": None,
                "impressions": "dream", "backbone": "net-c"}  # fmt: skip
    names = {"dataset": {"name": "scenes"}, "student": {"name": "retinanet"}, "teachers": teachers}
    card = model_card(RunFacts("run", names, {}, {"c2d": None, "commit": None}, ("a",), "unknown"), [], [])
    assert (
        "trained on `scenes`; learned from `net-a`; learned from `net-b`; saw images made by `dream`; start from the "
        "backbone of `net-c`."
    ) in card
    rows = [line for line in card.splitlines() if re.match(r"\| .*`(net-|dream)", line)]
    assert rows == [
        "| classifier teacher | `net-a` |", "| classifier-2 teacher | `net-b` |",
        "| training images made by | `dream` |", "| backbone from | `net-c` |",
    ]  # fmt: skip


def test_refused_before_any_work(export: Export, tiny_store: TinyStore, tmp_path: Path) -> None:
    def refuse(message: str, out: Path, run: RunFolder = export.run, **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            export_run(run, out, tiny_store.runs, ExportOptions(data=tiny_store.data, **options), print)

    new = tmp_path / "new"
    refuse("exists; give the name of a new folder", export.out)
    refuse("is no folder; make it first", tmp_path / "none" / "new")
    refuse("unknown --to 'onx'; did you mean 'onnx'", new, kinds=("onx",))
    refuse("no identifier of the hub", new, licence="My licence")
    # The store is that of the whole session: a seed that no other test trains.
    refuse("is waiting; finish it first", new, tiny_store.create_run(seed=605))
    assert list(tmp_path.iterdir()) == []


def test_five_lines_without_torch(export: Export, tmp_path: Path) -> None:
    """The lines of the card give the detections that the run stored."""
    first = read_json(export.run.detections)[0]["image_id"]
    truth = read_json(next((export.run.path.parent / "targets").iterdir()))
    name = next(image["file_name"] for image in truth["images"] if image["id"] == first)
    source = next(export.run.path.parents[1].glob(f"data/scenes/val/**/{name}"))
    Image.open(source).save(tmp_path / "photo.jpg", format="PNG")
    blocked = ("torch", "torchvision", "mmdet", "mmcv", "mmengine", "cv2", *OURS)
    runs = {WITH_ONNX: "model.onnx", WITH_OPENVINO: "openvino_model.xml"}
    for lines, file in runs.items():
        if not (export.out / file).exists():
            continue
        assert lines in export.text("README.md")
        assert lines.count("\n") == 4
        for path in export.out.glob(f"{Path(file).stem}.*"):
            shutil.copy(path, tmp_path)
        boxes, scores, labels = run_lines(BLOCK.format(blocked=blocked) + lines, tmp_path)
        stock = [one for one in read_json(export.run.detections) if one["image_id"] == first]
        assert len(scores) == len(stock)
        assert np.allclose(sorted(scores), sorted(one["score"] for one in stock), atol=1e-5)
        best = max(stock, key=lambda one: one["score"])
        left, top, right, bottom = boxes[int(np.argmax(scores))]
        assert [left, top, right - left, bottom - top] == pytest.approx(best["bbox"], abs=0.01)
        assert set(labels) <= set(range(len(export.text("classes.txt").split())))


def run_lines(code: str, folder: Path) -> Any:
    """Run code in a process of its own, which imports neither this repository nor its tests."""
    done = subprocess.run([sys.executable, "-P", "-W", "ignore", "-c", code + PRINT], cwd=folder, capture_output=True,
                          text=True, timeout=240, check=False, env={"PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(re.findall(r"^\[\[.*$", done.stdout, re.MULTILINE)[-1])
