"""Configs as Python text of literal values: written so that stock mmengine reads them, read without executing them.

What c2d writes is a list of assignments whose values are literals. The reader knows those and nothing else: another
statement, a name, or a call of anything but `dict`, `set` and `float` is refused with its line, and nothing in it runs.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

from c2d.core.errors import InputError, first_line

INDENT = "    "
WIDTH = 100
"""Characters of a value that stays on one line."""
NUMBERS = {"inf": math.inf, "nan": math.nan}
"""Names that mmengine writes for floats; no config that it wrote with them can be executed."""


def config_source(values: Mapping[str, Any]) -> str:
    """Return a config as Python text: one assignment a key, in the order of `values`.

    Args:
        values: plain values; see `c2d.configs.stored_config`.

    Raises:
        InputError: a key that is no name of Python, or a value that is not plain.
    """
    for key in values:
        if not _is_name(key):
            raise InputError(f"the config has the key {key!r}, which is no name of Python; rename it")
    return "".join(f"{key} = {_text(value, key, '')}\n" for key, value in values.items())


def parse_config_source(text: str, name: str) -> dict[str, Any]:
    """Return the values of a config's text without executing anything.

    Args:
        text: assignments of literals.
        name: of the file, for messages.

    Raises:
        InputError: anything else in it; the message has the line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of code that is refused below
            tree = ast.parse(text, filename=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{name} is not a config that c2d wrote ({first_line(error)}); restore the file") from None
    values: dict[str, Any] = {}
    try:
        for statement in tree.body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                _refuse(statement, name)
            target = statement.targets[0]
            if not isinstance(target, ast.Name) or target.id in values:
                _refuse(statement, name)
            values[target.id] = _value(statement.value, name)
    except RecursionError:
        raise InputError(f"{name} is not a config that c2d wrote (nested too deeply); restore the file") from None
    return values


def _refuse(node: ast.AST, name: str) -> NoReturn:
    line = getattr(node, "lineno", 1)
    shown = " ".join(ast.unparse(node).split())[:80]
    raise InputError(
        f"line {line} of {name} is {shown!r}, and a config that c2d wrote has literal values alone; nothing of it was "
        "executed: restore the file"
    )


def _value(node: ast.expr, name: str) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return node.value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            number = _value(operand, name)
            if isinstance(number, bool) or not isinstance(number, int | float):
                _refuse(node, name)
            return -number if isinstance(node.op, ast.USub) else number
        case ast.List():
            return [_value(item, name) for item in node.elts]
        case ast.Tuple():
            return tuple(_value(item, name) for item in node.elts)
        case ast.Set():
            return {_hashable(item, name) for item in node.elts}
        case ast.Dict():
            return _dict(node, name)
        case ast.Name(id=word) if word in NUMBERS:
            return NUMBERS[word]
        case ast.Call(func=ast.Name(id=function)):
            return _call(node, function, name)
    _refuse(node, name)


def _hashable(node: ast.expr, name: str) -> Any:
    value = _value(node, name)
    try:
        hash(value)
    except TypeError:
        _refuse(node, name)
    return value


def _dict(node: ast.Dict, name: str) -> dict[Any, Any]:
    if None in node.keys:  # {**other}
        _refuse(node, name)
    return {_hashable(key, name): _value(item, name) for key, item in zip(node.keys, node.values, strict=True) if key}


def _call(node: ast.Call, function: str, name: str) -> Any:
    """Return the value of dict(key=value, ...), dict({...}), set() and float('inf')."""
    match function, node.args, node.keywords:
        case "dict", [], keywords if all(word.arg for word in keywords):
            return {str(word.arg): _value(word.value, name) for word in keywords}
        case "dict", [ast.Dict() as content], []:
            return _dict(content, name)
        case "set", [], []:
            return set()
        case "float", [ast.Constant(value="inf" | "-inf" | "nan" as word)], []:
            return float(word)
    _refuse(node, name)


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


def _text(value: Any, path: str, indent: str) -> str:
    """Return the literal of a value: on one line where it is short, else one item a line.

    Args:
        value: plain.
        path: its dotted key, for the message.
        indent: of the line that it begins on.
    """
    items, begin, end = _items(value, path, indent + INDENT)
    if items is None:
        return begin
    line = f"{begin}{', '.join(items)}{',' if isinstance(value, tuple) and len(items) == 1 else ''}{end}"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    return f"{begin}\n" + "".join(f"{indent}{INDENT}{item},\n" for item in items) + indent + end


def _items(value: Any, path: str, indent: str) -> tuple[list[str] | None, str, str]:
    """(texts of the items, begin, end) of a container; (None, whole text, "") of a scalar."""
    if isinstance(value, Mapping):
        if all(_is_name(key) for key in value):
            return [f"{k}={_text(item, f'{path}.{k}', indent)}" for k, item in value.items()], "dict(", ")"
        texts = [f"{_text(k, path, indent)}: {_text(item, f'{path}.{k}', indent)}" for k, item in value.items()]
        return texts, "{", "}"
    if isinstance(value, set):
        texts = sorted(_text(item, path, indent) for item in value)
        return (texts, "{", "}") if texts else (None, "set()", "")
    if isinstance(value, list | tuple):
        texts = [_text(item, f"{path}.{place}", indent) for place, item in enumerate(value)]
        return (texts, "[", "]") if isinstance(value, list) else (texts, "(", ")")
    if isinstance(value, str):
        # mmengine replaces {{ name }} in the text of a config; two adjacent literals are one string.
        shown = repr(value)
        return None, re.sub(r"\{(?=\{)", "{" + shown[0] + " " + shown[0], shown), ""
    if isinstance(value, float) and not math.isfinite(value):
        return None, f'float("{value}")', ""
    if value is None or isinstance(value, bool | int | float):
        return None, repr(value), ""
    raise InputError(f"{path} of the config is a {type(value).__name__}; write it as numbers, text, lists or dicts")
