"""`c2d score`: a pair of files as pycocotools scores it, and what strangers' files may hold."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suite.synthetic_dataset import synthetic_coco
from c2d.cli.main import main
from c2d.core.errors import InputError
from c2d.metrics import coco
from c2d.metrics.scoring.score_files import score_files

TRUTH: dict[str, Any] = {
    "images": [{"id": "a", "file_name": "a.jpg"}, {"id": "b"}],
    "categories": [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}],
    "annotations": [
        {"id": 0, "image_id": "a", "category_id": 7, "bbox": [1.5, 2.5, 30.25, 40]},
        {"id": 1, "image_id": "b", "category_id": 90, "bbox": [0, 0, 200, 200], "iscrowd": 1},
    ],
}  # no area, one iscrowd, ids that are text or not 1 to N, image b without objects
ONE: dict[str, Any] = {"image_id": "a", "category_id": 7, "bbox": [1.5, 2.5, 30, 40], "score": 3.5}


def pair(folder: Path, detections: Any, targets: Any = TRUTH) -> tuple[Path, Path]:
    (folder / "gt.json").write_text(json.dumps(targets))
    (folder / "found.json").write_text(json.dumps(detections))
    return folder / "gt.json", folder / "found.json"


def test_the_numbers_are_pycocotools_own(tmp_path):
    """pycocotools as its users call it: files in, `summarize` out."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    targets, detections = synthetic_coco(40, 4, 7, 40, seed=3)
    # pycocotools takes an annotation whose id is 0 for no box.
    targets["annotations"] = [{**one, "id": one["id"] + 1} for one in targets["annotations"]]
    files = pair(tmp_path, detections, targets)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(files[0]))
        run = COCOeval(truth, truth.loadRes(str(files[1])), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    result, lines = score_files(*files, check=True)
    assert [result[key] for key in coco.NUMBERS] == pytest.approx(run.stats.tolist(), abs=1e-12)
    assert result["AP"] > 0.01
    assert result["tide"]["dAP"].keys() == {"Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"}
    assert [line.split(":")[0] for line in lines] == ["COCO", "TIDE at IoU 0.5"]
    assert all("agree" in line for line in lines)


def test_ids_that_are_text_missing_keys_high_scores_and_compressed_files(tmp_path):
    (tmp_path / "gt.json.gz").write_bytes(gzip.compress(json.dumps(TRUTH).encode()))
    _, found = pair(tmp_path, [ONE, {**ONE, "image_id": "b", "score": 0.1}])
    result, lines = score_files(tmp_path / "gt.json.gz", found)
    assert (result["APs"], lines) == (None, [])
    assert (result["AP"], result["APm"]) == pytest.approx((1.0, 1.0))
    assert result["per_class"]["dog"]["AP"] is None
    assert (result["images"], result["boxes"], result["crowds"], result["detections"]) == (2, 1, 1, 2)
    assert result["files"] == {"targets": "gt.json.gz", "detections": "found.json"}


def test_no_detections_give_zero_and_no_objects_give_none(tmp_path):
    result, _ = score_files(*pair(tmp_path, []))
    assert (result["AP"], result["AR100"], result["tide"]["counts"]["Miss"]) == (0.0, 0.0, 1)
    result, _ = score_files(*pair(tmp_path, [ONE], {**TRUTH, "annotations": []}))
    assert (result["AP"], result["tide"]["AP"]) == (None, None)


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ([{**ONE, "category_id": 3}], "found.json: detections name category_id 3, which the ground truth does"),
        ([{**ONE, "image_id": "z"}], "found.json: detections name image_id 'z'.*(it has 2: 'a', 'b')"),
        ([{**ONE, "score": float("nan")}], "found.json: detection number 0: score nan is not finite"),
        ([{**ONE, "bbox": [1, 2, -3, 4]}], "negative width or height"),
        ({"annotations": [ONE]}, "not a list.*the list under its key 'annotations' is what is wanted"),
        (TRUTH, "this is ground truth, whose boxes have no score"),
        ([{"image_id": "a", "category_id": 7, "score": 1, "segmentation": []}], "no 'bbox'.*masks are not scored"),
        ([{key: ONE[key] for key in ("image_id", "category_id", "bbox")}], "detection number 0 has no 'score'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_the_likely_mistake(tmp_path, detections, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        score_files(*pair(tmp_path, detections))


def test_the_command_prints_writes_and_refuses(tmp_path, capsys):
    targets, found = pair(tmp_path, [ONE])
    out = tmp_path / "score.json"
    with pytest.raises(SystemExit) as stop:
        main(["score", str(targets), str(found), "--per-class", "--out", str(out)])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "found.json on gt.json: 1 detections, 2 images, 1 objects, 1 crowd regions, 2 classes"
    assert lines[3].split() == ["100.0", "100.0", "100.0", "-", "100.0", "-"]
    assert lines[-5].split() == ["class", "AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "boxes", "detections"]
    assert lines[-4].split() == ["cat", "100.0", "100.0", "100.0", "-", "100.0", "-", "100.0", "1", "1"]
    assert lines[-3].split() == ["dog", "-", "-", "-", "-", "-", "-", "-", "0", "0"]
    assert json.loads(out.read_text())["AP"] == pytest.approx(1.0)
    for arguments, code, message in (
        ([str(found), str(targets)], 2, "the ground truth comes first, `c2d score TARGETS DETECTIONS`"),
        ([str(targets), str(found), "--protocol", "voc"], 2, "VOC's numbers need"),
        ([str(targets), str(found), "--protocol", "lvis"], 2, "unknown evaluation protocol 'lvis'"),
        ([str(targets), str(found), "--iou", "0.05"], 2, "allowed is above 0.1"),
        ([str(targets), str(tmp_path / "none.json")], 2, "none.json is missing"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["score", *arguments])
        assert stop.value.code == code
        assert message in capsys.readouterr().err
    flagged = {**TRUTH, "annotations": [{**one, "protocol": {"difficult": 0}} for one in TRUTH["annotations"][:1]]}
    with pytest.raises(SystemExit):
        main(["score", *map(str, pair(tmp_path, [ONE], flagged)), "--protocol", "voc", "--json", "--check"])
    result = json.loads(capsys.readouterr().out)
    assert result["protocols"]["voc"]["AP50_area_difficult_ignored"] == pytest.approx(1.0)
    assert len(result["check"]) == 2


def test_boxes_in_another_form_are_noticed(tmp_path):
    box = [(60 + 40 * at, 70 + 10 * at, 30, 20) for at in range(10)]
    truth = {
        **TRUTH,
        "annotations": [{"id": at, "image_id": "a", "category_id": 7, "bbox": [*one]} for at, one in enumerate(box)],
    }
    corners = [[x, y, x + w, y + h] for x, y, w, h in box]
    forms: dict[str, Any] = {
        "": box,
        "detections lie on 0% of the objects (IoU 0.5), and on 100% if the boxes, those of the detections, are read as "
        "[x1, y1, x2, y2]": corners,
        "are read as [center x, center y, width, height]": [[x + w / 2, y + h / 2, w, h] for x, y, w, h in box],
        "fractions of the image": [[value / 500 for value in one] for one in box],
    }
    for sentence, boxes in forms.items():
        found = [{**ONE, "category_id": 90, "bbox": [*one], "score": at / 10} for at, one in enumerate(boxes)]
        warnings = score_files(*pair(tmp_path, found, truth))[0]["warnings"]
        assert len(warnings) == (sentence != "")
        assert not warnings or sentence in warnings[0]
    for at, one in enumerate(corners):
        truth["annotations"][at]["bbox"] = one
    found = [{**ONE, "bbox": [*one]} for one in box]
    assert "those of the ground truth" in score_files(*pair(tmp_path, found, truth))[0]["warnings"][0]
