"""Write the page of `c2d browse`: choose images by their error until the size of the page is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.browse.box_rows import ImageRows
from analysis.browse.browse_source import BrowseSource, read_source
from analysis.browse.image_errors import error_order, judge_set
from analysis.browse.page_data import page_facts, page_image
from analysis.browse.page_html import json_text, render_page
from analysis.browse.teacher_verdicts import TeacherVerdicts, teacher_verdicts
from analysis.browse.thumbnails import Thumbnail, make_thumbnail
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_text
from c2d.metrics.coco_data import Array
from c2d.metrics.scoring.box_form import box_form_warning

MIN_SCORE = 0.05
SIDE_PX = 640
MIB = 20.0
ROOM_BYTES = 2000
"""For the numbers and the teacher's sentence, which are known after the images are chosen."""
TEACHER_BYTES = 26
"""What the teacher's verdict of one box adds to a page."""
MOST_NAME_BYTES = 160
"""Of the names in the name of a page; a file system takes 255 bytes."""
THREADS, AHEAD = 4, 32
"""Threads that make thumbnails (OpenCV and Pillow release Python's lock), and thumbnails that are made at a time."""


@dataclass(frozen=True)
class BrowseRequest:
    """What the command was given.

    Attributes:
        runs: one or two; each a run or a file of detections.
        store: of the runs.
        targets: ground truth of files of detections.
        out: file of the page; None: `browse-NAME.html` in the working directory.
        image_folder: of the image files; None: that of the data set.
        data: root of the data cards; None: C2D_DATA, else ./data.
        images: largest number of images; None: as many as fit.
        max_mib: largest size of the page in MiB.
        side: largest side of a picture in px.
        min_score: detections below it are left out, 0-1.
        iou: of a correct localisation, 0-1.
        teacher: `own`, or a classifier run; None: no verdicts of a teacher.
        device: of torch, for the teacher.
    """

    runs: tuple[str, ...]
    store: Path
    targets: Path | None = None
    out: Path | None = None
    image_folder: Path | None = None
    data: Path | None = None
    images: int | None = None
    max_mib: float = MIB
    side: int = SIDE_PX
    min_score: float = MIN_SCORE
    iou: float = 0.5
    teacher: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class WrittenPage:
    """The page that was written.

    Attributes:
        path: its file.
        bytes: its size.
        shown: images on it.
        total: images of the ground truth.
        without_picture: images on it that have no picture.
        scores: threshold of each run, the best F1, 0-1.
    """

    path: Path
    bytes: int
    shown: int
    total: int
    without_picture: int
    scores: tuple[float, ...]


def write_browse_page(request: BrowseRequest, print_line: Callable[[str], None]) -> WrittenPage:
    """Write the page. Run folders never change.

    Args:
        request: what it shows.
        print_line: gets lines about steps that take long, and warnings.

    Raises:
        InputError: the request cannot be fulfilled; nothing was written.
    """
    check_request(request)
    source = read_source(request.runs, request.targets, request.store, request.image_folder)
    out = _out(request, source)
    for one in source.sets:
        if form := box_form_warning(one.data):
            print_line(f"warning: {one.name}: {form}")
    sets = [judge_set(one, request.iou, request.min_score) for one in source.sets]
    rows = ImageRows(sets, request.min_score)
    chosen = _choose(request, source, rows, error_order(sets))
    teacher = _teacher(request, source, rows, [image for image, _, _ in chosen], print_line)
    facts = _facts(request, source, rows, [image for image, _, _ in chosen], teacher)
    images = [page_image(source, rows, image, picture, boxes, teacher) for image, picture, boxes in chosen]
    page = render_page(facts, images, [picture.jpeg for _, picture, _ in chosen])
    atomic_write_text(out, page)
    without = sum(not picture.jpeg for _, picture, _ in chosen)
    size = len(page.encode())
    return WrittenPage(out, size, len(chosen), len(source.images), without, tuple(one.score for one in sets))


def check_request(request: BrowseRequest) -> None:
    """Check the numbers of a request.

    Raises:
        InputError: one is out of its range, or options do not go together.
    """
    for name, value, low, high in (
        ("--max-mib", request.max_mib, 0.2, 500.0),
        ("--side", request.side, 64, 4096),
        ("--min-score", request.min_score, 0.0, 1.0),
        ("--iou", request.iou, 0.15, 0.99),
        ("--images", 1 if request.images is None else request.images, 1, math.inf),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} {value:g}: give a number from {low:g} to {high:g}")
    if request.image_folder is not None and not request.image_folder.is_dir():
        raise InputError(f"--image-folder {request.image_folder} is no folder; give the folder of the image files")


def _out(request: BrowseRequest, source: BrowseSource) -> Path:
    """The file of the page: an .html file outside of all run folders."""
    out = request.out or Path(_name_of_page(source))
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give the file of the page, e.g. {out}/errors.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out} is no page; give a path that ends with .html")
    run = next((RunFolder(folder) for folder in out.resolve().parents if RunFolder(folder).spec.exists()), None)
    if run is not None:
        raise InputError(f"--out {out} lies in the run folder {run.id}, which never changes; give another")
    return out


def _name_of_page(source: BrowseSource) -> str:
    names = "-vs-".join(Path(one.name).name for one in source.sets)
    plain = "".join(char if char.isalnum() or char in "-_." else "_" for char in names)
    return f"browse-{plain.encode()[:MOST_NAME_BYTES].decode(errors='ignore')}.html"


Chosen = tuple[int, Thumbnail, list[Any]]
"""Place of an image, its picture, and its boxes: objects, then the detections of each run."""


def _choose(request: BrowseRequest, source: BrowseSource, rows: ImageRows, order: Array) -> list[Chosen]:
    """Images by falling error, with their pictures and boxes, until the page is full."""
    empty = render_page(_facts(request, source, rows, [], None), [], [])
    left = request.max_mib * 2**20 - len(empty.encode()) - ROOM_BYTES
    chosen: list[Chosen] = []
    wanted = order[: request.images] if request.images else order
    for image, picture in zip(wanted.tolist(), _pictures(request, source, wanted.tolist()), strict=True):
        objects = rows.object_rows(image)
        boxes = [objects, *(rows.detection_rows(image, which) for which in range(len(rows.sets)))]
        named = len(json_text(source.images[image].name)) + 120
        judged = sum(map(len, boxes)) * TEACHER_BYTES if request.teacher else 0
        left -= len(picture.jpeg) + len(json_text(boxes)) + named + judged
        if left < 0 and not chosen:
            raise InputError(
                f"one image makes a page of {request.max_mib - left / 2**20:.1f} MiB, --max-mib is "
                f"{request.max_mib:g}; give a larger --max-mib or a smaller --side"
            )
        if left < 0:
            break
        chosen.append((image, picture, boxes))
    return chosen


def _facts(
    request: BrowseRequest,
    source: BrowseSource,
    rows: ImageRows,
    images: Sequence[int],
    teacher: TeacherVerdicts | None,
) -> dict[str, Any]:
    """What the page says about itself; see `page_facts`."""
    by_number = request.images is not None and len(images) == request.images
    return {
        **page_facts(source, rows, images, teacher),
        "minScore": request.min_score,
        "iou": request.iou,
        "limited": "images" if by_number else "size",
    }


def _pictures(request: BrowseRequest, source: BrowseSource, images: Sequence[int]) -> Iterator[Thumbnail]:
    """Thumbnails in order, made in threads and only a few ahead: most images of a large set do not fit."""

    def make(image: int) -> Thumbnail:
        return make_thumbnail(source.folder, source.images[image], request.side)

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(images), AHEAD):
            yield from pool.map(make, images[start : start + AHEAD])


def _teacher(
    request: BrowseRequest,
    source: BrowseSource,
    rows: ImageRows,
    images: Sequence[int],
    print_line: Callable[[str], None],
) -> TeacherVerdicts | None:
    if request.teacher is None:
        return None
    # The teacher of the second run: the first one usually is the baseline.
    run = next((one.run for one in reversed(source.sets) if one.run is not None), None)
    if run is None:
        raise InputError("--teacher reads the images as a run does; give a run, or leave it out")
    boxes = []
    for image in images:
        given = [rows.truth.gt_box[rows.objects(image)].tolist()]
        for which, one in enumerate(rows.sets):
            given.append(one.detections.data.dt_box[rows.detections(image, which)].tolist())
        boxes.append((rows.truth.image_ids[image], [box for part in given for box in part]))
    names = rows.truth.class_names
    return teacher_verdicts(run, request.teacher, boxes, names, request.data, request.device, print_line)
