"""Types named in overrides: each one must be registered where mmengine will look it up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from c2d.core.errors import InputError, closest_name
from c2d.detectors import timm_backbone
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.specs.override_rules import TYPE_KEYS

PLACES = {
    "model": ("MODELS", "TASK_UTILS", "WEIGHT_INITIALIZERS"),
    "train_dataloader": ("DATASETS", "TRANSFORMS"),
    "optim_wrapper": ("OPTIM_WRAPPERS", "OPTIMIZERS", "OPTIM_WRAPPER_CONSTRUCTORS"),
    "param_scheduler": ("PARAM_SCHEDULERS",),
}
"""First part of a key of train_config.py: the registries in which types below it are looked up."""

OWN_NAMES = ("conv", "interpolation_conv", "last_conv")
"""Types of the parts of mmdet's FPG neck, which has a table of its own."""


def check_override_types(overrides: dict[str, Any]) -> None:
    """Check that every type in overrides is registered; mmdet is imported only where there is one.

    Args:
        overrides: {dotted key: value}, checked by `c2d.specs.override_rules`.

    Raises:
        InputError: a type of that name is not registered; the closest name is given.
    """
    for dotted, value in overrides.items():
        place, last = dotted.split(".")[0], dotted.rpartition(".")[2]
        for where, name in _types(last, value, dotted):
            known = registered_names(place)
            if name not in known:
                guess = closest_name(name, known)
                raise InputError(
                    f"override '{where}' is '{name}', and no type of that name is registered for {place} "
                    f"(mmengine's {', '.join(PLACES.get(place, ()) or ('none',))}, with mmdet's and mmcv's)"
                    + (f"; did you mean '{guess}'?" if guess else "; take a name of mmdet's documentation")
                )


def registered_names(place: str) -> set[str]:
    """Return the names of types that may stand below a key of train_config.py.

    Args:
        place: first part of the key.
    """
    with mmdet_scope():
        import mmcv.ops
        import mmdet.registry
        import mmengine.registry

        names: set[str] = set()
        for registry in PLACES.get(place, ()):
            for package in (mmdet.registry, mmengine.registry):
                if hasattr(package, registry):
                    names |= set(getattr(package, registry).module_dict)
        if place == "model":
            # Kinds of NMS and RoI layers are functions and classes of mmcv.ops, which mmdet looks up by their names.
            names |= {name for name, item in vars(mmcv.ops).items() if callable(item) and name[0] != "_"}
            names |= {*OWN_NAMES, timm_backbone.TYPE}
        return names


def _types(key: str, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(dotted key, name) of each type in a value. albumentations' own transforms, inside `Albu`, are not registered."""
    if key in TYPE_KEYS and isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        inside = {"type": value["type"]} if value.get("type") == "Albu" else value
        for inner, item in inside.items():
            yield from _types(inner, item, f"{path}.{inner}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _types(str(index), item, f"{path}.{index}")
