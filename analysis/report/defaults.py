"""Default report of a sweep: tables of all its cells, and the figures that its axes allow.

One axis is the series of the figures: `method` where there is one, else the axis with most labels. With few cells all
axes together are the series; with many there is one set of figures for each combination of the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from analysis.loading.columns import TEACHERS
from analysis.loading.schema import AXIS, Study
from analysis.report.file_names import name_of_labels
from analysis.report.report_spec import SHIPPED, parse, read_spec
from analysis.spec.claims_spec import ClaimsSpec
from analysis.spec.labels import short_axis_label, value_label
from analysis.spec.report_item import FigureSpec
from analysis.spec.table_spec import TableSpec
from analysis.tables.groups import groups
from c2d.core.run_folder import LATENCY_FOLDER

if TYPE_CHECKING:
    import pandas as pd

Axes = dict[str, list[str]]
Item = TableSpec | ClaimsSpec | FigureSpec
MOST_SERIES = 8
MOST_FACETS = 6
ACCURACY = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100"]
ERRORS = ["AP50", *(f"tide.{error}" for error in ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg"))]
COST = ["AP", "params", "gflops", "latency_p50", "latency_p99"]
HOURS_FROM_S = 7200  # training times above this are shown in hours
TIDE_TITLE = "TIDE: the AP50 that fixing one type of error alone would bring"
COST_TITLE = "Cost at inference and in training"
FIGURES = {
    "seeds": "AP of every seed",
    "tide": "What each error type costs",
    "tide_curves": "What each error type costs, over the IoU threshold",
    "iou": "AP over the IoU threshold",
    "precision_recall": "Precision over recall",
    "f1_threshold": "F1 over the score threshold",
    "confusion": "Which classes are confused, missed, or seen on the background",
    "reliability": "Are scores probabilities? Detectors and their teachers",
    "per_class": "Gain in each class",
    "training": "Losses in training, and what distillation adds",
    "detections": "Detections on the first validation images",
}
NEEDS_BASELINE = ("per_class",)
ONE_SET = ("f1_threshold", "reliability")
"""Left out where a sweep has several sets of figures, for which the page has no room."""


def default_items(study: Study, sweep: str) -> list[Item]:
    """Return the shipped claims and reports of a sweep, or default tables where it has none; then default figures."""
    axes = sweep_axes(study, sweep)
    if not axes:
        return []
    shipped = [item for item in shipped_reports() if item.sweep == sweep]
    tables = [item for item in shipped if isinstance(item, TableSpec)]
    claims = [item for item in shipped if isinstance(item, ClaimsSpec)]
    figures = [item for item in shipped if isinstance(item, FigureSpec)]
    shipped_figures = {(item.kind, getattr(item, "x", "")) for item in figures if item.kind in ("curve", "pareto")}
    more = [item for item in _figures(study, sweep, axes) if (item.kind, getattr(item, "x", "")) not in shipped_figures]
    return [*claims, *(tables or _tables(study, sweep, axes)), *figures, *more]


def omission_reason(study: Study, sweep: str) -> str:
    """Return why the default report of a sweep is not complete, one sentence; "" where it is."""
    rows, axes = _rows(study, sweep), sweep_axes(study, sweep)
    if rows.empty:
        return ""
    if not axes:
        return "its cells have no labels, so there are no rows for a table; see runs.csv for their numbers"
    if not list(_facets(study, sweep, axes)):
        many = f"more than {MOST_SERIES} cells in more than {MOST_FACETS} combinations of the other axes"
        return f"no figures by default: {many}; choose some with `where` in a spec"
    return ""


def shipped_reports() -> list[Item]:
    """Read all reports of `analysis/reports`, by name."""
    return [read_spec(path) for path in sorted(SHIPPED.glob("*.yaml"))]


def sweep_axes(study: Study, sweep: str) -> Axes:
    """Return {axis: labels} of a sweep, in its order; {} without any cell.

    The axes of runs of no sweep are student and method, or `question` where two runs have the same student and method.
    """
    rows = _rows(study, sweep)
    known = study.sweeps[sweep]["axes"] if sweep else {"student": [], "method": []}
    if not sweep and rows.duplicated([AXIS + "student", AXIS + "method", "seed"]).any():
        known = {"question": []}
    found = {
        axis: [str(label) for label in rows[AXIS + axis].dropna().unique()] for axis in known if AXIS + axis in rows
    }
    return {axis: sorted(labels, key=_order(known[axis])) for axis, labels in found.items() if labels}


def default_baseline(study: Study, sweep: str, axes: Axes) -> dict[str, str]:
    """Return {axis: label} of the runs without a method, if one axis separates them from the others; else {}.

    Runs without a folder are ignored, so that a report keeps its baseline while runs are added.

    Args:
        axes: of `sweep_axes`.
    """
    if not sweep and "question" in axes:
        return {}  # runs that were not planned together
    rows = _rows(study, sweep)
    known = rows[rows["method"] != ""]
    is_baseline = known["method"] == "baseline"
    for axis in sorted(axes, key=lambda axis: axis != "method"):
        labels = {str(label) for label in known[AXIS + axis][is_baseline]}
        others = {str(label) for label in known[AXIS + axis][~is_baseline]}
        if len(labels) == 1 and not labels & others and len(axes[axis]) > 1:
            return {axis: labels.pop()}
    return {axis: "baseline" for axis, labels in axes.items() if "baseline" in labels and len(labels) > 1}


def _rows(study: Study, sweep: str) -> pd.DataFrame:
    frame = study.frame
    role = "student" if sweep else "single"
    return frame[
        (frame["sweep"] == sweep) & (frame["role"] == role) & ~frame["kind"].isin(["classifier", "impressions"])
    ]


def _order(labels: Sequence[str]) -> Any:
    places = {label: place for place, label in enumerate(labels)}
    return lambda label: places.get(label, len(places))


def _tables(study: Study, sweep: str, axes: Axes) -> list[Item]:
    name, question = name_of_labels([sweep or "runs"]), study.sweeps.get(sweep, {}).get("question", "")
    # Labels are named one by one: among the runs of no sweep are classifiers, which have no AP.
    common: dict[str, Any] = {"kind": "table", "sweep": sweep, "rows": axes}
    common |= {"baseline": default_baseline(study, sweep, axes)}
    training_time = "train_hours" if _rows(study, sweep)["train_s"].max() > HOURS_FROM_S else "train_minutes"
    cost = [*COST, training_time, *_teachers(study, sweep)]
    kinds: list[dict[str, Any]] = [
        {"name": name, "title": question or "Runs of no sweep", "columns": ACCURACY},
        {"name": f"{name}-errors", "title": TIDE_TITLE, "columns": ERRORS, "differences": ["tide.Cls", "tide.Loc"]},
        {"name": f"{name}-cost", "title": COST_TITLE, "columns": cost, "differences": []},
    ]
    return [parse({**common, **own}) for own in kinds]


def _teachers(study: Study, sweep: str) -> list[str]:
    """A column for each kind of teacher that a run has."""
    rows = _rows(study, sweep)
    return [f"teacher_{metric}" for kind, metric in TEACHERS.items() if (rows[f"teacher.{kind}"] != "").any()]


def _figures(study: Study, sweep: str, axes: Axes) -> list[Item]:
    name, baseline = name_of_labels([sweep or "runs"]), default_baseline(study, sweep, axes)
    found: list[Item] = []
    facets = list(_facets(study, sweep, axes))
    for suffix, addition, where, series in facets:
        common: dict[str, Any] = {"sweep": sweep, "where": where, "series": series}
        has_baseline = bool(baseline) and set(baseline) <= set(series)
        for kind, title in FIGURES.items():
            if (has_baseline or kind not in NEEDS_BASELINE) and (len(facets) == 1 or kind not in ONE_SET):
                own = {"kind": kind, "name": f"{name}{suffix}-{kind.replace('_', '-')}", "title": title + addition}
                found.append(parse({**common, **own, "baseline": baseline if has_baseline else {}}))
    return [*found, *_over_numbers(study, name, sweep, axes, baseline), *_tradeoff(study, name, sweep, axes)]


def _facets(study: Study, sweep: str, axes: Axes) -> Iterator[tuple[str, str, Axes, list[str]]]:
    """(suffix of the name, of the title, where, series) of each set of figures; none where there would be too many."""
    if len(groups(study, sweep, axes)) <= MOST_SERIES:
        yield "", "", {} if sweep else axes, list(axes)
        return
    manifest = study.sweeps.get(sweep, {})
    main = "method" if "method" in axes else max(axes, key=lambda axis: len(axes[axis]))
    others = {axis: labels for axis, labels in axes.items() if axis != main}
    combinations = [dict(zip(others, labels, strict=True)) for labels in itertools.product(*others.values())]
    facets = [where for where in combinations if groups(study, sweep, {main: axes[main]}, _lists(where))]
    for where in facets if len(facets) <= MOST_FACETS else []:
        words = ", ".join(
            f"{short_axis_label(manifest, axis)} {value_label(manifest, axis, label)}" for axis, label in where.items()
        )
        kept = {} if sweep else {main: axes[main]}
        yield f"-{name_of_labels(where.values())}", f" ({words})", {**_lists(where), **kept}, [main]


def _over_numbers(study: Study, name: str, sweep: str, axes: Axes, baseline: dict[str, str]) -> Iterator[Item]:
    """A curve for an axis of three numbers or more, a heat map for two axes beside that of the methods."""
    manifest = study.sweeps.get(sweep, {})
    several = {axis: labels for axis, labels in axes.items() if len(labels) > 1}
    for axis, labels in several.items():
        if len(labels) >= 3 and all(map(_is_number, labels)):
            own: dict[str, Any] = {"kind": "curve", "x": axis, "series": [other for other in several if other != axis]}
            own |= {"sweep": sweep, "baseline": baseline, "name": f"{name}-{_file_part(axis, several)}"}
            yield parse({**own, "title": f"AP against {short_axis_label(manifest, axis)}"})
    grid = [axis for axis in several if axis not in baseline]
    fixed = {axis: [label for label in several[axis] if label != baseline[axis]] for axis in baseline}
    if len(grid) == 2 and all(len(labels) == 1 for labels in fixed.values()):
        x, y = grid
        title = f"AP over {short_axis_label(manifest, x)} and {short_axis_label(manifest, y)}"
        own = {"kind": "heatmap", "x": x, "y": y, "where": fixed, "sweep": sweep}
        yield parse({**own, "name": f"{name}-map", "title": title})


def _file_part(axis: str, axes: Axes) -> str:
    """The last part of an axis's name, for names of files; the whole name where another axis ends alike."""
    last = axis.rpartition(".")[2]
    return name_of_labels([last if sum(other.rpartition(".")[2] == last for other in axes) == 1 else axis])


def _tradeoff(study: Study, name: str, sweep: str, axes: Axes) -> Iterator[Item]:
    """Accuracy against latency where a run has a latency file, else against parameters where they differ."""
    rows = _rows(study, sweep)
    common: dict[str, Any] = {"kind": "pareto", "sweep": sweep, "series": list(axes), "name": f"{name}-pareto"}
    if any(next((study.folder(str(run)) / LATENCY_FOLDER).glob("*.json"), None) for run in rows["run"]):
        yield parse({**common, "title": "AP against latency"})
    elif rows["params"].dropna().nunique() > 1:
        yield parse({**common, "x": "params", "title": "AP against parameters"})


def _lists(where: dict[str, str]) -> Axes:
    return {axis: [label] for axis, label in where.items()}


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
