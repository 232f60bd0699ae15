"""Hooks of mkdocs: files of the repository that a page links to become pages of the site.

A page of docs/ may link to any file of the repository, `../CONTRIBUTING.md` or `../sweeps/defs/demo.yaml`, as every
viewer of the repository resolves it. The site has these files under repository/: it needs no address of a host.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from tests.docs_site.console_blocks import digest, marked_digest
from tests.docs_site.notebook_page import page_of_notebook

ROOT = Path(__file__).parents[2]
FOLDER = "repository"
NOTEBOOK = ".ipynb"
"""Of a notebook in docs/, which the site shows as a page."""
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md")
"""Files of the repository that the navigation names."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".csv": "text"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
"""The target and the anchor of a Markdown link to a file."""
LOAD = re.compile(
    r'<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href|srcset)="?((?:https?:)?//[^"\s>]+)[^>]*>'
)


def repository_path(page: str, target: str) -> str:
    """Return the path, from the repository's root, of what a page links to.

    Args:
        page: Path of the page, from the repository's root.
        target: The target of a link in it.
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def linked_files(page: str, text: str) -> Iterator[str]:
    """Yield the files outside of docs/ that a page links to, as paths from the repository's root."""
    for target, _ in LINK.findall(text):
        path = repository_path(page, target)
        if not path.startswith(("docs/", "..")) and (ROOT / path).is_file():
            yield path


def site_path(path: str) -> str:
    """Return the source path in the site of a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/").replace(NOTEBOOK, ".md")
    return f"{FOLDER}/{path}" if path.endswith(".md") else f"{FOLDER}/{path}.md"


def site_links(page: str, text: str) -> str:
    """Return the text of a page with its links as links of the site.

    Args:
        page: Path of the page, from the repository's root.
        text: Its Markdown.
    """
    folder = posixpath.dirname(site_path(page))

    def replaced(link: re.Match[str]) -> str:
        path = repository_path(page, link[1])
        if path.startswith("..") or not (ROOT / path).is_file():
            return link[0]
        return posixpath.relpath(site_path(path), folder or ".") + (link[2] or "")

    return LINK.sub(replaced, text)


def page_of_file(path: str) -> str:
    """Return the Markdown of the page that shows a file of the repository."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return f"---\nsearch:\n  boost: 0.2\n---\n\n{site_links(path, text)}"  # pages of docs/ are found first
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n``````{language}\n{text.rstrip()}\n``````\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to, and those that these link to, and the notebooks, to the site."""
    for notebook in sorted((ROOT / "docs").rglob(f"*{NOTEBOOK}")):
        name = notebook.relative_to(ROOT).as_posix()
        files.append(File.generated(config, site_path(name), content=page_of_notebook(notebook)))
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages() if not file.generated_by]
    waiting = [*PROJECT, *(path for page in pages for path in linked_files(page, (ROOT / page).read_text("utf-8")))]
    added: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in added:
            continue
        added.add(path)
        file = File.generated(config, site_path(path), content=page_of_file(path))
        file.inclusion = InclusionLevel.INCLUDED if path in PROJECT else InclusionLevel.NOT_IN_NAV
        files.append(file)
        if path.endswith(".md"):
            waiting += linked_files(path, (ROOT / path).read_text("utf-8"))
    return files


def external_loads(html: str) -> list[str]:
    """Return the addresses of other hosts that a page loads by itself: scripts, styles, images, frames."""
    return [link[1] for link in LOAD.finditer(html) if 'rel="canonical"' not in link[0]]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Return a page of docs/ with links of the site; added pages have them already.

    Raises:
        PluginError: Commands or their outputs in the page were edited by hand.
    """
    written = (ROOT / "docs" / page.file.src_uri).read_text("utf-8") if not page.file.generated_by else ""
    if (marked := marked_digest(written)) not in (None, digest(written)):
        raise PluginError(
            f"docs/{page.file.src_uri}: its outputs have the digest {marked}, but were edited: make docs-outputs"
        )
    if page.file.src_uri.startswith(f"{FOLDER}/"):
        return None
    return site_links(f"docs/{page.file.src_uri}", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would ask a server for anything when it is opened; links to click are allowed.

    Raises:
        PluginError: A page loads something from another host.
    """
    loads = [
        f"{page.relative_to(config.site_dir)} loads {address}"
        for page in sorted(Path(config.site_dir).rglob("*.html"))
        for address in external_loads(page.read_text(encoding="utf-8"))
    ]
    if loads:
        raise PluginError(f"the site has to work without a network: {'; '.join(loads)}")
