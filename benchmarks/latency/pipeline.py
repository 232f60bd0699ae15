"""The test pipeline of an mmdet config, taken apart for timing: the loader, and the steps from array to packed image.

`LoadAnnotations` is left out: evaluation carries it, a detector at work has no annotations.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

from c2d.core.errors import InputError, first_line

LOADER = "LoadImageFromFile"
_SIZED = ("scale", "img_scale", "size")


def size_of(steps: Sequence[Any]) -> tuple[int, int]:
    """(height, width) that images are scaled to: of the first step with a `scale`, which mmcv gives as width, height.

    Raises:
        InputError: no step has one.
    """
    for step in steps:
        if (scale := _pair(step.get("scale"))) is not None:
            return scale[1], scale[0]
    raise InputError("the test pipeline has no step with a `scale` (Resize), so the input size is not known; add one")


def at_size(steps: Sequence[Any], size: tuple[int, int]) -> list[Any]:
    """The steps with every scale (and fixed size to pad to) that equals the config's own replaced by `size`."""
    height, width = size_of(steps)
    changed = copy.deepcopy(list(steps))
    for step in changed:
        for key in _SIZED:
            if _pair(step.get(key)) == (width, height):
                step[key] = (size[1], size[0])
    return changed


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return int(value[0]), int(value[1])
    return None


def build(steps: Sequence[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """(loader: {img_path} -> {img, ...}, all later steps: {img, img_shape, ori_shape, ...} -> {inputs, data_samples}).

    Raises:
        InputError: the pipeline does not begin with `LoadImageFromFile`, or cannot be built.
    """
    from mmdet.registry import TRANSFORMS
    from mmengine.dataset import Compose
    from mmengine.registry import DefaultScope

    kinds = [str(step["type"]).rpartition(".")[2] for step in steps]
    if not kinds or kinds[0] != LOADER:
        raise InputError(f"the test pipeline begins with {kinds[0] if kinds else 'nothing'}, not with {LOADER}")
    rest = [step for step, kind in zip(steps[1:], kinds[1:], strict=True) if kind != "LoadAnnotations"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        try:
            return TRANSFORMS.build(steps[0]), Compose(rest)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"mmdet cannot build the test pipeline: {first_line(error)}; check the config") from error


def dataset(config: Any) -> Any:
    """mmdet's data set of the config's `test_dataloader`; what it prints while reading is kept off the terminal.

    Raises:
        InputError: its files are not there, or nothing is in it.
    """
    from mmdet.registry import DATASETS
    from mmengine.registry import DefaultScope

    settings = config["test_dataloader"]["dataset"]
    file = os.path.join(settings.get("data_root") or "", settings.get("ann_file") or "")
    if not os.path.isfile(file):
        raise InputError(
            f"no annotations {file}, which the config's test_dataloader names; restore the data set, say with --data "
            "where it is now, or time random images by name: --images random"
        )
    with DefaultScope.overwrite_default_scope("mmdet"), contextlib.redirect_stdout(io.StringIO()):
        try:
            built = DATASETS.build(settings)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"mmdet cannot build the test data set: {first_line(error)}; check the config") from error
    if not len(built):
        raise InputError(f"{file} names no image; give a config whose test_dataloader has some")
    return built
