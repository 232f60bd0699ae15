"""The catalogs of shipped methods and students, which are written from the code and read without torch."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from c2d.core.errors import InputError, unknown_name


@cache
def _shipped_text(file: str) -> str:
    return (resources.files("c2d") / file).read_text()


def method_catalog() -> dict[str, Any]:
    """Read {name: {title, version, teachers, schema, ...}} of the shipped methods, without torch."""
    return json.loads(_shipped_text("methods/catalog.json"))


def student_catalog() -> dict[str, str]:
    """Read {name: digest} of the shipped students, without torch."""
    value: dict[str, Any] = json.loads(_shipped_text("configs/students/catalog.json"))
    return {name: entry["digest"] if isinstance(entry, dict) else entry for name, entry in value.items()}


def unknown_student(name: str) -> InputError:
    """Build the error for a student that does not exist."""
    return unknown_name("student", name, student_catalog(), "or give an mmdet config: a path, or mmdet::folder/name.py")
