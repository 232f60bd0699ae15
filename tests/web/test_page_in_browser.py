"""The one-page report in a real browser: sorting, filters, the panel behind a number, looks, paper, and no network."""

from __future__ import annotations

import re

import pytest

from analysis.page import render
from tests.analysis.page import examples
from tests.web import browser as browsers

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing() or "all is there"),
]
TABLE = "#table-1-data"
NUMBERS = "$$('#table-1-data tbody tr').filter(r => !r.hidden).map(r => r.cells[arguments[0]].dataset.sort)"
WORDS = "$$('#table-1-data tbody tr').filter(r => !r.hidden).map(r => r.cells[arguments[0]].textContent)"
STUDENT, METHOD, AP, DELTA, PUBLISHED = range(5)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name in ("empty", "full", "hostile"):
        (folder / f"{name}.html").write_text(render(getattr(examples, name)()), encoding="utf-8")
    return folder


@pytest.fixture
def full(browser, pages):
    """The full report, open, at desktop size; whatever a test did, nothing was asked for and nothing complained."""
    browser.show(pages / "full.html")
    yield browser
    assert browser.requests() == []
    assert browser.complaints() == []


def sort_button(column: int) -> str:
    return f"{TABLE} thead th:nth-child({column + 1}) button"


def direction(browser, column: int):
    return browser.ask(f"$('{TABLE} thead').rows[0].cells[{column}].getAttribute('aria-sort')")


def test_sorts_numbers_both_ways_and_keeps_missing_last(full):
    before = full.ask(NUMBERS, PUBLISHED)
    known = [float(value) for value in before if value]
    assert len(known) == len(before) - 1
    full.click(sort_button(PUBLISHED))
    assert direction(full, PUBLISHED) == "ascending"
    assert [float(value) for value in full.ask(NUMBERS, PUBLISHED)[:-1]] == sorted(known)
    assert full.ask(NUMBERS, PUBLISHED)[-1] == ""
    full.click(sort_button(PUBLISHED))
    assert direction(full, PUBLISHED) == "descending"
    assert [float(value) for value in full.ask(NUMBERS, PUBLISHED)[:-1]] == sorted(known, reverse=True)
    assert full.ask(NUMBERS, PUBLISHED)[-1] == ""
    full.click(sort_button(PUBLISHED))
    assert direction(full, PUBLISHED) is None
    assert full.ask(NUMBERS, PUBLISHED) == before


def test_sorts_text_by_keyboard(full):
    before = full.ask(WORDS, METHOD)
    full.ask(f"$('{sort_button(METHOD)}').focus()")
    full.press("ENTER")
    assert full.ask(WORDS, METHOD) == sorted(before)
    full.press("SPACE")
    assert full.ask(WORDS, METHOD) == sorted(before, reverse=True)
    assert full.ask("$$('#table-1-data th[aria-sort]').length") == 1
    assert full.ask("document.activeElement.textContent") == "method"


def test_every_column_has_a_sort_button(full):
    assert full.ask("$$('#table-1-data thead th').length") == 2 + 11
    assert full.ask("$$('#table-1-data thead th > button').length") == 2 + 11
    full.click(sort_button(DELTA))
    assert full.ask(NUMBERS, DELTA)[-3:] == ["", "", ""]  # three baselines


def test_filters_by_text_and_by_label(full):
    full.type('[type=search][data-filter="table-1-data"]', "icod ssd")
    assert full.ask(WORDS, METHOD) == ["icod", "icod+fgfi"]
    assert full.ask("$('[data-shown=table-1-data]').textContent") == "2 of 18 rows"
    full.type('[type=search][data-filter="table-1-data"]', "method=kd_cls")
    assert full.ask(WORDS, METHOD) == ["kd_cls"] * 3
    full.press("END", *["BACKSPACE"] * 13)
    assert len(full.ask(WORDS, METHOD)) == 18
    full.click("select[data-axis='0']")
    full.press("ARROW_DOWN", "ARROW_DOWN", "ENTER")
    assert set(full.ask(WORDS, STUDENT)) == {"retinanet-r18"}
    full.click(sort_button(AP))
    assert len(full.ask(WORDS, STUDENT)) == 6


def test_filters_runs(full):
    full.type('[data-filter="runs-table"]', "failed")
    assert full.ask("$('[data-shown=runs-table]').textContent") == "3 of 54 rows"


def test_a_click_shows_the_runs_behind_a_number(full):
    cell = examples.full().tables[0].rows[3].cells["delta.AP"]
    full.click(f"{TABLE} tbody tr:nth-child(4) td:nth-child({DELTA + 1}) a.cell")
    assert full.ask("$('#panel').open")
    said = full.ask("$('#panel').innerText")
    for value in (cell.value, cell.sd, cell.p, cell.p_adjusted, cell.interval, cell.test, "3 of 3", *cell.runs):
        assert str(value) in said
    assert "ssd300-vgg16 / fgfi: Δ AP" in said
    assert "c2d explain report/tables/main.csv 'student=ssd300-vgg16, method=fgfi' delta.AP" in said
    assert full.ask("$$('#panel tbody tr').length") == 6
    row = full.ask("[...$('#panel tbody tr').cells].map(c => c.textContent)")
    assert row[1:3] == ["0", "done"]
    assert row[4] == "1a2b3c4"
    full.click("#panel-close")
    assert not full.ask("$('#panel').open")


def test_the_panel_works_by_keyboard_alone(full):
    """Tab to the table, arrows to a number, Enter, Escape; then the focus is where it was."""
    full.ask("$$('#table-1 .tools select').at(-1).focus()")
    for _ in range(2 + 11 + 2):  # the scroll box, the sort buttons, the first number
        full.press("TAB")
        if full.ask("document.activeElement.matches('a.cell')"):
            break
    assert full.ask("document.activeElement.getAttribute('href')") == "#t0r0c0"
    full.press("ARROW_DOWN", "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_LEFT")
    assert full.ask("document.activeElement.getAttribute('href')") == "#t0r1c1"
    for key in ("ENTER", "SPACE"):
        full.press(key)
        assert full.ask("$('#panel').open")
        assert full.ask("$('#panel').contains(document.activeElement)")
        full.press("ESCAPE")
        assert not full.ask("$('#panel').open")
        assert full.ask("document.activeElement.getAttribute('href')") == "#t0r1c1"
    full.press("TAB")
    assert not full.ask("document.activeElement.matches('a.cell')")


def test_a_missing_number_says_why(full):
    column = examples.full().tables[0].columns
    place = next(k for k, one in enumerate(column) if one.key == "AP75") + 3
    full.click(f"{TABLE} tbody tr:nth-child(9) td:nth-child({place}) a.cell")
    assert "missing: failed: nan" in full.ask("$('#panel').innerText")


def test_copies_the_command(full):
    full.click(f"{TABLE} tbody tr:nth-child(1) a.cell")
    full.click("#panel .command button")
    assert full.wait("['Copied', 'Selected'].includes($('#panel .command button').textContent)")


def test_a_run_in_the_panel_leads_to_the_list(full):
    full.click(f"{TABLE} tbody tr:nth-child(1) a.cell")
    full.click("#panel tbody tr:nth-child(2) a")
    assert not full.ask("$('#panel').open")
    assert full.ask("$('tr:target').dataset.run") == examples.run_id("ssd300-vgg16", "baseline", 1)


def test_starts_with_a_skip_link_and_shows_the_focus(full):
    full.press("TAB")
    assert full.ask("document.activeElement.className") == "skip"
    assert full.ask("document.activeElement.getBoundingClientRect().top") >= 0
    full.press("ENTER")
    assert full.ask("document.activeElement.id") == "content"
    full.press("TAB")
    assert full.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("dark", [False, True])
def test_the_look_follows_the_system_until_it_is_chosen(browser, pages, dark):
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.show(pages / "full.html", dark=dark)
    browser.ask("localStorage.clear()")
    browser.show(pages / "full.html", dark=dark)
    first = browser.ask(ground)
    assert browser.ask("$('#theme').getAttribute('aria-pressed')") == str(dark).lower()
    browser.click("#theme")
    second = browser.ask(ground)
    assert {first, second} == {"rgb(251, 251, 250)", "rgb(20, 22, 26)"}
    browser.show(pages / "full.html", dark=dark)
    assert browser.ask(ground) == second  # remembered, and read before anything is painted
    browser.ask("localStorage.clear()")
    assert browser.complaints() == []


def test_works_where_there_is_no_storage(browser, pages):
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})"
    added = browser.send("Page.addScriptToEvaluateOnNewDocument", source=refuse)
    try:
        browser.show(pages / "full.html")
        browser.click("#theme")
        assert browser.ask("document.documentElement.dataset.theme") == "dark"
        browser.click(sort_button(AP))
        assert direction(browser, AP) == "ascending"
        assert browser.complaints() == []
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


@pytest.mark.parametrize("name", ["empty", "full", "hostile"])
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_fits_a_phone_and_a_desk(browser, pages, tmp_path, name, width, dark):
    """Nothing is wider than the window, and the picture is not blank."""
    from PIL import Image

    browser.show(pages / f"{name}.html", width, 800, dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    with Image.open(browser.picture(tmp_path / "page.png")) as picture:
        assert picture.width == width
        assert picture.height >= 800
        assert len(picture.convert("RGB").resize((90, 200)).getcolors(20000) or ()) > 20
    assert browser.requests() == []
    assert browser.complaints() == []


def test_the_panel_fits_a_phone(browser, pages):
    browser.show(pages / "full.html", 360, 740)
    browser.click(f"{TABLE} tbody tr:nth-child(2) a.cell")
    box = browser.ask("(({left, right, bottom}) => [left, right, bottom])($('#panel').getBoundingClientRect())")
    assert box[0] >= 0
    assert box[1] <= 360
    assert box[2] <= 740
    assert browser.ask("$('#panel').scrollWidth <= $('#panel').clientWidth")


def test_prints_everything(full):
    """Paper has the tables, what was closed on the screen, and no controls."""
    made = full.pdf()
    assert made.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", made)) >= 4
    full.send("Emulation.setEmulatedMedia", media="print")
    assert full.ask("getComputedStyle($('.tools')).display") == "none"
    assert full.ask("getComputedStyle($('nav.contents')).display") == "none"
    assert full.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    full.ask("dispatchEvent(new Event('beforeprint'))")
    assert full.ask("$$('.ledger details').every(d => d.open)")
    assert 300 < full.ask("Math.max(...$$('.scroll > table').map(t => t.getBoundingClientRect().width))") <= 945
    full.ask("dispatchEvent(new Event('afterprint'))")
    assert not full.ask("$$('.ledger details').every(d => d.open)")
    full.send("Emulation.setEmulatedMedia", media="")


def test_reads_without_scripts(browser, pages):
    browser.show(pages / "full.html", script=False)
    try:
        said = browser.ask("document.body.innerText")
        assert "24.5 ± 0.4 (2/3)" in " ".join(said.split())
        assert browser.ask("$$('button, .tools').every(e => !e.checkVisibility())")
        browser.click(f"{TABLE} tbody tr:nth-child(4) td:nth-child({DELTA + 1}) a.cell")  # a plain link
        assert browser.ask("location.hash") == "#t0r3c1"
        assert browser.ask("$('#t0r3c1').checkVisibility()")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_hostile_texts_do_nothing(browser, pages):
    browser.show(pages / "hostile.html")
    browser.click(f"{TABLE} tbody tr:nth-child(1) td a.cell")
    assert examples.HOSTILE in browser.ask("$('#panel-title').textContent")
    assert browser.ask("$$('img, iframe, foreignObject').length") == 0
    browser.press("ESCAPE")
    browser.click(sort_button(2))
    assert browser.complaints() == []
    assert browser.requests() == []


def test_row_labels_stay_in_sight(full):
    """A wide table is scrolled inside its box, under its labels."""
    where = f"$$('{TABLE} tbody tr:first-child > .pin').map(e => e.getBoundingClientRect().left)"
    before = full.ask(where)
    full.ask("$('#table-1 .scroll').scrollTo(300, 0)")
    assert full.ask("$('#table-1 .scroll').scrollLeft") > 50
    assert full.ask(where) == pytest.approx(before, abs=1.5)


def test_styles_of_a_drawing_stay_in_it(full):
    assert full.ask("getComputedStyle($('.contents a')).strokeLinejoin") == "miter"  # matplotlib sets round for "*"
    assert full.ask("getComputedStyle($('#figure-1 svg path')).strokeLinejoin") == "round"
    assert full.ask("$$('#figure-2 svg text, #figure-2 svg use').some(e => e.getBBox().width > 0)")
