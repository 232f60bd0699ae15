"""The page of `c2d sweep watch` in a real browser: it reloads itself, keeps what was chosen, and shows its age."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from sweeps.watch.watch_page import watch_page
from sweeps.watch.watch_view import WatchView
from tests.sweeps.watch.watch_examples import DONE, HOSTILE, RUNNING, STALE, many, sweep, view
from tests.web import browser as browsers

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing() or "all is there"),
]
HOSTILE_ROW = replace(RUNNING, labels=(HOSTILE, HOSTILE), place=HOSTILE)
HOSTILE_SWEEP = sweep(name=HOSTILE, axes=(HOSTILE, "b"), running=(HOSTILE_ROW,), warnings=(HOSTILE,))
PAGES = {
    "usual": view(),
    "large": view(many(600)),
    "two": view(sweep(), sweep(name="other", running=(STALE,))),
    "hostile": view(HOSTILE_SWEEP),
    "long": view(sweep(running=(replace(RUNNING, labels=("a-long-label-without-blanks-" * 6, "x")),))),
    "empty": view(sweep(counts={}, running=(), failed=(), done=(), waiting=())),
}


def now(shown: WatchView, **facts) -> str:
    return watch_page(replace(shown, made=time.time(), **facts))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1440, False)])
def test_fits_a_phone_and_a_desk(browser, tmp_path, name, width, dark):
    from PIL import Image

    file = tmp_path / "page.html"
    file.write_text(now(PAGES[name], every_s=600.0), encoding="utf-8")
    browser.show(file, width, 800, dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("$$('img, iframe').length") == 0
    assert browser.ask("$('#stale').hidden")
    with Image.open(browser.picture(tmp_path / "page.png", whole=False)) as picture:
        assert (sum(picture.convert("L").crop((0, 0, 4, 4)).tobytes()) < 128 * 16) == dark
    assert browser.requests() == []
    assert browser.complaints() == []


def test_it_reloads_and_keeps_place_order_filter_and_focus(browser, tmp_path):
    file = tmp_path / "page.html"
    rows = tuple(replace(RUNNING, run=f"r{k}", labels=("c2d", f"{k}"), loss=float(k % 7)) for k in range(100))
    first = view(sweep(running=rows, failed=(), done=()))
    file.write_text(now(first, every_s=4.0), encoding="utf-8")  # time to choose before the first reload
    browser.show(file)
    browser.click("th:nth-child(7) button")
    browser.click("th:nth-child(7) button")
    assert browser.ask("$('th:nth-child(7)').getAttribute('aria-sort')") == "descending"
    browser.type("#filter", "c2d running")
    browser.driver.execute_script("scrollTo(0, 700); window.mark = 1")
    changed = sweep(running=tuple(replace(row, loss=(row.loss or 0) + 1) for row in rows), failed=(), done=(DONE,))
    file.write_text(now(view(changed), every_s=1.0), encoding="utf-8")
    assert browser.wait("window.mark === undefined && $$('tbody tr').length === 101")
    assert abs(browser.ask("scrollY") - 700) < 3
    assert browser.ask("$('th:nth-child(7)').getAttribute('aria-sort')") == "descending"
    assert browser.ask("Number($('tbody tr td:nth-child(7)').dataset.value)") == 7
    assert browser.ask("$('#filter').value") == "c2d running"
    assert browser.ask("document.activeElement.id") == "filter"
    assert browser.ask("$$('tbody tr').filter(row => row.hidden).length") == 1
    assert browser.complaints() == []


def test_pause_stops_it_and_a_page_that_is_not_written_any_more_has_its_age(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(now(view(), every_s=1.0), encoding="utf-8")
    browser.show(file)
    browser.click("#pause")
    browser.driver.execute_script("window.mark = 1")
    time.sleep(2.5)
    assert browser.ask("window.mark") == 1
    assert browser.ask("$('#pause').getAttribute('aria-pressed')") == "true"
    browser.click("#pause")
    assert browser.wait("window.mark === undefined")
    file.write_text(watch_page(replace(view(), made=time.time() - 3600, every_s=5.0)), encoding="utf-8")
    browser.driver.execute_script("sessionStorage.clear()")
    browser.show(file)
    assert browser.wait("!$('#stale').hidden")
    assert browser.ask("$('#stale').textContent").startswith("This page is 1 h 0 min old: the watch has ended")
    assert browser.ask("$('#age').textContent") == ", 1 h 0 min ago"


def test_a_clock_that_is_ahead_is_no_age_once_new_pages_come(browser, tmp_path):
    """The machine that writes is an hour behind that of the reader."""
    file = tmp_path / "page.html"
    for ago in (3600, 3590):
        file.write_text(watch_page(replace(view(), made=time.time() - ago, every_s=2.0)), encoding="utf-8")
        if ago == 3600:
            browser.show(file)
            assert browser.wait("!$('#stale').hidden")
    assert browser.wait("$('#stale').hidden")
    assert browser.ask("$('#age').textContent") in (", 0 s ago", ", 1 s ago", ", 2 s ago")


def test_without_scripts_it_reloads_too(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(now(view(), every_s=1.0), encoding="utf-8")
    browser.show(file, script=False)
    file.write_text(now(view(sweep(name="later")), every_s=1.0), encoding="utf-8")
    end = time.monotonic() + 10
    while "later" not in browser.driver.title and time.monotonic() < end:
        time.sleep(0.1)
    assert browser.driver.title == "2/216 later"
