"""The one decoder: equal to mmcv's bit for bit, and what it says about files that training cannot read."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from c2d.core.errors import InputError
from c2d.data.decoding.decoder import UnreadableImage, read_image
from c2d.data.decoding.image_facts import image_facts
from c2d.data.decoding.orientation import upright_pixels
from c2d.data.decoding.scaled_copies import to_8bit, write_8bit_copies
from c2d.data.decoding.scaling_record import scaling_of

ORIENTATION = 0x112
GREY16 = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21


def _noise(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).convert(mode)


def _oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _files() -> list[tuple[str, str, Image.Image, dict[str, Any]]]:
    files: list[tuple[str, str, Image.Image, dict[str, Any]]] = [
        (f"{form}-{orientation}", form, _noise(), {"exif": _oriented(orientation)})
        for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
        for orientation in range(1, 9)
    ]
    modes = {
        "JPEG": ("L", "CMYK", "YCbCr"),
        "PNG": ("L", "1", "P", "LA", "RGBA"),
        "BMP": ("RGB", "L", "P", "RGBA"),
        "TIFF": ("L", "P", "RGBA", "CMYK", "LAB"),
        "WEBP": ("RGBA",),
        "GIF": ("RGB",),
        "PPM": ("RGB", "L"),
        "JPEG2000": ("RGB",),
    }
    files += [(f"{form}-{mode}", form, _noise(mode), {}) for form, some in modes.items() for mode in some]
    files += [(f"{form}-16", form, Image.fromarray(GREY16), {}) for form in ("PNG", "TIFF", "PPM")]
    return files


def test_pixels_are_those_of_mmcv_bit_for_bit(tmp_path: Path) -> None:
    from mmcv.transforms import LoadImageFromFile

    loader = LoadImageFromFile()
    for name, form, image, options in _files():
        path = tmp_path / name
        image.save(path, form, **options)
        trained = loader.transform({"img_path": str(path)})["img"]
        pixels = read_image(path)
        assert pixels.dtype == trained.dtype == np.uint8, name
        assert np.array_equal(pixels, trained), name
        facts = image_facts(path)
        assert facts.size == (trained.shape[1], trained.shape[0]), name
        assert facts.stored_size == image.size, name


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_frame_of_training_is_found(tmp_path: Path, form: str, orientation: int) -> None:
    path = tmp_path / f"a.{form.lower()}"
    _noise().save(path, form, exif=_oriented(orientation))
    facts = image_facts(path)
    assert facts.orientation == orientation
    assert facts.turned == (orientation != 1 and form in ("JPEG", "PNG", "TIFF"))
    rotated = orientation >= 5
    assert facts.size == ((48, 64) if rotated and facts.turned else (64, 48))
    assert facts.other_size == ((64, 48) if rotated and facts.turned else (48, 64) if rotated else (64, 48))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_training_sees_16_bit_tiff_upright(tmp_path: Path, orientation: int) -> None:
    """OpenCV's flag for the stored frame has no effect on TIFF, so the reader relies on this."""
    values = np.random.default_rng(0).integers(0, 2**16, (48, 64), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", exif=_oriented(orientation))
    upright = upright_pixels(values[..., None] >> 8, orientation)
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., :1], upright)
    assert image_facts(tmp_path / "a.tif").stored_size == (64, 48)


def test_orientation_in_xmp_is_not_applied(tmp_path: Path) -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    path = tmp_path / "a.jpg"
    _noise().save(path, xmp=xmp)
    facts = image_facts(path)
    assert (facts.orientation, facts.turned, facts.size) == (6, False, (64, 48))


def _saved(form: str, image: Image.Image | None = None) -> bytes:
    stream = io.BytesIO()
    (image or _noise()).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["TGA", "ICO", "PCX", "SGI", "DDS", "QOI"])
def test_a_format_without_decoder_is_named_with_a_command_that_works(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "my 'images'"
    folder.mkdir()
    path = folder / f"a.{form.lower()}"
    path.write_bytes(_saved(form))
    with pytest.raises(UnreadableImage, match=f"^training cannot read {form}; write PNG copies, python -c ") as caught:
        read_image(path)
    command = str(caught.value).split("copies, python ")[1].rsplit(", and name", 1)[0]
    subprocess.run(["/bin/sh", "-c", f"{sys.executable} {command}"], check=True)
    assert np.array_equal(read_image(path.with_suffix(".png"))[..., ::-1], np.asarray(Image.open(path).convert("RGB")))


def test_tga_by_its_suffix_alone(tmp_path: Path) -> None:
    """A TGA file of the first version has no signature; its first bytes are those of a cursor file."""
    path = tmp_path / "a.tga"
    path.write_bytes(_saved("TGA").removesuffix(b"\0" * 8 + b"TRUEVISION-XFILE.\0"))
    with pytest.raises(UnreadableImage, match="training cannot read TGA"):
        read_image(path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_float_tiff_is_refused_with_its_range(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(_saved("TIFF", Image.fromarray(GREY16.astype(dtype))))
    with pytest.raises(UnreadableImage, match=r"32 TIFF; `c2d data to-8bit .* OUT --max 65535`"):
        read_image(path)


def test_the_range_of_a_float_tiff_is_that_of_its_finite_values(tmp_path: Path) -> None:
    values = GREY16.astype(np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    path = tmp_path / "a.tif"
    path.write_bytes(_saved("TIFF", Image.fromarray(values)))
    with pytest.raises(UnreadableImage, match=r"float32 TIFF; `c2d data to-8bit .* OUT --max 65535`"):
        read_image(path)
    path.write_bytes(_saved("TIFF", Image.fromarray(np.full_like(values, np.nan))))
    with pytest.raises(UnreadableImage, match="this one has no finite value"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; get the file again"),
        (b"<!DOCTYPE html><html>not found</html>", "is a text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "training cannot read HEIF or video; write it as PNG"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "is a text"),
        (b"404: Not Found\n", "is a text"),
        (b"\xfa\xdeabcdef" * 9, "the format of the file is unknown"),
        *[(_saved(form)[:-700], "is damaged or incomplete") for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")],
        (_saved("JPEG")[:-2], r"\(JPEG\) is damaged"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=message):
        read_image(path)


def test_the_limit_on_size_is_opencvs_and_can_be_set(tmp_path: Path) -> None:
    """OpenCV reads its limit at import, so each limit needs a process. Pillow's own limit must not matter."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((60, 70, 3), np.uint8))
    code = (
        "import sys, pathlib, PIL.Image; from c2d.data.decoding.decoder import *; "
        "print(PIL.Image.MAX_IMAGE_PIXELS, read_image(pathlib.Path(sys.argv[1])).shape)"
    )

    def run(limit: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"OPENCV_IO_MAX_IMAGE_PIXELS": limit}
        return subprocess.run([sys.executable, "-c", code, str(path)], env=env, capture_output=True, text=True)

    refused = run("4000").stderr.splitlines()[-1]
    assert "the image of 70 x 60 pixels is above a limit of OpenCV" in refused
    assert "set OPENCV_IO_MAX_IMAGE_PIXELS=4200 in the environment of this command and of every run" in refused
    assert run("4200").stdout == "None (60, 70, 3)\n"


def _five_bands() -> bytes:
    """A sound TIFF file with five bands, which neither OpenCV nor Pillow reads."""
    data = bytes(range(80 * 5 % 256)) * 3
    tags = [(256, 3, 1, 10), (257, 3, 1, 8), (258, 3, 5, 140), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 150),
            (277, 3, 1, 5), (278, 3, 1, 8), (279, 4, 1, 400)]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (head + bytes(4)).ljust(140, b"\0") + struct.pack("<5H", 8, 8, 8, 8, 8) + data[:400]


def test_a_sound_file_of_another_kind_is_not_only_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(_five_bands())
    with pytest.raises(
        UnreadableImage, match="or training cannot read its bands, bits or compression; write it as PNG"
    ):
        read_image(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"\x12" * 90)
    with pytest.raises(UnreadableImage, match=r"unknown \(it begins with the bytes 12 12 12 12 12 12 12 12\)"):
        read_image(tmp_path / "b.tif")


def test_float_tiff_becomes_8_bit_copies(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    values = np.linspace(-1, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    Image.fromarray(values).save(tmp_path / "in" / "a.tif")
    with pytest.raises(UnreadableImage, match="OUT --min -1 --max 1` writes 8-bit copies"):
        read_image(tmp_path / "in" / "a.tif")
    write_8bit_copies(tmp_path / "in", tmp_path / "out", -1, 1)
    assert np.array_equal(read_image(tmp_path / "out" / "a.tif")[..., 0], to_8bit(values, -1, 1))
    assert scaling_of(tmp_path / "out") == {"source": str(tmp_path / "in"), "minimum": -1, "maximum": 1}
    (tmp_path / "out" / "to_8bit.json").write_text("{")
    with pytest.raises(InputError, match="write the copies again"):
        scaling_of(tmp_path / "out")


def test_infinite_values_are_clipped_and_recorded(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    values[0, 0], values[0, 1] = np.inf, np.nan
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(_saved("TIFF", Image.fromarray(values)))
    (tmp_path / "in" / "b.tif").write_bytes(_saved("TIFF", Image.fromarray(np.full_like(values, np.nan))))
    done = write_8bit_copies(tmp_path / "in", tmp_path / "out", -1, 1)
    assert done.clipped == {"a.tif": [float(np.nanmin(values)), float(np.finfo(np.float32).max)]}
    assert done.skipped == ["b.tif"]
    assert read_image(tmp_path / "out" / "a.tif")[0, :2, 0].tolist() == [255, 0]
