"""Files of VOC data sets as tools write them: words as flags, structure, lists, class names, images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.flag_words import ALLOWED_FLAGS
from c2d.data.issues import InvalidDataset
from c2d.data.voc.convert_voc import convert
from tests.c2d.data.voc_folder import BOX, SIZE, annotation, item, noise, rows, write_voc

WORDS = [
    ("False", 0),
    ("no", 0),
    ("None", 0),
    ("n/a", 0),
    ("Unspecified", 0),
    ("0.0", 0),
    ("-1", 0),
    ("", 0),
    ("yes", 1),
]


@pytest.mark.parametrize(("word", "flag"), WORDS)
def test_words_as_flags(tmp_path: Path, word: str, flag: int) -> None:
    flags = "".join(f"<{key}>{word}</{key}>" for key in ("difficult", "truncated", "occluded"))
    src = write_voc(tmp_path / "voc", annotation(item(extra=flags), item((30, 6, 50, 30))))
    convert(src, tmp_path / "out")
    first, second = rows(tmp_path / "out")
    assert [first[key] for key in ("iscrowd", "truncated", "occluded")] == [flag] * 3
    assert second["iscrowd"] == 0
    assert "truncated" not in second


@pytest.mark.parametrize("key", ["difficult", "truncated", "occluded"])
def test_another_word_is_refused_with_file_object_and_words(tmp_path: Path, key: str) -> None:
    src = write_voc(tmp_path / "voc", annotation(item(), item((30, 6, 50, 30), extra=f"<{key}>maybe</{key}>")))
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    assert caught.value.issues == [f"a.xml: object 2 (ant): <{key}> is 'maybe'; {ALLOWED_FLAGS}"]


def test_objects_inside_a_wrapper_are_read_and_told(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc", annotation("<objects>", item(), item((30, 6, 50, 30)), "</objects>"))
    done = convert(src, tmp_path / "out")
    assert [row["bbox"] for row in rows(tmp_path / "out")] == [[4, 5, 21, 25], [29, 5, 21, 25]]
    assert done.notes == ["a.xml: 2 of its objects are inside another element and were read from there"]


PART = f"<part><name>head</name>{BOX.format(6, 7, 9, 9)}</part>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (annotation(item(extra=BOX.format(1, 1, 9, 9))), "object 1 (ant) has 2 <bndbox>; wanted one"),
        (annotation(item(extra="<name>bee</name>")), "object 1 has 2 <name>; wanted one"),
        (annotation(item(extra="<difficult>0</difficult><difficult>1</difficult>")), "has 2 <difficult>"),
        (annotation(item(), size="<size/><size/>"), "the file has 2 <size>; wanted one"),
        (annotation(item().replace("</xmin>", "</xmin><xmin>3</xmin>")), "object 1 (ant) has 2 <xmin>"),
        (annotation(item(), f"<obj><name>ant</name>{BOX.format(1, 1, 9, 9)}</obj>"), "has 2 <bndbox> and 1 <obj"),
        (
            annotation(item().replace("<object>", '<object difficult="1">')),
            "difficult is an attribute of <object>; w",
        ),
        (annotation(item(extra="<difficult><v>1</v></difficult>")), "<difficult> contains <v>; wanted 0 or 1"),
        (annotation(item().replace("<xmin>5<", "<xmin>1_0<")), "<xmin> is '1_0'; wanted a number"),
        (annotation(item(), size=SIZE.replace("64", "64.5")), "<size> is 64.5 x 48; wanted whole numbers of pixels"),
        (annotation(item(), item((0.1, 0.2, 0.5, 1))), "in units from 0 to 1, as 1 of 3 boxes; VOC has pixels"),
        (annotation(item(name="a&b")), "correct that place (& is written &amp;), or export the file again"),
        (annotation(f"<item><name>ant</name>{BOX.format(1, 1, 9, 9)}</item>"), "has 1 <bndbox> and 0 <object>"),
        (annotation(item(), item(extra="<difficult>1</difficult>")), "repeats object 1 with another <difficult>"),
        (f"<annotations>{annotation(item())}</annotations>", "the root element is <annotations>"),
    ],
)
def test_another_structure_is_refused(tmp_path: Path, text: str, message: str) -> None:
    src = write_voc(tmp_path / "voc", text)
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    assert len(caught.value.issues) == 1
    assert caught.value.issues[0].startswith("a.xml: ")
    assert message in caught.value.issues[0]


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc", annotation(item(extra=PART)))
    assert convert(src, tmp_path / "out").notes == []
    assert len(rows(tmp_path / "out")) == 1


def test_the_same_object_twice_counts_once(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc", annotation(item(), item(), item(name="bee"), item((30, 6, 50, 30))))
    done = convert(src, tmp_path / "out")
    assert [row["category_id"] for row in rows(tmp_path / "out")] == [1, 2, 1]
    assert done.notes == [
        "a.xml: object 2 (ant, xmin 5 ymin 6 xmax 25 ymax 30) dropped: it repeats object 1",
        "a.xml: object 3 (bee, xmin 5 ymin 6 xmax 25 ymax 30) has the box of object 1 (ant)",
    ]


def test_class_names_that_differ_in_case_or_blanks(tmp_path: Path) -> None:
    boxes = [(5, 6, 25, 30), (30, 6, 50, 30), (5, 32, 25, 46), (30, 32, 50, 46)]
    names = ["Fire ant", "fire ant", "FIREANT ", "fire ant"]
    src = write_voc(tmp_path / "voc", annotation(*(item(box, name) for box, name in zip(boxes, names, strict=True))))
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    assert caught.value.issues == [
        "class names 'FIREANT' (1 objects), 'Fire ant' (1 objects), 'fire ant' (2 objects) differ in case or blanks "
        "alone; correct the XML files, or make them one class with --merge-spellings, or name each in --classes"
    ]
    ran = CliRunner().invoke(app, ["voc", str(src), str(tmp_path / "one"), "--merge-spellings"])
    assert ran.exit_code == 0, ran.output
    assert "class names 'FIREANT' (1 objects), 'Fire ant' (1 objects) were read as 'fire ant'" in ran.output
    assert [row["name"] for row in rows(tmp_path / "one", block="categories")] == ["ant", "fire ant"]
    listed = ["ant", "Fire ant", "fire ant", "FIREANT"]
    assert convert(src, tmp_path / "apart", classes=listed).card.classes == listed
    assert convert(src, tmp_path / "chosen", classes=["ant", "FireAnt"], merge=True).card.classes == ["ant", "FireAnt"]
    assert [row["category_id"] for row in rows(tmp_path / "chosen")] == [2, 2, 2, 2]


def _rename(src: Path, stem: str) -> None:
    for folder, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (src / folder / f"a.{suffix}").rename(src / folder / f"{stem}.{suffix}")


@pytest.mark.parametrize("line", ["IMG 001", "IMG 001  1", "IMG 001\t-1", "\ufeffIMG 001", " IMG 001 "])
def test_names_with_blanks_flags_and_byte_order_marks(tmp_path: Path, line: str) -> None:
    src = write_voc(tmp_path / "voc")
    _rename(src, "IMG 001")
    (src / "ImageSets/Main/train.txt").write_text(f"{line}\r\n", encoding="utf-8")
    convert(src, tmp_path / "out")
    assert [row["file_name"] for row in rows(tmp_path / "out", block="images")] == ["IMG 001.jpg"]


def test_a_name_that_ends_like_a_flag(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    _rename(src, "IMG 1")
    (src / "ImageSets/Main/train.txt").write_text("IMG 1\n")
    convert(src, tmp_path / "out")
    assert [row["file_name"] for row in rows(tmp_path / "out", block="images")] == ["IMG 1.jpg"]
    (src / "Annotations/IMG.xml").write_text(annotation(item()))
    with pytest.raises(
        InputError, match="the line 'IMG 1' is either the image 'IMG 1' or the image 'IMG' with the flag"
    ):
        convert(src, tmp_path / "two")


def test_tags_in_other_case_and_with_a_namespace_are_read(tmp_path: Path) -> None:
    text = annotation(item(extra="<Difficult>1</Difficult>"), item((9, 9, 20, 20)))
    text = text.replace("object>", "Object>").replace("<annotation>", '<Annotation xmlns="http://voc.org">')
    src = write_voc(tmp_path / "voc", text.replace("</annotation>", "</Annotation>"))
    convert(src, tmp_path / "out")
    assert [(row["bbox"], row["iscrowd"]) for row in rows(tmp_path / "out")] == [
        ([4, 5, 21, 25], 1), ([8, 8, 12, 12], 0),
    ]  # fmt: skip


def test_an_encoding_that_is_not_stated_is_named(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    (src / "Annotations/a.xml").write_bytes(annotation(item(name="käfer")).encode("latin-1"))
    with pytest.raises(InvalidDataset, match="its bytes are not UTF-8: save it as UTF-8, or name its encoding"):
        convert(src, tmp_path / "out")


def test_xml_with_a_byte_order_mark(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    (src / "Annotations/a.xml").write_text("\ufeff" + annotation(item()), encoding="utf-8")
    convert(src, tmp_path / "out")
    assert len(rows(tmp_path / "out")) == 1


def test_one_picture_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    noise(0).save(src / "JPEGImages/a.jpg", quality=100)
    noise(0).save(src / "JPEGImages/b.jpg", quality=100)
    with pytest.raises(
        InvalidDataset, match=r"val: image 2 \(b\.jpg\): has the same pixels as image 1 \(a\.jpg\) of train"
    ):
        convert(src, tmp_path / "out")


def test_one_picture_twice_in_a_split_is_a_note(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    (src / "JPEGImages/c.jpg").write_bytes((src / "JPEGImages/a.jpg").read_bytes())
    (src / "Annotations/c.xml").write_text(annotation(item()))
    (src / "ImageSets/Main/train.txt").write_text("a\nc\n")
    assert convert(src, tmp_path / "out").notes == ["train: image 2 (c.jpg): has the same pixels as image 1 (a.jpg)"]


def test_images_that_training_cannot_read_or_sees_in_part(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    content = (src / "JPEGImages/a.jpg").read_bytes()
    (src / "JPEGImages/a.jpg").write_bytes(content[: len(content) // 2])
    content = (src / "JPEGImages/b.jpg").read_bytes()
    (src / "JPEGImages/b.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    assert caught.value.issues == [
        "a.xml: its image a.jpg cannot be used: cannot be decoded, the file (JPEG) is damaged or incomplete; get the "
        "file again",
        "b.xml: its image b.jpg: a part of the image is missing and grey in training (Corrupt JPEG data: premature end "
        "of data segment); get the file again",
    ]


def test_16_bits_are_a_note_and_two_images_of_one_name_an_issue(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc")
    (src / "JPEGImages/a.jpg").unlink()
    deep = np.random.default_rng(0).integers(0, 4096, (48, 64)).astype(np.uint16)
    deep[0, 0] = 4095
    Image.fromarray(deep).save(src / "JPEGImages/a.png")
    (note,) = convert(src, tmp_path / "out").notes
    assert note.startswith("1 of 2 images have 16 bits with values up to 4095 (a.png); training reads 8 bits and sees")
    noise(3).save(src / "JPEGImages/a.jpg")
    with pytest.raises(
        InvalidDataset, match=r"a\.xml: its image is a\.jpg or a\.png; keep one, or name it in <filename>"
    ):
        convert(src, tmp_path / "two")
    named = annotation("<filename>a.jpg</filename>", item())
    (src / "Annotations/a.xml").write_text(named)
    assert convert(src, tmp_path / "two").notes == []


def test_a_split_without_usable_boxes_is_a_note(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc", annotation(item(extra="<difficult>1</difficult>")))
    (note,) = convert(src, tmp_path / "out").notes
    assert note.startswith("split train has no box that runs can use: of 1 boxes 1 crowd regions (iscrowd 1)")
    assert "--difficult keep" in note
    assert convert(src, tmp_path / "kept", difficult="keep").notes == []
