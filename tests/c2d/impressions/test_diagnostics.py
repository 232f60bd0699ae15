"""Sheet and page of diagnostics: numbers, curves, and texts that stay texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c2d.core.errors import RunError
from c2d.impressions.images.png_file import write_png
from c2d.impressions.page import diagnostics, sheet
from c2d.impressions.page.diagnostics import percent
from c2d.impressions.page.svg_charts import SERIES, Bar, Line, horizontal_bars, line_chart, vertical_bars
from c2d.impressions.page.term_curves import loss_curves, mean_curve, target_curve
from tests.c2d.impressions.diagnostics_examples import HOSTILE, events, page
from tests.contrast import contrast


class Tags(HTMLParser):
    """Counts tags, and checks that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[Any]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text.split("</head>")[1]).split())


def test_the_page_says_what_is_found():
    said = words(page())
    assert (
        "The teacher finds 89.9 % of the 3 targets (IoU 0.5, right class, score 0.3 or more); wanted: at least 90.0 %"
        in said
    )
    assert "batch_norm no layer of bee" in said
    assert "the line is at 1.5, as if all classes were equally frequent" in said
    assert "targets.objects [1, 5]" in said
    assert "other detections 1,234 of the teacher" in said
    assert "final.size null" in said
    assert 'class="verdict bad"' in page()
    assert 'class="verdict">' in page("noise")
    assert "wanted" not in words(page("noise"))


def test_the_page_of_a_synthesis_without_targets():
    said = words(page(boxes=0, lines=[]))
    assert "There are no targets." in said
    assert "ant ant none bee bee none" in said  # the name, its tooltip, the share
    assert "No pixel was optimised." in said


@pytest.mark.parametrize("kind", ["optimised", "noise", "procedural", "real"])
def test_the_page_is_closed_and_loads_nothing(kind):
    text = page(kind, HOSTILE)
    tags = Tags(text)
    assert tags.open == []
    assert not {"script", "iframe", "object"} & set(tags.seen)
    assert tags.seen.count("img") == 1
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "default-src &#x27;none&#x27;" in text
    assert "\0" not in text


def test_shares_are_never_rounded_up():
    assert [percent(v) for v in (0.9, 0.89999, 1.0, 0.9999, 0.0, None, 0.57)] == [
        "90.0 %", "89.9 %", "100.0 %", "99.9 %", "0.0 %", "none", "57.0 %",
    ]  # fmt: skip


def test_curves_are_means_over_the_batches():
    found = loss_curves(events())
    assert list(found) == ["draft", "final"]
    assert [line.name for line in found["final"]] == ["sum", "detection", "tv_l1"]
    assert found["final"][1].points[0] == (0, pytest.approx(4.5))
    assert [x for x, _ in found["final"][0].points] == list(range(0, 50, 5))
    assert target_curve(events(), "draft")[-1] == (25, pytest.approx(3.5))
    assert loss_curves([]) == {}
    assert loss_curves([{"stage": "final"}, {"iteration": 0, "stage": "final", "loss": None}]) == {}


def test_long_curves_keep_their_last_point():
    points = mean_curve([{"step": step, "loss": 1.0} for step in range(1001)], "loss")
    assert len(points) <= 200
    assert points[-1][0] == 1000


def test_charts_by_hand():
    bars = horizontal_bars([Bar("a", 0.5, "50 %", "bad"), Bar("b" * 30, None, "none")], 1.0, 0.9, "label")
    assert 'width="98.00"' in bars  # half of 360 - 112 - 52
    assert 'x1="288.40"' in bars
    assert f"{'b' * 17}…" in bars
    chart = line_chart([Line("x", [(0, 100.0), (10, 1.0), (20, 0.0)])], "iterations", "label", True)
    assert 'points="40.0,8.0 352.0,158.0"' in chart
    assert 'points="40.0,8.0 196.0,156.5 352.0,158.0"' in line_chart(
        [Line("x", [(0, 100.0), (10, 1.0), (20, 0.0)])], "iterations", "label", False
    )
    assert "no value above 0" in line_chart([Line("x", [(0, 0.0)])], "iterations", "label", True)
    assert "<title>0: 4</title>" in vertical_bars(["0", "1"], [4, 2], "objects", "label")
    assert vertical_bars([], [], "objects", "label").startswith("<svg")


def sheet_file(folder, count: int) -> dict[str, Any]:
    for index in range(count):
        write_png(folder / f"{index}.png", np.full((50, 100, 3), 128, np.uint8))
    images = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 50} for n in range(count)]
    row = {"id": 1, "image_id": 0, "category_id": 9, "bbox": [20.0, 10.0, 40.0, 30.0], "area": 1200.0}
    names = [{"id": 9, "name": "ant\n" + "\u202e"}, {"id": 4, "name": "bee"}]
    return {"images": images, "annotations": [row] if count else [], "categories": names}


@pytest.mark.parametrize(("count", "size"), [(0, (744, 282)), (1, (744, 282)), (9, (1992, 530)), (60, (1992, 1522))])
def test_a_sheet_has_the_first_images(tmp_path, count, size):
    assert sheet.draw_sheet(sheet_file(tmp_path, count), tmp_path, None, "title \u202e").size == size


def test_found_boxes_are_solid_and_others_dashed(tmp_path):
    """The box is at (48, 24) to (144, 96) in a cell at (8, 34)."""
    coco = sheet_file(tmp_path, 1)
    colour = sheet.class_colour(0)
    edges = {}
    for name, found in {"found": {1}, "missed": set()}.items():
        pixels = np.asarray(sheet.draw_sheet(coco, tmp_path, found, "title"))
        edges[name] = (pixels[34 + 96, 8 + 48 : 8 + 144] == colour).all(axis=1).mean()
    assert edges["found"] == 1
    assert 0.4 < edges["missed"] < 0.7


def test_the_second_class_is_written_where_it_matters():
    names = ["ant", "bee"]
    assert sheet._label_text({"soft_label": [0.75, 0.25]}, 0, names) == "ant / bee 0.25"
    assert sheet._label_text({"soft_label": [0.85, 0.15]}, 0, names) == "ant"
    assert sheet._label_text({"soft_label": [0.25, 0.75]}, 0, names) == "ant / bee 0.75"
    assert sheet._label_text({}, 1, names) == "bee"
    assert sheet._label_text({"soft_label": [1.0]}, 0, names[:1]) == "ant"


def test_a_missing_image_is_named(tmp_path):
    coco = sheet_file(tmp_path, 1)
    (tmp_path / "0.png").unlink()
    with pytest.raises(RunError, match=r"0.png: .*; make the images again"):
        sheet.draw_sheet(coco, tmp_path, None, "title")


def test_a_small_copy_keeps_its_shape():
    picture = Image.new("RGB", (400, 100))
    encoded = sheet.encode_image(picture, "JPEG", 100)
    assert encoded[:2] == b"\xff\xd8"
    assert sheet.encode_image(picture, "PNG") == sheet.encode_image(picture, "PNG", 1000)


def test_light_and_dark_are_readable():
    """WCAG AA for text, and 3 for lines and bars, in both looks."""
    css = (Path(diagnostics.__file__).parent / "diagnostics.css").read_text(encoding="utf-8")
    looks = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r"\{([^{}]*--ground: [^{}]*)\}", css)
    ]
    assert len(looks) == 2
    assert set(looks[0]) == set(looks[1])
    for look in looks:
        for ground in ("ground", "surface"):
            assert min(contrast(look[ink], look[ground]) for ink in ("ink", "muted", "good", "bad")) >= 4.5
        drawn = ("accent", "good", "bad", "reference", *(f"s{k}" for k in range(SERIES)))
        assert min(contrast(look[colour], look["surface"]) for colour in drawn) >= 3
