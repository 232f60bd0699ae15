"""Pipelines that read images in another way than the checks of data sets are refused."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.configs.image_decoder import refuse_other_decoder
from c2d.core.errors import InputError


@pytest.mark.parametrize(
    ("key", "value", "default"), [("imdecode_backend", "pillow", "cv2"), ("color_type", "unchanged", "color")]
)
@pytest.mark.parametrize("kind", ["LoadImageFromFile", "mmdet.LoadImageFromFile"])
def test_another_decoder_is_refused_inside_wrappers_too(key: str, value: str, default: str, kind: str) -> None:
    step = {"type": kind, key: value}
    dataset = {"type": "RepeatDataset", "dataset": {"type": "CocoDataset", "pipeline": [{"type": "A"}, step]}}
    with pytest.raises(
        InputError, match=f"this one reads images with {key} '{value}', but .* as '{default}' reads them"
    ):
        refuse_other_decoder({"dataset": dataset}, "this one")


@pytest.mark.parametrize("options", [{}, {"imdecode_backend": "cv2", "to_float32": True}, {"backend_args": None}])
def test_the_default_decoder_is_accepted(options: dict[str, Any]) -> None:
    refuse_other_decoder([{"type": "LoadImageFromFile", **options}, {"type": "Resize", "scale": (8, 8)}], "this one")
