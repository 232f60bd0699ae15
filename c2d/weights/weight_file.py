"""The type that every source of first weights returns, and the digest of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def same_key(key: str) -> str:
    """Return the key itself: a file that has the keys of its network."""
    return key


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class WeightFile:
    """A file of weights that was read.

    Attributes:
        source: its name in messages, in the log and in result.json.
        loaded: what `safe_load.load` returned: the state dict, or a checkpoint that holds it.
        rename: key of the file -> key of the network as torchvision, timm or mmdet builds it.
        sha256: of the file, hex.
    """

    source: str
    loaded: Mapping[str, Any]
    rename: Callable[[str], str] = same_key
    sha256: str = ""
