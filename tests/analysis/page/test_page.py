"""The page as text: one file, nothing from outside, everything escaped, well-formed, small enough."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from analysis.formats import text
from analysis.page import HERE, page_budget, render
from analysis.page.page_model import PageContent
from tests.analysis.page import examples
from tests.contrast import contrast

VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])
SECTIONS = ("tables", "figures", "failures", "runs", "problems", "provenance")
MAKERS = {"empty": examples.empty, "full": examples.full, "hostile": examples.hostile}


class Outline(HTMLParser):
    """Balanced tags, ids, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def _note(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]


@pytest.fixture(scope="module", params=list(MAKERS))
def report(request) -> PageContent:
    return MAKERS[request.param]()


@pytest.fixture(scope="module")
def page(report) -> str:
    return render(report)


@pytest.fixture(scope="module")
def outline(page) -> Outline:
    return Outline(page)


def test_is_well_formed(outline):
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert not [one for one in outline.ids if re.search(r"\s", one) or not one]


def test_has_every_section_and_links_only_into_itself(outline):
    assert set(SECTIONS) <= set(outline.ids)
    links = [value for _, name, value in outline.attributes if name == "href" and value != "data:,"]
    assert links
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(outline.ids)


def test_asks_nobody(page, outline):
    """No attribute that loads something, no address in a style sheet, and a policy that would forbid it."""
    for _tag, name, value in outline.attributes:
        assert name not in ("src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href")
        assert not name.startswith("on")
        if name == "style":
            assert "url(" not in value.replace("url(#", "")
    assert outline.tags.count("link") == 1  # the icon, which is empty
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL))
    assert "url(http" not in styles
    assert "@import" not in styles
    assert "default-src &#39;none&#39;" in page


@pytest.mark.parametrize("maker", [examples.empty, examples.full])
def test_names_no_address_at_all(maker):
    assert re.findall(r"(?:https?:)?//[a-z][\w.]*\.[a-z]{2,}", render(maker())) == []


def test_runs_only_its_own_scripts():
    page = render(examples.hostile())
    outline = Outline(page)
    assert outline.tags.count("script") == 4
    assert "alert" not in "".join(re.findall(r"<script>(.*?)</script>", page, re.DOTALL))
    assert not {"iframe", "object", "embed", "foreignobject", "form", "base"} & set(outline.tags)
    assert [name for tag, name, value in outline.attributes if "javascript:" in value.lower()] == []


def test_escapes_every_text():
    """The words arrive as they were given, as text and not as tags; braces are not evaluated."""
    outline = Outline(render(examples.hostile()))
    said = "".join(outline.text)
    assert said.count(examples.HOSTILE) > 40
    assert "img" not in outline.tags
    assert "49" not in re.sub(r"\d{3,}", "", said)


def test_can_be_written_as_utf8():
    page = render(examples.hostile())
    page.encode("utf-8")
    assert "\a" not in page
    assert "\x1b" not in page


def test_says_numbers_as_every_format_does():
    report = examples.full()
    said = " ".join("".join(Outline(render(report)).text).split())
    for row, column in [(0, "AP"), (5, "delta.AP"), (9, "AP"), (17, "train_hours")]:
        assert text.table_text(report.tables[0]).cells[row, column].plain in said


def test_tells_everything_without_the_script():
    report = examples.full()
    said = " ".join("".join(Outline(render(report)).text).split())
    cell = report.tables[0].rows[3].cells["delta.AP"]
    for value in (cell.value, cell.sd, cell.p, cell.p_adjusted, cell.low, *cell.runs):
        assert str(value) in said
    assert "loss_cls is nan at iteration 7" in said
    assert "no run has detections" in said
    assert "48 of 54 runs done" in said


def test_rows_have_their_names_and_commands_their_keys():
    page = render(examples.full())
    assert '<th scope="row">ssd300-vgg16 / fgfi</th>' in page
    assert '<th scope="row">student=' not in page
    assert "student=ssd300-vgg16, method=fgfi" in page


def test_published_numbers_are_marked():
    page = render(examples.full())
    assert page.count('<span class="tag">publ.</span>') == 2 * 2
    cells = re.findall(r'<td class="num[^"]*published"[^>]*>.*?</td>', page)
    assert len(cells) == 2 * 2 * 18
    assert all("published </span>" in cell for cell in cells)


def test_is_small_for_a_large_study():
    report = examples.full(tables=10, figures=15, count=200)
    assert 60_000 < len(report.figures[0].svg) < 200_000
    page = render(report)
    assert len(page.encode()) < 5_000_000
    assert page.count("<svg") == 15


def test_long_data_are_cut_and_their_file_is_named():
    large = examples.PageFigure("sheet", "Sheet", "", "a\n" * 40_000, files=("figures/sheet.csv",))
    page = render(examples.PageContent("T", "now", figures=[large]))
    assert "The first 10000 of 40000 lines; see figures/sheet.csv." in page


def at_most(monkeypatch, limit: int, **made) -> tuple[str, Outline]:
    monkeypatch.setattr(page_budget, "PAGE_BYTES", limit)
    report = examples.full(**made)
    data = "x,y\n" + "1.5,2.25\n" * 1500
    page = render(dataclasses.replace(report, figures=[dataclasses.replace(one, csv=data) for one in report.figures]))
    outline = Outline(page)
    assert outline.open == []
    assert {link[1:] for _, name, link in outline.attributes if name == "href" and link != "data:,"} <= set(outline.ids)
    return page, outline


def test_parts_are_left_out_by_a_stated_order_until_the_page_fits(monkeypatch):
    """First the data of figures, then drawings, full numbers, tables, the list of runs; the largest first."""
    made = {"tables": 2, "figures": 2, "count": 54}
    whole, _ = at_most(monkeypatch, 10**9, **made)
    assert "left-out" not in whole
    size, orders = len(whole.encode()), []
    for share in (0.999, 0.8, 0.45, 0.3, 0.2):
        page, _ = at_most(monkeypatch, int(size * share), **made)
        assert len(page.encode()) <= size * share
        listed = page[page.index('id="left-out"') : page.index("</details>", page.index('id="left-out"'))]
        parts = re.findall(r"<li>([^:]+): (\w+) in <code>([^<]+)</code></li>", listed)
        orders.append([part for _, part, _ in parts])
        whole_tables = {name for name, part, _ in parts if part == "table"}
        for name, part, file in parts:
            assert f"see {file}." in page or (part == "numbers" and name in whole_tables)
    assert orders[0] == ["data"]
    order = ["data", "drawing", "numbers", "table", "runs"]
    assert all(found == sorted(found, key=order.index) for found in orders)
    assert [len(one) for one in orders] == sorted(len(one) for one in orders)
    assert orders[-1][:4] == ["data", "data", "drawing", "drawing"]


def test_what_is_left_out_names_its_file(monkeypatch):
    page, outline = at_most(monkeypatch, 60_000, tables=2, figures=2, count=54)
    said = " ".join("".join(outline.text).split())
    assert (
        "Left out, because a page has 0.06 MB at most: data of 2 figures, 2 drawings, full numbers of 2 tables" in said
    )
    assert re.search(
        r"The drawing is not on this page \(0\.\d\d MB\), which has 0\.06 MB at most; see figures/curve-0\.svg\.", said
    )
    assert "see figures/curve-1.csv." in said
    assert "see tables/main.html." in said
    assert page.count("<svg") == 0
    assert '<a class="cell"' not in page  # no link without its line


def test_of_two_drawings_the_larger_goes_first(monkeypatch):
    small, large = examples.drawing(0, 100), examples.drawing(1, 4000)
    figures = [examples.PageFigure("small", "S", small), examples.PageFigure("large", "L", large)]
    monkeypatch.setattr(page_budget, "PAGE_BYTES", 200_000)
    page = render(examples.PageContent("T", "now", figures=figures))
    assert page.count("<svg") == 1
    assert "see figures/large.svg." in page


def test_four_hundred_figures_and_long_tables_have_five_megabytes():
    one = examples.full(tables=12, figures=1, count=2000)
    many = dataclasses.replace(one, figures=[dataclasses.replace(one.figures[0], name=f"f{k}") for k in range(400)])
    page = render(many)
    assert len(page.encode()) <= 5_000_000
    assert page.count("<svg") > 10
    assert page.count("The drawing is not on this page") > 300


def test_commits_are_short():
    page = render(examples.PageContent("T", "now", commits={"a" * 40 + "+": 3}, runs=[{"run": "r", "code": "b" * 40}]))
    assert "<code>aaaaaaaaaaaa+</code> (3 runs)" in page
    assert "<code>bbbbbbbbbbbb</code>" in page


def test_light_and_dark_are_readable():
    """WCAG AA for every pair of text and ground that the style sheet uses, in both looks."""
    css = "".join((HERE / name).read_text(encoding="utf-8") for name in ("base.css", "page.css"))
    blocks = re.findall(r"\{([^{}]*--ground: [^{}]*)\}", css)
    looks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)) for block in blocks]
    light, by_system, by_hand, paper = looks
    assert by_system == by_hand
    for look in (light, by_hand, light | paper):
        for ground in ("ground", "surface", "raised", "wash"):
            for ink in ("ink", "muted", "accent"):
                assert contrast(look[ink], look[ground]) >= 4.5, (ink, ground)
        assert contrast(look["warn"], look["ground"]) >= 4.5
        assert contrast(look["warn"], look["wash"]) >= 4.5
        assert contrast(look["warn"], look["raised"]) >= 4.5
        assert contrast(look["warn"], look["warn-wash"]) >= 4.5
        assert contrast(look["bad"], look["ground"]) >= 4.5


def test_import_is_light():
    code = (
        "import sys, analysis.page; print([m for m in ('jinja2', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
