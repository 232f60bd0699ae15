"""What the estimate assumes about images where no file is read: sizes, boxes and positives of COCO images.

Measured on 256 images, the first 128 of train2017 and of val2017; `python -m benchmarks.hours.coco_images FOLDER`
prints the first two tables again from a folder with `annotations/instances_*.json`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from c2d.core.run_folder import read_json

SIZES: dict[tuple[int, int], int] = {
    (640, 480): 57, (640, 427): 29, (480, 640): 17, (640, 426): 10, (640, 425): 10, (427, 640): 10, (500, 375): 10,
    (640, 428): 7, (612, 612): 6, (375, 500): 6, (640, 361): 4, (333, 500): 3, (640, 481): 2, (640, 536): 2,
    (640, 424): 2, (500, 333): 2, (428, 640): 2, (638, 640): 2, (320, 240): 2, (600, 400): 2, (481, 640): 1,
    (640, 478): 1, (381, 500): 1, (640, 488): 1, (565, 640): 1, (512, 640): 1, (640, 416): 1, (416, 640): 1,
    (500, 374): 1, (640, 573): 1, (600, 500): 1, (591, 640): 1, (600, 600): 1, (640, 491): 1, (640, 327): 1,
    (640, 218): 1, (500, 332): 1, (446, 640): 1, (640, 611): 1, (640, 580): 1, (426, 640): 1, (359, 640): 1,
    (640, 360): 1, (640, 389): 1, (516, 640): 1, (640, 226): 1, (640, 406): 1, (500, 495): 1, (500, 313): 1,
    (360, 640): 1, (448, 336): 1, (640, 484): 1, (460, 312): 1, (423, 640): 1, (520, 640): 1, (640, 513): 1,
    (473, 500): 1, (409, 500): 1, (640, 248): 1, (640, 407): 1, (640, 446): 1, (586, 640): 1, (640, 483): 1,
    (424, 640): 1, (621, 640): 1, (640, 512): 1, (640, 315): 1, (640, 419): 1, (500, 302): 1, (457, 640): 1,
    (640, 366): 1, (640, 555): 1, (443, 640): 1, (640, 363): 1, (640, 384): 1, (425, 640): 1, (640, 349): 1,
    (444, 640): 1, (640, 531): 1, (640, 351): 1, (500, 396): 1, (478, 640): 1, (640, 482): 1, (429, 640): 1,
    (640, 359): 1, (640, 459): 1, (640, 640): 1, (640, 539): 1, (551, 640): 1, (550, 640): 1, (640, 464): 1,
}  # fmt: skip
"""{(width, height) in px: images}."""

BOXES: dict[int, int] = {
    1: 20, 2: 57, 3: 26, 4: 25, 5: 18, 6: 9, 7: 16, 8: 11, 9: 5, 10: 6, 11: 8, 12: 5, 13: 7, 14: 6, 15: 4, 16: 7,
    17: 6, 18: 1, 19: 1, 20: 4, 22: 2, 24: 3, 26: 1, 28: 1, 29: 1, 33: 1, 38: 1, 40: 1, 42: 1,
}  # fmt: skip
"""{boxes: images with so many}, images without a box left out, as a training leaves them out."""

POSITIVES: dict[str, float] = {"ssd": 4.7, "retinanet": 21.9, "gfl": 9.0, "atss": 9.0, "fcos": 9.5}
"""{family of the head: positives for each ground-truth box}, of the shipped students on 8 to 48 of the images. GFL and
ATSS assign alike. Of a second stage all positives that its sampler may draw count, which is an upper bound."""

POSITIVES_UNKNOWN = 10.0
"""The same for families that were not measured."""


def mean_boxes(most: int | None = None) -> float:
    """Return the mean number of boxes an image, where at most `most` of each image count."""
    counted = sum(min(boxes, most or boxes) * images for boxes, images in BOXES.items())
    return counted / sum(BOXES.values())


def main(folder: Path) -> None:
    """Print both tables of the annotation files in a folder."""
    sizes: Counter[tuple[int, int]] = Counter()
    boxes: Counter[int] = Counter()
    for path in sorted(folder.glob("annotations/instances_*.json")):
        found = read_json(path)
        sizes.update((image["width"], image["height"]) for image in found["images"])
        boxes.update(Counter(box["image_id"] for box in found["annotations"]).values())
    print(dict(sizes.most_common()))
    print(dict(sorted(boxes.items())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
