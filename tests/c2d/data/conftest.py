"""Small data sets for the tests of this folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def shared_data() -> Path:
    """The folder with real data beside the repository (C2D_SHARED, else ../shared); skips where it is absent."""
    root = Path(os.environ.get("C2D_SHARED") or Path(__file__).parents[4] / "shared") / "data"
    if not root.is_dir():
        pytest.skip(f"no real data in {root}; set C2D_SHARED to the folder that holds data/bccd and data/coco_mini")
    return root


@pytest.fixture
def coco() -> dict[str, Any]:
    """Two images of 20 x 10 pixels, two classes, three boxes, one of them a crowd region."""
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 2, "file_name": "b.png", "width": 20, "height": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 5], "area": 20, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [10, 2, 10, 8], "area": 80, "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 7, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 1},
        ],
        "categories": [{"id": 3, "name": "ant"}, {"id": 7, "name": "bee"}],
    }


Writer = Callable[..., tuple[Path, Path]]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """write(coco, split): the JSON file and a folder with one random picture for each image; returns both paths."""

    def _write(coco: dict[str, Any], split: str = "train", seed: int = 0) -> tuple[Path, Path]:
        folder = tmp_path / split
        folder.mkdir()
        rng = np.random.default_rng(seed)
        for name in ("a.png", "b.png"):
            Image.fromarray(rng.integers(0, 256, (10, 20, 3), dtype=np.uint8)).save(folder / name)
        path = tmp_path / f"instances_{split}.json"
        path.write_text(json.dumps(coco))
        return path, folder

    return _write
