"""What `c2d data check` reports about image files: frames, depth, alpha, damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.coco.check_coco import check_coco
from c2d.data.decoding.decoder import read_image
from c2d.data.decoding.image_format import png_command
from c2d.data.decoding.scaled_copies import to_8bit, write_8bit_copies
from c2d.data.images import check_images
from c2d.data.issues import Issue

NOISE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
DEEP = np.random.default_rng(2).integers(0, 4096, (48, 64)).astype(np.uint16)
DEEP[0, 0] = 4001
DEEP[DEEP > 4001] = 0


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def _issues(path: Path, size: tuple[int, int] = (64, 48)) -> list[Issue]:
    issues: list[Issue] = []
    row = {"id": 1, "file_name": path.name, "width": size[0], "height": size[1]}
    check_images("a.json", [row], path.parent, issues)
    return issues


def _one(path: Path, size: tuple[int, int] = (64, 48)) -> tuple[str, str, str]:
    (issue,) = _issues(path, size)
    return issue.severity, issue.kind, issue.message


def test_webp_with_the_upright_size_is_refused_and_the_stored_size_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.fromarray(NOISE).save(path, exif=_exif(6))
    assert _issues(path) == []
    severity, _, message = _one(path, (48, 64))
    assert severity == "error"
    assert message.startswith(
        "the file has 64 x 48 pixels, the annotations have 48 x 64: training does not apply the orientation 6 "
        "(EXIF or XMP) of this WebP file; write PNG copies, python -c "
    )
    subprocess.run(["/bin/sh", "-c", f"{sys.executable} {_command(path, upright=True)}"], check=True)
    assert _issues(path.with_suffix(".png"), (48, 64)) == []


def test_jpeg_with_the_stored_size_is_refused_and_the_upright_size_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(path, exif=_exif(6))
    assert _issues(path, (48, 64)) == []
    assert _one(path) == (
        "error",
        "image size differs",
        "the file has 48 x 64 pixels, the annotations have 64 x 48: training applies the orientation 6 (EXIF or XMP) "
        f"of this JPEG file; turn the boxes, or {png_command(path)}",
    )
    subprocess.run(["/bin/sh", "-c", f"{sys.executable} {_command(path)}"], check=True)
    assert _issues(path.with_suffix(".png")) == []
    assert _one(path, (10, 20))[2].endswith("the annotations have 10 x 20; boxes would be wrong")


def _command(path: Path, **options: bool) -> str:
    """The Python command in the message about a file."""
    return png_command(path, **options).split("copies, python ")[1].rsplit(", and name", 1)[0]


@pytest.mark.parametrize(("orientation", "pixels"), [(3, NOISE), (6, NOISE[:, :48])])
def test_a_frame_that_the_size_does_not_tell_is_a_warning(tmp_path: Path, orientation: int, pixels: Any) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, exif=_exif(orientation))
    severity, _, message = _one(path, (pixels.shape[1], pixels.shape[0]))
    assert severity == "warning"
    assert f"training applies the orientation {orientation}" in message
    assert "does not tell whether the boxes are upright" in message


def test_content_in_alpha_is_an_error_and_no_leak(tmp_path: Path) -> None:
    rgba = np.zeros((48, 64, 4), np.uint8)
    for split in ("train", "val"):
        rgba[..., 3] = NOISE[..., len(split) % 2]
        Image.fromarray(rgba).save(tmp_path / f"{split}.png")
        assert _one(tmp_path / f"{split}.png")[:2] == ("error", "content in alpha")
    rgba[5, 5] = 9
    Image.fromarray(rgba).save(tmp_path / "content.png")
    assert _issues(tmp_path / "content.png") == []


def _alpha_alone(path: Path) -> None:
    """Write a picture of one colour whose alpha is noise, in a form of the suffix of the path."""
    grey = np.full((48, 64), 200, np.uint8)
    image = Image.fromarray(np.dstack([grey, NOISE[..., 0]]), "LA")
    if path.suffix == ".gif":
        image = Image.fromarray(NOISE[..., 0] // 64, "P")
        image.putpalette([9, 9, 9] * 4)
        image.save(path, transparency=1)
    else:
        (image if path.suffix in (".png", ".tif") else image.convert("RGBA")).save(
            path, **_OPTIONS.get(path.suffix, {})
        )


_OPTIONS: dict[str, dict[str, Any]] = {".webp": {"lossless": True, "exact": True}}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".gif", ".jp2"])
def test_content_in_alpha_in_any_format(tmp_path: Path, suffix: str) -> None:
    _alpha_alone(tmp_path / f"a{suffix}")
    assert _one(tmp_path / f"a{suffix}")[:2] == ("error", "content in alpha")


def test_one_colour_is_a_warning(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (7, 7, 7)).save(tmp_path / "a.png")
    assert _one(tmp_path / "a.png") == ("warning", "one colour", "all pixels are equal (largest value 7)")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_more_than_8_bits_is_a_warning_with_the_largest_value(tmp_path: Path, name: str) -> None:
    Image.fromarray(DEEP).save(tmp_path / name, "PPM" if name == "a.pgm" else None)
    assert _one(tmp_path / name) == (
        "warning",
        "more than 8 bits",
        f"1 of 1 images have 16 bits with values up to 4001 ({name}); training reads 8 bits and sees at most 15 of "
        f"255; `c2d data to-8bit {tmp_path} OUT --max 4095` writes copies with a stated scaling (one for all splits)",
    )


def test_values_that_8_bits_lose_are_an_error_and_no_leak(tmp_path: Path, coco: dict[str, Any], write: Any) -> None:
    """8-bit values in 16 bits: training sees zeros. Different files are not told as equal."""
    pairs = [write(coco, "train"), write(coco, "val", seed=1)]
    for seed, (_, folder) in enumerate(pairs):
        for number, name in enumerate(("a.png", "b.png")):
            rng = np.random.default_rng(10 * seed + number)
            Image.fromarray(rng.integers(0, 200, (10, 20)).astype(np.uint16)).save(folder / name)
    report = check_coco(pairs)
    assert {issue.kind for issue in report.errors} == {"content lost"}
    assert "all become 0 in the 8 bits of training; `c2d data to-8bit " in report.errors[0].message
    assert not [issue for issue in report.issues if issue.kind in ("leak", "same pixels")]


def test_a_jpeg_with_a_grey_half_is_an_error_and_its_neighbours_are_not(tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        name = f"{number}.jpg"
        Image.fromarray(np.roll(NOISE, number, 1)).save(tmp_path / name)
        rows.append({"id": number, "file_name": name, "width": 64, "height": 48})
    content = (tmp_path / "2.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    issues: list[Issue] = []
    check_images("a.json", rows, tmp_path, issues)
    assert [(i.kind, i.where) for i in issues] == [("incomplete image", "image 2 (2.jpg)")]
    assert "missing and grey in training (Corrupt JPEG data: premature end of data segment)" in issues[0].message


def test_a_few_extra_bytes_in_a_jpeg_are_a_warning(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:-2] + b"\x01\x02\x03" + content[-2:])
    severity, kind, message = _one(tmp_path / "a.jpg")
    assert (severity, kind) == ("warning", "damaged image")
    assert message.startswith("the decoder reports: Corrupt JPEG data: ")
    assert message.endswith("extraneous bytes before marker 0xd9")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    assert _one(tmp_path / "folder.png") == ("error", "missing image", f"no such file in {tmp_path}")
    assert _one(tmp_path / "absent.png")[1] == "missing image"


def test_scaling_by_hand() -> None:
    values = np.array([0, 100, 110, 120, 200, 300, np.nan])
    assert to_8bit(values, 100, 200).tolist() == [0, 0, 26, 51, 255, 255, 0]


def test_8_bit_copies_pass_the_check_and_stand_in_the_card(tmp_path: Path, coco: dict[str, Any], write: Any) -> None:
    path, folder = write(coco)
    Image.fromarray(DEEP[:10, :20]).save(folder / "a.png", exif=_exif(3))
    (folder / "notes.txt").write_text("no image")
    run = CliRunner().invoke
    done = run(app, ["to-8bit", str(folder), str(tmp_path / "out"), "--max", "4000"])
    assert done.exit_code == 0, done.output
    assert "a.png: values 0 to 4001 are clipped to 0 to 4000" in done.output
    assert "1 images scaled, 0 to 0 and 4000 to 255; 1 copied" in done.output
    assert "1 files are no images (first: notes.txt)" in done.output
    copy = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(copy, to_8bit(DEEP[:10, :20][::-1, ::-1], 0, 4000))
    assert (tmp_path / "out" / "b.png").read_bytes() == (folder / "b.png").read_bytes()
    arguments = ["check", str(path), "--images", str(tmp_path / "out"), "--min-size", "0"]
    arguments += ["--card", str(tmp_path / "card"), "--name", "n", "--evaluate-on", "train"]
    checked = run(app, arguments)
    assert checked.exit_code == 0, checked.output
    assert "0 errors, 0 warnings" in checked.output
    card = (tmp_path / "card" / "card.json").read_text()
    assert '"maximum": 4000.0' in card
    assert str(folder) in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "out", "--max", "9"], "no folder absent"),
        (["train", "out", "--max", "0"], "the smaller one first"),
        (["train", "train", "--max", "9"], "train exists; give a new or empty folder"),
        (["train", "train/out", "--max", "9"], "is inside train"),
        (["train", "out", "--max", "9"], "has no image with more than 8 bits"),
    ],
)
def test_8_bit_copies_are_refused(
    tmp_path: Path, coco: Any, write: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    write(coco)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["to-8bit", *arguments])
    assert message in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["instances_train.json", "train"]


@pytest.mark.parametrize(
    ("suffix", "written"), [(".png", True), (".tiff", True), (".pgm", True), (".jp2", False), (".hdr", False)]
)
def test_8_bit_copies_keep_the_format_where_it_has_no_loss(tmp_path: Path, suffix: str, written: bool) -> None:
    (tmp_path / "in").mkdir()
    values = np.dstack([DEEP] * 3).astype(np.float32) if suffix == ".hdr" else DEEP
    assert cv2.imwrite(str(tmp_path / "in" / f"a{suffix}"), values)
    if not written:
        with pytest.raises(
            InputError, match="cannot hold 8 bits without loss; convert the images to PNG or TIFF first"
        ):
            write_8bit_copies(tmp_path / "in", tmp_path / "out", 0, 4095)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
        return
    write_8bit_copies(tmp_path / "in", tmp_path / "out", 0, 4095)
    assert np.array_equal(read_image(tmp_path / "out" / f"a{suffix}")[..., 0], to_8bit(DEEP, 0, 4095))
