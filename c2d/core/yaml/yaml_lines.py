"""Read YAML with the line of every value. The only reader of YAML: specs, schedules, sweeps, profiles and reports.

Keys are text. A key given twice, a tag, a merge key, a second document and every scalar that YAML 1.1 reads in an
unexpected way (see `yaml_scalars`) are errors with file, line, key and fix. An alias is read as if its anchor were
written out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, error_text, file_state, read_bytes
from c2d.core.yaml.line_errors import KeyPath, LineErrors
from c2d.core.yaml.yaml_scalars import TAG, scalar_value, surprise

MAX_BYTES = 200_000
"""The longest shipped file has 7 kB. PyYAML needs 3 s for the worst file of this size."""
MAX_DEPTH = 50
"""Brackets inside each other. PyYAML looks through all that are open at every word."""
TOO_DEEP = "nested too deeply"
MAX_VALUES = 200_000
"""Values of a file with all its aliases written out; ten lines of aliases can mean a billion values."""


class YamlDocument:
    """The values of a YAML text, their lines, and the errors of reading them.

    Attributes:
        value: dicts with keys of text, lists and scalars; None if the text is empty or not YAML.
        errors: lines of all values; errors of reading are in it, and callers add theirs.
    """

    def __init__(self, text: str, file: str, scalars_as_text: bool = False) -> None:
        """Read a text.

        Args:
            text: the YAML.
            file: its name in the messages.
            scalars_as_text: keep every scalar as it is written, because labels are text: `0.10` and `no` stay.
        """
        self.errors = LineErrors(file)
        self.value: Any = None
        self._scalars_as_text = scalars_as_text
        self._written: dict[KeyPath, str] = {}
        self._count = 0
        self._tags: dict[int, str] = {}
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            self._tags = loader.explicit_tags
            self.value = None if node is None else self._read(node, (), ())
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            self.errors.add((), _syntax_message(error), mark.line + 1 if mark else 1)
        except RecursionError:
            self.errors.add((), f"{TOO_DEEP}; write it flatter")

    def mapping(self, hint: str) -> dict[str, Any]:
        """Return the keys and values of the document. Its errors, if any, are left for the caller to raise.

        Args:
            hint: what such a file contains, for the message.

        Raises:
            InputError: it holds something else.
        """
        if isinstance(self.value, dict):
            return self.value
        if not self.errors.found:
            held = {list: "a list", type(None): "nothing"}.get(type(self.value), "a single value")
            self.errors.add((), f"holds {held}, not keys and values; {hint}")
        self.errors.raise_if_any()
        raise AssertionError("unreachable")

    def text(self, path: KeyPath) -> str:
        """Return the value at `path` as it was written; a list or a mapping in one line."""
        if path in self._written:
            return self._written[path]
        value = self.value
        for part in path:
            value = value[part]
        flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
        return flow.strip()

    def _read(self, node: yaml.Node, path: KeyPath, inside: tuple[int, ...]) -> Any:
        """Return the value of a node; `inside` are the ids of the nodes around it, to find an alias to one of them."""
        # A value under a key has the line of the key already: its own may be a later one.
        self.errors.lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if id(node) in inside:
            self.errors.add(path, "an alias (*) inside its own anchor (&); write the value out")
            return None
        if self._count > MAX_VALUES:
            # Reported once, not for each of the values that follow.
            if self._count == MAX_VALUES + 1:
                self.errors.add(path, f"more than {MAX_VALUES} values with all aliases (*) filled in; write fewer")
            return None
        if id(node) in self._tags:
            self.errors.add(path, f"the tag {self._tags[id(node)]} is not allowed; leave it out")
            return None
        if isinstance(node, yaml.ScalarNode):
            self._written[path] = node.value
            return node.value if self._scalars_as_text else self._scalar(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*inside, id(node)))
        return [self._read(item, (*path, n), (*inside, id(node))) for n, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, inside: tuple[int, ...]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.errors.add(path, "a key is a list or a mapping; keys are text", line)
                continue
            name = key.value
            if key.tag == f"{TAG}merge":
                self.errors.add(path, "merge keys (<<) are not read; write the keys out", line)
                continue
            if name in value:
                first = self.errors.lines[*path, name]
                self.errors.add((*path, name), f"is given twice, first in line {first}; keep one of them", line)
                continue
            self._check_key(key, path, line)
            self.errors.lines.setdefault((*path, name), line)
            value[name] = self._read(item, (*path, name), inside)
        return value

    def _check_key(self, key: yaml.ScalarNode, path: KeyPath, line: int) -> None:
        name = key.value
        if id(key) in self._tags:
            self.errors.add(path, f"the tag {self._tags[id(key)]} is not allowed; leave it out", line)
        elif not self._scalars_as_text and key.style is None and (reading := surprise(key)):
            self.errors.add((*path, name), f"{reading}; put the name in quotes: '{name}'", line)
        elif not name.strip() or not name.isprintable():
            self.errors.add(path, f"the key {name!r} is not a name; write one line of text", line)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        try:
            return scalar_value(node)
        except InputError as error:
            self.errors.add(path, str(error))
            return None


class _Loader(yaml.SafeLoader):
    """A SafeLoader that remembers the tags that are written out; in the nodes they are equal to resolved ones."""

    def __init__(self, text: str) -> None:
        self.explicit_tags: dict[int, str] = {}
        super().__init__(text)

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        if self.flow_level >= MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, TOO_DEEP, self.get_mark())
        super().fetch_flow_collection_start(token_class)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # Read before `super()` consumes the event. An alias has no tag of its own.
        tag = None if self.check_event(yaml.AliasEvent) else getattr(self.peek_event(), "tag", None)
        node = super().compose_node(parent, index)
        if tag is not None:
            self.explicit_tags[id(node)] = tag
        return node


def _syntax_message(error: yaml.YAMLError) -> str:
    if getattr(error, "context", None) == "expected a single document in the stream":
        return "a second document (---); keep one document a file"
    if getattr(error, "problem", None) == TOO_DEEP:
        return f"{TOO_DEEP}; write it flatter"
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    quotes = "write the text in single quotes" if "escape character" in str(reason) else "fix the line"
    return f"not valid YAML ({reason}); {quotes}"


def read_text(path: Path) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        InputError: missing, not a regular file, not readable, too large, not UTF-8.
    """
    state = file_state(path)
    if state is None:
        raise InputError(f"no file {path}; check the path")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a YAML file")
    try:
        if isinstance(state, tuple) and state[0] > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES:,} bytes; give a YAML file of some lines")
        raw = read_bytes(path)
    except PermissionError:
        raise InputError(f"{path} cannot be read; check its permissions") from None
    except (OSError, FormatError) as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}; give a YAML file") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: is not UTF-8 text; give a YAML file, saved as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}:{line}: holds null bytes, so it is not text; give a YAML file")
    return text


def parse_mapping(text: str, file: str, hint: str) -> dict[str, Any]:
    """Return the keys and values of a YAML text.

    Args:
        text: the YAML.
        file: its name in the messages.
        hint: what such a file contains, for the message.

    Raises:
        InputError: not YAML, no keys and values, or values that YAML reads in an unexpected way: a line each.
    """
    document = YamlDocument(text, file)
    value = document.mapping(hint)
    document.errors.raise_if_any()
    return value


def read_mapping(path: Path, hint: str = "see docs/spec.md") -> dict[str, Any]:
    """Return the keys and values of a YAML file; see `read_text` and `parse_mapping` for the errors."""
    return parse_mapping(read_text(path), str(path), hint)
