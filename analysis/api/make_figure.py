"""`plot`: a figure of runs as a matplotlib Figure, by the functions that `c2d report` calls."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.api.runs_frame import study_of, warn_of
from analysis.api.sweep_choice import AUTO
from c2d.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    class DrawnFigure(Figure):
        """What a type checker knows of the result of `plot`: a Figure with the frame that it shows."""

        data: pd.DataFrame


DPI, SHOWN_DPI = 160, 110
"""Of the picture in a notebook, and of its size there."""


def plot(
    kind: str | Mapping[str, Any] | os.PathLike[str],
    runs: pd.DataFrame | str | os.PathLike[str],
    *,
    series: str | Sequence[str] | None = None,
    baseline: str | Mapping[str, str] | None = AUTO,
    sweep: str | None = None,
    part: int | None = None,
    **keys: Any,
) -> DrawnFigure:
    """Draw a figure as `c2d report` does, and return it as a matplotlib Figure.

    pyplot does not know the figure: nothing is shown twice, and nothing has to be closed. A notebook shows it as the
    last value of a cell, `figure.savefig("name.pdf")` writes it, and `figure.data` is the tidy frame that was drawn,
    with the runs behind each value.

    Args:
        kind: a kind of figure (`pareto`, `seeds`, `tide`, `per_class`, `iou`, `training`, `curve`, `heatmap`, ...;
            docs/analysis.md lists all), a shipped figure, a YAML file, or its keys as a mapping.
        runs: rows of `analysis.load`, or a store.
        series: an axis, or several, whose labels are the lines, bars or points (default: all axes with several labels).
        baseline: the label, or {axis: label}, of the series that the others are compared with; None for none. Default:
            of the spec, or without one the runs without a method.
        sweep: whose cells; "" for the runs of no sweep (default: the only sweep of the frame).
        part: which figure, from 1, where one figure cannot show all rows.
        keys: the keys of the kind: `x`, `y`, `where`, `latency`, `labels`, ...

    Returns:
        The figure, with its data as `figure.data` (AP in percent, latency in ms).

    Raises:
        InputError: an unknown kind, key, axis, label or column, with the most similar name; several sweeps in the frame
            and none is given; more rows than one figure can show, and no `part`.

    Warns:
        UserWarning: files that cannot be used.
    """
    from analysis.api import spec_keywords, sweep_choice
    from analysis.plots import FIGURES
    from analysis.plots.figure_parts import figure_parts
    from analysis.report.report_spec import MODELS
    from analysis.spec.labels import with_sweep_labels

    study = study_of(runs)
    given = _given(kind)
    name = str(given.pop("kind"))
    is_spec = not (isinstance(kind, str) and kind in FIGURES)
    given |= {**keys, **({} if series is None else {"series": series})}
    own = sweep_choice.chosen_sweep(study, sweep if sweep is not None else given.get("sweep") or None)
    study = sweep_choice.study_for(study, own, [str(given.get("y") or given.get("value") or "AP"), "AP"])
    fields = MODELS[name].model_fields
    given["sweep"] = own
    if "series" in fields and "series" not in given and not is_spec:
        given["series"] = _series(sweep_choice.default_axes(study, own), given)
    if "series" in fields and (baseline != AUTO or not is_spec):
        axes = given.get("series", fields["series"].default)
        axes = [axes] if isinstance(axes, str) else axes
        given["baseline"] = sweep_choice.baseline_of_keys(study, own, baseline, axes, given.get("where"))
    elif baseline not in (AUTO, None):
        given["baseline"] = baseline
    spec = with_sweep_labels(spec_keywords.make_spec(name, given), study.sweeps.get(own, {}))
    module = FIGURES[name]
    data = module.data(study, spec, own)
    warn_of(data.attrs.pop("problems", []))
    parts = figure_parts(data, module.limits(data, spec))
    figure = module.draw(_part(parts, part), spec)
    figure.data = _part(parts, part)
    figure._repr_png_ = functools.partial(_png, figure)
    return figure


def _given(kind: Any) -> dict[str, Any]:
    from analysis.api import spec_keywords
    from analysis.plots import FIGURES
    from analysis.report.report_spec import SHIPPED

    if isinstance(kind, str) and kind in FIGURES:
        return {"kind": kind}
    is_name = isinstance(kind, str) and not os.path.exists(kind) and "/" not in kind and not kind.endswith(".yaml")
    if is_name and not (SHIPPED / f"{kind}.yaml").is_file():
        raise unknown_name("kind of figure", kind, FIGURES, "or give a YAML file, or a shipped figure")
    given = spec_keywords.read_given(kind)
    if given.get("kind") == "table":
        raise InputError(f"{kind!r} is a table; build it with analysis.table(runs, {kind!r})")
    if given.get("kind") not in FIGURES:
        raise unknown_name("kind of figure", given.get("kind"), FIGURES)
    return given


def _series(axes: Mapping[str, Sequence[str]], given: Mapping[str, Any]) -> list[str]:
    """The axes with several labels that are not on an axis of the figure already."""
    fixed = {axis: labels for axis, labels in (given.get("where") or {}).items() if labels}
    shown = {axis: fixed.get(axis, labels) for axis, labels in axes.items()}
    left = [axis for axis in axes if axis not in (given.get("x"), given.get("y"))]
    several = [axis for axis in left if not isinstance(shown[axis], str | int | float) and len(shown[axis]) > 1]
    return several or ([] if len(left) < len(axes) else left[:1])


def _part(parts: Sequence[pd.DataFrame], part: int | None) -> pd.DataFrame:
    if part is None and len(parts) > 1:
        raise InputError(
            f"one figure cannot show all rows; choose some with `where`, or one of {len(parts)} figures: part=1"
        )
    if part is not None and not 1 <= part <= len(parts):
        raise InputError(f"part {part}; there {'are' if len(parts) > 1 else 'is'} {len(parts)}, from 1")
    return parts[(part or 1) - 1]


def _png(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """The picture for a notebook, in the style of the figure, whatever the user's own settings are."""
    from analysis.plots.style import paper_style

    file = io.BytesIO()
    with paper_style():
        figure.savefig(file, format="png", dpi=DPI)
    width, height = figure.get_size_inches()
    return file.getvalue(), {"width": round(width * SHOWN_DPI), "height": round(height * SHOWN_DPI)}
