"""A config of mmengine as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_plain(node: Any) -> Any:
    """Copy a config into dicts, lists, tuples and scalars, without the `_scope_` of mmdet's own files."""
    if isinstance(node, Mapping):
        return {str(key): to_plain(value) for key, value in node.items() if not (key == "_scope_" and value == "mmdet")}
    if isinstance(node, list):
        return [to_plain(value) for value in node]
    if isinstance(node, tuple):
        return tuple(to_plain(value) for value in node)
    return node
