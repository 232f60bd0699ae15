"""Numbers of evaluation protocols in result.json: written by a run, computed again, read into the frame, as mmdet's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2d.core.errors import RunError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import RunStore
from c2d.data.card_lookup import load_card
from c2d.data.make_card import make_card
from c2d.evaluation.evaluate_run import evaluate_run
from c2d.metrics import coco, coco_json
from c2d.metrics.protocols import voc
from c2d.training.train import train
from tests.c2d.conftest import TinyStore
from tests.c2d.metrics.protocols.protocol_sets import protocol_set

VOC = ("AP50_area_difficult_ignored", "AP50_11point_difficult_ignored")


def _with_protocol(store: TinyStore, root: Path, protocol: str) -> TinyStore:
    """The scenes of the store as a data set with a protocol: every third object is difficult, or a Van."""
    scenes = load_card("scenes", store.data)
    target = root / "data" / protocol
    target.mkdir(parents=True)
    splits = {}
    for split in scenes.card.splits:
        content = json.loads(scenes.annotations(split).read_text())
        for i, row in enumerate(content["annotations"]):
            van = {"type": "Van" if i % 3 == 0 else "Car", "truncated": 0.0, "occluded": i % 2}
            row["protocol"] = {"difficult": int(i % 3 == 0)} if protocol == "voc" else van
        if protocol == "kitti":
            content["categories"][0]["name"] = "Car"
        (target / f"{split}.json").write_text(json.dumps(content))
        splits[split] = (target / f"{split}.json", scenes.images(split))
    classes = [category["name"] for category in content["categories"]]
    make_card(target, protocol, classes, splits, protocol=protocol)  # type: ignore[arg-type]
    return TinyStore(root / "data", root / "runs")


@pytest.fixture(scope="module")
def run(tiny_store: TinyStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyStore, RunFolder]:
    store = _with_protocol(tiny_store, tmp_path_factory.mktemp("voc"), "voc")
    folder = store.create_run(iterations=2, dataset="voc")
    train(folder, store.options())
    return store, folder


def test_a_run_has_the_numbers_and_they_are_computed_again(run: tuple[TinyStore, RunFolder]) -> None:
    from c2d.cli.commands import summary

    store, folder = run
    result = read_json(folder.result)
    targets = RunStore(store.runs).targets(read_json(folder.spec)["dataset"]["digest"])
    truth = read_json(targets)
    assert {row["protocol"]["difficult"] for row in truth["annotations"]} == {0, 1}
    data = coco.prepare(truth, read_json(folder.detections))
    assert result["protocols"] == {"voc": voc.evaluate(truth["annotations"], data)}
    assert coco.evaluate(data)["AP"] == coco.evaluate(coco_json.load(targets, folder.detections))["AP"] == result["AP"]
    assert "\nVOC: AP50_area_difficult_ignored " in summary(result)
    again, lines = evaluate_run(folder.id, store.runs, store.data, check=False)
    assert again["protocols"] == result["protocols"]
    assert [line.split(" equals")[0] for line in lines] == ["AP", *(f"voc {name}" for name in VOC)]
    changed = {**result, "protocols": {"voc": {**result["protocols"]["voc"], VOC[1]: 0.987}}}
    atomic_write_json(folder.result, changed)
    try:
        with pytest.raises(RunError, match=f"voc {VOC[1]} is .* now and 0.987"):
            evaluate_run(folder.id, store.runs, store.data, check=False)
    finally:
        atomic_write_json(folder.result, result)


def test_kittis_numbers_of_a_whole_evaluation(
    tiny_store: TinyStore, run: tuple[TinyStore, RunFolder], tmp_path: Path
) -> None:
    from mmengine import Config

    from c2d.evaluation.evaluate_detector import evaluate_detector, load_ground_truth

    _, folder = run
    card = load_card("kitti", _with_protocol(tiny_store, tmp_path, "kitti").data)
    truth = load_ground_truth(card, RunFolder(tmp_path / "runs" / "none"))
    config = Config.fromfile(folder.config)
    config.test_dataloader.dataset.metainfo.classes = tuple(card.card.classes)
    result, _ = evaluate_detector(config, folder.student, card, truth, "cpu")
    (cars,) = result["protocols"]["kitti"]["per_class"].values()
    rows = [row for row in truth["annotations"] if row["protocol"]["type"] == "Car"]
    for name, height, occlusion in (("easy", 40, 0), ("moderate", 25, 1)):
        counted = [r for r in rows if r["bbox"][3] > height and r["protocol"]["occluded"] <= occlusion]
        assert cars["objects"][name] == len(counted)


def test_the_frame_has_the_numbers(run: tuple[TinyStore, RunFolder]) -> None:
    from analysis.loading.load import read_study

    store, folder = run
    (row,) = read_study(store.runs, (), cache=store.runs.parent / "cache").frame.to_dict("records")
    for short, name in zip(("voc.AP50_area", "voc.AP50_11point"), VOC, strict=True):
        assert row[short] == read_json(folder.result)["protocols"]["voc"][name]
    assert np.isnan(row["kitti.AP_R40_moderate"])
    assert np.isnan(row["kitti.Car.AP70_R11_hard"])


@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("mode", ["area", "11points"])
def test_equals_mmdet(border: int, mode: str) -> None:
    """mmdet's eval_map on equal boxes; with its legacy coordinates on boxes whose edges are one px closer.

    No class has 10, 20, ... objects: there mmdet's levels, which are multiples of 0.1 in floating point, can miss one.
    """
    from mmdet.evaluation.functional import eval_map

    given_set = protocol_set(random.Random(7), 70, whole=False)
    data = given_set.data
    result = voc.evaluate(given_set.truth["annotations"], data)
    difficult = np.array([row["protocol"]["difficult"] for row in given_set.truth["annotations"]], bool)
    minus = np.array([0, 0, border, border])

    def corners(box: Any) -> Any:
        return np.column_stack([box[:, :2], box[:, :2] + box[:, 2:]]) - minus

    annotations, detections = [], []
    for i in range(len(data.image_ids)):
        rows, found = data.gt_image == i, data.dt_image == i
        annotations.append(
            {
                "bboxes": corners(data.gt_box[rows & ~difficult]),
                "labels": data.gt_class[rows & ~difficult],
                "bboxes_ignore": corners(data.gt_box[rows & difficult]),
                "labels_ignore": data.gt_class[rows & difficult],
            }
        )
        scored = np.column_stack([corners(data.dt_box), data.dt_score])
        detections.append([scored[found & (data.dt_class == k)] for k in range(3)])
    options = {"iou_thr": 0.5, "eval_mode": mode, "use_legacy_coordinate": bool(border), "logger": "silent", "nproc": 1}
    mean, per_class = eval_map(detections, annotations, **options)
    ours = VOC[0] if mode == "area" else VOC[1]
    assert [one["ap"] for one in per_class] == pytest.approx(
        [result["per_class"][name][ours] for name in data.class_names], abs=1e-6
    )
    assert 0.1 < result[ours] < 0.9
    assert mean == pytest.approx(result[ours], abs=1e-6)
