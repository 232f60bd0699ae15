"""A reader of every format, written from the format's rules and not from our writers: {row: {column: shown text}}.

Shown texts have no footnote marks. Rows and columns are numbered, because labels may repeat.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

Grid = list[list[str]]


def markdown_grid(text: str, axes: int) -> tuple[Grid, Grid]:
    """(labels, cells) of the one table in a GitHub Markdown text."""
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    rows = [[_unmark(field) for field in split_pipes(line)] for line in lines[2:]]
    assert all(len(row) == len(split_pipes(lines[0])) == len(split_pipes(lines[1])) for row in rows)
    return [[plain(field) for field in row[:axes]] for row in rows], [row[axes:] for row in rows]


def split_pipes(line: str) -> list[str]:
    """The fields of a table line: a backslash takes the character behind it along."""
    fields, at, current = [], 0, ""
    while at < len(line):
        step = 2 if line[at] == "\\" else 1
        if line[at] == "|":
            fields.append(current)
            current = ""
        else:
            current += line[at : at + step]
        at += step
    return [one.strip(" ") for one in fields[1:]]


def plain(markdown: str) -> str:
    """Markdown without its escapes, as a reader sees it."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown).replace("&nbsp;", " "))


def _unmark(field: str) -> str:
    field = re.sub(r"<sup>.*</sup>$", "", field)
    return re.sub(r"(?<!\\)\*", "", field)


def latex_grid(text: str, axes: int) -> tuple[Grid, Grid]:
    """(labels, cells) between the middle and the bottom rule; labels as LaTeX, "" where one is left blank."""
    specification = re.findall(r"^  (?:>\{.*?\})?(S\[table-format=[-+]?\d+\.\d+\].*|r)%$", text, re.MULTILINE)
    tailed = ["@{" in column for column in specification]
    as_text = [column == "r" for column in specification]
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    labels, cells = [], []
    for line in body.splitlines():
        if line == r"\addlinespace":
            continue
        assert line.endswith(r" \\")
        fields = re.split(r" (?<!\\)& ", line.removesuffix(r" \\"))
        labels.append(fields[:axes])
        rest = iter(fields[axes:] if tailed else [])
        cells.append([
            _latex_text(next(rest)) if is_text else _latex_cell(next(rest), next(rest) if tail else "")
            for tail, is_text in zip(tailed, as_text, strict=True)
        ])  # fmt: skip
        assert next(rest, None) is None
    return labels, cells


def _latex_text(field: str) -> str:
    """A cell of a column of texts: an interval, or a p value."""
    field = re.sub(r"\\textsuperscript\{.*$", "", field).replace(r"\ensuremath{-}", "−").replace(r"\textless{}", "<")
    return "–" if field == r"{\textendash{}}" else field


def _latex_cell(number: str, tail: str) -> str:
    if number.startswith("{"):
        assert number.startswith(r"{\textendash{}")
        return "–"
    assert re.fullmatch(r"(\\bfseries )?[-+]?\d+(\.\d+)?", number), number
    tail = re.sub(r"\\textsuperscript\{.*$", "", tail)
    tail = tail.replace(r"\ensuremath{\pm}", "±").replace(r"\ensuremath{-}", "−")
    tail = tail.replace(r"\allowbreak{}", "")  # a place where a line may break; it prints nothing
    return " ".join(part for part in (number.removeprefix(r"\bfseries ").replace("-", "−"), tail) if part)


@dataclass
class Td:
    """One <td> or <th>: its attributes and its text without footnote marks."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class _Reader(HTMLParser):
    """Collects the cells of each row; fails on tags that are not closed in order."""

    rows: list[list[Td]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag == "meta":
            return
        self.open.append(tag)
        attributes = {name: value or "" for name, value in attrs}
        if tag == "tr":
            self.rows.append([])
            self.keys.append(attributes.get("data-row", ""))
        elif tag in ("td", "th"):
            self.rows[-1].append(Td(tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if any(tag in self.open for tag in ("td", "th")) and "sup" not in self.open:
            self.rows[-1][-1].text += data


def html_rows(text: str) -> tuple[list[list[Td]], list[str], set[str]]:
    """(rows of cells, the header first; keys of the rows; all tags)."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader.rows, reader.keys, reader.seen
