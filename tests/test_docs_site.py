"""The documentation site: complete navigation, generated parts as the commands print them, links that stay inside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs_site import command_pages, console_blocks, notebook_page, page_outputs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))

PAGE = """\
# A page

```yaml title="a.yaml"
key: 1
```

<!-- lines: 1...1 -->
<!-- exit: 2 -->
```console
$ c2d train \\
    a.yaml
old output
$ ls
```

```
$ not run
```

<!-- outputs: written by `make docs-outputs`, sha256 none -->
"""


def pages_of(nav: Any) -> list[str]:
    """Every page of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages_of(entry)]


def test_every_page_is_in_the_navigation_once() -> None:
    # Tags of mkdocs.yml name functions of mkdocs' plugins; the navigation has none.
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = pages_of(yaml.safe_load(text[text.index("\nnav:\n") :])["nav"])
    inside = [page for page in listed if not page.startswith("repository/")]
    notebooks = [path.relative_to(DOCS).with_suffix(".md").as_posix() for path in DOCS.rglob("*.ipynb")]
    left_out = [page for page in PAGES if page.startswith("study/tables/")]  # each is on the study's page
    assert sorted(inside + left_out) == sorted([*PAGES, *notebooks])
    outside = [page.removeprefix("repository/") for page in listed if page.startswith("repository/")]
    assert outside == ["CONTRIBUTING.md", "CHANGELOG.md"]


def test_the_reference_of_the_commands_is_what_they_print() -> None:
    written = command_pages.PAGE.read_text(encoding="utf-8")
    assert written == command_pages.commands_page(), "run `make docs`"
    for command in ("c2d train", "c2d sweep submit", "c2d bench latency"):
        assert f" {command}\n\n```text\nUsage: {command} " in written


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- outputs: " in (DOCS / page).read_text("utf-8")])
def test_outputs_are_not_edited(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert console_blocks.marked_digest(text) == console_blocks.digest(text), (
        f"docs/{page}: `make docs-outputs ARGS=docs/{page}` writes the outputs"
    )
    commands = [command for block in console_blocks.blocks(text) for command in block.commands]
    assert any(command.startswith("c2d ") for command in commands)


def test_tutorials_have_recorded_outputs() -> None:
    from tests.docs_site.__main__ import TUTORIALS

    for page in TUTORIALS:
        assert console_blocks.marked_digest(page.read_text(encoding="utf-8")), page.name


def test_blocks_of_a_page() -> None:
    file, console = console_blocks.blocks(PAGE)
    assert (file.title, file.body) == ("a.yaml", "key: 1\n")
    assert console.commands == ["c2d train \\\n    a.yaml", "ls"]
    assert console.settings == {"lines": "1...1", "exit": "2"}
    assert console.recorded
    assert not console_blocks.blocks(PAGE.replace("old output\n", ""))[1].recorded
    with pytest.raises(ValueError, match="unknown setting of a block: line; known: lines, exit, picture"):
        console_blocks.blocks(PAGE.replace("lines:", "line:"))


def test_the_digest_covers_files_commands_and_outputs() -> None:
    page = console_blocks.with_digest(PAGE)
    assert console_blocks.marked_digest(page) == console_blocks.digest(page)
    assert console_blocks.with_digest(page) == page
    for old, new in (("key: 1", "key: 2"), ("$ ls", "$ ls -l"), ("old output", "new output"), ("1...1", "1...2")):
        assert console_blocks.digest(page.replace(old, new)) != console_blocks.digest(page)
    assert console_blocks.digest(page.replace("A page", "Another page")) == console_blocks.digest(page)


def test_shortened_outputs() -> None:
    five = "1\n2\n3\n4\n5\n"
    assert console_blocks.shortened(five, None) == five
    assert console_blocks.shortened(five, "1...2") == "1\n...\n4\n5\n"
    assert console_blocks.shortened(five, "0...2") == "...\n4\n5\n"
    assert console_blocks.shortened(five, "2...2") == five  # "..." for one line would shorten nothing


def test_outputs_do_not_depend_on_the_machine() -> None:
    folder = Path("/tmp/c2d-docs-1")
    printed = (
        f"2026-01-31 12:30:01 {folder}/runs  {ROOT}/c2d  1.046 s/iter  2.6 min left   \nAP 45.8, 600 images in 37.4 s\n"
    )
    expected = "DATE /home/you/study/runs  /home/you/c2d/c2d  1 s/iter  3 min left\nAP 45.8, 600 images in 40 s\n"
    assert page_outputs.normalised(printed, folder) == expected


def test_a_page_is_run_in_its_folder(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    study = tmp_path / "study"
    study.mkdir()
    file = '```yaml title="a.yaml"\nkey: 1\n```\n'
    settings = "<!-- exit: 3 -->\n<!-- picture: a.yaml to images/b.yaml -->\n"
    commands = "```console\n$ cat a.yaml\nold\n$ exit 3\n```\n"
    mark = "\n<!-- outputs: written by `make docs-outputs`, sha256 none -->\n"
    page.write_text(f"{file}\n{settings}{commands}{mark}", encoding="utf-8")
    page_outputs.run_page(page, study, {"PATH": "/usr/bin:/bin"})
    text = page.read_text(encoding="utf-8")
    assert "$ cat a.yaml\nkey: 1\n$ exit 3\n```\n" in text
    assert console_blocks.marked_digest(text) == console_blocks.digest(text)
    assert (tmp_path / "images" / "b.yaml").read_text(encoding="utf-8") == "key: 1\n"
    page.write_text(text.replace("exit 3\n", "exit 4\n"), encoding="utf-8")
    page_outputs.run_page(page, study, {"PATH": "/usr/bin:/bin"}, new=True)  # recorded, so it is not run again
    page.write_text(text.replace("exit: 3", "exit: 0"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="`exit 3` ended with 3, expected 0"):
        page_outputs.run_page(page, study, {"PATH": "/usr/bin:/bin"})


def test_links_of_the_site() -> None:
    from tests.docs_site import site_hooks

    assert site_hooks.site_links("docs/index.md", "[a](data.md#x) [b](../CONTRIBUTING.md#add-a-method)") == (
        "[a](data.md#x) [b](repository/CONTRIBUTING.md#add-a-method)"
    )
    assert site_hooks.site_links("docs/methods/icod.md", "[a](../../sweeps/defs/demo.yaml)") == (
        "[a](../repository/sweeps/defs/demo.yaml.md)"
    )
    assert site_hooks.site_links("CONTRIBUTING.md", "[a](docs/install.md)") == "[a](../install.md)"
    assert site_hooks.site_links("docs/index.md", "[a](https://arxiv.org/abs/2106.05209) [b](nothing.md)") == (
        "[a](https://arxiv.org/abs/2106.05209) [b](nothing.md)"
    )
    assert list(site_hooks.linked_files("docs/index.md", "[a](data.md) [b](../Makefile) [c](../../x)")) == ["Makefile"]
    assert "``````yaml\n# Sweep of" in site_hooks.page_of_file("sweeps/defs/demo.yaml")


def test_a_notebook_as_a_page(tmp_path: Path) -> None:
    picture = {"data": {"image/png": "aWJt\n", "text/plain": "x"}, "metadata": {"image/png": {"width": 300}}}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}]},
        {"cell_type": "code", "source": "print('<')", "outputs": [{"text": "<"}]},
        {"cell_type": "code", "source": "draw()", "outputs": [picture]},
        {"cell_type": "code", "source": "frame", "outputs": [{"data": {"text/html": "<table>\n\n</table>"}}]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert notebook_page.page_of_notebook(tmp_path / "a.ipynb").split("\n\n") == [
        "# Title", "Text.", "*This page is the notebook `docs/tutorials/a.ipynb`, with its outputs.*",
        "```python\n1 + 1\n```", "<pre>2</pre>", "```python\nprint('<')\n```", "<pre>&lt;</pre>",
        "```python\ndraw()\n```", '<p><img alt="figure" width="300" src="data:image/png;base64,aWJt"></p>',
        "```python\nframe\n```", '<div class="cell-output">\n<table>\n</table>\n</div>\n',
    ]  # fmt: skip


def test_what_a_page_would_load_from_a_server() -> None:
    from tests.docs_site.site_hooks import external_loads

    page = '<a href="https://a.org/1"></a><link rel="canonical" href="https://a.org/2"><img src="b.png">'
    assert external_loads(page) == []
    loads = '<script src="https://a.org/3.js"></script><link rel=stylesheet href=//a.org/4.css><img alt="" src="http://a.org/5">'
    assert external_loads(loads) == ["https://a.org/3.js", "//a.org/4.css", "http://a.org/5"]


def test_assets_name_no_host() -> None:
    for path in sorted((DOCS / "assets").iterdir()):
        hosts = set(re.findall(r"https?://[\w.]+", path.read_text(encoding="utf-8"))) - {"http://www.w3.org"}
        assert not hosts, path.name
