"""A figure over the whole window: fingers, wheel, mouse, keys and buttons, on a phone and on a desk."""

from __future__ import annotations

import pytest

from analysis.page import render
from tests.analysis.page import examples
from tests.web import browser as browsers

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing() or "all is there"),
]
OPEN = "#figure-1 .zoom-open"
IS_OPEN = "Boolean($('#figure-1 dialog.zoom')?.open)"
SCALE = "Number($('#figure-1 .zoom-stage').dataset.scale)"
BOX = "(({left, top, width, height}) => [left, top, width, height])($('#figure-1 svg').getBoundingClientRect())"
STAGE = (
    "(({left, top, width, height}) => [left, top, width, height])($('#figure-1 .zoom-stage').getBoundingClientRect())"
)
PHONE = (390, 780)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoom") / "full.html"
    path.write_text(render(examples.full()), encoding="utf-8")
    return path


@pytest.fixture
def phone(browser, page):
    """The page on a phone with a touch screen; nothing was asked for and nothing complained."""
    browser.show(page, *PHONE)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
    yield browser
    browser.send("Emulation.setTouchEmulationEnabled", enabled=False)
    assert browser.requests() == []
    assert browser.complaints() == []


def touch(browser, kind: str, *points: tuple[float, float]) -> None:
    found = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    browser.send("Input.dispatchTouchEvent", type=kind, touchPoints=found)


def tap(browser, x: float, y: float) -> None:
    touch(browser, "touchStart", (x, y))
    touch(browser, "touchEnd")


def middle(browser) -> tuple[float, float]:
    left, top, width, height = browser.ask(STAGE)
    return left + width / 2, top + height / 2


def covered(browser) -> bool:
    """Whether the drawing is in sight: it covers the stage, or is inside it, in each direction."""
    (x, y, w, h), (left, top, width, height) = browser.ask(BOX), browser.ask(STAGE)
    return all(
        (a >= start - 1 and a + size <= start + room + 1) or (a <= start + 1 and a + size >= start + room - 1)
        for a, size, start, room in ((x, w, left, width), (y, h, top, height))
    )


def test_pinch_drag_and_double_tap_on_a_phone(phone):
    before = phone.ask(BOX)
    phone.click(OPEN)
    assert phone.ask(IS_OPEN)
    assert phone.ask("$('#figure-1 dialog.zoom').getBoundingClientRect().width") == PHONE[0]
    assert phone.ask(SCALE) == 1
    assert covered(phone)
    x, y = middle(phone)
    touch(phone, "touchStart", (x - 40, y), (x + 40, y))
    for step in range(1, 9):
        touch(phone, "touchMove", (x - 40 - 10 * step, y), (x + 40 + 10 * step, y))
    touch(phone, "touchEnd")
    assert phone.ask(SCALE) == pytest.approx(3, abs=0.3)  # 80 px apart became 240
    assert phone.ask(BOX)[2] == pytest.approx(3 * 390, rel=0.15)
    assert covered(phone)
    at = phone.ask(BOX)[0]
    touch(phone, "touchStart", (x, y))
    touch(phone, "touchMove", (x - 50, y))
    touch(phone, "touchEnd")
    assert phone.ask(BOX)[0] == pytest.approx(at - 50, abs=2)
    phone.wait("false", 0.5)  # a drag and a tap are no double tap
    for _ in range(2):
        tap(phone, x, y)
    assert phone.ask(SCALE) == 1
    phone.wait("false", 0.5)
    for _ in range(2):
        tap(phone, x, y)
    assert phone.ask(SCALE) == 4
    phone.press("ESCAPE")
    assert not phone.ask(IS_OPEN)
    assert phone.ask(BOX)[2:] == pytest.approx(before[2:])
    assert phone.ask("document.documentElement.scrollWidth") <= PHONE[0]


def test_the_back_button_closes_the_figure_and_keeps_the_page(phone):
    length = phone.ask("history.length")
    phone.click(OPEN)
    assert phone.ask("history.length") == length + 1
    phone.ask("history.back()")
    assert phone.wait(f"!{IS_OPEN}")
    assert phone.ask("$('#figure-1 .paper > svg') !== null")
    assert phone.ask("document.title") == examples.full().title
    phone.click(OPEN)  # and again; now by its own button, which leaves no entry behind
    phone.click("#figure-1 .zoom-bar .control:last-child")
    assert phone.wait(f"!{IS_OPEN} && history.state === null")


def test_small_text_can_be_read_on_a_phone(phone):
    """The smallest text of a figure, 3 points of a drawing 7 inches wide, has 12 px at the largest size."""
    phone.click(OPEN)
    for _ in range(8):
        phone.click("#figure-1 .zoom-bar .control:nth-child(2)")
    assert phone.ask(SCALE) == 12
    width = phone.ask(BOX)[2]
    assert 3 / 72 / 7 * width >= 12 * 0.95
    assert covered(phone)
    phone.press("ESCAPE")


def test_keys_and_wheel_on_a_desk(browser, page):
    browser.show(page)
    browser.ask(f"$('{OPEN}').focus()")
    browser.press("ENTER")
    assert browser.ask(IS_OPEN)
    assert browser.ask("document.activeElement.className") == "zoom-stage"
    browser.press("ADD", "ADD")
    assert browser.ask(SCALE) == 2.25
    at = browser.ask(BOX)[0]
    browser.press("ARROW_RIGHT")
    assert browser.ask(BOX)[0] == pytest.approx(at - 60, abs=1)
    browser.press("NUMPAD0")
    assert browser.ask(SCALE) == 1
    x, y = middle(browser)
    browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-300)
    assert browser.wait(f"{SCALE} > 1.5")
    assert covered(browser)
    for _ in range(4):  # the Tab key stays inside
        browser.press("TAB")
        assert browser.ask(
            "$('#figure-1 dialog.zoom').contains(document.activeElement) || document.activeElement === document.body"
        )
    browser.press("ESCAPE")
    assert not browser.ask(IS_OPEN)
    assert browser.ask("document.activeElement.className").split() == ["control", "zoom-open"]
    browser.click("#figure-1 .paper svg")  # a click on the drawing opens it, too
    assert browser.ask(IS_OPEN)
    assert (
        browser.ask("getComputedStyle($('#figure-1 .zoom-stage svg path')).strokeLinejoin") == "round"
    )  # its own styles
    browser.press("ESCAPE")
    assert browser.requests() == []
    assert browser.complaints() == []


def test_a_page_without_scripts_has_no_button(browser, page):
    browser.show(page, script=False)
    try:
        assert browser.ask("$$('.zoom-open, dialog.zoom').length") == 0
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
