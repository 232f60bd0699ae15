"""CVAT for images 1.1 to COCO: boxes by hand, every defect of a file, and the ways to state a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.cvat.convert_cvat import convert_cvat
from c2d.data.issues import InvalidDataset
from tests.c2d.data.voc_folder import noise, rows

META = "<meta><task><labels><label><name>ant</name></label><label><name>b&amp;e</name></label></labels></task></meta>"


def box(label: str = "ant", edges: tuple[Any, ...] = (5, 6, 25, 30), more: str = "", inside: str = "") -> str:
    """A <box>."""
    left, top, right, bottom = edges
    corners = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
    return f'<box label="{label}" occluded="1" {corners} {more}>{inside}</box>'


def image(name: str, *shapes: str, subset: str = "", size: tuple[Any, Any] = (64, 48)) -> str:
    """An <image>."""
    more = f'subset="{subset}"' if subset else ""
    return f'<image id="0" name="{name}" width="{size[0]}" height="{size[1]}" {more}>{"".join(shapes)}</image>'


def xml(*images: str, meta: str = META) -> str:
    """The text of a file."""
    return f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"


def write_cvat(root: Path, *first: str) -> Path:
    """Write train.xml with the image a&b.png and its shapes, val.xml with b.png and one box, and the images."""
    (root / "images").mkdir(parents=True)
    for seed, name in enumerate(("a&b.png", "b.png", "c.png")):
        noise(seed).save(root / "images" / name)
    (root / "train.xml").write_text(xml(image("a&amp;b.png", *(first or (box(),)))))
    (root / "val.xml").write_text(xml(image("b.png", box())))
    return root


def convert(src: Path, out: Path, **options: Any) -> Any:
    """Convert with the files of `write_cvat`."""
    return convert_cvat(src, out, **({"train": "train.xml", "val": "val.xml"} | options))


def test_shapes_become_boxes(tmp_path: Path) -> None:
    polygon = '<polygon label="b&amp;e" points="1,2;11,2;11,22"/>'
    src = write_cvat(tmp_path / "cvat", polygon, box(), box("b&amp;e", (20, 20, 40, 24), 'rotation="90"'))
    done = convert(src, tmp_path / "out")
    found = [(row["category_id"], row["bbox"], row["area"], row.get("occluded")) for row in rows(tmp_path / "out")]
    assert found == [(2, [1, 2, 10, 20], 200, None), (1, [5, 6, 20, 24], 480, 1), (2, [28, 12, 4, 20], 80, 1)]
    assert [row["file_name"] for row in rows(tmp_path / "out", block="images")] == ["a&b.png"]
    assert done.card.classes == ["ant", "b&e"]
    assert done.notes == [
        "train.xml: image a&b.png: box 3 (b&e) is rotated by 90 degrees; the upright box around it was taken",
        "1 polygons became their boxes: 'a&b.png'",
    ]
    loaded = load_card(str(tmp_path / "out"))
    verify_card(loaded)
    assert not check_coco([(loaded.annotations(s), loaded.images(s)) for s in ("train", "val")]).errors


def test_what_is_dropped_is_a_note(tmp_path: Path) -> None:
    colour = '<attribute name="colour">red</attribute>'
    others = '<polyline label="ant" points="1,2;3,4"/><mask label="ant" rle="1"/><tag label="ant"/>'
    shapes = (box(), box(), box(edges=(5, 5, 5, 9)), box(edges=(70, 5, 80, 9)), box(edges=(50, 40, 70, 60)), others)
    done = convert(write_cvat(tmp_path / "cvat", *shapes, box("ant", (1, 1, 9, 9), inside=colour)), tmp_path / "out")
    assert [row["bbox"] for row in rows(tmp_path / "out")] == [[5, 6, 20, 24], [50, 40, 14, 8], [1, 1, 8, 8]]
    assert done.notes == [
        "train.xml: no boxes and left out: 1 mask, 1 polyline, 1 tag",
        "train.xml: attributes are not kept: colour",
        "train.xml: image a&b.png: box 2 (ant) dropped: it repeats box 1 (ant)",
        "train.xml: image a&b.png: box 3 (ant) dropped: no width or height",
        "train.xml: image a&b.png: box 4 (ant) dropped: outside the image of 64 x 48",
        "train.xml: image a&b.png: box 5 (ant) clipped to the image of 64 x 48",
    ]


def test_every_defect_is_reported(tmp_path: Path) -> None:
    src = write_cvat(tmp_path / "cvat")
    shapes = {
        box("wasp"): "box 1: unknown label 'wasp'",
        box(edges=(1, 2, "nan", 4)): "box 2: xbr is 'nan'; wanted a number",
        box(edges=(1, 2, "", 4)): "box 3: xbr is ''",
        '<polygon label="ant" points="1,2;3,4"/>': "polygon 4: has no three points",
        '<polygon label="ant" points="1,2;3,4;x,1"/>': "polygon 5: points is 'x'",
        '<circle label="ant"/>': "circle 6: unknown shape",
        box().replace('occluded="1"', 'occluded="maybe"'): "box 7: occluded is 'maybe'; wanted 0 or 1",
    }
    images = [
        image("b.png", size=("", 48)),
        image("c.png"),
        image("c.png"),
        image("none.png"),
        image("a&amp;b.png", *shapes),
    ]
    (src / "train.xml").write_text(xml(*images, image("b.png", size=(48, 64))))
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    issues = caught.value.issues
    assert issues[0] == "train.xml: image b.png: width '', height '48'; wanted whole numbers of pixels"
    assert issues[1] == "train.xml: image c.png is in it twice; keep one"
    for issue, text in zip(issues[2:9], shapes.values(), strict=True):
        assert issue.startswith(f"train.xml: image a&b.png: {text}")
    rest = "\n".join(issues[9:])
    assert "train.xml: its image none.png does not exist" in rest
    assert "image b.png: the file has 64 x 48 pixels, the annotations have 48 x 64" in rest
    assert "a leak between splits" in rest
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("images", ["reference", "copy"])
def test_an_image_outside_the_folder_is_refused(tmp_path: Path, images: str) -> None:
    src = write_cvat(tmp_path / "cvat" / "deep")
    noise(9).save(tmp_path / "cvat" / "d.png")
    (src / "train.xml").write_text(xml(image("c.png", box()), image("../../d.png", box())))
    with pytest.raises(InputError, match=r"the image '.*\.\./d\.png' is outside the folder of the others"):
        convert(src, tmp_path / "new" / "out", images=images)
    assert not [*(tmp_path / "new").rglob("*.png")]


def test_a_folder_without_the_images_is_one_line(tmp_path: Path) -> None:
    src = write_cvat(tmp_path / "cvat")
    (src / "train.xml").write_text(xml(*(image(f"none{number}.png", box()) for number in range(4))))
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    place = src / "images" / "none0.png"
    assert caught.value.issues == [
        f"4 of 5 images do not exist; the first, none0.png of train.xml, is expected at {place}"
    ]


def test_a_split_without_an_image_that_can_be_used(tmp_path: Path) -> None:
    src = write_cvat(tmp_path / "cvat")
    (src / "train.xml").write_text(xml(image("", box())))
    with pytest.raises(InvalidDataset, match=r"train\.xml: image 1 has no name"):
        convert(src, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml(image("b.png"))[:-14], "cannot be read as XML"),
        ("<annotations><track/></annotations>", "a CVAT for video file; export the task as 'CVAT for images 1.1'"),
        ("<annotation/>", "without <image>"),
        (xml(image("b.png"), meta=""), "no labels in <meta>"),
        (xml(image("b.png")).replace("1.1", "1.0"), "version 1.0"),
        (xml(image("b.png"), meta=META.replace("ant", "wasp")), "different labels"),
        (
            xml(image("a&amp;b.png", box(edges=(" 1", 2, 3, 4)))),
            "invalid xtl: .*; correct that place",
        ),  # by hotcoco alone
        ('<!DOCTYPE a [<!ENTITY e "x">]>' + xml(image("&e;")), "defines entities"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, text: str, message: str) -> None:
    src = write_cvat(tmp_path / "cvat")
    (src / "train.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        convert(src, tmp_path / "out")


@pytest.mark.parametrize("layout", ["project", "job", ""])
def test_subsets_of_one_file(tmp_path: Path, layout: str) -> None:
    src = write_cvat(tmp_path / "cvat")
    meta = META.replace("<task>", f"<{layout}>").replace("</task>", f"</{layout}>")
    meta = meta if layout else META.replace("<task>", "").replace("</task>", "")
    (src / "images/Train").mkdir()
    (src / "images/b.png").rename(src / "images/Train/b.png")
    parts = (image("b.png", box(), subset="Train"), image("c.png", box(), subset="Validation"))
    (src / "annotations.xml").write_text(xml(*parts, meta=meta))
    done = convert(src, tmp_path / "out", train=None, val=None)
    assert done.card.source["split"] == {"train": "Train", "val": "Validation"}
    assert [row["file_name"] for row in rows(tmp_path / "out", "val", "images")] == ["c.png"]
    other = convert(src, tmp_path / "other", train="Validation", val="Train")
    assert other.card.splits["train"].digest == done.card.splits["val"].digest
    with pytest.raises(InputError, match="unknown file or subset 'Test'; known: Train, Validation"):
        convert(src, tmp_path / "none", train="Train", val="Test")


def test_a_split_has_to_be_stated(tmp_path: Path) -> None:
    src = write_cvat(tmp_path / "cvat")
    (src / "annotations.xml").write_text(xml(image("b.png", box()), image("c.png", box())))
    for options, message in (
        ({"train": None, "val": None}, "its images are in no subset, so the split has to be stated"),
        ({"val": None}, "state the split once"),
        ({"val_share": 0.5}, "state the split once"),
        ({"val": "test"}, "unknown file or subset 'test'"),
    ):
        with pytest.raises(InputError, match=message):
            convert(src, tmp_path / "out", **options)


def test_the_command(tmp_path: Path) -> None:
    src, out = write_cvat(tmp_path / "cvat"), str(tmp_path / "out")
    (src / "annotations.xml").write_text(xml(image("b.png", box()), image("c.png", box())))
    result = CliRunner().invoke(app, ["cvat", str(src), out, "--val-share", "0.5", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert "2 classes, train 1 images 1 boxes, val 1 images 1 boxes" in result.output
    assert CliRunner().invoke(app, ["check", out]).exit_code == 0
