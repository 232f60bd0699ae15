"""Read the axes of a sweep and the rules that exclude or include cells; every mistake is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from c2d.core.errors import InputError, closest_name, unknown_name
from c2d.core.yaml.line_errors import KeyPath
from c2d.core.yaml.yaml_lines import YamlDocument
from c2d.specs.method_schema import resolve_method
from sweeps.definition.settable_keys import CELL_KEYS, KEYS, key_mistake


class Axis(BaseModel):
    """One axis: labels, and what each of them sets.

    Attributes:
        name: a settable key; of a bundle any other name.
        values: label -> value of that key; of a bundle {key: value}.
        bundle: whether each value is a mapping of settable keys.
        listed: whether it was given as a list, whose labels are the values as they were written.
        added: values that only `include` rules name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    values: dict[str, Any]
    bundle: bool = False
    listed: bool = False
    added: dict[str, Any] = {}

    @property
    def labels(self) -> list[str]:
        """Every label; those that only `include` rules name come last."""
        return [*self.values, *self.added]

    def sets(self, label: str) -> dict[str, Any]:
        """Return {settable key: value} of one label."""
        value = self.values[label] if label in self.values else self.added[label]
        return value if self.bundle else {self.name: value}

    def keys(self) -> set[str]:
        """Return every key that some label sets."""
        return {key for label in self.labels for key in self.sets(label)}

    def find(self, text: str, value: Any) -> str | None:
        """Find the label of a rule, by its text or by an equal value; None where there is none."""
        if text in self.values or text in self.added:
            return text
        if self.bundle:
            return None
        values = {**self.values, **self.added}
        return next((label for label, own in values.items() if _key(own) == _key(value)), None)


def _key(value: Any) -> str:
    # 1 and 1.0 are the same value; true, which is an int for Python, is another one.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return json.dumps(float(value) if number else value, sort_keys=True)


def read_assignments(given: Any, path: KeyPath, document: YamlDocument, methods: Mapping[str, Any]) -> dict[str, Any]:
    """Read {settable key: value} of `base` or of one value of a bundle. Wrong keys are reported and left out.

    Args:
        given: as in the file.
        path: its place in the file.
        document: takes the errors.
        methods: content of methods/catalog.json.
    """
    if not isinstance(given, dict):
        document.errors.add(path, f"wanted keys and values, given {_shown(given)}; e.g. {{dataset: scenes}}")
        return {}
    right = {}
    for key, value in given.items():
        wrong = key_mistake(key, methods)
        if wrong:
            document.errors.add((*path, key), wrong)
        else:
            right[key] = value
            if not document.errors.has_error_in((*path, key)):
                check_value(key, value, (*path, key), document, methods)
    return right


def check_value(key: str, value: Any, path: KeyPath, document: YamlDocument, methods: Mapping[str, Any]) -> None:
    """Report mistakes of a value that need no look-up: unknown methods and parameters. See `read_assignments`."""
    if key != "method":
        return
    if not isinstance(value, list):
        document.errors.add(path, f"a method is a list such as [{{icod: {{T: 2}}}}], given {_shown(value)}")
        return
    try:
        resolve_method(value, dict(methods))
    except InputError as error:
        document.errors.add(path, str(error))


def read_axes(given: Any, document: YamlDocument, methods: Mapping[str, Any]) -> dict[str, Axis]:
    """Read the valid axes of the file; the mistakes of the others are reported. See `read_assignments`."""
    if not isinstance(given, dict):
        document.errors.add(
            ("axes",), f"wanted axes by name, given {_shown(given)}; e.g. {{student: [ssd300-vgg16, retinanet-r50]}}"
        )
        return {}
    axes = {name: _read_axis(name, values, document, methods) for name, values in given.items()}
    return {name: axis for name, axis in axes.items() if axis is not None}


def _read_axis(name: str, given: Any, document: YamlDocument, methods: Mapping[str, Any]) -> Axis | None:
    path, errors = ("axes", name), document.errors
    wrong = key_mistake(name, methods)
    # A name that is no key may be that of a bundle; one with a dot is a mistyped key.
    if wrong and name not in KEYS and "." not in name:
        if isinstance(given, dict) and given and all(isinstance(value, dict) for value in given.values()):
            return _read_bundle(name, given, document, methods)
        wrong += "; an axis of another name is a bundle, whose named values are mappings of such keys"
    if wrong:
        errors.add(path, wrong)
        return None
    if not isinstance(given, dict | list) or not given:
        errors.add(path, f"wanted a list of values or named values, given {_shown(given)}")
        return None
    axis = Axis(name=name, values={}, listed=isinstance(given, list))
    for place, value in enumerate(given) if isinstance(given, list) else given.items():
        here: KeyPath = (*path, place)
        if errors.has_error_in(here):
            continue
        label = document.text(here) if axis.listed else str(place)
        if axis.listed and (same := axis.find(label, value)) is not None:
            errors.add(here, f"{label} is given twice (as {same}); keep one of them")
        elif not label.strip() or not label.isprintable():
            errors.add(here, f"{label!r} cannot be a label; give the values names: {{name: value}}")
        elif isinstance(value, dict) and (set(value) & set(KEYS)):
            rule = f"'{name}' is a key, so a value of this axis is a value of that key, given {_shown(value)}"
            errors.add(here, f"{rule}; an axis whose values set several keys has a name that is no key, e.g. model")
        else:
            check_value(name, value, here, document, methods)
            axis.values[label] = value
    return axis


def _read_bundle(name: str, given: dict[str, Any], document: YamlDocument, methods: Mapping[str, Any]) -> Axis:
    """Read an axis whose labels set several keys. If its name may be a mistyped key, errors show the closest key."""
    before = len(document.errors.found)
    values = {}
    for label, value in given.items():
        values[label] = read_assignments(value, ("axes", name, label), document, methods)
    if close := closest_name(name, CELL_KEYS, cutoff=0.75):
        hint = f" (axis '{name}' is not a key, so its values are mappings of keys; did you mean '{close}'?)"
        document.errors.extend_messages(before, hint)
    return Axis(name=name, values=values, bundle=True)


def read_rules(given: Any, section: str, axes: dict[str, Axis], document: YamlDocument) -> list[dict[str, str]]:
    """Read the rules of `exclude` or `include` as {axis: label}.

    Args:
        given: as in the file.
        section: exclude or include.
        axes: from `read_axes`. A new value of a listed axis in an include rule is added to that axis.
        document: takes the errors.
    """
    if not isinstance(given, list):
        document.errors.add((section,), f"wanted a list of rules such as [{{axis: label}}], given {_shown(given)}")
        return []
    rules = []
    for place, rule in enumerate(given):
        path: KeyPath = (section, place)
        if not isinstance(rule, dict) or not rule:
            document.errors.add(path, f"wanted {{axis: label, ...}} with at least one axis, given {_shown(rule)}")
            continue
        labels = {axis: _label(axis, value, (*path, axis), axes, document) for axis, value in rule.items()}
        if None not in labels.values():
            rules.append({axis: str(label) for axis, label in labels.items()})
    return rules


def _label(name: str, value: Any, path: KeyPath, axes: dict[str, Axis], document: YamlDocument) -> str | None:
    if name in ("seed", "seeds"):
        document.errors.add(path, "is not an axis: every cell has every seed; name cells by their other axes")
        return None
    if name not in axes:
        # An axis with mistakes is not in `axes`, but a rule may name it.
        given = document.value.get("axes")
        if not isinstance(given, dict) or name not in given:
            document.errors.add(path, str(unknown_name("axis", name, axes, "rules name axes of this file")))
        return None
    axis, text = axes[name], document.text(path)
    label = axis.find(text, value)
    if label is None and path[0] == "include" and axis.listed:
        # `frozen` protects the fields of an Axis, not the content of its dicts.
        axis.added[text] = value
        return text
    if label is None:
        document.errors.add(path, str(unknown_name(f"label of axis {name}", text, axis.labels)))
    return label


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value) if len(repr(value)) < 60 else type(value).__name__
