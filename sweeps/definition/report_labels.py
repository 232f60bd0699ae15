r"""Read the labels of a definition: what reports and figures show for an axis or a value, LaTeX math included.

    labels_of_axes: {method.icod.T: $T$}
    labels: {method: {kd_cls: '$\mathrm{KD}_\mathrm{cls}$'}}

They change no run and no id; they go into the manifest, and a report spec may replace them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.core.yaml.line_errors import KeyPath
from c2d.core.yaml.yaml_lines import YamlDocument
from c2d.markup.label_text import plain_label
from sweeps.definition.axes import Axis


def read_labels_of_axes(given: Any, axes: Mapping[str, Axis], document: YamlDocument) -> dict[str, str]:
    """Return {axis: label}; mistakes are added to the document's errors and left out.

    Args:
        given: as in the file.
        axes: from `read_axes`.
        document: takes the errors.
    """
    return _read(given, "axis", axes, ("labels_of_axes",), document)


def read_labels(given: Any, axes: Mapping[str, Axis], document: YamlDocument) -> dict[str, dict[str, str]]:
    """Return {axis: {value of the axis: label}}. See `read_labels_of_axes`."""
    if not isinstance(given, dict):
        document.errors.add(("labels",), "wanted {axis: {value: label}}, e.g. {method: {kd_cls: KD}}")
        return {}
    found = {}
    for axis, labels in given.items():
        if axis in axes:
            found[axis] = _read(labels, f"value of axis {axis}", axes[axis].labels, ("labels", axis), document)
        elif not document.errors.has_error_in(("axes", axis)):
            document.errors.add(
                ("labels", axis), str(unknown_name("axis", axis, axes, "labels name axes of this file"))
            )
    return found


def _read(given: Any, kind: str, known: Iterable[str], path: KeyPath, document: YamlDocument) -> dict[str, str]:
    if not isinstance(given, dict):
        document.errors.add(path, f"wanted {{{kind}: label}}, given {document.text(path)}")
        return {}
    right, names = {}, list(known)
    for name, label in given.items():
        here: KeyPath = (*path, name)
        if name not in names:
            if not document.errors.has_error_in(("axes", name)):
                document.errors.add(here, str(unknown_name(kind, name, names)))
        elif isinstance(label, dict | list) or not document.text(here).strip():
            document.errors.add(here, f"wanted a label, given {document.text(here) or 'nothing'}")
        else:
            text = document.text(here)
            try:
                plain_label(text)
            except InputError as error:
                document.errors.add(here, str(error))
            else:
                right[name] = text
    return right
