"""Changes of valid documents: of the values of a JSON document, and of the words of any text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 5e-324, 10**400, -(10**18), 2**31, 2**63, 2**64, "", " ", "\0",
    "\n", "\x1b[2J", "\u202e", "\ud800", "a" * 300, "../x", "/etc/passwd", "~", "nan", "NaN", "1e5", "0x10", "1_0",
    "yes", "2001-13-45", "2026-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59", "=x", "*", "%s", "{}", "$(id)",
    "type", "os.system", [], {}, [None], [[]], {"a": None}, {"": 1}, [0] * 1000, {"type": "x"}, "done", "running",
)  # fmt: skip
WORDS: tuple[str, ...] = (
    "", "\0", "\n", "\t", "  ", "\r", "\ufeff", "\u202e", "\ud800", "'", '"', "\\", "{", "}", "[", "]", "[" * 2000,
    "{a: " * 500, "&a", "*a", "<<", "!!python/object:os.system", "!!int", "---", "%", "#", "|", "|2-", ">", "?", ":",
    "=", "~", "null", "yes", "-1", "0", "1e999", "nan", ".inf", "0x" + "f" * 400, "9" * 400, "9" * 5000, "1:59:59",
    "2001-13-45", "0.1", "a" * 300, "<!DOCTYPE x [<!ENTITY a 'b'>]>", "&a;", "&#0;", "<object>", "</object>",
    "<a" * 500, "$", "$x$", "\\frac", "_", "^", "^{", "\\mathrm{", "é", "\U0001f600", "NaN", "Infinity",
    "[0-9999999999%4]", "123_[1-4", "None", "Unknown", "1-00:00:00", "\x1b[31m",
)  # fmt: skip
Edit = tuple[int, int, int]
"""(operation, place, value): three numbers, so that every engine can make them. Each is taken modulo its range."""
EDITS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4095), st.integers(0, 1023)), min_size=1, max_size=4)


def edit_json(document: Any, edits: list[Edit]) -> bytes:
    """Return a changed document as JSON; some changes are of the text, after that."""
    value = json.loads(json.dumps(document))
    texts = []
    for operation, place, choice in edits:
        if operation == 7:
            texts.append((operation, place, choice))
            continue
        spots = _spots(value)
        if not spots:
            break
        holder, key = spots[place % len(spots)]
        _change(holder, key, operation, NASTY[choice % len(NASTY)])
    try:
        raw = json.dumps(value).encode()
    except (ValueError, RecursionError):
        raw = b"{}"
    return edit_text(raw, texts) if texts else raw


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value, the outer ones first."""
    spots: list[tuple[Any, Any]] = []
    queue = [value]
    while queue and len(spots) < 4096:
        holder = queue.pop(0)
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            spots += [(holder, key) for key in keys]
            queue += [holder[key] for key in keys]
    return spots


def _change(holder: Any, key: Any, operation: int, nasty: Any) -> None:
    if operation == 0:
        del holder[key]
    elif operation == 1 and isinstance(holder, dict):
        holder[nasty if isinstance(nasty, str) else str(nasty)] = holder.pop(key)
    elif operation == 2 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif operation == 3:
        holder[key] = [holder[key]]
    elif operation == 4:
        holder[key] = {"a": holder[key]}
    elif operation == 5 and isinstance(holder[key], str):
        holder[key] = holder[key] + (nasty if isinstance(nasty, str) else "x")
    else:
        holder[key] = nasty


def edit_text(document: bytes, edits: list[Edit]) -> bytes:
    """Return a changed text: words, lines and bytes are replaced, removed, repeated or moved."""
    text = document.decode("utf-8", "surrogateescape")
    for operation, place, choice in edits:
        word = WORDS[choice % len(WORDS)]
        if operation in (0, 1, 2, 3):
            parts = re.findall(r"[\w.+-]+|[ \t]+|\n|.", text)
            if not parts:
                continue
            at = place % len(parts)
            if operation == 0:
                parts[at] = word
            elif operation == 1:
                parts.insert(at, word)
            elif operation == 2:
                del parts[at : at + 1 + choice % 4]
            else:
                parts[at] = parts[choice % len(parts)]
            text = "".join(parts)
        elif operation in (4, 5):
            lines = text.split("\n")
            at = place % len(lines)
            if operation == 4:
                lines.insert(at, lines[choice % len(lines)])
            else:
                lines[at] = " " * (choice % 9) + lines[at].lstrip()
            text = "\n".join(lines)
        elif operation == 6:
            text = text[: place % (len(text) + 1)]
        else:
            raw = bytearray(text.encode("utf-8", "surrogatepass") if "\ud800" in text else _bytes(text))
            if raw:
                raw[place % len(raw)] = choice % 256
            text = bytes(raw).decode("utf-8", "surrogateescape")
    return _bytes(text)


def _bytes(text: str) -> bytes:
    # Bytes that were no UTF-8 come back as they were; a lone surrogate is written as UTF-8 would.
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def random_edits(rng: random.Random) -> list[Edit]:
    """Return edits for an engine that has only a seed."""
    return [(rng.randrange(8), rng.randrange(4096), rng.randrange(1024)) for _ in range(rng.randint(1, 4))]


def editor_of(document: bytes) -> Callable[[list[Edit]], bytes]:
    """Return the function that changes this document: its values if it is JSON, else its words."""
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict | list):
        return lambda edits: edit_text(document, edits)
    return lambda edits: edit_json(value, edits)
