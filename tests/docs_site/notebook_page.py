"""The page of a notebook: its text, its code, and the outputs that are stored in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any


def page_of_notebook(path: Path) -> str:
    """Return the Markdown of the page that shows a notebook with its outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = [part for cell in cells for part in _parts(cell)]
    parts.insert(1, f"*This page is the notebook `docs/tutorials/{path.name}`, with its outputs.*")
    return "\n\n".join(parts) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        yield _output(output)


def _output(output: dict[str, Any]) -> str:
    """An output as HTML: a table, a picture, or text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        lines = "".join(data["text/html"]).splitlines()
        return '<div class="cell-output">\n' + "\n".join(line.strip() for line in lines if line.strip()) + "\n</div>"
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        width = output["metadata"]["image/png"]["width"]
        return f'<p><img alt="figure" width="{width}" src="data:image/png;base64,{picture}"></p>'
    return f"<pre>{escape(''.join(data['text/plain']))}</pre>"
