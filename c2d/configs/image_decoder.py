"""The decoder of images in a pipeline: that of mmcv's defaults, which the checks of data sets and all readers share."""

from __future__ import annotations

from typing import Any

from c2d.configs.image_mixing import typed_dicts
from c2d.core.errors import InputError

LOADER = "LoadImageFromFile"
DECODING = {"imdecode_backend": "cv2", "color_type": "color"}
"""Arguments of mmcv's loader that change pixels or their frame, with its defaults."""


def refuse_other_decoder(pipeline: Any, source: str) -> None:
    """Check that a pipeline reads images with mmcv's default decoder.

    Args:
        pipeline: steps, or the config of a whole data set.
        source: what has it, for messages.

    Raises:
        InputError: it reads them in another way.
    """
    for step in typed_dicts(pipeline):
        kind = step["type"] if isinstance(step["type"], str) else step["type"].__name__
        if kind.rpartition(".")[2] != LOADER:
            continue
        for key, default in DECODING.items():
            if step.get(key, default) != default:
                raise InputError(
                    f"{source} reads images with {key} {step[key]!r}, but data sets are checked as {default!r} reads "
                    f"them; give {LOADER} {key}={default!r}, or leave it out"
                )
