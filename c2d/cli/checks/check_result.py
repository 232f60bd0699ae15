"""The result of one check of the machine, and what several checks need: installed versions and imports."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from types import ModuleType
from typing import Literal


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: what was checked.
        status: ok; warn: works with a restriction; fail: a command will fail.
        found: what exists, or what is missing.
        fix: the command or step that fixes it; "" if there is nothing to fix.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution from its metadata, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def load_module(name: str) -> ModuleType:
    """Import a module. The checks import through this function, so a test can replace it."""
    return importlib.import_module(name)


def error_line(error: BaseException) -> str:
    """Return the type and the message of an error in one line of about 200 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
