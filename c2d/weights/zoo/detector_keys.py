"""Keys of whole detectors that mmdet 2 wrote, as mmdet 3 has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

# FCOS's last layers had these names early in mmdet 2. Before 2.14, SSD's neck was a part of its backbone, and
# its convolutions were numbered through, two to a level (mmdet: tools/model_converters/upgrade_ssd_version.py).
FCOS = re.compile(r"^bbox_head\.fcos_(cls|reg|centerness)\.")
SSD_EXTRA = re.compile(r"^backbone\.extra\.(\d+)\.(weight|bias)$")
SSD_HEAD = re.compile(r"^bbox_head\.(cls|reg)_convs\.(\d+)\.(weight|bias)$")
AVERAGED = "ema_"
"""Begins mmdet 2's second copy of the weights; at the end of a training the first copy holds the average."""


def detector_keys(own: Collection[str]) -> Callable[[str], str | None]:
    """Return a function: key of a file -> key of mmdet 3, None for the second copy of an averaged weight.

    A key that the detector has stays; a key that no rule fits stays too, and is reported by the audit.

    Args:
        own: keys of the detector.
    """
    names = set(own)

    def rename(key: str) -> str | None:
        if key in names:
            return key
        if key.startswith(AVERAGED):
            return None
        return next((name for name in _candidates(key) if name in names), key)

    return rename


def _candidates(key: str) -> list[str]:
    found = [FCOS.sub(r"bbox_head.conv_\1.", key), SSD_HEAD.sub(r"bbox_head.\1_convs.\2.0.\3", key)]
    if match := SSD_EXTRA.match(key):
        number = int(match[1])
        found.append(f"neck.extra_layers.{number // 2}.{number % 2}.conv.{match[2]}")
    if key == "backbone.l2_norm.weight":
        found.append("neck.l2_norm.weight")
    return found
