"""Steps of a training pipeline that put several images of a data set into one, and where each takes its images from.

mmdet has two forms. MultiImageMixDataset stands around a data set, and its steps (Mosaic, MixUp, CopyPaste) ask for
further images of that data set. A cached step (CachedMosaic, CachedMixUp) stands in the one list of steps and takes
images that passed the steps before it earlier, in the same process. Both become one list here: a step that mixes has
`partner_steps`, the number of steps, from the first, that its further images pass. Cached steps become the uncached
ones: what a cache holds depends on the processes, so no run with one could continue exactly.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any

from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope

ASKS_FOR_IMAGES = ("get_indexes", "get_indices")
"""With these methods a transform asks mmdet's MultiImageMixDataset for further images."""

OTHER_IMAGES = {"mix_results", "results_cache", "max_cached_images"}
"""Names under which a transform gets further images, or keeps earlier ones: mmdet's Cached transforms."""

UNCACHED = {"CachedMosaic": "Mosaic", "CachedMixUp": "MixUp"}
"""mmdet's cached transforms and those that compute the same from images that are read anew."""
OF_A_CACHE = ("max_cached_images", "random_pop")
MIXING = {"Mosaic", "MixUp", "CopyPaste"}
PARTNERS = "partner_steps"


def resolve_mixing(
    pipeline: Sequence[Any], source: str, *, shipped: bool = False, partner_steps: Sequence[int | None] = ()
) -> list[Any]:
    """Return a training pipeline whose mixing steps, nested ones included, are uncached and have `partner_steps`.

    Args:
        pipeline: the steps; those that have `partner_steps` keep it.
        source: what has them, for messages.
        shipped: True for steps that are all mmdet's own: told by their names, mmdet is not imported.
        partner_steps: for each step, the number that a wrapper around the data set gives; None or left out: steps
            before the first that mixes, and for a cached step all steps before it.

    Raises:
        InputError: a step mixes images in another way, or before they are read.
    """
    mixes = [any(_mixing_type(one, source, shipped) for one in typed_dicts(step)) for step in pipeline]
    if True not in mixes:
        return list(pipeline)
    given = [*partner_steps, *[None] * (len(pipeline) - len(partner_steps))]
    resolved = []
    for place, step in enumerate(pipeline):
        before = given[place]
        resolved.append(_resolved(step, place, mixes.index(True) if before is None else before, source, shipped))
    return resolved


def _resolved(node: Any, place: int, partner_steps: int, source: str, shipped: bool) -> Any:
    """A step, or a part of one, at a place of the pipeline."""
    if isinstance(node, (list, tuple)):
        return type(node)([_resolved(item, place, partner_steps, source, shipped) for item in node])
    if not isinstance(node, Mapping):
        return node
    step = {key: _resolved(value, place, partner_steps, source, shipped) for key, value in node.items()}
    kind = _mixing_type(node, source, shipped) if node.get("type") is not None else None
    if kind is None:
        return step
    if kind in UNCACHED:
        step = {key: value for key, value in step.items() if key not in OF_A_CACHE} | {"type": UNCACHED[kind]}
        partner_steps = place
    if isinstance(step.get("img_scale"), list):  # an override is YAML, and mmdet asserts a tuple
        step["img_scale"] = tuple(step["img_scale"])
    own = step.setdefault(PARTNERS, partner_steps)
    if isinstance(own, bool) or not isinstance(own, int) or not 1 <= own <= place:
        raise InputError(
            f"{source}: step {place} of the pipeline ({kind}) has {PARTNERS} {own!r}; its further images pass the "
            f"first so many steps, at least the one that reads the image and at most the {place} before it"
        )
    return step


def _mixing_type(step: Mapping[str, Any], source: str, shipped: bool) -> str | None:
    """The class name of a step that mixes images; None for others.

    Raises:
        InputError: it mixes them in a way that cannot be repeated.
    """
    kind = step["type"]
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    if name in MIXING or name in UNCACHED:
        return str(name)
    if shipped:
        return None
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS

        found = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(found) or not mixes_images(found):
        return None
    if not hasattr(found, ASKS_FOR_IMAGES[0]) or names_used(found) & (OTHER_IMAGES - {"mix_results"}):
        raise InputError(
            f"{source} keeps images of earlier steps ({found.__name__}), which an exact resume forbids; "
            f"use {', '.join(sorted({*MIXING, *UNCACHED}))}, or a transform with get_indexes, as mmdet's Mosaic has it"
        )
    return str(name)


def refuse_wrapped_mixing(dataset: Any, source: str) -> None:
    """Check that no pipeline inside a wrapper of data sets mixes images.

    Args:
        dataset: config of a wrapper.
        source: what has it, for messages.

    Raises:
        InputError: one does.
    """
    for step in typed_dicts(dataset):
        if step["type"] == "MultiImageMixDataset" or _mixing_type(step, source, shipped=False):
            raise InputError(
                f"{source} mixes images inside {dataset['type']} ({step['type']}); write the steps into the pipeline "
                "of one CocoDataset, where images are mixed without a wrapper"
            )


def mixing_steps(pipeline: Any) -> Iterator[Mapping[str, Any]]:
    """Return the steps of a resolved pipeline that mix images, nested ones included."""
    return (step for step in typed_dicts(pipeline) if PARTNERS in step)


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
