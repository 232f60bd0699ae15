"""What a whole COCO file says about its units, formats, areas and copies: planted faults, and valid files at random."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c2d.data.coco.check_coco import CheckReport, check_coco

Coco = dict[str, Any]
Row = dict[str, Any]
SIDES = ((20, 30), (24, 26), (10, 12), (40, 20))


@pytest.fixture
def sound() -> Coco:
    """Four images of 64 x 48 px with two boxes each, area w * h."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(1, 5)]
    rows = []
    for i, (w, h) in enumerate(SIDES, 1):
        for k, x in enumerate((2, 20)):
            rows.append(_row(len(rows) + 1, i, k + 1, [x, 4 + k, w, h]))
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]}


def _row(number: int, image: int, category: int, box: list[float]) -> Row:
    area = box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0}


def _check(coco: Coco, folder: Path) -> CheckReport:
    path = folder / "ann.json"
    path.write_text(json.dumps(coco))
    return check_coco([(path, None)])


def _each(change: Callable[[Row], Any]) -> Callable[[Coco], None]:
    def apply(coco: Coco) -> None:
        for row in coco["annotations"]:
            row |= change(row)

    return apply


def _relative(row: Row) -> Row:
    x, y, w, h = row["bbox"]
    return {"bbox": [x / 64, y / 48, w / 64, h / 48], "area": w * h / 64 / 48}


def _corners(row: Row) -> Row:
    x, y, w, h = row["bbox"]
    return {"bbox": [x, y, x + w, y + h]}


def _copies(coco: Coco) -> None:
    coco["annotations"] += [{**row, "id": 100 + row["id"]} for row in coco["annotations"]]


def _one_copy(coco: Coco) -> None:
    coco["annotations"].append({**coco["annotations"][0], "id": 100, "bbox": [2.0000001, 4, 20, 30]})


def _rename(name: str) -> Callable[[Coco], None]:
    return lambda coco: coco["categories"][1].update(name=name)


def _percent(row: Row) -> Row:
    x, y, w, h = row["bbox"]
    return {"bbox": [100 * x / 64, 100 * y / 48, 100 * w / 64, 100 * h / 48]}


def _corner(coco: Coco) -> None:
    """All boxes in the first 100 x 100 px of images of 640 x 480, with the areas of percent."""
    for image in coco["images"]:
        image |= {"width": 640, "height": 480}
    coco["annotations"] = [_row(n, 1 + n % 4, 1, [3.5 * n, 3 * n, 14 + n / 10, 22 - n / 5]) for n in range(1, 25)] + [
        _row(25, 1, 2, [30, 40, 8, 8])
    ]


def _copies_of_the_other_class(coco: Coco) -> None:
    rows = coco["annotations"]
    coco["annotations"] = rows + [{**row, "id": 100 + row["id"], "category_id": 3 - row["category_id"]} for row in rows]


def _moved_copy(coco: Coco) -> None:
    coco["annotations"].append({**coco["annotations"][0], "id": 100, "bbox": [2.3, 4, 20, 30]})


FAULTS: list[tuple[Callable[[Coco], None], str, str, str]] = [
    (_each(_relative), "error", "relative boxes", "8 of 8 boxes have all four values between 0 and 1"),
    (_each(lambda row: {"bbox": [0.3, 0.4, 1.004, 0.2]}), "error", "relative boxes", "8 of 8 boxes have all four"),
    (_each(_corners), "error", "box format", "8 of 8 boxes have the area of (x1, y1, x2, y2), not of (x, y, w, h)"),
    (_each(lambda row: {"area": 0.19}), "error", "area unit", "8 of 8 boxes have an area of at most 1 px^2"),
    (_each(lambda row: {"area": row["area"] / 3072}), "error", "area unit", "fractions of the image"),
    (_each(lambda row: {"area": 1}), "error", "area unit", "8 of 8 boxes have an area of at most 1 px^2"),
    (_each(lambda row: {"area": 100}), "error", "area", "8 of 8 boxes have the area 100, whatever their size"),
    (_each(lambda row: {"area": 4 * row["area"]}), "error", "area above box", "8 of 8 boxes have an area above w * h"),
    (_each(lambda row: {"area": row["area"] / 4}), "warning", "area", "8 of 8 boxes have 0.25 times w * h as area"),
    (_each(lambda row: {"area": float("inf")}), "error", "area", "area is Infinity; wanted a finite number above 0"),
    (_each(lambda row: {"area": -1}), "error", "area", "area is -1; wanted a finite number above 0"),
    (_each(lambda row: {"iscrowd": 1}), "error", "no usable box", "of 8 boxes 8 crowd regions (iscrowd 1)"),
    (_each(lambda row: {"iscrowd": "false"}), "error", "iscrowd", 'iscrowd is "false"; write 0, which this word means'),
    (_each(lambda row: {"iscrowd": "Yes"}), "error", "iscrowd", 'iscrowd is "Yes"; write 1, which this word means'),
    (_each(lambda row: {"iscrowd": -1}), "error", "iscrowd", "iscrowd is -1; write 0, which this word means"),
    (_each(lambda row: {"iscrowd": None}), "error", "iscrowd", "iscrowd is null; write 0"),
    (_each(lambda row: {"iscrowd": "maybe"}), "error", "iscrowd", 'iscrowd is "maybe"; wanted 0 or 1'),
    (_each(lambda row: {"ignore": 1}), "error", "ignore", "training skips it, evaluation counts it"),
    (_each(lambda row: {"score": float("nan")}), "error", "not finite", "score has the number nan"),
    (_copies, "error", "repeated box", "bbox [2, 4, 20, 30] of annotation 1: an object counts twice; remove one (8"),
    (_one_copy, "error", "repeated box", "of annotation 1: an object counts twice; remove one (1 of 9 boxes"),
    (_each(_percent), "error", "box format", "8 of 8 boxes have the area of a box in percent of the image, not in px"),
    (_corner, "warning", "box format", "all 25 boxes are in the first 100 x 100 px of larger images"),
    (_each(lambda row: {"area": sum(row["bbox"][2:])}), "warning", "area", "8 of 8 boxes have an area below w * h and"),
    (_copies_of_the_other_class, "warning", "box of two classes", "8 of 16 boxes are the bbox of another class, too"),
    (_moved_copy, "warning", "nearly the same box", "1 pairs of boxes of one class have an IoU of 0.95 or more, the f"),
    (_rename("ant\u200b"), "error", "similar category names", "differs from 'ant' of category 1 in case or blanks"),
    (_rename("Ant"), "error", "similar category names", "'Ant' differs from 'ant' of category 1 in case or blanks"),
    (_rename(" ant"), "error", "similar category names", "' ant' differs from 'ant'"),
    (_rename("bee "), "warning", "blanks in category name", "name 'bee ' has blanks around it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "severity", "kind", "message"), FAULTS, ids=[f"{fault[2]}-{i}" for i, fault in enumerate(FAULTS)]
)
def test_fault_is_told_with_file_and_id(
    sound: Coco, tmp_path: Path, spoil: Callable[[Coco], None], severity: str, kind: str, message: str
) -> None:
    assert _check(sound, tmp_path).issues == []
    spoil(sound)
    report = _check(sound, tmp_path)
    found = [issue for issue in report.issues if issue.kind == kind]
    assert {issue.severity for issue in found} == {severity}, report.issues
    assert message in found[0].message
    assert found[0].file == str(tmp_path / "ann.json")
    assert found[0].where.startswith(("annotation ", "category ")) or kind == "no usable box"
    assert {issue.kind for issue in report.errors} == ({kind} if severity == "error" else set())


def test_flags_that_every_reader_takes_alike(sound: Coco, tmp_path: Path) -> None:
    for row, value in zip(sound["annotations"], (0, 1, False, True, 0.0, 1.0, 0, 0), strict=True):
        row["iscrowd"] = value
    report = _check(sound, tmp_path)
    assert report.issues == []
    assert report.counts[str(tmp_path / "ann.json")]["crowds"] == 3


def test_boxes_that_fit_as_another_format_are_named_so(sound: Coco, tmp_path: Path) -> None:
    """Without areas that give it away, boxes that leave the image as x, y, w, h may fit in another format."""
    for row in sound["annotations"]:
        row |= _corners(row) | {"area": 0.6 * row["area"]}
    named = [issue.message for issue in _check(sound, tmp_path).errors if issue.kind == "box format"]
    assert len(named) == 1
    assert "leave their image as (x, y, w, h), none as (x1, y1, x2, y2)" in named[0]


def test_short_names_may_differ_in_case(sound: Coco, tmp_path: Path) -> None:
    sound["categories"] = [{"id": 1, "name": "Co"}, {"id": 2, "name": "CO"}]
    report = _check(sound, tmp_path)
    assert report.errors == []
    assert [issue.kind for issue in report.warnings] == ["similar category names"]


def test_few_faults_in_a_large_file_are_warnings(tmp_path: Path) -> None:
    """COCO's train2017 repeats the boxes of one image."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(1, 1202)]
    rows = [_row(i, i, 1, [1 + i % 7, 2, 10 + i % 13, 20]) for i in range(1, 1201)]
    rows.append({**rows[0], "id": 2000})
    rows[-1]["image_id"] = 1
    rows.append({**_row(2001, 1201, 1, [1, 1, 10, 10]), "area": 500})
    report = _check({"images": images, "annotations": rows, "categories": [{"id": 1, "name": "ant"}]}, tmp_path)
    assert report.errors == []
    assert sorted(issue.kind for issue in report.warnings) == ["area above box", "repeated box"]


def test_two_objects_with_one_box_may_have_other_masks(sound: Coco, tmp_path: Path) -> None:
    first = sound["annotations"][0]
    first["segmentation"] = [[2, 4, 22, 4, 22, 34]]
    sound["annotations"].append({**first, "id": 100, "segmentation": [[2, 4, 2, 34, 22, 34]]})
    report = _check(sound, tmp_path)
    assert report.errors == []
    assert [issue.kind for issue in report.warnings] == ["same box"]
    sound["annotations"].append({**first, "id": 101, "category_id": 2})  # another class may be another object
    report = _check(sound, tmp_path)
    assert report.errors == []
    assert [issue.kind for issue in report.warnings] == ["same box", "box of two classes"]


def test_what_pycocotools_makes_of_copies_and_areas(sound: Coco) -> None:
    """Perfect detections: why copies and areas in other units are errors, a smaller area of a mask is none."""
    perfect = [
        {**{k: row[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9} for row in sound["annotations"]
    ]
    for row in sound["annotations"]:
        row |= {"bbox": [row["bbox"][0], row["bbox"][1], 40, 30], "area": 1200}
    for row in perfect:
        row["bbox"] = [row["bbox"][0], row["bbox"][1], 40, 30]
    assert _pycocotools(sound, perfect) == pytest.approx({"AP": 1, "APs": -1, "APm": 1})
    masks = copy.deepcopy(sound)
    _each(lambda row: {"area": 0.9 * row["area"]})(masks)
    assert _pycocotools(masks, perfect) == pytest.approx({"AP": 1, "APs": -1, "APm": 1})
    fractions = copy.deepcopy(sound)
    _each(lambda row: {"area": row["area"] / 3072})(fractions)
    assert _pycocotools(fractions, perfect) == pytest.approx({"AP": 1, "APs": 1, "APm": -1})
    _copies(sound)
    assert _pycocotools(sound, perfect)["AP"] == pytest.approx(51 / 101)  # recall ends at a half


def _pycocotools(coco: Coco, detections: list[Row]) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = copy.deepcopy(coco)
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(detections)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(("AP", "APs", "APm"), evaluation.stats[[0, 3, 4]].tolist(), strict=True))


_box = st.tuples(st.floats(0, 40), st.floats(0, 30), st.floats(2, 24), st.floats(2, 18))
_valid = st.lists(st.tuples(_box, st.floats(0.3, 1.0), st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=12)


def _valid_coco(drawn: list[Any], masks: bool) -> Coco:
    rows = []
    for number, (box, share, image, category) in enumerate(drawn, 1):
        row = _row(number, image, category, [round(value, 2) for value in box])
        # Of two boxes that round to the same numbers one moves.
        while any((other["image_id"], other["bbox"]) == (image, row["bbox"]) for other in rows):
            row["bbox"] = [row["bbox"][0] + 0.5, *row["bbox"][1:]]
        row["area"] = round(row["area"] * (share if masks else 1), 4)
        rows.append(row)
    images = [{"id": i, "file_name": f"{i}.png", "width": 96, "height": 64} for i in range(1, 5)]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=_valid, masks=st.booleans())
def test_a_valid_file_has_no_error(tmp_path: Path, drawn: list[Any], masks: bool) -> None:
    assert _check(_valid_coco(drawn, masks), tmp_path).errors == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=_valid.filter(lambda rows: len(rows) >= 3),
    fault=st.sampled_from(
        ["relative boxes", "area unit", "area above box", "repeated box", "iscrowd", "no usable box"]
    ),
)
def test_one_planted_fault_is_named(tmp_path: Path, drawn: list[Any], fault: str) -> None:
    coco = _valid_coco(drawn, masks=False)
    spoiled = copy.deepcopy(coco)
    for row in spoiled["annotations"]:
        x, y, w, h = row["bbox"]
        row |= {
            "relative boxes": {"bbox": [x / 96, y / 64, w / 96, h / 64], "area": w * h / 96 / 64},
            "area unit": {"bbox": [x, y, w + 2, h + 2], "area": w * h / 96 / 64},
            "area above box": {"area": 4 * (w + 1) * (h + 1)},
            "iscrowd": {"iscrowd": "no"},
            "no usable box": {"iscrowd": 1},
        }.get(fault, {})
    if fault == "repeated box":
        spoiled["annotations"].append({**spoiled["annotations"][0], "id": 1000})
    assert {issue.kind for issue in _check(spoiled, tmp_path).errors} == {fault}
