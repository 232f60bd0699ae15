"""Controls and the end of a synthesis, with a teacher whose scores are raised, so that it detects."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import c2d.configs
from analysis.loading import flatten
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco_file import SOFT_LABEL, read_coco
from c2d.impressions.finish import SynthesisFacts, finish, uniformity
from c2d.impressions.images.png_file import write_png
from c2d.impressions.make_control import make_control, targets_from_detections
from c2d.impressions.sampling.targets import Targets, empty_targets
from c2d.impressions.write_card import ImageFiles
from c2d.specs.spec import RunSpec, build_spec
from c2d.teachers.detector import DetectorTeacher
from tests.analysis.data_free_store import result_of_impressions

LOG = logging.getLogger("test")
LABEL = {7: 0, 3: 1, 5: 2}


@pytest.fixture(scope="module")
def real(tiny_store) -> LoadedCard:
    return load_card("scenes", tiny_store.data)


@pytest.fixture(scope="module")
def teacher_run(tiny_store, tmp_path_factory) -> RunFolder:
    """A copy of a trained run without its result, whose exported weights have raised scores for classes 0 and 4."""
    from c2d.training.train import train

    folder = tiny_store.create_run(iterations=2)
    train(folder, tiny_store.options())
    copy = RunFolder(Path(shutil.copytree(folder.path, tmp_path_factory.mktemp("teacher") / folder.id)))
    copy.result.unlink()
    content = torch.load(copy.student, weights_only=True)
    weights = content.get("state_dict", content)
    (bias,) = [value for key, value in weights.items() if key.endswith("retina_cls.bias")]
    bias.view(-1, 8)[:, [0, 4]] += 4.9
    torch.save(content, copy.student)
    return copy


def a_spec(real: LoadedCard, teacher_run: RunFolder, images_from: str, images: int, source: str | None) -> RunSpec:
    preset = yaml.safe_load((Path(c2d.configs.__path__[0]) / "impressions" / "moi.yaml").read_text())
    preset |= {"images": images, "images_from": images_from}
    preset["adaptive"]["min_score"] = 0.3
    return build_spec(
        {
            "kind": "impressions",
            "dataset": {"name": real.card.name, "digest": real.card.digest},
            "student": None,
            "network": None,
            "teachers": {"detector": teacher_run.id, "impressions": source},
            "method": [],
            "schedule": {"name": "moi", "values": preset},
            "seed": 3,
        }
    )


@pytest.fixture(scope="module")
def source(real, teacher_run, tmp_path_factory) -> RunFolder:
    """A finished synthesis of three grey images, the last without targets."""
    spec = a_spec(real, teacher_run, "optimised", 3, None)
    folder = RunFolder(tmp_path_factory.mktemp("source") / spec.id)
    for index in range(3):
        write_png(folder.train_images / f"{index:06d}.png", np.full((96, 96, 3), 90 * index, np.uint8))
    soft = torch.tensor([[0.5, 0.2, 0.1, 0.2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1.0]])
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.5, 0.5, 1.0, 0.9]])
    targets = [Targets(boxes, torch.tensor([0, 7]), soft), Targets(boxes[:1], torch.tensor([2]), soft[:1])]
    lines = [
        {"iteration": step, "batch": 0, "stage": "final", "loss": 2.0 / (step + 1), "loss_detection": 1.0 / (step + 1)}
        for step in range(5)
    ]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"iteration": 5, "ba')
    names = tuple(f"{index:06d}.png" for index in range(3))
    result = finish(
        folder, spec, teacher_run, DetectorTeacher.from_run(teacher_run.path), real, [*targets, empty_targets(8)],
        ImageFiles(names, ((96, 96),) * 3), SynthesisFacts(90.0, 512.0, {"batch_norm": "there is none"}),
    )  # fmt: skip
    atomic_write_json(folder.result, result)
    folder.write_status("done")
    return folder


def control(real, teacher_run, images_from: str, folder: Path, images: int = 3, **options: Any) -> RunFolder:
    made = options.get("source")
    spec = a_spec(real, teacher_run, images_from, images, made.id if made else None)
    run = RunFolder(folder / spec.id)
    result = make_control(spec, run, teacher_run, real, log=LOG, **{"source": None, **options})
    atomic_write_json(run.result, result)
    return run


def test_reports_read_what_is_written_and_make_up_nothing_else(source, real, teacher_run):
    result = json.loads(source.result.read_text())
    found = flatten.result(result)
    assert (found["images"], found["boxes"], found["redetected"]) == (3, 3, result["redetected"])
    assert (found["images_per_minute"], found["peak_mib"], found["train_s"]) == (2.0, 512.0, 90.0)
    spec = a_spec(real, teacher_run, "optimised", 3, None).to_json()
    assert set(result_of_impressions(spec)) <= set(result)
    assert flatten.spec(spec)["schedule"] == "moi"


def test_the_result_of_a_synthesis(source, teacher_run):
    result = json.loads(source.result.read_text())
    assert (result["images"], result["boxes"], result["soft_labels"]) == (3, 3, True)
    assert result["images_per_minute"] == 2.0
    assert result["labels"]["banded"] == 1
    assert sum(result["labels"].values()) == 3
    assert 0 <= result["redetected"] <= 1
    assert result["redetected_by_class"]["spotted"] is None
    assert result["label_uniformity"] is None
    assert result["teacher"]["run"] == teacher_run.id
    assert result["teacher"]["AP"] is None
    card = load_card(str(source.path)).card
    assert card.synthesis is not None
    assert (card.synthesis.images_from, card.synthesis.run, card.synthesis.schedule) == ("optimised", source.id, "moi")
    assert card.synthesis.teacher_sha256 == result["teacher"]["sha256"]
    assert card.digest == result["card_digest"]
    with Image.open(source.sheet) as sheet:
        assert sheet.width > 500
    assert "batch_norm</dt><dd>there is none" in source.diagnostics.read_text()


@pytest.mark.parametrize("images_from", ["noise", "procedural"])
def test_a_control_keeps_the_targets(real, teacher_run, source, tmp_path, images_from):
    beats: list[int] = []
    run = control(real, teacher_run, images_from, tmp_path, source=source, heartbeat=lambda: beats.append(1))
    before, after = read_coco(source.train_annotations), read_coco(run.train_annotations)
    assert [before[key] for key in ("images", "annotations", "categories")] == [
        after[key] for key in ("images", "annotations", "categories")
    ]
    loaded = load_card(str(run.path))
    verify_card(loaded, {"train": 32, "val": 0})
    assert loaded.card.synthesis is not None
    assert loaded.card.synthesis.images_from == images_from
    assert loaded.card.digest != load_card(str(source.path)).card.digest
    assert loaded.images("train") == run.train_images
    with Image.open(run.train_images / "000000.png") as image:
        assert image.size == (96, 96)
        assert len(image.getcolors(10000) or ()) > 1000
    assert len(beats) >= 6  # each image when it is drawn, and when the teacher has seen it


def test_a_control_continues(real, teacher_run, source, tmp_path):
    """Saved images are kept; what is missing is drawn as it would have been."""
    run = control(real, teacher_run, "procedural", tmp_path / "whole", source=source)
    again = tmp_path / "again"
    half = RunFolder(again / run.id)
    half.train_images.mkdir(parents=True)
    shutil.copy2(run.train_images / "000001.png", half.train_images)
    kept = (half.train_images / "000001.png").stat().st_mtime_ns
    control(real, teacher_run, "procedural", again, source=source)
    for path in ("card.json", "annotations/train.json", "sheet.png", *(f"train/00000{i}.png" for i in range(3))):
        assert (run.path / path).read_bytes() == (half.path / path).read_bytes(), path
    assert (half.train_images / "000001.png").stat().st_mtime_ns == kept


def test_real_images_have_the_labels_of_the_teacher(real, teacher_run, tmp_path):
    run = control(real, teacher_run, "real", tmp_path, images=7)
    coco, truth = read_coco(run.train_annotations), read_coco(real.annotations("train"))
    loaded = load_card(str(run.path))
    verify_card(loaded, {"train": 32, "val": 0})
    assert not run.train_images.exists()
    assert loaded.card.splits["train"].images == str(real.images("train").resolve())
    names = [row["file_name"] for row in coco["images"]]
    assert len(set(names)) == 7
    assert names == [row["file_name"] for row in truth["images"] if row["file_name"] in names]
    assert coco["annotations"]
    labels = {row["category_id"] for row in coco["annotations"]}
    assert labels <= {truth["categories"][k]["id"] for k in (0, 4)}
    for row in coco["annotations"]:
        assert sum(row[SOFT_LABEL]) == pytest.approx(1, abs=1e-9)
        assert [share for k, share in enumerate(row[SOFT_LABEL]) if k not in (0, 4)] == [0] * 6
    result = json.loads(run.result.read_text())
    assert result["redetected"] == 1.0
    assert loaded.card.synthesis is not None
    assert not loaded.card.synthesis.is_data_free


def test_all_real_images_are_taken_when_there_are_too_few(real, teacher_run, tmp_path):
    run = control(real, teacher_run, "real", tmp_path, images=500)
    result = json.loads(run.result.read_text())
    assert result["images"] == real.card.splits["train"].n_images
    assert result["notes"] == ["500 images are wanted, and the real training split has 20"]


def test_refuses_a_source_that_is_none(real, teacher_run, source, tmp_path):
    spec = a_spec(real, teacher_run, "noise", 3, source.id)
    run = RunFolder(tmp_path / spec.id)
    with pytest.raises(InputError, match=r"keeps the targets of a synthesis; give its run: teachers\.impressions"):
        make_control(spec, run, teacher_run, real, source=None, log=LOG)
    with pytest.raises(InputError, match="is not finished; finish it first"):
        make_control(spec, run, teacher_run, real, source=RunFolder(tmp_path / "none"), log=LOG)
    noise = control(real, teacher_run, "noise", tmp_path, source=source)
    noise.write_status("done")
    with pytest.raises(InputError, match="has no optimised images"):
        make_control(spec, RunFolder(tmp_path / "b"), teacher_run, real, source=noise, log=LOG)
    other = LoadedCard(real.card.model_copy(update={"classes": real.card.classes[::-1]}), real.root)
    with pytest.raises(InputError, match="has other classes than data set scenes"):
        make_control(spec, RunFolder(tmp_path / "c"), teacher_run, other, source=source, log=LOG)


def box_of(category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": box, "score": score}


def test_detections_become_targets_by_hand():
    """One object seen as two classes, another alone, one below the score, one too thin."""
    found = targets_from_detections(
        [
            box_of(3, [10, 10, 20, 40], 0.3),
            box_of(7, [10, 10, 20, 36], 0.9),
            box_of(3, [60, 10, 60, 50], 0.6),
            box_of(5, [10, 60, 20, 20], 0.5),
            box_of(5, [40, 60, 0.5, 20], 0.8),
        ],
        (100, 200),
        LABEL,
        0.5,
    )
    assert found.labels.tolist() == [0, 1]
    assert torch.allclose(found.boxes, torch.tensor([[0.1, 0.05, 0.3, 0.23], [0.6, 0.05, 1.0, 0.3]]))
    assert torch.allclose(found.soft_labels, torch.tensor([[0.75, 0.25, 0.0], [0.0, 1.0, 0.0]]))
    assert len(targets_from_detections([], (100, 200), LABEL, 0.5)) == 0
    assert len(targets_from_detections([box_of(3, [10, 10, 20, 40], 0.5)], (100, 200), LABEL, 0.5)) == 0


def test_uniformity_is_that_of_scipy():
    scipy_stats = pytest.importorskip("scipy.stats")
    for counts in ([10, 12, 8, 9], [30, 3, 12], [7, 7]):
        assert uniformity(counts) == pytest.approx(scipy_stats.chisquare(counts).pvalue)
    assert uniformity([4, 5]) is None
    assert uniformity([100]) is None
    assert uniformity([0, 0]) is None
