"""Make an SVG file safe to embed in a page: its ids and styles affect nothing else there, and it loads nothing.

Several files of one plotting program share ids ("axes_1") and a style sheet for everything ("* {...}"). Inside one page
the first id would win and the styles would apply to the text around. So every id and every reference to one gets a
prefix, and every style rule the figure's own selector. Scripts, handlers, metadata and addresses outside the file are
removed.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

import defusedxml.ElementTree as safe

NAMESPACE = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
DROPPED = frozenset({"script", "foreignObject", "metadata", "iframe", "a", "animate", "set", "handler", "listener"})
WITH_TEXT = frozenset({"style", "text", "tspan", "textPath", "title", "desc"})
"""Elements whose text is shown or read; between all others is white space."""
PICTURE = re.compile(r"data:image/(?:png|jpeg|webp);base64,[A-Za-z0-9+/=\s]*\Z")
FONT = re.compile(r"data:(?:font/|application/(?:x-)?font)[\w+.;=-]*base64,[A-Za-z0-9+/=\s]*\Z")
ADDRESS = re.compile(r"url\(\s*(['\"]?)(.*?)\1\s*\)", re.DOTALL)
RULE = re.compile(r"([^{}]*)\{([^{}]*)\}")
RELATIVE = re.compile("[mlhvcsqta]")
DIGITS = re.compile(r"(\.\d\d)\d+")
"""Of the six decimals of a point two are kept: a third of the file, and nothing that can be seen. In relative paths the
differences would add up."""
SPACE = re.compile(r"\s*([MLHVCSQTAZ])\s*")
"""Around the commands of a path: a fifth of a curve, and numbers are told apart by the letters."""
SELECTOR = re.compile(r"[\w\s.#*>+~:,()\[\]=-]*\w|\*", re.ASCII)
"""No quotes, escapes or at-signs: what plotting programs write, and nothing that could end a rule early."""


class InvalidSvg(ValueError):
    """The text is no SVG that can be shown; the message has the reason."""


def inline(svg: str, prefix: str, scope: str, label: str) -> str:
    """Return the `<svg>` element of a file, for use in HTML.

    Args:
        svg: text of the file.
        prefix: put before every id; unique in the page.
        scope: CSS selector of the element that will hold it.
        label: text for a screen reader.

    Raises:
        InvalidSvg: not XML, not SVG, or with entities of its own.
    """
    try:
        # The standard parser expands entities, so a small file could fill the memory; defusedxml refuses them.
        root = safe.fromstring(svg)
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidSvg(f"not an SVG file that can be read: {error}") from None
    if root.tag != f"{NAMESPACE}svg":
        raise InvalidSvg(f"not an SVG file: its first element is {root.tag!r}")
    _clean(root, prefix, scope)
    _drop_repeated_ids(root)
    width, height = _pixels(root.attrib.pop("width", "")), _pixels(root.attrib.pop("height", ""))
    if "viewBox" not in root.attrib and width and height:
        root.set("viewBox", f"0 0 {width:g} {height:g}")
    if width:
        root.set("style", f"width: {width:.0f}px")  # the page's style sheet caps it
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("focusable", "false")
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, prefix: str, scope: str) -> None:
    element.tag = element.tag.rpartition("}")[2]  # HTML has <svg> without a namespace prefix
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        plain = "href" if name == LINK else name
        if plain.startswith("{") or plain.lower().startswith("on"):
            continue
        if (kept := _value(plain, value, prefix)) is not None:
            element.set(plain, kept)
    if element.tag == "style":
        element.text = _style(element.text or "", prefix, scope)
    if element.tag not in WITH_TEXT:
        element.text = None
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in DROPPED:
            _drop(element, child)
        else:
            _clean(child, prefix, scope)
            if element.tag not in WITH_TEXT:
                child.tail = None  # white space between elements


def _drop(parent: ElementTree.Element, child: ElementTree.Element) -> None:
    """Without the text behind it: between SVG elements that is white space."""
    parent.remove(child)


def _drop_repeated_ids(root: ElementTree.Element) -> None:
    """Leave an id to its first element, which references mean: equal images of a figure have one id in matplotlib."""
    ids: set[str] = set()
    for element in root.iter():
        if "id" in element.attrib:
            if element.attrib["id"] in ids:
                del element.attrib["id"]
            else:
                ids.add(element.attrib["id"])


def _value(name: str, value: str, prefix: str) -> str | None:
    """The value of an attribute with prefixed references; None where the attribute has to go."""
    if name == "id":
        return prefix + value
    if name in ("aria-labelledby", "aria-describedby"):
        return " ".join(prefix + part for part in value.split())
    if name in ("href", "src"):
        if value.startswith("#"):
            return f"#{prefix}{value[1:]}"
        return value if PICTURE.match(value) else None
    if name == "d" and not RELATIVE.search(value):
        return SPACE.sub(r"\1", DIGITS.sub(r"\1", value)).strip()
    return _addresses(value, prefix)


def _addresses(value: str, prefix: str) -> str:
    """`url(#id)` with the prefix, `url(data:font...)` as it is, any other address gone."""

    def one(match: re.Match[str]) -> str:
        target = match.group(2).strip()
        if target.startswith("#"):
            return f"url(#{prefix}{target[1:]})"
        return f"url({target})" if FONT.match(target) or PICTURE.match(target) else "none"

    return ADDRESS.sub(one, value)


def _style(css: str, prefix: str, scope: str) -> str:
    """Every rule under `scope`; of the at-rules only embedded fonts stay."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r"@(?:import|charset|namespace)[^;{]*;", "", css)
    out = []
    for selectors, body in RULE.findall(css):
        body = _addresses(body, prefix).strip()
        if selectors.strip() == "@font-face":
            out.append(f"@font-face{{{body}}}")
            continue
        named = [one.strip() for one in re.sub(r"#([A-Za-z_])", rf"#{prefix}\1", selectors).split(",")]
        if all(SELECTOR.fullmatch(one) for one in named):
            out.append(f"{','.join(f'{scope} {one}' for one in named)}{{{body}}}")
    return "".join(out).replace("<", "")  # `</style>` would end the element


def _pixels(length: str) -> float | None:
    """CSS pixels of matplotlib's "460.8pt" or a plain number; None for a share such as "100%"."""
    match = re.fullmatch(r"([0-9.]+)(pt|px)?", length.strip())
    if match is None:
        return None
    return float(match.group(1)) * (4 / 3 if match.group(2) == "pt" else 1.0)
