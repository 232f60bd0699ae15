"""YAML with its lines: every value, where it stands, how it was written; and none of YAML's surprises in silence.

YAML 1.1, which PyYAML reads, takes `no` for false, `1:30` for 90, `1e-3` for text and the last of two equal keys. Here
numbers are numbers in every usual spelling, keys are text, and whatever would be read otherwise than it looks is a
mistake that says how to write it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from c2d.core.errors import InputError

Path = tuple[str | int, ...]
"""Keys and places in lists, from the top of the file."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_TAG = "tag:yaml.org,2002:"
_TAGS = ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
MOST_VALUES = 200_000


class Mistakes:
    """The mistakes of one file, each with the line it stands on."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.found: list[tuple[int, str]] = []

    def add(self, path: Path, message: str, line: int | None = None) -> None:
        """Note a mistake at `path`; without a line of its own it gets that of the nearest key above."""
        above = next((path[:n] for n in range(len(path), -1, -1) if path[:n] in self.lines), ())
        line = line or self.lines.get(above, 1)
        name = spell(path)
        text = f"{self.file}:{line}: {name + ': ' if name else ''}{message}"
        self.found.append((line, "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)))

    def below(self, path: Path) -> bool:
        """Whether something at `path` or inside it is wrong already."""
        start = f": {spell(path)}"
        return any(re.search(re.escape(start) + r"[.:\[]", text) for _, text in self.found)

    def refuse(self) -> None:
        """One InputError with a line for each mistake, in the order of the file; nothing where there is none."""
        if self.found:
            raise InputError("\n".join(dict.fromkeys(text for _, text in sorted(self.found, key=lambda item: item[0]))))


def spell(path: Path) -> str:
    """`exclude[0].method` for ("exclude", 0, "method")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


class Marked:
    """A YAML text as plain values.

    Attributes:
        value: dicts with keys of text, lists, and scalars; None when the text could not be read.
        mistakes: with the line of every path; mistakes of reading are in it.
    """

    def __init__(self, text: str, file: str) -> None:
        self.mistakes = Mistakes(file)
        self._texts: dict[Path, str] = {}
        self.value: Any = None
        self._count = 0
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            said = getattr(error, "problem", None) or getattr(error, "reason", None) or error
            self.mistakes.add((), f"not valid YAML ({said}); mend the line", mark.line + 1 if mark else 1)
            return
        except RecursionError:
            self.mistakes.add((), "nested too deeply; write it flatter")
            return
        self.value = None if node is None else self._read(node, (), ())

    def _read(self, node: yaml.Node, path: Path, inside: tuple[int, ...]) -> Any:
        """The value of a node; `inside` are the nodes it lies in, so that an alias to one of them is seen."""
        self.mistakes.lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if id(node) in inside:
            self.mistakes.add(path, "an alias (*) inside its own anchor (&); write the value out")
            return None
        if self._count > MOST_VALUES:
            if self._count == MOST_VALUES + 1:
                self.mistakes.add(path, f"more than {MOST_VALUES} values with all aliases (*) filled in; write fewer")
            return None
        if node.tag.removeprefix(_TAG) not in _TAGS:
            self.mistakes.add(path, f"the tag {node.tag} is not allowed; leave it out")
            return None
        if isinstance(node, yaml.ScalarNode):
            self._texts[path] = node.value
            return self._scalar(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*inside, id(node)))
        return [self._read(item, (*path, n), (*inside, id(node))) for n, item in enumerate(node.value)]

    def text(self, path: Path) -> str:
        """The value at `path` as it was written; a list or a mapping in one line."""
        if path in self._texts:
            return self._texts[path]
        value = self.value
        for part in path:
            value = value[part]
        flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
        return flow.strip()

    def _mapping(self, node: yaml.MappingNode, path: Path, inside: tuple[int, ...]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.mistakes.add(path, "a key is a list or a mapping; keys are text", line)
                continue
            name = key.value
            if key.tag == f"{_TAG}merge":
                self.mistakes.add(path, "merge keys (<<) are not read; write the keys out", line)
                continue
            if key.style is None and (surprise := _surprise(key)):
                self.mistakes.add((*path, name), f"{surprise}; put the name in quotes: '{name}'", line)
            elif not name.strip() or not name.isprintable():
                self.mistakes.add(path, f"the key {name!r} is not a name; write one line of text", line)
            elif name in value:
                first = self.mistakes.lines[*path, name]
                self.mistakes.add((*path, name), f"is given twice, first in line {first}; keep one of them", line)
                continue
            self.mistakes.lines.setdefault((*path, name), line)
            value[name] = self._read(item, (*path, name), inside)
        return value

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = str(node.value)
        if node.style is not None:  # quoted, or a block of text
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        if node.tag == f"{_TAG}str" and not _FLOAT.fullmatch(text):
            return text
        if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?[0-9]+", text) and math.isfinite(float(text)):
            return float(text)
        self.mistakes.add(path, f"{_surprise(node) or 'not a number that can be kept'}; {_instead(node)}")
        return None


def _surprise(node: yaml.ScalarNode) -> str:
    """What YAML makes of plain text that is not what it looks like, or ""."""
    kind = node.tag.removeprefix(_TAG)
    if kind == "bool":
        return f"YAML reads {node.value} as {str(node.value.lower() in ('yes', 'on', 'true', 'y')).lower()}"
    if kind == "null":
        return f"YAML reads {node.value or 'an empty name'} as null"
    if kind == "timestamp":
        return f"YAML reads {node.value} as a date"
    if kind in ("int", "float") and not (_INT.fullmatch(node.value) or _FLOAT.fullmatch(node.value)):
        read = yaml.safe_load(node.value)
        return f"YAML reads {node.value} as {read}" if math.isfinite(read) else f"{node.value} is not a finite number"
    return ""


def _instead(node: yaml.ScalarNode) -> str:
    kind = node.tag.removeprefix(_TAG)
    if kind == "bool":
        return f"write true or false, or '{node.value}' in quotes for the word"
    if kind == "timestamp":
        return "put it in quotes"
    return f"write a plain finite number such as 90 or 0.5, or '{node.value}' in quotes for text"
