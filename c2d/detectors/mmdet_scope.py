"""The context in which mmengine builds mmdet's models, data sets and transforms from configs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmengine.registry import DefaultScope

from c2d.detectors import compat


@contextlib.contextmanager
def mmdet_scope() -> Iterator[None]:
    """Register mmdet's classes, and make its registry the one in which mmengine looks up the type names of configs.

    Import mmdet's modules inside the context, or after `compat.prepare()`: before it, their import may fail.
    """
    compat.prepare()  # it also imports all of mmdet, which fills the registries
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield
