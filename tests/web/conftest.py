"""What the tests in a browser share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.browser import Browser, open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one file."""
    with open_browser() as opened:
        yield opened
