"""Name the format of a file by its first bytes, and say what to do with a file that training cannot read."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

# (offset, bytes, name). TGA has no signature at the start.
_SIGNATURES = (
    (0, b"\xff\xd8", "JPEG"), (0, b"\x89PNG\r\n\x1a\n", "PNG"), (0, b"GIF8", "GIF"), (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"), (0, b"II+\0", "TIFF"), (0, b"MM\0+", "TIFF"), (8, b"WEBP", "WebP"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"), (0, b"\xff\x4f\xff\x51", "JPEG 2000"), (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"), (4, b"ftyp", "HEIF or video"), (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?", "Radiance HDR"), (0, b"BM", "BMP"), (0, b"\x01\xda", "SGI"), (0, b"\0\0\x01\0", "ICO"),
    (0, b"icns", "ICNS"), (0, b"DDS ", "DDS"), (0, b"qoif", "QOI"), (0, b"8BPS", "PSD"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"), (0, b"\xff\x0a", "JPEG XL"), (4, b"JXL ", "JPEG XL"),
    (0, b"SIMPLE  =", "FITS"), (0, b"\x89HDF", "HDF5"), (0, b"\x93NUMPY", "NumPy"), (128, b"DICM", "DICOM"),
    (0, b"PK\x03\x04", "ZIP"), (0, b"\x1f\x8b", "gzip"), (0, b"%PDF", "PDF"), (0, b"%!PS", "PostScript"),
    (0, b"<svg", "SVG"),    (0, b"version https://git-lfs", "Git LFS pointer"),
)  # fmt: skip
_TGA = (".tga", ".icb", ".vda", ".vst")
_PNM = {b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF"}
# Formats that OpenCV's wheels have no decoder for.
UNREADABLE = frozenset(
    ("TGA", "ICO", "PCX", "SGI", "ICNS", "DDS", "QOI", "PSD", "JPEG XL", "FITS", "HDF5", "NumPy", "DICOM",
     "HEIF or video", "ZIP", "gzip", "PDF", "PostScript", "SVG")
)  # fmt: skip


def format_name(content: bytes, suffix: str = "") -> str | None:
    """Return the name of a file's format, "empty" or "text" for what is no image, None if it is unknown.

    Args:
        content: the bytes of the file.
        suffix: suffix of its name, for formats without a signature.
    """
    if not content:
        return "empty"
    # Before the signatures: the first bytes of some TGA files are those of a cursor file.
    if content[-18:-2] == b"TRUEVISION-XFILE" or (suffix.lower() in _TGA and content[1:2] in b"\0\1"):
        return "TGA"
    for offset, signature, name in _SIGNATURES:
        if content.startswith(signature, offset):
            return name
    if content[:2] in _PNM and content[2:3].isspace():
        return "PNM"
    if content[:1] == b"\x0a" and content[1:2] in b"\0\2\3\4\5" and content[2:3] == b"\1":
        return "PCX"
    head = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in content[:4096].lower():
        return "SVG"
    return "text" if head.startswith((b"<", b"{")) or (head and head.isascii() and _printable(head)) else None


def _printable(head: bytes) -> bool:
    return head.decode("ascii").translate({9: " ", 10: " ", 13: " "}).isprintable()


def damaged_text(form: str | None, content: bytes) -> str:
    """Describe a file that should be readable and is not.

    Args:
        form: name of its format, None if it is unknown.
        content: the bytes of the file.
    """
    again = "get the file again"
    texts = {
        "empty": f"the file is empty; {again}",
        "text": f"the file is a text (a web page or a message), no image; {again}",
        "Git LFS pointer": "the file is a Git LFS pointer, no image; run `git lfs pull` in its repository",
        "TIFF": "cannot be decoded, the file (TIFF) is damaged or incomplete, or training cannot read its bands, bits "
        f"or compression; write it as PNG, or {again}",
        None: f"the format of the file is unknown (it begins with the bytes {content[:8].hex(' ')}); {again}",
    }
    return texts.get(form, f"cannot be decoded, the file ({form}) is damaged or incomplete; {again}")


def png_command(path: Path, upright: bool = False) -> str:
    """Return the command that writes PNG copies of all files like `path` beside them, upright on request."""
    image = "PIL.ImageOps.exif_transpose(PIL.Image.open(p))" if upright else "PIL.Image.open(p)"
    code = (
        f'import pathlib, PIL.Image{", PIL.ImageOps" * upright}; [{image}.save(p.with_suffix(".png")) '
        f"for p in pathlib.Path({json.dumps(str(path.parent))}).rglob({json.dumps('*' + path.suffix)})]"
    )
    return f"write PNG copies, python -c {shlex.quote(code)}, and name the .png files in the annotations"


def to_8bit_command(folder: Path, low: float, high: float) -> str:
    """Return the command that writes 8-bit copies of a folder; the range is that of whole bits (0 to 4095 for 4001)."""
    largest = 2 ** math.ceil(math.log2(high + 1)) - 1 if low >= 0 and 1 <= high < 2**32 else high
    smallest = f" --min {low:g}" if low < 0 or high < 1 else ""
    return f"`c2d data to-8bit {shlex.quote(str(folder))} OUT{smallest} --max {largest:.10g}`"
