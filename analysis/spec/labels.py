r"""Labels of axes, values and columns: the only place that decides what a report shows for a name.

A label comes from the report spec, else from the definition of the sweep, else it is the name itself. It may have LaTeX
math, `$\lambda_{kc}$`. Tables, frames and CSV files hold the Unicode text of a label (λ_kc), so a label is compared,
sorted, filtered and shortened as any other text. `math_of` leads from that text back to the LaTeX: formats that can
show math look a text up there, everything else shows the Unicode.

For figures:
  - legends, rows, series: `groups(..., labels=spec.labels)` returns the Unicode of the labels in `Group.shown`;
  - an axis of the sweep on an axis of the figure: `label_of_axis(spec, axis)`, its ticks:
    `label_of_value(spec, axis, label)`;
  - a number on an axis of the figure: `label_of_column(spec, key)` (with the default of `analysis.loading.columns`);
  - where a text is drawn: `mathtext(text, math_of(spec))` returns the text for matplotlib with `parse_math=True`, or
    None where it has no math: then draw the text itself with `parse_math=False`. Texts composed of labels ("λ_kc=0.1,
    T₁", "Δ λ_kc (%)", see `c2d.markup.composed_text`) are found as well; a shortened label has no math any more.

`with_sweep_labels` has put the labels of the sweep into every spec before `data` and `draw` see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from analysis.loading.columns import quantity
from analysis.spec.report_item import ReportItem
from c2d.core.errors import InputError, unknown_name
from c2d.core.sweep_manifest import manifest_axes
from c2d.markup.composed_text import math_labels, math_source
from c2d.markup.label_text import parse_label, plain_label

Item = TypeVar("Item", bound=ReportItem)


def with_sweep_labels(spec: Item, manifest: Mapping[str, Any]) -> Item:
    """Return the spec with the labels of a sweep's definition where it has none of its own.

    Args:
        manifest: of the sweep; {} for the runs of no sweep.

    Raises:
        InputError: the spec has a label of an axis that the sweep does not have.
    """
    axes = manifest_axes(manifest) if manifest else ["student", "method", "question"]
    for axis in spec.labels_of_axes:
        if axis not in axes:
            raise unknown_name("axis in `labels_of_axes`", axis, axes)
    of_sweep, of_axes = _valid(manifest.get("labels")), _valid_texts(manifest.get("labels_of_axes"))
    labels = {axis: {**of_sweep.get(axis, {}), **spec.labels.get(axis, {})} for axis in [*of_sweep, *spec.labels]}
    known = {axis: set(manifest.get("axes", {}).get(axis, [])) for axis in of_sweep}
    labels = {
        axis: {
            label: text for label, text in found.items() if label in spec.labels.get(axis, {}) or label in known[axis]
        }
        for axis, found in labels.items()
        if axis in axes or axis in spec.labels
    }
    return spec.model_copy(
        update={
            "labels": {axis: found for axis, found in labels.items() if found},
            "labels_of_axes": {**{axis: text for axis, text in of_axes.items() if axis in axes}, **spec.labels_of_axes},
        }
    )


def label_of_axis(spec: ReportItem, axis: str) -> str:
    """Return the label of an axis of the sweep, in Unicode."""
    return plain_label(spec.labels_of_axes[axis]) if axis in spec.labels_of_axes else axis


def short_axis_label(manifest: Mapping[str, Any], axis: str) -> str:
    """Return the label of an axis in the definition of a sweep, in Unicode; without one the last part of its name.

    Args:
        manifest: of the sweep; {} for the runs of no sweep.
    """
    given = _valid_texts(manifest.get("labels_of_axes")).get(axis)
    return axis.rpartition(".")[2] if given is None else plain_label(given)


def value_label(manifest: Mapping[str, Any], axis: str, label: str) -> str:
    """Return the label of one value of an axis in the definition of a sweep, in Unicode; without one the value."""
    given = _valid(manifest.get("labels")).get(axis, {}).get(label)
    return label if given is None else plain_label(given)


def label_of_value(spec: ReportItem, axis: str, label: str) -> str:
    """Return the shown label of one value of an axis, in Unicode."""
    found = spec.labels.get(axis, {})
    return plain_label(found[label]) if label in found else label


def label_of_column(spec: ReportItem, key: str) -> str:
    """Return the label of a column, without its unit, in Unicode."""
    return plain_label(spec.labels_of_columns[key]) if key in spec.labels_of_columns else quantity(key).label


def math_of(spec: ReportItem) -> dict[str, str]:
    """Return {label in Unicode: the label as it was written} of all labels of a spec that have math."""
    written = [*spec.labels_of_axes.values(), *spec.labels_of_columns.values()]
    written += [text for found in spec.labels.values() for text in found.values()]
    return math_labels(written)


def mathtext(text: str, math: Mapping[str, str]) -> str | None:
    """Return a text for matplotlib with `parse_math=True`; None where nothing of it is math.

    Args:
        text: in Unicode.
        math: of `math_of`.
    """
    source = math_source(text, math)
    if source is None:
        return None
    pieces = parse_label(source)
    return "".join(f"${piece.source}$" if piece.is_math else piece.source.replace("$", r"\$") for piece in pieces)


def _valid(given: Any) -> dict[str, dict[str, str]]:
    """The labels of a manifest, without what no definition could have had."""
    found = given if isinstance(given, dict) else {}
    return {str(axis): _valid_texts(labels) for axis, labels in found.items()}


def _valid_texts(given: Any) -> dict[str, str]:
    return {str(key): text for key, text in (given if isinstance(given, dict) else {}).items() if _is_label(text)}


def _is_label(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(plain_label(text).strip())
    except InputError:
        return False
