"""YOLO text labels to COCO: boxes by hand, every defect of a line, and what other tools write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.issues import InvalidDataset
from c2d.data.yolo.convert_yolo import convert_yolo
from c2d.data.yolo.yolo_layout import label_file
from tests.c2d.data.voc_folder import noise, rows

YAML = "train: images/train\nval: images/val\nnames:\n  0: ant\n  1: bee\n"
BOX = "0 0.25 0.5 0.5 0.25\n"
"""Of an image of 64 x 48 pixels: (0, 18, 32, 12)."""


def write_yolo(root: Path, train: str = BOX, val: str = BOX, yaml: str = YAML) -> Path:
    """Write data.yaml and one image of 64 x 48 pixels with its label file for each split."""
    for seed, (split, text) in enumerate((("train", train), ("val", val))):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        noise(seed).save(root / f"images/{split}/{split}.png")
        (root / f"labels/{split}/{split}.txt").write_text(text)
    (root / "data.yaml").write_text(yaml)
    return root


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A data set with one box in each split."""
    return write_yolo(tmp_path / "yolo")


def test_fractions_become_pixels(src: Path, tmp_path: Path) -> None:
    (src / "labels/train/train.txt").write_text(f"1 0.5 0.5 1 1\n\n{BOX}")
    done = convert_yolo(src, tmp_path / "out")
    found = [(row["category_id"], row["bbox"], row["area"], row["iscrowd"]) for row in rows(tmp_path / "out")]
    assert found == [(2, [0, 0, 64, 48], 3072, 0), (1, [0, 18, 32, 12], 384, 0)]
    assert (done.notes, done.card.classes, done.card.protocol) == ([], ["ant", "bee"], None)
    loaded = load_card(str(tmp_path / "out"))
    verify_card(loaded)
    assert loaded.images("train") == src / "images/train"
    report = check_coco([(loaded.annotations(s), loaded.images(s)) for s in ("train", "val")])
    assert not report.errors


@pytest.mark.parametrize(
    "yaml",
    [
        "path: .\ntrain: [images/train]\nval: images/val/val.png\nnc: 2\nnames: [ant, bee]\n",
        "train: ../yolo/images/train\nval: ../images/val\nnames: ['ant', 'bee']\n",
        "path: no/such/folder\ntrain: train.txt\nvalid: images/val\nnames:\n- ant\n- bee\ndownload: |\n  a: b\n",
    ],
)
def test_the_forms_of_data_yaml(tmp_path: Path, yaml: str) -> None:
    src = write_yolo(tmp_path / "yolo", yaml=yaml)
    (src / "train.txt").write_text("./images/train/train.png\n")
    done = convert_yolo(src, tmp_path / "out")
    assert {name: split.n_boxes for name, split in done.card.splits.items()} == {"train": 1, "val": 1}
    assert done.card.classes == ["ant", "bee"]
    assert len(done.notes) == (1 if "no/such" in yaml or "../images" in yaml else 0)


def test_darknet(tmp_path: Path) -> None:
    src = tmp_path / "darknet"
    (src / "obj").mkdir(parents=True)
    for seed, name in enumerate(("a", "b")):
        noise(seed).save(src / f"obj/{name}.jpg")
        (src / f"obj/{name}.txt").write_text(BOX)
        (src / f"{name}_list.txt").write_text(f"obj/{name}.jpg\n")
    (src / "obj.names").write_text("ant\nbee\n")
    (src / "obj.data").write_text(
        "classes = 2\ntrain = a_list.txt\nvalid = b_list.txt\nnames = obj.names\nbackup = x/\n"
    )
    assert convert_yolo(src, tmp_path / "out").card.splits["val"].n_boxes == 1


def test_labels_are_beside_the_last_images_folder() -> None:
    assert label_file(Path("/images/x/images/train/a.b.jpg")) == Path("/images/x/labels/train/a.b.txt")
    assert label_file(Path("/data/obj/a.jpg")) == Path("/data/obj/a.txt")


def test_what_is_dropped_or_changed_is_a_note(src: Path, tmp_path: Path) -> None:
    lines = [
        "0 0.1 0.1 0.3 0.1 0.2 0.5",  # a triangle
        "1 0.1 0.1 0.4 0.2 0.3 0.5 0.1 0.4",  # an oriented box
        BOX.strip(),
        BOX.strip(),
        "0 0.5 0.5 0 0.2",
        "0 1 0.5 0.2 0.25",
        "0 0.5 0.5 1.0000004 0.5",
    ]
    (src / "labels/train/train.txt").write_text("\n".join(lines))
    (src / "labels/val/other.txt").write_text("")
    noise(5).save(src / "images/val/background.png")
    done = convert_yolo(src, tmp_path / "out")
    boxes = [[round(value, 4) for value in row["bbox"]] for row in rows(tmp_path / "out")]
    assert boxes == [
        [6.4, 4.8, 12.8, 19.2],
        [6.4, 4.8, 19.2, 19.2],
        [0, 18, 32, 12],
        [57.6, 18, 6.4, 12],
        [0, 12, 64, 24],
    ]
    assert len(rows(tmp_path / "out", "val", "images")) == 2
    assert done.notes == [
        "train.txt: line 4 dropped: it repeats line 3",
        "train.txt: line 5 dropped: no width or height",
        "2 polygons and oriented boxes became the upright boxes around their corners: 'train.txt'",
        "1 images have no label file and no box (background): 'background.png'",
        "1 text files beside the label files belong to no image: 'other.txt'",
        "train.txt: line 6 clipped to the image of 64 x 48",
    ]


def test_every_bad_line_is_reported(src: Path, tmp_path: Path) -> None:
    bad = {
        "2 0.5 0.5 0.1 0.1": "the class is '2'; wanted a whole number from 0 to 1",
        "-1 0.5 0.5 0.1 0.1": "the class is '-1'",
        "0.0 0.5 0.5 0.1 0.1": "the class is '0.0'",
        "0 0.5 0.5 0.1": "has 4 values; wanted `class x y w h`",
        "0 0.5 0.5 0.1 0.1 0.9": "has 6 values, so it is a detection with its score",
        "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1": "has 8 values",
        "0 nan 0.5 0.1 0.1": "a value is 'nan'",
        "0 0.5 0.5 -0.1 0.1": "a value is '-0.1'",
        "0 30 20 4 4": "a value is '30'; wanted fractions of the image from 0 to 1; divide pixels",
        "0,0.5,0.5,0.1,0.1": "has 1 values",
    }
    (src / "labels/train/train.txt").write_text("\n".join(bad))
    with pytest.raises(InvalidDataset) as caught:
        convert_yolo(src, tmp_path / "out")
    assert len(caught.value.issues) == len(bad)
    for number, (issue, text) in enumerate(zip(caught.value.issues, bad.values(), strict=True), start=1):
        assert issue.startswith(f"train.txt: line {number}: {text}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: images/train\nval: images/val\n", "no class list"),
        (YAML.replace("1: bee", "2: bee"), "names has the numbers 0, 2; wanted all from 0 to 1"),
        (YAML + "nc: 3\n", "nc is 3, and names has 2 classes"),
        (YAML.replace("1: bee", "1: ant"), "each once"),
        (YAML + "kpt_shape: [17, 3]\n", "poses with key points"),
        (YAML.replace("images/val", "images/none"), "images/none does not exist; correct the path"),
        (YAML.replace("val: images/val\n", ""), "unknown split of .* 'valid'"),
        ("names: [ant]\n", "names no images"),
        (YAML.replace("images/train", "[images/train, images/train/train.png]"), "twice; name every image once"),
        (YAML.replace("images/train", "7"), "wanted the path of a folder"),
    ],
)
def test_descriptions_that_cannot_be_used(tmp_path: Path, yaml: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert_yolo(write_yolo(tmp_path / "yolo", yaml=yaml), tmp_path / "out")


def test_images_that_cannot_be_trusted(src: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    noise(7).save(src / "images/train/turned.jpg", exif=exif)
    (src / "images/train/train.jpg").write_bytes((src / "images/train/train.png").read_bytes())
    (src / "images/val/leak.png").write_bytes((src / "images/train/train.png").read_bytes())
    (src / "data.yaml").write_text(YAML.replace("images/train", "list.txt"))
    names = ("train.png", "train.jpg", "turned.jpg", "none.png")
    (src / "list.txt").write_text("".join(f"images/train/{name}\n" for name in names))
    with pytest.raises(InvalidDataset) as caught:
        convert_yolo(src, tmp_path / "out")
    text = "\n".join(caught.value.issues)
    assert "train.txt: is the label file of train.png and train.jpg" in text
    assert "its image none.png does not exist" in text
    assert "turned.jpg: the image has the orientation 6 (EXIF or XMP), so the frame of its boxes is not known" in text
    assert "a leak between splits" in text


def test_label_files_in_another_place_are_named(src: Path, tmp_path: Path) -> None:
    (src / "labels").rename(src / "texts")
    with pytest.raises(
        InvalidDataset, match=r"no box in the label files of 2 images \(the first: .*labels/train/train\.txt"
    ):
        convert_yolo(src, tmp_path / "out")


def test_two_folders_may_have_images_of_one_name(tmp_path: Path) -> None:
    src = write_yolo(tmp_path / "yolo", yaml=YAML.replace("images/train", "[images/train, images/more]"))
    for kind in ("images", "labels"):
        (src / kind / "more").mkdir()
    noise(9, 32, 32).save(src / "images/more/train.png")
    (src / "labels/more/train.txt").write_text("1 0.5 0.5 1 1\n")
    convert_yolo(src, tmp_path / "out")
    assert [row["file_name"] for row in rows(tmp_path / "out", block="images")] == ["train/train.png", "more/train.png"]
    assert [row["bbox"] for row in rows(tmp_path / "out")] == [[0, 18, 32, 12], [0, 0, 32, 32]]


def test_coco_to_yolo_by_hotcoco_and_back(coco: dict[str, Any], tmp_path: Path) -> None:
    """Another tool's YOLO files give the boxes back that it was given; crowd regions have no place in them."""
    src = tmp_path / "yolo"
    for split in ("train", "val"):
        (src / "images" / split).mkdir(parents=True)
        for seed, name in enumerate(("a.png", "b.png")):
            noise(seed + 2 * (split == "val"), 20, 10).save(src / f"images/{split}/{split}_{name}")
    for split in ("train", "val"):
        for row in coco["images"]:
            row["file_name"] = f"{split}_{row['file_name'][-5:]}"
        path = tmp_path / f"{split}.json"
        path.write_text(json.dumps(coco))
        hotcoco.COCO(str(path)).to_yolo(str(src / "labels" / split))
    (src / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [ant, bee]\n")
    convert_yolo(src, tmp_path / "out")
    assert [row["category_id"] for row in rows(tmp_path / "out")] == [1, 2]
    found = np.asarray([row["bbox"] for row in rows(tmp_path / "out", "val")])
    assert np.abs(found - [[0, 0, 4, 5], [10, 2, 10, 8]]).max() < 1e-3


def test_the_command(src: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["yolo", str(src), out, "--name", "insects", "--images", "link"])
    assert result.exit_code == 0, result.output
    assert "data set 'insects', 2 classes, train 1 images 1 boxes, val 1 images 1 boxes" in result.output
    assert CliRunner().invoke(app, ["check", out]).exit_code == 0
    again = CliRunner().invoke(app, ["yolo", str(src / "data.yaml"), out, "--name", "insects", "--images", "link"])
    assert again.exit_code == 0
