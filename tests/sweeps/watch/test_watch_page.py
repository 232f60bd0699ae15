"""The page: the numbers of the view, its policy, hostile names, curves, contrast."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sweeps.watch import watch_page
from sweeps.watch.watch_view import WatchView
from tests.contrast import contrast
from tests.processor_cost import processor_cost
from tests.sweeps.watch.watch_examples import DONE, FAILED, HOSTILE, NOW, RUNNING, many, sweep, view


class Cells(HTMLParser):
    """Rows of all tables as texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.is_over = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.is_over = True

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and not self.is_over:
            self.rows[-1][-1] += data.strip()


def test_rows_by_hand() -> None:
    page = watch_page.watch_page(view())
    titles, *rows = Cells(page).rows
    assert titles == [
        "state", "method", "lr", "seed", "iteration", "loss curve", "loss", "AP or top-1, %", "step", "left or ended",
        "GPU hours", "where or why",
    ]  # fmt: skip
    curve = "losses from 8 to 1, lowest 1"
    running, failed, done, teacher = rows
    assert running == [
        "running", "c2d", "0.01", "0", "300/450", curve, "1.00", "~25.1", "1.20 s", "3 min", "0.10/0.15",
        "job 7_1 on n1",
    ]  # fmt: skip
    assert failed[5:7] == ["losses from 2 to 2, lowest 2, 1 not finite", "NaN"]
    assert failed[-1] == "nan: loss is nan (from loss_cls)"
    assert done[:4] == ["done", "baseline (+2)", "0.01", "1"]
    assert teacher[1:4] == ["teacher resnet18-classifier", "", ""]
    assert "212 waiting: pending (Priority); the first is expected to start at" in page
    assert "<title>2/216 lr</title>" in page


def test_it_reloads_until_the_watch_has_ended() -> None:
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in watch_page.watch_page(view())
    for facts, text in (
        ({"is_at_rest": True, "counts": {"done": 3, "failed": 1}}, "All runs have ended; the page"),
        ({"is_at_rest": True, "counts": {"new": 212, "done": 1}}, "Nothing runs or waits; the page"),
        ({"is_at_rest": False}, "It is not written any more; runs may go on"),
    ):
        page = watch_page.watch_page(view(sweep(**facts), every_s=0))
        assert "refresh" not in page
        assert text in page
    assert "store is away" in watch_page.watch_page(replace(view(), problem="store is away"))


def test_the_policy_allows_its_script_alone() -> None:
    page = watch_page.watch_page(view())
    script = page.partition("<script>")[2].partition("</script>")[0]
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])  # type: ignore[index]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|//[a-z]", page.replace("// ", ""))


def test_hostile_names_are_texts() -> None:
    row = replace(
        RUNNING, run=HOSTILE, labels=(HOSTILE, "x"), reason=HOSTILE, place=HOSTILE, stage=HOSTILE, seed=HOSTILE
    )
    hostile = sweep(
        name=HOSTILE, question=HOSTILE, axes=(HOSTILE, "b"), running=(row,), warnings=(HOSTILE,),
        failed=(replace(FAILED, reason=HOSTILE),), waiting=(replace(sweep().waiting[0], reason=HOSTILE),),
    )  # fmt: skip
    page = watch_page.watch_page(replace(view(hostile), problem=HOSTILE))
    cells = Cells(page)
    assert "img" not in cells.tags
    assert cells.tags.count("script") == 1
    assert cells.rows[1][1] == HOSTILE


@pytest.mark.parametrize(
    ("losses", "lines"),
    [
        ((), 0),
        ((math.nan,), 0),
        ((2.0,), 1),
        ((1.0, 2.0), 1),
        ((1.0, math.nan, 2.0, 3.0), 2),
        ((5.0, math.nan, 5.0), 2),
        ((5e-324, 1.7e308), 1),
        ((1.7e308, math.inf, -1.7e308), 2),
    ],
)
def test_a_gap_is_where_a_loss_was_not_finite(losses: tuple[float, ...], lines: int) -> None:
    page = watch_page.watch_page(view(sweep(running=(replace(RUNNING, losses=losses),), failed=(), done=())))
    points = re.findall(r'<polyline points="([^"]+)"', page)
    assert len(points) == lines
    numbers = [float(one) for line in points for one in re.split("[ ,]", line)]
    assert all(0 <= x <= watch_page.WIDTH for x in numbers[::2])
    assert all(0 <= y <= watch_page.HEIGHT for y in numbers[1::2])


def test_a_large_sweep_is_a_small_page() -> None:
    view_of_many = WatchView((many(900),), NOW, 5.0)
    page, cost = processor_cost(lambda: watch_page.watch_page(view_of_many))
    assert len(page) < 1_000_000
    assert cost < 1
    assert "And 400 done:" in page


def test_colours_can_be_read() -> None:
    text = (Path(watch_page.__file__).parent / "watch_page.css").read_text()
    light, dark = text.split("prefers-color-scheme: dark")
    for part in (light, dark):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part))
        for ink in ("ink", "muted", "accent", "good", "bad", "warn"):
            grounds = ("ground", "surface", *(["warn-wash"] if ink in ("ink", "warn") else []))
            assert all(contrast(colours[ink], colours[ground]) >= 4.5 for ground in grounds), ink


def test_a_finished_run_shows_no_reason() -> None:
    page = watch_page.watch_page(view(sweep(running=(), failed=(), done=(DONE,))))
    assert Cells(page).rows[1][-1] == ""
