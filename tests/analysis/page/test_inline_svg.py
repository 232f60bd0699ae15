"""An SVG inside a page: own ids, own styles, nothing from outside, nothing that runs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.page.inline_svg import InvalidSvg, inline
from tests.analysis.page.examples import drawing, hostile

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 1 1">'


def shown(inside: str) -> str:
    return inline(f"{HEAD}{inside}</svg>", "p-", "#x svg", "a label")


def test_ids_and_references_get_the_prefix():
    made = shown(
        '<defs><clipPath id="c"/></defs><g id="g" clip-path="url(#c)" style="fill: url(#c)"/><use xlink:href="#g"/>'
    )
    assert 'id="p-c"' in made
    assert 'clip-path="url(#p-c)"' in made
    assert 'style="fill: url(#p-c)"' in made
    assert 'href="#p-g"' in made


def test_two_drawings_share_no_id_and_every_reference_is_kept():
    pages = [inline(drawing(k), f"f{k}-", f"#f{k} svg", "x") for k in range(2)]
    ids = [set(re.findall(r' id="([^"]+)"', page)) for page in pages]
    assert ids[0]
    assert not ids[0] & ids[1]
    for page, own in zip(pages, ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= own


def test_an_id_that_occurs_twice_stays_with_its_first_element():
    assert shown('<g id="a"/><g id="b"><g id="a"/></g>').endswith('<g id="p-a" /><g id="p-b"><g /></g></svg>')


def test_styles_reach_only_the_drawing():
    made = shown("<style>* {stroke: red} .a, #b {fill: blue} @media print {.c {fill: green}}</style>")
    assert "#x svg *{stroke: red}" in made
    assert "#x svg .a,#x svg #p-b{fill: blue}" in made
    assert "#x svg .c{fill: green}" in made


def test_embedded_fonts_stay_and_other_addresses_go():
    font = "data:font/woff2;base64,AAAA"
    made = shown(f"<style>@font-face {{src: url({font})}} .a {{fill: url(https://a.example/x)}}</style>")
    assert f"@font-face{{src: url({font})}}" in made
    assert "example" not in made


def test_pictures_stay_only_when_embedded():
    made = shown('<image xlink:href="data:image/png;base64,AAAA"/><image href="https://a.example/x.png"/>')
    assert made.count("href=") == 1
    assert "data:image/png;base64,AAAA" in made
    assert "example" not in made


def test_points_lose_decimals_that_nobody_sees():
    made = shown(
        '<path d="M 1.234567 0.1 L 2 -3.999 z"/><path d="m 0.001 0.002 l 1.2345 1"/><g transform="scale(0.015625)"/>'
    )
    assert 'd="M1.23 0.1L2 -3.99 z"' in made
    assert 'd="m 0.001 0.002 l 1.2345 1"' in made
    assert "scale(0.015625)" in made


def test_nothing_runs():
    made = inline(hostile().figures[0].svg, "p-", "#x svg", "x")
    assert "alert" not in made
    assert "http" not in made
    assert "script" not in made
    assert "onload" not in made


def test_has_a_size_and_a_label():
    made = inline(drawing(), "p-", "#x svg", 'two "words" & <more>')
    assert 'role="img"' in made
    assert 'aria-label="two &quot;words&quot; &amp; &lt;more&gt;"' in made
    assert re.search(r'style="width: 614px"', made)  # 6.4 in at 96 px


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "cannot|no element|not an SVG"),
        ("<svg", "not an SVG file"),
        ("<html/>", "its first element is 'html'"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>', "not an SVG file"),
    ],
)
def test_says_what_is_no_drawing(given, why):
    with pytest.raises(InvalidSvg, match=why):
        inline(given, "p-", "#x svg", "x")


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab<>{}@#*.;:/()\"' url\\,-", max_size=60))
def test_any_style_sheet_stays_inside(css):
    """Whatever stands in a style sheet: no rule without the scope, no way out of the element."""
    escaped = css.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    made = shown(f"<style>{escaped}</style>")
    inside = re.search(r"<style>(.*?)</style>|<style */>", made, re.DOTALL)
    assert inside
    for selectors in re.findall(r"([^{}]*)\{[^{}]*\}", inside.group(1) or ""):
        assert selectors == "@font-face" or all(one.startswith("#x svg ") for one in selectors.split(","))
