"""Every defect that `c2d data check` detects, reported with file and id."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.coco.check_coco import CheckReport, check_coco
from c2d.data.coco_file import read_coco
from c2d.data.issues import Issue, issue_lines

Coco = dict[str, Any]


def _told(report: CheckReport, severity: str = "error") -> list[tuple[str, str]]:
    return [(p.kind, f"{p.where}: {p.message}") for p in report.issues if p.severity == severity]


def test_a_sound_set_has_no_problem(write: Any, coco: Coco) -> None:
    path, folder = write(coco)
    report = check_coco([(path, folder)])
    assert report.issues == []
    assert report.classes == ["ant", "bee"]
    assert report.counts[str(path)] == {
        "images": 2,
        "boxes": 2,
        "crowds": 1,
        "images_without_boxes": 0,
        "usable_boxes": 2,
        "dropped": {"crowd regions (iscrowd 1)": 1},
        "classes": {"ant": 1, "bee": 1},
        "soft_labels": False,
        "protocol": None,
    }


def _set(block: str, index: int, **values: Any) -> Callable[[Coco], None]:
    return lambda coco: coco[block][index].update(values)


def _drop(block: str, index: int, key: str) -> Callable[[Coco], None]:
    def apply(coco: Coco) -> None:
        del coco[block][index][key]

    return apply


def _clear(block: str) -> Callable[[Coco], None]:
    return lambda coco: coco[block].clear()


DEFECTS = [
    (
        _set("annotations", 1, bbox=[10, 2, 11, 8]),
        "box outside",
        r"annotation 2 \(image 1\): bbox .* leaves the image of 20 x 10",
    ),
    (_set("annotations", 0, bbox=[-1, 0, 4, 5]), "box outside", r"annotation 1 \(image 1\): bbox"),
    (
        _set("annotations", 0, bbox=[0, 0, 4, -5], area=0),
        "negative side",
        r"annotation 1 \(image 1\): bbox \[0, 0, 4, -5\] .* below 0",
    ),
    (_set("annotations", 0, bbox=[0, 0, 4]), "bbox", r"annotation 1 .*wanted four finite numbers"),
    (_set("annotations", 0, bbox=[0, 0, 4, float("nan")]), "bbox", r"annotation 1 .*wanted four finite numbers"),
    (_set("annotations", 0, bbox=None), "bbox", r"annotation 1 .*bbox is null"),
    (_set("annotations", 0, area=0), "area", r"annotation 1 .*area is 0"),
    (_drop("annotations", 0, "area"), "area", r"annotation 1 .*area is missing"),
    (_set("annotations", 0, iscrowd=2), "iscrowd", r"annotation 1 .*iscrowd is 2; wanted 0 or 1"),
    (_set("annotations", 0, id=2), "duplicate annotation id", r"annotation 2: this id is used more than once"),
    (_set("annotations", 0, id="x"), "annotation id", r'annotation entry 0: id is "x"'),
    (
        _set("annotations", 0, category_id=4),
        "unknown category",
        r"annotation 1 .*category_id 4 is not in the class list; known: 3, 7",
    ),
    (_drop("annotations", 0, "category_id"), "unknown category", r"annotation 1 .*category_id None"),
    (
        _set("annotations", 0, image_id=9),
        "unknown image",
        r"annotation 1 \(image 9\): image_id 9 is not the id of an image in this file",
    ),
    (_clear("annotations"), "no annotations", r"the list of annotations is empty"),
    (_set("images", 1, id=1), "duplicate image id", r"image 1: this id is used more than once"),
    (_set("images", 1, file_name="a.png"), "duplicate file name", r"image 'a.png': this file is listed more than once"),
    (_set("images", 1, file_name=""), "file name", r'image 2: file_name is ""'),
    (_set("images", 1, width=0), "image size", r"image 2 \(b.png\): width is 0, height is 10"),
    (_set("images", 1, id=None), "image id", r"image entry 1: id is null"),
    (_clear("images"), "no images", r"the list of images is empty"),
    (
        _set("images", 1, width=21),
        "image size differs",
        r"image 2 \(b.png\): the file has 20 x 10 pixels, the annotations have 21 x 10",
    ),
    (_set("images", 1, file_name="c.png"), "missing image", r"image 2 \(c.png\): no such file in"),
    (_set("categories", 1, id=3), "duplicate category id", r"category 3: this id is used more than once"),
    (_set("categories", 1, name="ant"), "duplicate category name", r"category 'ant': this name is used more than once"),
    (_set("categories", 1, name=" "), "category name", r'category 7: name is " "'),
    (_set("categories", 1, id="7"), "category id", r'category entry 1: id is "7"'),
    (_clear("categories"), "no categories", r"the list of categories is empty"),
]


@pytest.mark.parametrize(
    ("spoil", "kind", "message"), DEFECTS, ids=[f"{kind}-{i}" for i, (_, kind, _) in enumerate(DEFECTS)]
)
def test_defect_is_reported(write: Any, coco: Coco, spoil: Callable[[Coco], None], kind: str, message: str) -> None:
    spoil(coco)
    path, folder = write(coco)
    report = check_coco([(path, folder)])
    told = [text for found, text in _told(report) if found == kind]
    assert told, report.issues
    assert re.search(message, told[0])
    assert all(problem.file == str(path) for problem in report.issues)


WARNINGS = [
    (_drop("annotations", 0, "iscrowd"), "no iscrowd", "1 of 3 annotations have no iscrowd"),
    (_set("annotations", 2, image_id=1), "images without boxes", "1 of 2 images have no box"),
    (_set("annotations", 0, category_id=7), "classes without boxes", "1 of 2 classes have no box: ant"),
    (_set("annotations", 0, bbox=[0, 0, 0.5, 5], area=2.5), "thin box", "narrower than 1 px"),
    (_set("annotations", 0, bbox=[0, 0, 0, 5], area=0), "zero area", "bbox [0, 0, 0, 5] has no area"),
]


@pytest.mark.parametrize(("spoil", "kind", "message"), WARNINGS, ids=[kind for _, kind, _ in WARNINGS])
def test_warning_does_not_fail(write: Any, coco: Coco, spoil: Callable[[Coco], None], kind: str, message: str) -> None:
    spoil(coco)
    path, folder = write(coco)
    report = check_coco([(path, folder)])
    assert report.errors == []
    assert [found for found, _ in _told(report, "warning")] == [kind]
    assert message in _told(report, "warning")[0][1]


def test_boxes_may_pass_the_border_by_rounding(write: Any, coco: Coco) -> None:
    coco["annotations"][1]["bbox"] = [10, 2, 10.02, 8.01]
    path, folder = write(coco)
    assert check_coco([(path, folder)]).issues == []


def test_all_problems_at_once(write: Any, coco: Coco) -> None:
    coco["annotations"][0] |= {"category_id": 4, "image_id": 9}
    coco["annotations"][1] |= {"bbox": [0, 0, -1, 0]}
    coco["images"][1] |= {"file_name": "c.png"}
    path, folder = write(coco)
    kinds = {kind for kind, _ in _told(check_coco([(path, folder)]))}
    assert kinds == {"unknown category", "unknown image", "negative side", "missing image"}


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image(write: Any, coco: Coco, suffix: str) -> None:
    path, folder = write(coco)
    target = folder / "a.png"
    Image.effect_noise((20, 10), 60).convert("RGB").save(folder / f"tmp.{suffix}")
    data = (folder / f"tmp.{suffix}").read_bytes()
    target.write_bytes(data[: len(data) * 2 // 3])
    assert [(kind, text[:20]) for kind, text in _told(check_coco([(path, folder)]))] == [
        ("unreadable image", "image 1 (a.png): can")
    ]
    target.write_bytes(b"not an image")
    assert [kind for kind, _ in _told(check_coco([(path, folder)]))] == ["unreadable image"]


def test_size_is_that_of_the_upright_picture(write: Any, coco: Coco) -> None:
    """A camera that stores a turned picture with an EXIF note: training reads it upright, so does the check."""
    path, folder = write(coco)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture = Image.fromarray(np.zeros((20, 10, 3), np.uint8))
    picture.save(folder / "a.png", exif=exif)
    assert check_coco([(path, folder)]).errors == []


@pytest.mark.parametrize("name", ["a\0.png", "a" * 5000, "."])
def test_impossible_file_name(write: Any, coco: Coco, name: str) -> None:
    coco["images"][0]["file_name"] = name
    path, folder = write(coco)
    assert len(check_coco([(path, folder)]).errors) == 1


def test_folder_of_images_is_missing(write: Any, coco: Coco, tmp_path: Path) -> None:
    path, _ = write(coco)
    assert [kind for kind, _ in _told(check_coco([(path, tmp_path / "nowhere")]))] == ["missing folder"]


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [("categories", "name", "a\ud800"), ("images", "file_name", "\udfff.png"), ("annotations", "bbox", [1, "\ud83d"])],
)
def test_half_of_a_surrogate_pair_is_no_character(
    tmp_path: Path, coco: Coco, block: str, key: str, value: object
) -> None:
    coco[block][0][key] = value
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(coco))
    assert "\\ud" in path.read_text()
    with pytest.raises(InputError, match=rf"\d.*: {key} is .*half of a surrogate pair is no character"):
        read_coco(path)
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 2
    assert "half of a surrogate pair" in result.output
    # Both halves are one character.
    coco[block][0][key] = "\U0001f41c"
    path.write_text(json.dumps(coco))
    assert read_coco(path)[block][0][key] == "\U0001f41c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read annotation file"),
        ("{", "is not JSON"),
        ("[]", "holds a list"),
        ("{}", "'images' is missing"),
        ('{"images": 3}', "'images' is not a list of objects"),
        ('{"images": [1], "annotations": [], "categories": []}', "'images' is not a list of objects"),
        ("\x00", "is not JSON"),
        ("[" * 100000, "is not JSON"),
    ],
)
def test_malformed_file_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "ann.json"
    if text is not None:
        path.write_text(text)
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 2
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_leak_by_pixels_between_splits(write: Any, coco: Coco) -> None:
    files = [write(coco, "train", seed=0), write(coco, "val", seed=1)]
    same_name = check_coco(files)
    assert same_name.errors == []
    assert {p.kind for p in same_name.warnings} == {"same name"}
    shutil.copy(files[0][1] / "a.png", files[1][1] / "b.png")
    report = check_coco(files)
    assert [(p.kind, p.file, p.where) for p in report.errors] == [("leak", str(files[1][0]), "image 2 (b.png)")]
    assert "has the same pixels as image 1 (a.png)" in report.errors[0].message


def test_leak_by_file_between_splits(write: Any, coco: Coco, tmp_path: Path) -> None:
    path, folder = write(coco)
    other = tmp_path / "instances_val.json"
    other.write_text(json.dumps(coco))
    assert [p.kind for p in check_coco([(path, folder), (other, folder)]).errors] == ["leak", "leak"]
    without_images = check_coco([(path, None), (other, None)]).errors
    assert [p.kind for p in without_images] == ["leak", "leak"]
    assert "same name" in without_images[0].message


def test_same_pixels_twice_in_one_split_is_a_warning(write: Any, coco: Coco) -> None:
    path, folder = write(coco)
    shutil.copy(folder / "a.png", folder / "b.png")
    report = check_coco([(path, folder)])
    assert report.errors == []
    assert [p.kind for p in report.warnings] == ["same pixels"]


def test_class_lists_of_splits_have_to_be_equal(write: Any, coco: Coco) -> None:
    other = copy.deepcopy(coco)
    other["categories"].append({"id": 8, "name": "cat"})
    files = [write(coco, "train"), write(other, "val", seed=1)]
    errors = check_coco(files).errors
    assert [p.kind for p in errors] == ["class list"]
    assert "only here: 8 cat" in errors[0].message
    other["categories"] = coco["categories"][::-1]
    files[1][0].write_text(json.dumps(other))
    assert "another order" in check_coco(files).errors[0].message


def test_long_lists_are_cut_and_counted() -> None:
    many = [Issue("error", "bbox", "a.json", f"annotation {i}", "bad") for i in range(25)]
    told = issue_lines(many, limit=20)
    assert len(told) == 21
    assert told[-1] == "error: a.json: 5 more of this kind (bbox); --json lists all"


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.floats(allow_nan=True),
    st.text(max_size=3),
    st.lists(st.integers(-3, 30), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.sampled_from(["images", "annotations", "categories"]),
    index=st.integers(0, 1),
    key=st.sampled_from(
        [
            "id",
            "file_name",
            "width",
            "height",
            "image_id",
            "category_id",
            "bbox",
            "area",
            "iscrowd",
            "name",
            "soft_label",
        ]
    ),
    value=_values,
)
def test_any_value_at_any_key_is_reported_without_a_crash(
    coco: Coco, tmp_path: Path, block: str, index: int, key: str, value: Any
) -> None:
    spoiled = copy.deepcopy(coco)
    spoiled[block][index][key] = value
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(spoiled))
    report = check_coco([(path, None)])
    assert "\n" not in "".join(problem.line() for problem in report.issues)
    json.dumps(report.to_dict(), allow_nan=False)


def test_command_exits_2_and_writes_no_card(write: Any, coco: Coco, tmp_path: Path) -> None:
    coco["annotations"][0]["bbox"] = [0, 0, 4, -5]
    path, folder = write(coco)
    card = tmp_path / "card" / "card.json"
    result = CliRunner().invoke(app, ["check", str(path), "--images", str(folder), "--card", str(card), "--name", "x"])
    assert result.exit_code == 2
    assert "negative side" not in result.output
    assert "a side below 0" in result.output
    assert "1 errors" in result.output
    assert not card.exists()


def test_command_json(write: Any, coco: Coco) -> None:
    coco["annotations"][0]["bbox"] = [0, 0, 4, -5]
    path, folder = write(coco)
    result = CliRunner().invoke(app, ["check", str(path), "--images", str(folder), "--json"])
    report = json.loads(result.output)
    assert result.exit_code == 2
    assert report["errors"] == 1
    assert report["problems"][0]["kind"] == "negative side"


def test_command_writes_a_card(write: Any, coco: Coco, tmp_path: Path) -> None:
    from c2d.data.card_lookup import load_card, verify_card

    files = [write(coco, "train"), write(coco, "val", seed=1)]
    target = tmp_path / "cards" / "insects"
    arguments = [
        "check",
        "--min-size",
        "0",
        str(files[0][0]),
        str(files[1][0]),
        "--images",
        str(files[0][1]),
        "--images",
        str(files[1][1]),
    ]
    result = CliRunner().invoke(app, [*arguments, "--card", str(target / "card.json"), "--name", "insects"])
    assert result.exit_code == 0, result.output
    loaded = load_card(str(target))
    assert list(loaded.card.splits) == ["train", "val"]
    assert loaded.images("val") == files[1][1]
    verify_card(loaded)
    again = CliRunner().invoke(app, [*arguments, "--card", str(target), "--name", "insects"])
    assert again.exit_code == 0
    other = CliRunner().invoke(app, [*arguments, "--card", str(target), "--name", "other"])
    assert "is the card of 'insects'" in str(other.exception)
    assert getattr(other.exception, "exit_code", None) == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--card", "c"], "--card needs --name"),
        (["--card", "c/other.json", "--name", "x"], "a data card is called card.json"),
        (["--card", "c", "--name", "x", "--split", "a", "--split", "b"], "name each once, in order"),
    ],
)
def test_card_options_that_do_not_fit(write: Any, coco: Coco, extra: list[str], message: str) -> None:
    path, folder = write(coco)
    result = CliRunner().invoke(app, ["check", str(path), "--images", str(folder), "--min-size", "0", *extra])
    assert message in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2


def test_shared_coco_mini_has_no_error(shared_data: Path) -> None:
    root = shared_data / "coco_mini"
    files = [(root / f"annotations/instances_{s}2017.json", root / f"{s}2017") for s in ("train", "val")]
    report = check_coco(files)
    assert report.errors == []
    assert len(report.classes) == 80
    assert [count["images"] for count in report.counts.values()] == [128, 128]
