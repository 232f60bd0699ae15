"""The documentation site in a real browser, opened from a folder: search, copying, phone, dark, no requests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.browser import Browser, missing

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.web, pytest.mark.skipif(bool(missing()), reason=missing())]
PAGES = ("index.html", "coming-from.html", "tutorials/train.html", "reference/api.html", "methods/index.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Nothing is downloaded to build it."""
    folder = tmp_path_factory.mktemp("site")
    connections = tmp_path_factory.mktemp("network") / "connections"
    closed = {"PYTHONPATH": f"{ROOT / 'tests' / 'closed_network'}:{ROOT}", "C2D_CONNECTIONS": str(connections)}
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, **closed, "NO_MKDOCS_2_WARNING": "1"}, check=True, timeout=300,
    )  # fmt: skip
    assert not connections.exists(), connections.read_text(encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_pages_fit_and_ask_no_server(site: Path, browser: Browser, page: str) -> None:
    for width, dark in ((1440, False), (390, True)):
        browser.show(site / page, width=width, dark=dark)
        assert browser.wait("document.readyState === 'complete'")
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.ask("document.body.dataset.mdColorScheme") == ("slate" if dark else "default")
        assert browser.ask("$$('img').every((image) => image.complete && image.naturalWidth > 0)")
        assert browser.requests() == []
        assert browser.complaints() == []


def test_search_without_a_server(site: Path, browser: Browser) -> None:
    browser.show(site / "index.html")
    browser.click(".md-search__input")
    browser.type(".md-search__input", "canary")
    assert browser.wait("$$('.md-search-result__item').length > 0")
    assert "Sweeps" in browser.ask("$$('.md-search-result__item').map((item) => item.textContent).join()")
    assert browser.requests() == []


def test_the_copied_commands_have_no_prompt_and_no_output(site: Path, browser: Browser) -> None:
    browser.show(site / "tutorials" / "train.html")
    block = ".language-console"
    browser.ask(f"$('{block}').scrollIntoView()")
    assert browser.wait(f"!!$('{block} .md-code__button')")
    browser.click(f"{block} .md-code__button")
    assert browser.ask(f"$('{block} .md-code__button').dataset.clipboardText") == "c2d data scenes data/scenes\n"
