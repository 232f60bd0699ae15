"""Mistakes of claims that only the store shows, each with its place in the spec, so that a report can name its line."""

from __future__ import annotations

from collections.abc import Sequence

from c2d.core.errors import InputError
from c2d.core.yaml.line_errors import KeyPath, key_text


class ClaimErrors(InputError):
    """Mistakes of a spec of claims.

    Attributes:
        found: (path of the value in the spec, message).
    """

    def __init__(self, found: Sequence[tuple[KeyPath, str]]) -> None:
        """Collect the mistakes.

        Args:
            found: (path of the value in the spec, message), at least one.
        """
        super().__init__(*dict.fromkeys(f"{key_text(path)}: {message}" for path, message in found))
        self.found = list(found)
