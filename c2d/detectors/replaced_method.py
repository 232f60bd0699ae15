"""Replace a bound method on one instance for as long as a block lasts. Classes are never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shadow(instance: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """`instance.name` is `replacement` inside the block; the instance's own dict is afterwards what it was."""
    own = vars(instance)
    missing = object()
    before = own.get(name, missing)
    own[name] = replacement
    try:
        yield
    finally:
        if before is missing:
            del own[name]
        else:
            own[name] = before
