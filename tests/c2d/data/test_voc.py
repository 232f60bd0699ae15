"""Pascal VOC to COCO: frames by hand, every defect, and a real data set."""

from __future__ import annotations

import json
import os
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
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.issues import InvalidDataset
from c2d.data.voc.convert_voc import convert

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>"
    "<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def _object(name: str, box: tuple[Any, ...], difficult: int = 0) -> str:
    return OBJECT.format(*box, name=name, difficult=difficult)


def _xml(*objects: str, size: str = "<size><width>60</width><height>40</height></size>") -> str:
    return f"<annotation><filename>ignored.jpg</filename>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Two pictures of 60 x 40: `a` to train with two boxes, `b` to evaluate with two, one of them difficult."""
    root = tmp_path / "voc"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for seed, stem in enumerate(("a", "b")):
        noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"JPEGImages/{stem}.jpg")
    (root / "Annotations/a.xml").write_text(_xml(_object("dog", (1, 1, 60, 40)), _object("cat", (3, 4, 7, 9))))
    (root / "Annotations/b.xml").write_text(
        _xml(_object("cat", (2, 2, 5, 5), difficult=1), _object("cat", (6, 6, 9, 9)))
    )
    (root / "ImageSets/Main/train.txt").write_text("a\n")
    (root / "ImageSets/Main/val.txt").write_text("b  1\n\n")
    return root


def _read(out: Path, split: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / f"annotations/instances_{split}.json").read_text())
    return value


def test_pixels_from_one_become_edges_from_zero(src: Path, tmp_path: Path) -> None:
    done = convert(src, tmp_path / "out")
    train = _read(tmp_path / "out", "train")
    assert [row["bbox"] for row in train["annotations"]] == [[0, 0, 60, 40], [2, 3, 5, 6]]
    assert [row["area"] for row in train["annotations"]] == [2400, 30]
    assert train["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [row["category_id"] for row in train["annotations"]] == [2, 1]
    assert train["images"] == [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}]
    assert done.notes == []
    assert done.card.classes == ["cat", "dog"]
    assert done.card.name == "out"
    loaded = load_card(str(tmp_path / "out"))
    verify_card(loaded)
    assert loaded.images("train") == (src / "JPEGImages").resolve()
    report = check_coco([(loaded.annotations(s), loaded.images(s)) for s in ("train", "val")])
    assert report.errors == []


@pytest.mark.parametrize(("option", "iscrowd"), [("crowd", 1), ("keep", 0)])
def test_difficult(src: Path, tmp_path: Path, option: Any, iscrowd: int) -> None:
    convert(src, tmp_path / "out", difficult=option)
    assert [row["iscrowd"] for row in _read(tmp_path / "out", "val")["annotations"]] == [iscrowd, 0]


@pytest.mark.parametrize("how", ["copy", "link"])
def test_images_may_be_brought_along(src: Path, tmp_path: Path, how: Any) -> None:
    convert(src, tmp_path / "out", images=how)
    file = tmp_path / "out/train/a.jpg"
    assert file.read_bytes() == (src / "JPEGImages/a.jpg").read_bytes()
    assert file.is_symlink() == (how == "link")
    assert load_card(str(tmp_path / "out")).card.splits["train"].images == "train"


def test_class_order_and_unknown_class(src: Path, tmp_path: Path) -> None:
    assert convert(src, tmp_path / "out", classes=["dog", "cat", "cow"]).card.classes == ["dog", "cat", "cow"]
    with pytest.raises(InvalidDataset, match=r"a\.xml: unknown class 'dog'; did you mean 'dogs'"):
        convert(src, tmp_path / "two", classes=["dogs", "cat"])
    with pytest.raises(InputError, match="names a class twice"):
        convert(src, tmp_path / "two", classes=["dog", "dog"])
    assert not (tmp_path / "two").exists()


def test_dropped_and_clipped_boxes_are_listed(src: Path, tmp_path: Path) -> None:
    (src / "Annotations/a.xml").write_text(
        _xml(
            _object("dog", (5, 5, 5, 5)),
            _object("dog", (9, 5, 5, 8)),
            _object("dog", (70, 1, 80, 5)),
            _object("dog", (-2, 1, 65, 5)),
            _object("cat", (3, 4, 7, 9)),
        )
    )
    done = convert(src, tmp_path / "out")
    assert [row["bbox"] for row in _read(tmp_path / "out", "train")["annotations"]] == [[0, 0, 60, 5], [2, 3, 5, 6]]
    assert done.notes == [
        "a.xml: object 1 (dog, xmin 5 ymin 5 xmax 5 ymax 5) dropped: no width or height",
        "a.xml: object 2 (dog, xmin 9 ymin 5 xmax 5 ymax 8) dropped: xmax is below xmin, or ymax below ymin",
        "a.xml: object 3 (dog, xmin 70 ymin 1 xmax 80 ymax 5) dropped: outside the image of 60 x 40",
        "a.xml: object 4 (dog, xmin -2 ymin 1 xmax 65 ymax 5) clipped to the image of 60 x 40",
    ]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_size_that_the_xml_does_not_state_comes_from_the_image(src: Path, tmp_path: Path, size: str) -> None:
    (src / "Annotations/a.xml").write_text(_xml(_object("dog", (1, 1, 60, 40)), size=size))
    done = convert(src, tmp_path / "out")
    assert _read(tmp_path / "out", "train")["images"][0]["width"] == 60
    assert done.notes == ["a.xml: states no image size; the image's own, 60 x 40, is used"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "a.xml: cannot be read as XML"),
        ("<other/>", "a.xml: the root element is <other>; wanted <annotation>"),
        (
            _xml(size="<size><width>40</width><height>60</height></size>"),
            "states 40 x 60 pixels, the image has 60 x 40",
        ),
        (_xml(_object("dog", ("x", 1, 2, 3))), "object 1 (dog): <xmin> is 'x'; wanted a number"),
        (_xml(_object("dog", ("nan", 1, 2, 3))), "wanted a number"),
        (_xml("<object><name>dog</name></object>"), "object 1 (dog) has no <bndbox>"),
        (_xml(_object("", (1, 1, 2, 3))), "object 1 has no name"),
        (
            '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + _xml(_object("&e;", (1, 1, 2, 3))),
            "its DOCTYPE defines entities, which are not read; write their text instead",
        ),
    ],
)
def test_defective_xml_is_named_and_nothing_is_written(src: Path, tmp_path: Path, text: str, message: str) -> None:
    (src / "Annotations/a.xml").write_text(text)
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    assert len(caught.value.issues) == 1
    assert message in caught.value.issues[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voc"]


def test_all_defects_at_once_on_the_command_line(src: Path, tmp_path: Path) -> None:
    (src / "Annotations/a.xml").unlink()
    (src / "JPEGImages/b.jpg").write_bytes(b"")
    result = CliRunner().invoke(app, ["voc", str(src), str(tmp_path / "out")])
    assert getattr(result.exception, "exit_code", None) == 2
    told = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(told) == 2
    assert "a.xml: no such file" in told[0]
    assert "b.xml: its image b.jpg cannot be used: the file is empty" in told[1]
    (src / "JPEGImages/b.jpg").unlink()
    with pytest.raises(InvalidDataset, match="2 problems"):
        convert(src, tmp_path / "out")


def test_lists_of_images(src: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown split 'trian'; did you mean 'train'"):
        convert(src, tmp_path / "out", splits={"train": "trian"})
    (src / "ImageSets/Main/val.txt").write_text("b\na\n")
    with pytest.raises(InvalidDataset, match=r"a: listed in train\.txt .* a leak"):
        convert(src, tmp_path / "out")
    (src / "ImageSets/Main/val.txt").write_text("b\nb\n")
    with pytest.raises(InputError, match="lists b twice"):
        convert(src, tmp_path / "out")
    (src / "ImageSets/Main/val.txt").write_text("\n")
    with pytest.raises(InputError, match="lists no image"):
        convert(src, tmp_path / "out")
    with pytest.raises(InputError, match="SRC has to hold Annotations"):
        convert(src / "Annotations", tmp_path / "out")


def test_no_box_at_all(src: Path, tmp_path: Path) -> None:
    for stem in ("a", "b"):
        (src / f"Annotations/{stem}.xml").write_text(_xml())
    with pytest.raises(InvalidDataset, match="no box in any of the splits train, val"):
        convert(src, tmp_path / "out")


def test_equal_options_are_reused_and_others_refused(src: Path, tmp_path: Path) -> None:
    card = convert(src, tmp_path / "out").card
    assert convert(src, tmp_path / "out").card == card
    with pytest.raises(InputError, match="holds the data set 'out'"):
        convert(src, tmp_path / "out", difficult="keep")
    (src / "Annotations/a.xml").write_text(_xml(_object("dog", (1, 1, 60, 39)), _object("cat", (3, 4, 7, 9))))
    with pytest.raises(InputError, match="holds other boxes than"):
        convert(src, tmp_path / "out")


def test_full_disk_leaves_nothing(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Exception, match="No space left on device"):
        convert(src, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voc"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(box=st.tuples(*[st.integers(-5, 70)] * 4))
def test_any_box_is_inside_or_reported(
    src: Path, tmp_path_factory: pytest.TempPathFactory, box: tuple[int, ...]
) -> None:
    (src / "Annotations/a.xml").write_text(_xml(_object("dog", box)))
    out = tmp_path_factory.mktemp("any") / "out"
    done = convert(src, out, origin="1")
    rows = _read(out, "train")["annotations"]
    sound = 1 <= box[0] < box[2] <= 60 and 1 <= box[1] < box[3] <= 40
    assert (not [note for note in done.notes if note.startswith("a.xml")]) == sound
    for row in rows:
        x, y, w, h = row["bbox"]
        assert x >= 0
        assert y >= 0
        assert w >= 1
        assert h >= 1
        assert x + w <= 60
        assert y + h <= 40


def test_bccd(shared_data: Path, tmp_path: Path) -> None:
    """364 images in all; the published lists hold 205 + 87 + 72; two boxes of the set are single pixels."""
    done = convert(shared_data / "bccd", tmp_path / "bccd", splits={"train": "train", "val": "val", "test": "test"})
    card = done.card
    assert card.classes == ["Platelets", "RBC", "WBC"]
    assert {name: split.n_images for name, split in card.splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert sum(split.n_boxes for split in card.splits.values()) == 4888 - len(done.notes) == 4886
    assert sorted(note.split(":")[0] for note in done.notes) == ["BloodImage_00338.xml", "BloodImage_00343.xml"]
    assert all("dropped: no width or height" in note for note in done.notes)
    loaded = load_card(str(tmp_path / "bccd"))
    assert check_coco([(loaded.annotations(s), loaded.images(s)) for s in card.splits]).errors == []
