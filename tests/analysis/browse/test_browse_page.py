"""The page of `c2d browse` as a file: which images, which boxes, what is refused, and that names stay texts."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.browse.browse_page import BrowseRequest, write_browse_page
from analysis.browse.browse_source import ImageEntry
from analysis.browse.page_html import HERE
from analysis.browse.thumbnails import make_thumbnail
from analysis.page.page_shell import page_asset
from c2d.cli.main import main
from c2d.core.errors import InputError
from tests.analysis.browse import small_set
from tests.analysis.plots.color_vision import SIGHT, lab_of
from tests.contrast import contrast

HOSTILE = "</script><img src=x onerror=alert(1)>&\u2028\u202e.png"


def block(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    return small_set.write_files(tmp_path / "set")


def request(tmp_path: Path, files: Any, *, sides: int = 2, **options: Any) -> BrowseRequest:
    targets, *detections = files
    sets = tuple(str(path) for path in detections[:sides])
    return BrowseRequest(sets, tmp_path / "no-store", targets, tmp_path / "page.html", **options)


def written(tmp_path: Path, files: Any, **options: Any) -> tuple[Any, str]:
    made = write_browse_page(request(tmp_path, files, **options), print)
    return made, made.path.read_text(encoding="utf-8")


def test_images_come_by_their_error_with_their_boxes(tmp_path, files):
    folder = small_set.write_images(tmp_path / "pictures")
    made, page = written(tmp_path, files, image_folder=folder)
    assert (made.shown, made.total, made.without_picture, made.bytes) == (4, 4, 0, len(page.encode()))
    data = block(page, "data")
    assert [run["ap"] for run in data["runs"]] == pytest.approx([1.0, (1 + 0) / 2])  # B finds all a and no b
    # The best F1: A has 4 correct and no error from 0.61 to 0.7, B 2 correct and no error from 0.51 to 0.55.
    assert [run["score"] for run in data["runs"]] == [0.61, 0.51]
    assert [run["f1"] for run in data["runs"]] == [1.0, round(2 * 2 / (2 + 4), 4)]
    # At 0.51 B has lost object 2 of image 1 and object 4 of image 3; equal errors keep the order of the file.
    assert [image["name"] for image in data["images"]] == ["one.png", "three.png", "two.png", "four.png"]
    one = data["images"][0]
    assert one["objects"] == [[10, 10, 40, 40, 0, 1, 0], [60, 10, 40, 40, 1, 1, 0]]
    kinds = data["kinds"]
    assert [(row[5], kinds[row[6]], row[7], row[8]) for row in one["detections"][0]] == [
        (9000, "correct", 0, 1000), (8000, "correct", 1, 1000), (6000, "Loc", 0, 333),
    ]  # fmt: skip
    assert [(row[5], kinds[row[6]], row[7]) for row in one["detections"][1]] == [(6000, "correct", 0), (5000, "Cls", 1)]
    assert [(row[5], kinds[row[6]]) for row in data["images"][2]["detections"][0]] == [
        (8000, "correct"),
        (5500, "ignored"),
    ]
    assert data["images"][1]["detections"] == [[[100, 60, 20, 20, 1, 7000, kinds.index("correct"), 0, 1000, 0]], []]


def test_a_picture_has_pixels_and_nothing_else_of_its_file(tmp_path, files):
    folder = small_set.write_images(tmp_path / "pictures")
    _, page = written(tmp_path, files, image_folder=folder, side=64)
    content = base64.b64decode(block(page, "pictures")[0])
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.size, dict(picture.getexif())) == ("JPEG", (64, 53), {})
    assert b"secret" not in content
    assert picture.getpixel((30, 30)) == pytest.approx((0, 90, 200), abs=3)


def test_without_pictures_the_boxes_are_there_and_the_reason(tmp_path, files):
    folder = small_set.write_images(tmp_path / "pictures")
    (folder / "one.png").unlink()
    (folder / "two.png").write_bytes(b"no image")
    made, page = written(tmp_path, files, image_folder=folder)
    notes = {image["name"]: image.get("note") for image in block(page, "data")["images"]}
    assert made.without_picture == 2
    assert notes["one.png"] == "its file is missing"
    assert notes["two.png"] == "its file cannot be read (UnreadableImage)"
    assert notes["three.png"] is None
    _, page = written(tmp_path, files)
    image = block(page, "data")["images"][0]
    assert (image["note"], image["w"], image["h"]) == ("the folder of the images is not known", 120, 100)


@pytest.mark.parametrize("name", ["../outside.png", "/etc/outside.png", "a/../../outside.png", ""])
def test_no_file_outside_the_folder_comes_onto_a_page(tmp_path, name):
    small_set.write_images(tmp_path, ["outside.png"])
    small_set.write_images(tmp_path / "pictures")
    files = small_set.write_files(tmp_path / "set", names=[name, "two.png", "three.png", "four.png"])
    _, page = written(tmp_path, files, image_folder=tmp_path / "pictures")
    image = next(image for image in block(page, "data")["images"] if image["id"] == 1)
    assert image["note"] == "its name is no name of a file in the folder of the images"


def test_colours_of_verdicts_stay_apart_for_every_eye():
    """CIE Lab; 10 is seen side by side. The words on the labels are dark: WCAG AA."""
    css = page_asset("browse.css", HERE)
    colours = dict(re.findall(r"--k-(\w+): (#[0-9a-f]{6});", css))
    verdicts = [colours[kind] for kind in ("correct", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "found")]
    assert len(set(verdicts)) == 8
    for matrix in SIGHT.values():
        lab = lab_of(verdicts, matrix)
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 20
    assert all(contrast("#111111", colour) >= 4.5 for colour in verdicts)


def test_the_page_keeps_its_size(tmp_path, files):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in small_set.NAMES:
        Image.effect_noise((432, 360), 90).convert("RGB").save(folder / name)
    made, page = written(tmp_path, files, image_folder=folder, max_mib=0.3)
    assert made.shown == 1
    assert made.bytes <= 0.3 * 2**20
    assert "1 of 4 images, those with the largest errors; <code>--max-mib</code> for more" in page
    made, page = written(tmp_path, files, image_folder=folder, images=2)
    assert made.shown == 2
    assert "<code>--images</code> for more" in page


def test_names_are_texts_and_the_page_runs_only_its_own_scripts(tmp_path):
    names = [HOSTILE, "two.png", "three.png", "four.png"]
    files = small_set.write_files(tmp_path / "set", classes=[HOSTILE, "\udcff b"], names=names)
    _, page = written(tmp_path, files)
    assert page.count("<img") == 0
    assert "alert(1)>" not in page
    data = block(page, "data")
    assert data["classes"][0].startswith("</script><img src=x onerror=alert(1)>&")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    bodies = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
    assert len(bodies) == 8
    assert all(f"&#39;sha256-{one}&#39;" in policy[1] for one in hashes)
    assert "default-src &#39;none&#39;" in policy[1]
    assert re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", re.sub(r"http://www\.w3\.org/2000/svg", "", page)) == []


def test_runs_are_found_with_their_pictures_and_stay_as_they_are(tmp_path, monkeypatch, capsys):
    store, data = tmp_path / "runs", small_set.write_card(tmp_path / "data")
    for run, detections in (("net-baseline-0123456789ab-s0", small_set.A), ("net-kd-0123456789ab-s0", small_set.B)):
        small_set.write_run(store, run, detections)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("C2D_DATA", "")
    with pytest.raises(SystemExit, match="0"):
        main(["browse", "net-baseline", "net-kd", "--runs", str(store), "--data", str(data)])
    said = capsys.readouterr().out
    name = "browse-net-baseline-0123456789ab-s0-vs-net-kd-0123456789ab-s0.html"
    assert re.fullmatch(rf"{name}: all 4 images, 0\.\d MiB\n", said)
    page = (tmp_path / name).read_text(encoding="utf-8")
    assert all(block(page, "pictures"))
    assert [run["name"] for run in block(page, "data")["runs"]] == [
        "net-baseline-0123456789ab-s0",
        "net-kd-0123456789ab-s0",
    ]
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_no_file_but_a_page_is_replaced(tmp_path, files, monkeypatch):
    """Neither the inputs, nor a file in a run folder: also where the page goes into the working directory."""
    run = small_set.write_run(tmp_path / "runs", "net-a-0123456789ab-s0", small_set.A)
    other = small_set.write_run(tmp_path / "more-runs", "net-b-0123456789ab-s0", small_set.B)
    for out in (files[0], files[1], tmp_path / "page"):
        with pytest.raises(InputError, match=r"is no page; give a path that ends with \.html"):
            write_browse_page(replace(request(tmp_path, files), out=out), print)
    for out in (run / "sub" / "page.html", other / "page.html"):
        with pytest.raises(InputError, match="lies in the run folder net-"):
            write_browse_page(replace(request(tmp_path, files), out=out), print)
    monkeypatch.chdir(run)
    with pytest.raises(InputError, match=r"browse-net-a-0123456789ab-s0\.html lies in the run folder"):
        write_browse_page(BrowseRequest((str(run),), tmp_path / "runs"), print)
    monkeypatch.chdir(tmp_path)
    long = tmp_path / f"{chr(0x4E00) * 80}.json"
    long.write_bytes(files[1].read_bytes())
    made = write_browse_page(replace(request(tmp_path, files), runs=(str(long), str(files[2])), out=None), print)
    assert made.path.name == f"browse-{chr(0x4E00) * 53}.html"


def test_an_image_file_of_another_size_is_in_the_frame_of_its_boxes(tmp_path):
    Image.new("RGB", (101, 50)).save(tmp_path / "copy.png")
    twice = make_thumbnail(tmp_path, ImageEntry("copy.png", 202, 100), 640)
    assert (twice.width, twice.height, bool(twice.jpeg)) == (202, 100, True)
    unstated = make_thumbnail(tmp_path, ImageEntry("copy.png", None, None), 640)
    assert (unstated.width, unstated.height) == (101, 50)
    turned = make_thumbnail(tmp_path, ImageEntry("copy.png", 50, 101), 640)
    assert (turned.jpeg, turned.reason) == ("", "its file has 101 x 50 px, the annotation file says 50 x 101")


@pytest.mark.parametrize("score", [-0.5, 98.0])
def test_scores_that_are_no_probabilities_are_refused(tmp_path, files, score):
    rows = json.loads(files[1].read_text())
    rows[0]["score"] = score
    files[1].write_text(json.dumps(rows))
    with pytest.raises(InputError, match=rf"1 of {len(rows)} scores are outside 0-1, e\.g\. {score:g}"):
        written(tmp_path, files)


def test_boxes_that_seem_to_be_corners_are_named(tmp_path):
    places = [(x, y, 30, 20) for x in (100, 200, 300) for y in (100, 200, 300, 400)]
    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 500, "height": 500}],
             "categories": [{"id": 1, "name": "a"}],
             "annotations": [{"id": k, "image_id": 1, "category_id": 1, "bbox": [x, y, w, h], "area": w * h}
                             for k, (x, y, w, h) in enumerate(places, start=1)]}  # fmt: skip
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [x, y, x + w, y + h], "score": 0.9} for x, y, w, h in places]
    small_set.write_json(tmp_path / "truth.json", truth)
    small_set.write_json(tmp_path / "corners.json", boxes)
    lines: list[str] = []
    paths = (tmp_path / "truth.json", tmp_path / "corners.json")
    write_browse_page(request(tmp_path, paths, sides=1), lines.append)
    [line] = lines
    assert line.startswith("warning: corners.json: ")
    assert "[x1, y1, x2, y2]" in line


def test_what_cannot_be_shown_is_refused(tmp_path, files):
    store = tmp_path / "runs"
    one = small_set.write_run(store, "net-a-0123456789ab-s0", small_set.A)
    small_set.write_run(store, "net-b-0123456789ab-s0", small_set.B, split="test")
    small_set.write_run(store, "net-c-0123456789ab-s0", small_set.B, digest="e" * 64)
    small_set.write_json(store / "net-d-0123456789ab-s0" / "spec.json", {"format": 1, "kind": "classifier"})

    def refused(*runs: str, match: str, **options: Any) -> None:
        with pytest.raises(InputError, match=match):
            write_browse_page(BrowseRequest(runs, store, **options), print)

    refused("net-a", "net-b", match="not the same images")
    refused("net-a", "net-c", match="not the same images")
    refused("net-a", "net-b", "net-c", match="3 runs given; a page shows one run, or two")
    refused("net-d", match="is a classifier; only detectors have detections")
    refused("net-a", out=one / "page.html", match="lies in the run folder")
    refused("net-a", out=tmp_path, match="is a folder; give the file of the page")
    refused("net-a", max_mib=0.0, match="--max-mib 0: give a number from 0.2 to 500")
    refused("net-a", images=0, match="--images 0: give a number from 1 to inf")
    refused("net-a", teacher="own", match="has no classifier teacher; give a classifier run")
    refused(str(files[1]), targets=files[0], teacher="own", match="give a run, or leave it out")
    assert not list(tmp_path.glob("browse-*.html"))
