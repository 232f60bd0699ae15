"""One table or figure for each kind of latency measurement: numbers of two backends or devices never stand together."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.loading.columns import quantity
from analysis.loading.latency_conditions import condition_sets
from analysis.loading.schema import Study
from analysis.report.file_names import name_of_labels
from analysis.spec.report_item import FigureSpec, SeriesFigureSpec
from analysis.spec.seeds_needed_spec import SeedsNeededSpec
from analysis.spec.table_spec import TableSpec
from analysis.tables.groups import groups


def one_per_measurement(
    study: Study, spec: TableSpec | SeedsNeededSpec | FigureSpec, sweep: str
) -> Iterator[tuple[TableSpec | SeedsNeededSpec | FigureSpec, str]]:
    """Yield the spec once, or once for each kind of measurement that its runs have.

    Yields:
        (the spec with the conditions of one kind, suffix of its name). The suffix is "" where there is one kind.

    Raises:
        InputError: unknown conditions, axes or labels in the spec.
    """
    conditions = getattr(spec, "latency", None)
    if (
        isinstance(spec, SeedsNeededSpec)
        or conditions is None
        or not any(quantity(key).depends_on_device for key in _keys(spec))
    ):
        yield spec, ""
        return
    axes = spec.rows if isinstance(spec, TableSpec) else {axis: [] for axis in _series(spec)}
    runs = [run for group in groups(study, sweep, axes, spec.where) for run in group.runs]
    found = condition_sets(study, runs, conditions)
    if len(found) == 1:
        yield spec, ""
        return
    for added in found:
        words = ", ".join(f"{key} {value}" for key, value in added.items())
        title = f"{spec.title} ({words})" if spec.title else words
        own = spec.model_copy(update={"latency": {**conditions, **added}, "title": title})
        yield own, f"-{name_of_labels(added.values())}"


def _keys(spec: TableSpec | FigureSpec) -> list[str]:
    if isinstance(spec, TableSpec):
        return [*spec.columns, *(spec.differences if spec.baseline else ())]
    return [key for key in (getattr(spec, "x", ""), getattr(spec, "y", "")) if key]


def _series(spec: FigureSpec) -> list[str]:
    return spec.series if isinstance(spec, SeriesFigureSpec) else []
