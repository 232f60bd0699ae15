"""The values of plain YAML scalars, without the unexpected readings of YAML 1.1.

YAML 1.1, which PyYAML implements, reads `no` as false, `1:30` as 90, `010` as 8 and `1e-3` as text. Here a number in
any usual decimal spelling is a number, and whatever YAML 1.1 reads in an unexpected way is an error that shows how to
write it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from c2d.core.errors import InputError

TAG = "tag:yaml.org,2002:"
# 18 digits fit 64 bits; a longer number would change in programs that keep it as a float.
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_CONSTANTS |= {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}


def scalar_value(node: yaml.ScalarNode) -> Any:
    """Return the value of a scalar: text, a finite int or float, a bool or None.

    Args:
        node: composed by a SafeLoader, which resolves its tag as YAML 1.1 does.

    Raises:
        InputError: YAML 1.1 reads it in an unexpected way.
    """
    text = str(node.value)
    if node.style is not None:  # quoted, or a block of text
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    is_float = _FLOAT.fullmatch(text) is not None
    if node.tag == f"{TAG}str" and not is_float:
        return text
    # Whole numbers that _INT refused (010, more than 18 digits) match _FLOAT as well.
    if is_float and not re.fullmatch(r"[-+]?[0-9]+", text) and math.isfinite(float(text)):
        return float(text)
    raise InputError(f"{surprise(node) or _not_kept(text)}; {_fix(node)}")


def surprise(node: yaml.ScalarNode) -> str:
    """Describe how YAML 1.1 reads plain text in an unexpected way; "" for other text."""
    kind = node.tag.removeprefix(TAG)
    if kind == "bool":
        return f"YAML reads {node.value} as {str(node.value.lower() in ('yes', 'on', 'true', 'y')).lower()}"
    if kind == "null":
        return f"YAML reads {node.value or 'an empty name'} as null"
    if kind == "timestamp":
        return f"YAML reads {node.value} as a date"
    if kind in ("int", "float") and not (_INT.fullmatch(node.value) or _FLOAT.fullmatch(node.value)):
        try:
            value = yaml.safe_load(node.value)
            finite = math.isfinite(value)
        except (ValueError, OverflowError):  # `0b_`, or a number beyond a float
            return f"{node.value} is a number in YAML that cannot be kept"
        return f"YAML reads {node.value} as {value}" if finite else f"{node.value} is not a finite number"
    return ""


def _not_kept(text: str) -> str:
    """Say why a number is not read as one."""
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        return f"{text} begins with 0, which YAML reads as octal"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return f"{text} has more than 18 digits"
    return f"{text} is too large a number"


def _fix(node: yaml.ScalarNode) -> str:
    """How to write it. The kind of value that its key wants is not known here."""
    kind = node.tag.removeprefix(TAG)
    if kind == "bool":
        return f"write true or false, a number where one is wanted, or '{node.value}' in quotes for the word"
    if kind == "timestamp":
        return f"write a number where one is wanted, or '{node.value}' in quotes for text"
    return f"write a plain finite number such as 90 or 0.5, or '{node.value}' in quotes for text"
