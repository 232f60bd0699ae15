"""The HTML of the page: data as JSON in the file, beside its own scripts, which alone may run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.page.page_shell import page_asset, page_text
from c2d.markup.page_policy import page_policy

HERE = Path(__file__).parent
SCRIPTS = (
    "browse_data.js",
    "browse_filters.js",
    "browse_overlay.js",
    "browse_tiles.js",
    "browse_detail.js",
    "browse_controls.js",
)
"""In this order; each adds to the object `Browse`."""


def render_page(facts: Mapping[str, Any], images: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    """Return the text of the page.

    Args:
        facts: about the runs and the choice of images.
        images: names and boxes.
        pictures: base64 of the JPEG file of each image, "" for none.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    scripts = [page_asset(name, HERE) for name in SCRIPTS]
    theme, button = page_asset("theme.js"), page_asset("theme_button.js")
    text = environment.get_template("browse.html.j2").render(
        facts=facts,
        style=Markup(f"{page_asset('base.css')}\n\n{page_asset('browse.css', HERE)}"),
        theme=Markup(theme),
        button=Markup(button),
        scripts=[Markup(script) for script in scripts],
        policy=page_policy(theme, button, *scripts),
        # Escaped so that no name can end the element that holds it.
        data=Markup(json_text({**facts, "images": list(images)})),
        pictures=Markup(json_text(list(pictures))),
    )
    return page_text(text)


def json_text(value: Any) -> str:
    """Return ASCII JSON that can stand inside a script element: no < and no & is in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
