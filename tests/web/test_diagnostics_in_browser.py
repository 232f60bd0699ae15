"""The page of diagnostics of a synthesis in a real browser: it fits, asks for nothing and complains about nothing."""

from __future__ import annotations

import pytest

from tests.c2d.impressions.diagnostics_examples import HOSTILE, page
from tests.web import browser as browsers

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing() or "all is there"),
]
PAGES = {
    "full": page(),
    "empty": page(boxes=0, lines=[]),
    "control": page("procedural", lines=[]),
    "hostile": page(name=HOSTILE),
    "long": page(name="a-very-long-name-of-a-class-without-any-blank-" * 4),
}

OUTSIDE = """$$('figure > svg').flatMap(svg => {
  const box = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')];
  const leaves = b => b.left < box.left - 1 || b.right > box.right + 1 || b.bottom > box.bottom + 1;
  return texts.filter(one => leaves(one.getBoundingClientRect())).map(one => one.textContent);
})"""


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1440, False), (1440, True)])
def test_fits_a_phone_and_a_desk(browser, tmp_path, name, width, dark):
    from PIL import Image

    file = tmp_path / f"{name}.html"
    file.write_text(PAGES[name], encoding="utf-8")
    browser.show(file, width, 800, dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("$$('script, iframe, foreignObject').length") == 0
    assert browser.ask("$$('img').every(one => one.complete && one.naturalWidth > 0)")
    with Image.open(browser.picture(tmp_path / "page.png")) as picture:
        assert picture.width == width
        assert (sum(picture.convert("L").crop((0, 0, 4, 4)).tobytes()) < 128 * 16) == dark
    assert browser.requests() == []
    assert browser.complaints() == []


def test_text_of_charts_can_be_read(browser, tmp_path):
    """On a phone and on a desk no text of a drawing is smaller than 9 px, and none leaves its drawing."""
    file = tmp_path / "page.html"
    file.write_text(PAGES["full"], encoding="utf-8")
    for width in (390, 1440):
        browser.show(file, width)
        scales = browser.ask("$$('figure > svg').map(one => one.getBoundingClientRect().width / 360)")
        assert min(scales) * 11 >= 9
        outside = browser.ask(OUTSIDE)
        assert outside == []
