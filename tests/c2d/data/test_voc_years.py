"""Pascal VOC of several years: lists, names of images, difficult objects under VOC's numbers, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.coco.register_card import register_card
from c2d.data.issues import InvalidDataset
from c2d.data.voc.convert_voc import convert
from tests.c2d.data.voc_folder import annotation, item, noise, rows, write_voc

LISTS = {"train": "2007/trainval+2012/trainval", "val": "VOC2007/test"}


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """VOC2007 with a (trainval) and b (test), VOC2012 with another a (trainval); one difficult object in each split."""
    root = tmp_path / "VOCdevkit"
    difficult = item((30, 6, 50, 30), "bee", "<difficult>1</difficult>")
    for seed, year in enumerate(("VOC2007", "VOC2012")):
        folder = write_voc(root / year, annotation(item(), difficult), annotation(item(), difficult))
        (folder / "ImageSets/Main/train.txt").rename(folder / "ImageSets/Main/trainval.txt")
        (folder / "ImageSets/Main/val.txt").rename(folder / "ImageSets/Main/test.txt")
        noise(10 + seed).save(folder / "JPEGImages/a.jpg")
    return root


def test_two_years_are_one_split(devkit: Path, tmp_path: Path) -> None:
    done = convert(devkit, tmp_path / "out", splits=LISTS)
    names = [row["file_name"] for row in rows(tmp_path / "out", block="images")]
    assert names == ["VOC2007/JPEGImages/a.jpg", "VOC2012/JPEGImages/a.jpg"]
    assert [row["file_name"] for row in rows(tmp_path / "out", "val", "images")] == ["VOC2007/JPEGImages/b.jpg"]
    assert isinstance(done.card.source, dict)
    assert done.card.source["splits"] == {"train": "VOC2007/trainval+VOC2012/trainval", "val": "VOC2007/test"}
    assert done.card.source["objects"] == {"train": 2, "val": 1}  # without difficult objects
    assert done.card.protocol == "voc"
    loaded = load_card(str(tmp_path / "out"))
    verify_card(loaded)
    assert not check_coco([(loaded.annotations(s), loaded.images(s)) for s in loaded.card.splits]).errors


@pytest.mark.parametrize(("policy", "iscrowd"), [("crowd", 1), ("keep", 0)])
def test_vocs_numbers_ignore_difficult_objects_under_both_policies(
    devkit: Path, tmp_path: Path, policy: Any, iscrowd: int
) -> None:
    convert(devkit, tmp_path / "out", splits=LISTS, difficult=policy)
    found = [(row["iscrowd"], row["protocol"]) for row in rows(tmp_path / "out", "val")]
    assert found == [(0, {"difficult": 0}), (iscrowd, {"difficult": 1})]


def test_images_can_be_copied(devkit: Path, tmp_path: Path) -> None:
    convert(devkit, tmp_path / "out", splits=LISTS, images="copy")
    copied = tmp_path / "out/train/VOC2012/JPEGImages/a.jpg"
    assert copied.read_bytes() == (devkit / "VOC2012/JPEGImages/a.jpg").read_bytes()


def test_one_folder_has_the_protocol_on_request_and_its_old_digest_without(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    plain, voc = convert(src, tmp_path / "plain"), convert(src, tmp_path / "voc07", protocol="voc")
    assert (plain.card.protocol, voc.card.protocol) == (None, "voc")
    # The digest of this data set before there were protocols and years.
    assert plain.card.digest == "5da2103385732bed6470027fdaa4ab9a62af9dcdaa57f44a419ec5ff1a593fa3"
    assert "protocol" not in rows(tmp_path / "plain")[0]
    assert rows(tmp_path / "voc07")[0]["protocol"] == {"difficult": 0}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            "trainval",
            r"the list 'trainval' names no folder, and .* holds VOC2007, VOC2012; give FOLDER/LIST, joined by",
        ),
        ("2009/trainval", "unknown folder of a list '2009'; did you mean 'VOC2007'"),
        ("2007/train", "unknown split 'train'"),
        ("2007/trainval+2012/trainval+", "names no folder"),
    ],
)
def test_lists_that_do_not_exist(devkit: Path, tmp_path: Path, train: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(devkit, tmp_path / "out", splits=LISTS | {"train": train})


def test_issues_name_the_year(devkit: Path, tmp_path: Path) -> None:
    (devkit / "VOC2012/Annotations/a.xml").write_text("<annotation>")
    with pytest.raises(InvalidDataset, match=r"VOC2007/a: listed in .*; list it once"):
        convert(devkit, tmp_path / "out", splits=LISTS | {"train": "2007/trainval+2007/trainval"})
    (devkit / "VOC2007/JPEGImages/b.jpg").unlink()
    with pytest.raises(InvalidDataset) as caught:
        convert(devkit, tmp_path / "out", splits=LISTS | {"train": "2007/test+2012/trainval"})
    assert [issue[:26] for issue in caught.value.issues] == [
        "VOC2012/a.xml: cannot be r",
        "VOC2007/b: listed in VOC20",
        "VOC2007/b.xml: its image V",
    ]


def test_the_public_name_is_that_of_all_images(devkit: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"voc0712 in .* is not the public one of that name: 2 classes instead of 20"):
        convert(devkit, tmp_path / "out", splits=LISTS, name="voc0712")
    assert not (tmp_path / "out").exists()


def test_a_moved_data_set_keeps_what_its_card_says_of_the_layout(devkit: Path, tmp_path: Path) -> None:
    before = convert(devkit, tmp_path / "out", splits=LISTS, name="small").card
    out = (tmp_path / "out").rename(tmp_path / "moved")
    pairs: list[tuple[Path, Path | None]] = [
        (out / f"annotations/instances_{split}.json", devkit) for split in ("train", "val")
    ]
    assert register_card(out, "small", pairs, [], before.classes) == before


def test_the_command(devkit: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "small")
    result = CliRunner().invoke(app, ["voc", str(devkit), out, "--train", LISTS["train"], "--val", "2007/test"])
    assert result.exit_code == 0, result.output
    assert "data set 'small', 2 classes, train 2 images 4 boxes, val 1 images 2 boxes" in result.output
    assert CliRunner().invoke(app, ["check", out]).exit_code == 0
