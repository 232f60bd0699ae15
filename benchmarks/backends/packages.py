"""Libraries that a backend needs and that may be absent: found, or a row that says what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.backends import Unavailable
from c2d.core.errors import first_line


def need(module: str, install: str) -> Any:
    """The module, imported.

    Args:
        install: what follows `pip install`.
    Raises:
        Unavailable: it is not installed, or is installed and broken.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.partition(".")[0] == error.name.partition(".")[0]:
            raise Unavailable(f"{error.name} is not installed: pip install {install}") from error
        raise Unavailable(f"{module} needs {error.name}, which is not installed: pip install {install}") from error
    except Exception as error:  # a library that cannot load its own libraries raises what it likes
        raise Unavailable(f"{module} is installed and cannot be imported: {first_line(error)}") from error
