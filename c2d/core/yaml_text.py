"""A YAML file as plain text values, each with its line; what would be read otherwise than it looks is a mistake.

Every scalar stays the text that was written: labels of a sweep are text, so `0.10` and `no` are no number and no false.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, file_state, read_bytes

Place = tuple[str | int, ...]
"""Keys and places in lists, from the top of the file."""
MOST_BYTES = 1_000_000
DEEPEST = 20


class Mistakes:
    """The mistakes of one file, each with the line it stands on."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self.found: list[tuple[int, str]] = []

    def add(self, place: Place, message: str, line: int | None = None) -> None:
        """Note a mistake; without a line of its own it gets that of the nearest key above."""
        above = next((place[:n] for n in range(len(place), -1, -1) if place[:n] in self.lines), ())
        line = line or self.lines.get(above, 1)
        name = spell(place)
        text = f"{self.file}:{line}: {name + ': ' if name else ''}{message}"
        self.found.append((line, "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)))

    def refuse(self) -> None:
        """One InputError with a line for each mistake, in the order of the file; nothing where there is none."""
        if self.found:
            found = sorted(self.found, key=lambda item: item[0])
            raise InputError("\n".join(dict.fromkeys(text for _, text in found)))


def spell(place: Place) -> str:
    """`rows.method[0]` for ("rows", "method", 0)."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def read_text(path: Path) -> str:
    """The text of a file that is to be a spec.

    Raises:
        InputError: a folder, a pipe, not readable, too large, not text.
    """
    try:
        state = file_state(path)
        raw = read_bytes(path) if isinstance(state, tuple) and state[0] <= MOST_BYTES else b""
    except (OSError, FormatError) as error:
        raise InputError(f"cannot read {path}: {error}; give a YAML file") from None
    if not isinstance(state, tuple):
        raise InputError(f"cannot read {path}: {state.message if state else 'it is missing'}; give a YAML file")
    if state[0] > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes; a report spec has a few lines")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: no UTF-8 text; give a YAML file, saved as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path}: holds null bytes, so it is no text; give a YAML file")
    return text


def read_values(text: str, mistakes: Mistakes) -> dict[str, Any]:
    """The mapping in a YAML text: dicts, lists and text. Lines of all places and mistakes go into `mistakes`.

    Raises:
        InputError: not YAML, empty, no mapping: nothing more can be said about such a file.
    """
    try:
        _look_over(text, mistakes)
        mistakes.refuse()
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        mistakes.add((), f"not valid YAML ({said}); mend the line", mark.line + 1 if mark else 1)
        mistakes.refuse()
    if node is None:
        raise InputError(f"{mistakes.file}: empty; write `kind: table` and its keys")
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{mistakes.file}:{node.start_mark.line + 1}: wanted `key: value` lines, given {_kind(node)}")
    value: dict[str, Any] = _read(node, (), mistakes)
    return value


def _look_over(text: str, mistakes: Mistakes) -> None:
    """Refuse what a spec never needs before anything is built of it: aliases, tags, depth, a second document."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent):
            mistakes.add((), f"the alias *{event.anchor} is not read; write the value out", line)
        elif (tag := getattr(event, "tag", None)) is not None:
            mistakes.add((), f"the tag {tag} is not read; leave it out", line)
        if depth > DEEPEST:
            mistakes.add((), "nested too deeply; write it flatter", line)
            return
        if documents > 1:
            mistakes.add((), "a second document (---); one file is one table or figure", line)
            return


def _read(node: yaml.Node, place: Place, mistakes: Mistakes) -> Any:
    mistakes.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_read(item, (*place, n), mistakes) for n, item in enumerate(node.value)]
    values: dict[str, Any] = {}
    for key, item in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            mistakes.add(place, f"a key is {_kind(key)}; keys are text", line)
        elif key.value in values:
            first = mistakes.lines[(*place, key.value)]
            mistakes.add((*place, key.value), f"given twice, first in line {first}; keep one of them", line)
        else:
            mistakes.lines[(*place, key.value)] = line
            values[key.value] = _read(item, (*place, key.value), mistakes)
    return values


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "a text"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
