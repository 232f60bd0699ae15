"""Frames of VOC boxes: EXIF orientations, and the pixel that counting starts at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.data.decoding.decoder import read_image
from c2d.data.decoding.orientation import stored_box, upright_box, upright_pixels
from c2d.data.issues import InvalidDataset
from c2d.data.voc.convert_voc import convert
from c2d.data.voc.voc_frame import edges, origin_note
from tests.c2d.data.voc_folder import annotation, item, noise, rows, write_voc

STORED = (40, 6, 60, 30)
"""xmin, ymin, xmax, ymax of a box in the stored frame, counted from 1: x 39 to 60, y 5 to 30 in edges."""


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_follow_the_pixels(orientation: int) -> None:
    """The pixels of a white rectangle, turned, are where the box of it is, turned."""
    pixels = np.zeros((48, 64, 1), np.uint8)
    pixels[5:30, 39:60] = 1
    x, y, w, h = (int(value) for value in upright_box((39, 5, 21, 25), (64, 48), orientation))
    turned = upright_pixels(pixels, orientation)
    assert turned[y : y + h, x : x + w].sum() == turned.sum() == 21 * 25
    assert stored_box((x, y, w, h), (64, 48), orientation) == (39, 5, 21, 25)


def _marked(path: Path, orientation: int, box: tuple[int, ...], size: tuple[int, int] = (64, 48)) -> None:
    """Write a picture as stored, black with a white rectangle at a box of the stored frame, counted from 1."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[box[1] - 1 : box[3], box[0] - 1 : box[2]] = 255
    pixels[0, 0] = 200  # so that no orientation leaves it as it is
    Image.fromarray(pixels).save(path, exif=_exif(orientation))


def _inside_is_white(src: Path, out: Path) -> bool:
    """Whether the one box of the training split has the white pixels, all of them, as training reads the image."""
    (row,), (image,) = rows(out), rows(out, block="images")
    pixels = read_image(src / "JPEGImages" / image["file_name"])
    assert (image["width"], image["height"]) == (pixels.shape[1], pixels.shape[0])
    x, y, w, h = (int(value) for value in row["bbox"])
    white = pixels.min(axis=2) > 250
    return bool(white[y : y + h, x : x + w].all() and white.sum() == w * h)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_the_size_tells_the_frame(tmp_path: Path, suffix: str, orientation: int, frame: str) -> None:
    x, y, w, h = (int(value) for value in upright_box((39, 5, 21, 25), (64, 48), orientation))
    upright = annotation(item((x + 1, y + 1, x + w, y + h)), size="<size><width>48</width><height>64</height></size>")
    src = write_voc(tmp_path / "voc", annotation(item(STORED)) if frame == "stored" else upright)
    (src / "JPEGImages/a.jpg").unlink()
    _marked(src / f"JPEGImages/a.{suffix}", orientation, STORED)
    done = convert(src, tmp_path / "out")
    assert _inside_is_white(src, tmp_path / "out")
    how = {"stored": "and were turned to the frame of training", "upright": "as training reads the images"}[frame]
    assert done.notes == [f"1 images have an orientation (EXIF or XMP) and boxes in the {frame} frame, {how}: a.xml"]


@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_webp_is_read_as_stored_by_training(tmp_path: Path, frame: str) -> None:
    """Tools draw upright boxes on it, because they apply its EXIF orientation; OpenCV does not."""
    upright = annotation(item((19, 40, 43, 60)), size="<size><width>48</width><height>64</height></size>")
    src = write_voc(tmp_path / "voc", annotation(item(STORED)) if frame == "stored" else upright)
    (src / "JPEGImages/a.jpg").unlink()
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[5:30, 39:60] = 255
    Image.fromarray(pixels).save(src / "JPEGImages/a.webp", exif=_exif(6), lossless=True)
    convert(src, tmp_path / "out")
    assert _inside_is_white(src, tmp_path / "out")


AMBIGUOUS = [
    (3, (64, 48), "<size><width>64</width><height>48</height></size>", "its size fits the image as stored and upright"),
    (6, (48, 48), "<size><width>48</width><height>48</height></size>", "its size fits the image as stored and upright"),
    (6, (64, 48), "", "it states no size"),
]


@pytest.mark.parametrize(("orientation", "size", "stated", "why"), AMBIGUOUS)
def test_an_open_frame_is_refused_and_can_be_stated(
    tmp_path: Path, orientation: int, size: tuple[int, int], stated: str, why: str
) -> None:
    box = (30, 6, 45, 20)
    src = write_voc(tmp_path / "voc", annotation(item(box), size=stated))
    (src / "JPEGImages/a.jpg").unlink()
    _marked(src / "JPEGImages/a.png", orientation, box, size)
    with pytest.raises(InvalidDataset, match=rf"a\.xml: its image has the orientation {orientation} .* and {why}, so"):
        convert(src, tmp_path / "out")
    ran = CliRunner().invoke(app, ["voc", str(src), str(tmp_path / "out"), "--frame", "stored"])
    assert ran.exit_code == 0, ran.output
    assert _inside_is_white(src, tmp_path / "out")
    convert(src, tmp_path / "upright", frame="upright")
    assert rows(tmp_path / "upright")[0]["bbox"] == [29, 5, 16, 15]


def test_a_size_of_neither_frame_is_refused(tmp_path: Path) -> None:
    src = write_voc(tmp_path / "voc", annotation(item(), size="<size><width>10</width><height>20</height></size>"))
    noise(0).save(src / "JPEGImages/a.jpg", exif=_exif(6))
    with pytest.raises(InvalidDataset, match=r"states 10 x 20 pixels, the image has 64 x 48 \(upright 48 x 64\)"):
        convert(src, tmp_path / "out", frame="stored")


@pytest.mark.parametrize(("origin", "wanted"), [("1", (4, 5, 25, 30)), ("0", (5, 6, 26, 31)), ("edge", (5, 6, 25, 30))])
def test_edges_by_hand(origin: Any, wanted: tuple[int, ...]) -> None:
    assert edges((5, 6, 25, 30), origin) == wanted


S = (64, 48)


@pytest.mark.parametrize(
    ("boxes", "wanted"),
    [
        ([(1, 1, 64, 48), (5, 5, 9, 9)], None),
        ([(5, 5, 9, 9)] * 9, None),
        ([(0, 0, 20, 20), (10, 10, 63, 47)], "of 2 boxes 1 have an xmin or ymin below 1, 0 end at the width or height: "
         "these look like pixels counted from 0, not from 1; they were read as counted from 1; state it with --origin "
         "0"),
        ([(0, 4, 20, 20), (10, 10, 64, 47)], "of 2 boxes 1 have an xmin or ymin below 1, 1 end at the width or height: "
         "these look like pixel edges, not pixels counted from 1; they were read as counted from 1; state it with "
         "--origin edge"),
        ([(3.5, 4.25, 20.5, 20.5)], "of 1 boxes 0 have an xmin or ymin below 1, 0 end at the width or height, 1 have "
         "fractions: these look like pixel edges"),
        ([(5, 5, 63, 40), (5, 5, 30, 47), (9, 9, 63, 47)], "of 3 boxes 0 have an xmin or ymin below 1, 0 end at the "
         "width or height, 3 one pixel before it: these may be pixels counted from 0"),
        ([(5, 5, 63, 40), (5, 5, 30, 47), (9, 9, 63, 48)], None),
    ],
)  # fmt: skip
def test_evidence_about_the_origin(boxes: list[Any], wanted: str | None) -> None:
    note = origin_note([(box, S) for box in boxes])
    assert note is None if wanted is None else (note or "").startswith(wanted)


@pytest.mark.parametrize(
    ("origin", "boxes"),
    [
        (None, [[0, 0, 20, 20], [9, 9, 54, 38]]),
        ("1", [[0, 0, 20, 20], [9, 9, 54, 38]]),
        ("0", [[0, 0, 21, 21], [10, 10, 54, 38]]),
        ("edge", [[0, 0, 20, 20], [10, 10, 53, 37]]),
    ],
)
def test_the_origin_is_never_changed_silently(tmp_path: Path, origin: Any, boxes: list[Any]) -> None:
    text = annotation(item((0, 0, 20, 20)), item((10, 10, 63, 47)))
    src = write_voc(tmp_path / "voc", text, text)
    options = ["--origin", origin] if origin else []
    ran = CliRunner().invoke(app, ["voc", str(src), str(tmp_path / "out"), *options])
    assert ran.exit_code == 0, ran.output
    assert [row["bbox"] for row in rows(tmp_path / "out")] == boxes
    assert ("note: of 4 boxes 2 have an xmin or ymin below 1" in ran.output) == (origin is None)


def test_fractions_of_the_image_are_refused(tmp_path: Path) -> None:
    text = annotation(item((0.1, 0.2, 0.5, 1.0)))
    src = write_voc(tmp_path / "voc", text, text)
    with pytest.raises(InvalidDataset, match="in units from 0 to 1, as 2 of 2 boxes; VOC has pixels"):
        convert(src, tmp_path / "out")
