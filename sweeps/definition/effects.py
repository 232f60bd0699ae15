"""Which keys of a definition change something: those of a method or a teacher that no cell uses are mistakes."""

from __future__ import annotations

from typing import Any

from c2d.core.yaml.yaml_lines import YamlDocument
from c2d.specs.first_weights import BACKBONE, inherits, network_source
from c2d.specs.method_schema import method_names, needed_teachers
from sweeps.definition.axes import Axis

USES_IMPRESSIONS = "has data_free: true, or real images with a teacher's labels (images_from: real)"


def check_effects(value: dict[str, Any], document: YamlDocument, methods: dict[str, Any]) -> None:
    """Add errors for keys that two axes set, and for keys that cannot change anything.

    Args:
        value: a definition that was read, `base`, `axes` and `teachers` among its keys.
        document: gets the errors.
        methods: the catalog of methods.
    """
    axes: dict[str, Axis] = value["axes"]
    used = set(method_names(value["base"].get("method")))
    for axis in axes.values():
        used |= {name for label in axis.labels for name in method_names(axis.sets(label).get("method"))}
    needed = {**needed_teachers(sorted(used), methods), **_needed_by_images(value), **_needed_by_init(value)}
    # A misspelled method is reported once, not again by every key that would act on it.
    setters = [("axes", name) for name, axis in axes.items() if axis.bundle or name == "method"]
    unsure = any(document.errors.has_error_in(path) for path in (("base", "method"), *setters))
    owner: dict[str, str] = {}
    settings = [("base", key) for key in value["base"]]
    settings += [(name, key) for name, axis in axes.items() for key in sorted(axis.keys())]
    for name, key in settings:
        path = ("base", key) if name == "base" else ("axes", name)
        about = "" if key == name or name == "base" else f"{key} "
        if name != "base" and owner.setdefault(key, name) != name:
            document.errors.add(path, f"{about}is set by axis '{owner[key]}' as well; one axis sets a key")
        head, *rest = key.split(".")
        if unsure:
            continue
        if head == "method" and rest and rest[0] not in used:
            document.errors.add(path, f"{about}changes nothing: no method of this sweep contains {rest[0]}")
        elif head == "teacher" and isinstance(value["teachers"].get(rest[0]), str):
            run = value["teachers"][rest[0]]
            document.errors.add(path, f"{about}cannot change the finished run {run}; describe the teacher in a block")
        elif head == "teacher" and isinstance(value["teachers"].get(rest[0]), list):
            document.errors.add(path, f"{about}cannot change the members of an ensemble; write it into their blocks")
        elif head == "teacher" and rest[0] == "impressions" and rest[0] not in needed:
            document.errors.add(path, f"{about}changes nothing: no cell {USES_IMPRESSIONS}")
        elif head == "teacher" and rest[0] == "backbone" and rest[0] not in needed:
            document.errors.add(path, f"{about}changes nothing: no cell has init: backbone")
        elif head == "teacher" and rest[0] not in needed:
            document.errors.add(path, f"{about}changes nothing: no method of this sweep needs a {rest[0]} teacher")
    if "impressions" in value["teachers"] and "impressions" not in needed and not unsure:
        document.errors.add(("teachers", "impressions"), f"is used by no cell; a cell {USES_IMPRESSIONS}")
    if "backbone" in value["teachers"] and "backbone" not in needed:
        document.errors.add(("teachers", "backbone"), "is used by no cell: no cell has init: backbone")


def _settings(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return (key, value) of everything that the base and the labels of the axes set."""
    return [*value["base"].items(), *(one for axis in value["axes"].values() for label in axis.labels
            for one in axis.sets(label).items())]  # fmt: skip


def _needed_by_init(value: dict[str, Any]) -> dict[str, list[str]]:
    """Return what the first weights of a cell need: a detector to inherit neck and heads from, a backbone's run."""
    inits = [given for key, given in _settings(value) if key == "init" and isinstance(given, str)]
    needed: dict[str, list[str]] = {"detector": []} if any(map(inherits, inits)) else {}
    return needed | ({"backbone": []} if any(network_source(init) == BACKBONE for init in inits) else {})


def _needed_by_images(value: dict[str, Any]) -> dict[str, list[str]]:
    """Return what a cell without real images, or with a teacher's labels on them, needs: impressions, and a detector.

    Impressions that are given by their run are used where they are real images with a teacher's labels as well, which
    the file does not say.
    """
    given = value["teachers"].get("impressions")
    settings = _settings(value)
    schedules = [given.get("schedule")] if isinstance(given, dict) else []
    schedules += [found for key, found in settings if key == "teacher.impressions.schedule"]
    inside = [found.get("values") or {} for found in schedules if isinstance(found, dict)]
    is_real = ("teacher.impressions.schedule.images_from", "real") in settings
    is_real |= any(isinstance(values, dict) and values.get("images_from") == "real" for values in inside)
    # A schedule in a file of its own may say the same.
    is_real |= any(isinstance(found, str) and found.endswith((".yaml", ".yml")) for found in schedules)
    claims = any(key == "data_free" and found is True for key, found in settings)
    return {"impressions": [], "detector": []} if claims or is_real or isinstance(given, str) else {}
