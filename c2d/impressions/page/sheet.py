"""The first images of a synthesis as one picture, with their boxes and class names."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from c2d.core.errors import RunError
from c2d.core.printable import printable_line
from c2d.data.coco_file import SOFT_LABEL
from c2d.data.decoding.decoder import UnreadableImage, read_image

MOST_IMAGES = 48
COLUMNS = 8
CELL_PX = 240
GAP_PX = 8
HEADER_PX = 34
FONT_PX = 12
SECOND_SHARE = 0.2
"""Share of the second class of a soft label above which it is written beside the first."""
GROUND = (24, 26, 30)
INK = (232, 234, 237)
DASH_PX = 5
Rgb = tuple[int, int, int]


def draw_sheet(coco: Mapping[str, Any], folder: Path, found: Collection[int] | None, title: str) -> Image.Image:
    """Draw the first images of an annotation file.

    Args:
        coco: content of the file.
        folder: of the images.
        found: ids of the annotations that the teacher finds, whose boxes are solid; others are dashed. None: all solid.
        title: above the images.

    Raises:
        RunError: an image cannot be read.
    """
    images = coco["images"][:MOST_IMAGES]
    columns = max(1, min(COLUMNS, len(images)))
    rows = max(1, -(-len(images) // columns))
    step = CELL_PX + GAP_PX
    # A sheet of one image is wide enough for its title.
    sheet = Image.new("RGB", (max(columns * step + GAP_PX, 3 * step), HEADER_PX + rows * step), GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, HEADER_PX / 2), printable_line(title), fill=INK, font=_font(FONT_PX + 4), anchor="lm")
    names = [item["name"] for item in coco["categories"]]
    label = {item["id"]: index for index, item in enumerate(coco["categories"])}
    objects: dict[int, list[Mapping[str, Any]]] = {}
    for one in coco["annotations"]:
        objects.setdefault(one["image_id"], []).append(one)
    for index, image in enumerate(images):
        cell = _picture(folder / image["file_name"])
        scale = cell.width / image["width"], cell.height / image["height"]
        # Large boxes first, so that the names of small ones are not covered.
        own = sorted(objects.get(image["id"], []), key=lambda one: -one["area"])
        for one in own:
            is_found = found is None or one["id"] in found
            _outline(
                ImageDraw.Draw(cell), _scaled(one["bbox"], scale), class_colour(label[one["category_id"]]), is_found
            )
        for one in own:
            text = _label_text(one, label[one["category_id"]], names)
            _tag(cell, _scaled(one["bbox"], scale), class_colour(label[one["category_id"]]), text)
        row, column = divmod(index, columns)
        sheet.paste(cell, (GAP_PX + column * step, HEADER_PX + row * step))
    return sheet


def encode_image(picture: Image.Image, kind: str, most_px: int | None = None) -> bytes:
    """Return an image file.

    Args:
        picture: its pixels.
        kind: PNG or JPEG.
        most_px: width that a larger one is reduced to; None keeps the width.
    """
    if most_px is not None and picture.width > most_px:
        picture = picture.resize((most_px, round(picture.height * most_px / picture.width)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, kind)
    return content.getvalue()


def class_colour(label: int) -> Rgb:
    """Return the colour of a class, far from those of its neighbours in the list."""
    # The golden ratio spreads any number of hues; two brightnesses separate hues that come near each other.
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.75 if label % 2 else 0.55, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _font(size: int) -> Any:
    """Pillow's own font, the same on every machine."""
    return ImageFont.load_default(size)


def _picture(path: Path) -> Image.Image:
    """An image file, enlarged or reduced to the width or height of a cell."""
    try:
        pixels = read_image(path)
    except (UnreadableImage, OSError) as error:
        raise RunError(f"cannot read {path}: {error}; make the images again", "data") from None
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    factor = CELL_PX / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _scaled(box: list[float], scale: tuple[float, float]) -> tuple[float, float, float, float]:
    """x, y, w, h in px of the image as corners in px of the cell."""
    x, y, w, h = box
    return x * scale[0], y * scale[1], (x + w) * scale[0], (y + h) * scale[1]


def _outline(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colour: Rgb, is_found: bool) -> None:
    """A box in the colour of its class on a dark line, so that it is seen on any image."""
    x1, y1, x2, y2 = (round(value) for value in box)
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0), width=4)
    if is_found:
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        return
    for start in range(x1, x2, 2 * DASH_PX):
        for y in (y1, y2 - 1):
            draw.rectangle((start, y, min(start + DASH_PX, x2), y + 1), fill=colour)
    for start in range(y1, y2, 2 * DASH_PX):
        for x in (x1, x2 - 1):
            draw.rectangle((x, start, x + 1, min(start + DASH_PX, y2)), fill=colour)


def _tag(cell: Image.Image, box: tuple[float, float, float, float], colour: Rgb, text: str) -> None:
    """The name above the box, or inside where there is no place above; moved to stay in the image."""
    draw, font = ImageDraw.Draw(cell), _font(FONT_PX)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 4
    x = min(max(0, box[0] - 1), max(0, cell.width - width))
    y = box[1] - height if box[1] >= height else min(box[1], cell.height - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 3 - left, y + 2 - top), text, fill=(0, 0, 0), font=font)


def _label_text(one: Mapping[str, Any], label: int, names: list[str]) -> str:
    """The class; with the second one and its share where the soft label gives it one worth reading."""
    name, soft = printable_line(names[label]), one.get(SOFT_LABEL)
    if soft is None:
        return name
    others = [(share, other) for other, share in enumerate(soft) if other != label]
    share, other = max(others, default=(0.0, 0))
    if share < SECOND_SHARE:
        return name
    return f"{name} / {printable_line(names[other])} {share:.2f}"
