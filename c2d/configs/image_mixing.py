"""Transforms that put several images of a data set into one, found by what their class does.

A run resumes exactly because the image of an iteration follows from (seed, iteration) alone; and a classifier teacher
sees crops of one image. A transform that reads other images of the data set, or keeps earlier ones, breaks both.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope

ASKS_FOR_IMAGES = ("get_indexes", "get_indices")
"""With these methods a transform asks mmdet's MultiImageMixDataset for further images."""

OTHER_IMAGES = {"mix_results", "results_cache", "max_cached_images"}
"""Names under which a transform gets further images, or keeps earlier ones: mmdet's Cached transforms."""


def refuse_mixing(pipeline: Any, source: str) -> None:
    """Check that no step of a training pipeline uses other images, nested steps and wrappers included.

    Args:
        pipeline: steps, or the config of a whole data set.
        source: what has it, for messages.

    Raises:
        InputError: one does.
    """
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS

        for step in typed_dicts(pipeline):
            kind = step["type"]
            found = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
            if inspect.isclass(found) and mixes_images(found):
                raise InputError(
                    f"{source} trains on several images at once ({found.__name__}), which an exact resume forbids; "
                    "copy the config and give it a train_dataloader whose pipeline works on one image"
                )


def mixes_images(transform: type) -> bool:
    """Return whether a class of transforms uses other images than the one it is given.

    Args:
        transform: a class of mmcv, mmdet or the user.
    """
    own = any(name in ASKS_FOR_IMAGES for parent in transform.__mro__ for name in vars(parent))
    return own or bool(names_used(transform) & OTHER_IMAGES)


def names_used(kind: type) -> set[Any]:
    """Return the names, attributes and texts in the functions of a class and its parents."""
    return {
        name
        for parent in kind.__mro__
        for value in vars(parent).values()
        for function in _own_functions(value, parent.__module__)
        for name in _names(function.__code__)
    }


def _own_functions(value: Any, module: str) -> list[Any]:
    """The functions of a class's own module behind an attribute: mmcv's and mmdet's decorators stand before them."""
    value = getattr(value, "func", value)  # mmcv's `cache_randomness` is an object
    if not inspect.isfunction(value):
        return []
    if value.__globals__["__name__"] == module:
        return [value]
    return [one for cell in value.__closure__ or () for one in _own_functions(cell.cell_contents, module)]


def _names(code: CodeType) -> set[Any]:
    """Names, attributes and texts in a function, those inside it included."""
    nested = [part for part in code.co_consts if isinstance(part, CodeType)]
    own = {*code.co_names, *code.co_varnames, *(part for part in code.co_consts if isinstance(part, str))}
    return own.union(*map(_names, nested))


def typed_dicts(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every dict with a `type` in a config, from the outside inwards."""
    if isinstance(node, Mapping):
        if node.get("type") is not None:
            yield node
        for value in node.values():
            yield from typed_dicts(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from typed_dicts(value)
