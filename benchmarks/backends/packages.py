"""Import the libraries of a backend; one that is missing becomes a row with the command that installs it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.backends.base import Unavailable
from c2d.core.errors import first_line


def require_package(module: str, install: str) -> Any:
    """Import a module and return it.

    Args:
        module: dotted name.
        install: the argument of `pip install`, for the message.

    Raises:
        Unavailable: it is not installed, or it is installed and cannot be imported.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.partition(".")[0] == error.name.partition(".")[0]:
            raise Unavailable(f"{error.name} is not installed: pip install {install}") from error
        raise Unavailable(f"{module} needs {error.name}, which is not installed: pip install {install}") from error
    except Exception as error:  # a library whose shared objects are missing raises OSError, RuntimeError, ...
        raise Unavailable(f"{module} is installed and cannot be imported: {first_line(error)}") from error
