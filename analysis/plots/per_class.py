"""Gain of each class over the baseline: a panel a row, horizontal bars, the largest gain on top.

A gain is the mean difference over the seeds that row and baseline share, and its interval that of a paired comparison.
All panels have the classes in the same order, that of the mean gain over the panels, so they can be read across.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from analysis.loading.columns import COCO, quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import format_number, shorten, shorten_distinct
from analysis.plots.points import WIDE, axis_limits, is_incomplete, no_data_message, run_columns
from analysis.plots.rows import (
    LOOK_COLUMNS,
    problem_note,
    row_notes,
    rows_of,
    runs_by_seed,
    series_label,
    unique_values,
)
from analysis.plots.style import DOUBLE_IN, GREY, INK, MOST_HEIGHT_IN, paper_style
from analysis.spec.labels import label_of_column, math_of
from analysis.spec.report_item import Key, SeriesFigureSpec
from analysis.stats.seed_statistics import paired
from c2d.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study
    from analysis.plots.rows import Row
    from analysis.tables.groups import Group

COLUMNS = ("row", "against", "class", "boxes", "value", "sd", "low", "high", "interval", "n", "promised", "seeds",
           "runs", "baseline_runs", "missing", "note", *LOOK_COLUMNS)  # fmt: skip
ACROSS = 4
WIDTHS_IN = (3.4, 4.6, 5.8, DOUBLE_IN)
"""Of one to four panels."""
GAIN, LOSS = "#0072B2", "#D55E00"
PALE = {GAIN: "#A6CEE8", LOSS: "#F5C9A3"}


class Spec(SeriesFigureSpec):
    """Gain over the baseline in each class.

    Attributes:
        y: key of a COCO number.
        most: largest number of classes; with more, those with the largest gains and losses are shown.
    """

    kind: Literal["per_class"]
    y: Key = "AP"
    most: Annotated[int, Field(ge=2)] = 40


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, class): `value` is the gain in percent points over the baseline, paired over common seeds.

    A row that cannot be compared has one line without a value, and the reason in `note`.

    Raises:
        InputError: the spec names no baseline, or a number that classes do not have.
    """
    import pandas as pd

    from analysis.loading.tide_cache import per_class

    if not spec.baseline:
        raise InputError(
            f"figure {spec.name or spec.kind!r} shows gains and has no baseline; "
            f"add e.g. `baseline: {{{spec.series[0] if spec.series else 'method'}: baseline}}` to its spec"
        )
    if spec.y not in COCO:
        raise unknown_name("number of a class", spec.y, COCO)
    rows = rows_of(study, spec, sweep)
    found, problems = per_class(study, [run for row in rows for run in row.group.runs])
    of_run = {str(run): lines.set_index("class") for run, lines in found.groupby("run", sort=False)}
    lines: list[dict[str, Any]] = []
    for row in rows:
        if not row.is_baseline:
            behind = [*row.group.runs, *(row.against.runs if row.against else ())]
            lines += _gains(row, of_run, spec.y, problem_note(problems, behind))
    out = pd.DataFrame(lines, columns=list(COLUMNS)).astype({"boxes": float, "value": float})
    out.attrs["problems"] = problems
    return out


def _gains(row: Row, of_run: Mapping[str, pd.DataFrame], y: str, note: str) -> list[dict[str, Any]]:
    """The lines of a row; one without a value where it cannot be compared."""
    look = {name: value for name, value in row.columns.items() if name != "baseline"}
    same = {**look, "against": "", "class": "", "boxes": math.nan, "value": math.nan, "sd": math.nan,
            "low": math.nan, "high": math.nan, "interval": "", "baseline_runs": "", "note": note}  # fmt: skip
    none = {**same, **run_columns(row.group, [], "classes")}
    if row.against is None:
        return [{**none, "note": f"{row.name}: the sweep has no baseline for it."}]
    same["against"] = series_label(row.against)
    mine, base = _by_seed(row.group, of_run), _by_seed(row.against, of_run)
    common = sorted(mine.keys() & base.keys())
    if not common:
        return [{**none, "note": note or f"{row.name}: no finished seed in common with {same['against']}."}]
    scale, base_run, lines = quantity(y).scale, runs_by_seed(row.against), []
    for name in dict.fromkeys(name for seed in common for name in mine[seed].index):
        ours = {seed: _value(mine[seed], name, y) for seed in common}
        theirs = {seed: _value(base[seed], name, y) for seed in common}
        seeds = [seed for seed in common if math.isfinite(ours[seed]) and math.isfinite(theirs[seed])]
        if not seeds:
            continue
        gain = paired([scale * ours[seed] for seed in seeds], [scale * theirs[seed] for seed in seeds])
        sd, low, high = (math.nan if end is None else end for end in (gain.sd, gain.low, gain.high))
        lines.append({**same, "class": str(name), "boxes": _value(mine[common[0]], name, "boxes"), "value": gain.mean,
                      "sd": sd, "low": low, "high": high, "interval": gain.interval,
                      **run_columns(row.group, seeds, "a partner of that seed"),
                      "baseline_runs": " ".join(base_run[seed] for seed in seeds)})  # fmt: skip
    return lines or [{**none, "note": f"{row.name}: {y} is undefined in every class."}]


def _by_seed(group: Group, of_run: Mapping[str, pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """{seed: its classes} of the finished runs that could be read."""
    done = group.done
    return {int(s): of_run[str(r)] for s, r in zip(done["seed"], done["run"], strict=True) if str(r) in of_run}


def _value(lines: pd.DataFrame, name: object, column: str) -> float:
    return float(lines.at[name, column]) if name in lines.index else math.nan  # type: ignore[arg-type]


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw at most four panels side by side, then the next line of panels."""
    from matplotlib.patches import Patch

    there, lost = data[data["value"].notna()], data[data["value"].isna()]
    notes = row_notes(data)
    if there.empty:
        why = no_data_message(data) if len(data) else "No row beside the baseline."
        return message_figure(" ".join([f"No gains per class. {why}", *notes]))
    names = unique_values(there)
    titles = dict(zip(names, shorten_distinct(names, 22), strict=True))
    order = _order(there)
    kept, hidden = _most(order, spec.most)
    each = _bar_height(len(kept))
    across = min(ACROSS, len(names))
    down = math.ceil(len(names) / across)
    label = label_of_column(spec, spec.y)
    with paper_style():
        figure, grid = new_figure(WIDTHS_IN[across - 1], down * _panel_height(len(kept)) + 0.3, down, across,
                                  squeeze=False, sharey=True, sharex=True)  # fmt: skip
        for place, axes in enumerate(grid.flat):
            if place >= len(names):
                axes.set_axis_off()
                continue
            mine = there[there["row"] == names[place]]
            _panel(axes, mine, kept, len(hidden), each)
            axes.set_title(_title(mine, titles[names[place]]), pad=3)
            if place + across >= len(names):
                axes.set_xlabel(f"gain in {label} (points)")
                axes.tick_params(axis="x", labelbottom=True)
        _limits(grid[0, 0], there)
        keys = ((GAIN, "gain"), (LOSS, "loss"), (PALE[GAIN], "pale: interval with 0, or none"))
        legend = [(Patch(color=colour), text) for colour, text in keys]
        lost_rows = [f"{name} ({why})" for name, why in zip(lost["row"], lost["missing"], strict=True)]
        notes = [f"Not drawn: {', '.join(lost_rows)}."] * bool(lost_rows) + notes
        add_legend_and_notes(
            figure, [*_mark_sentences(there, order, hidden, label), *notes], legend, math=math_of(spec)
        )
        return figure


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: lines of four panels that fit the height of a page."""
    classes = min(data.loc[data["value"].notna(), "class"].nunique(), spec.most + 1)
    down = int((MOST_HEIGHT_IN - 1.3) // _panel_height(classes))
    return Limits(rows=ACROSS * max(down, 1), colors=False)


def _bar_height(classes: int) -> float:
    """Height of one class, inches."""
    return 0.135 if classes <= 24 else 0.115


def _panel_height(classes: int) -> float:
    """Height of a panel with its title, inches."""
    return 0.25 + _bar_height(classes) * (classes + 0.2)


def _order(there: pd.DataFrame) -> list[str]:
    """Classes by falling mean gain over the panels; equal ones by name."""
    means = there.groupby("class", sort=False)["value"].mean()
    return sorted(means.index, key=lambda name: (-means[name], name))


def _most(order: Sequence[str], most: int) -> tuple[list[str | None], list[str]]:
    """(the classes to show, None standing for the gap; those left out): the first and last of the order."""
    if len(order) <= most:
        return list(order), []
    head, tail = math.ceil(most / 2), most // 2
    return [*order[:head], None, *order[len(order) - tail :]], list(order[head : len(order) - tail])


def _panel(axes: Axes, mine: pd.DataFrame, kept: Sequence[str | None], hidden: int, each_in: float) -> None:
    of_class = {str(line["class"]): line for line in mine.to_dict("records")}
    for at, name in enumerate(kept):
        if name is None or name not in of_class:
            continue
        value, low, high = (float(of_class[name][column]) for column in ("value", "low", "high"))
        colour = GAIN if value >= 0 else LOSS
        sure = math.isfinite(low) and (low > 0 or high < 0)
        axes.barh(at, value, 0.74, color=colour if sure else PALE[colour], linewidth=0, zorder=2)
        if math.isfinite(low):
            axes.errorbar(value, at, xerr=[[value - low], [high - value]], fmt="none", ecolor=INK, elinewidth=0.6,
                          capsize=1.2, zorder=3)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.6, zorder=4)
    axes.axvline(float(mine["value"].mean()), color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    names = iter(shorten_distinct([name for name in kept if name is not None], 22))
    texts = [f"… {hidden} more …" if name is None else next(names) for name in kept]
    axes.set_yticks(range(len(kept)), texts, fontsize=min(6.5, each_in * 72 * 0.72))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _limits(axes: Axes, there: pd.DataFrame) -> None:
    """All gains, 0, and all intervals but those of two seeds, in every panel."""
    low, high = axis_limits(there)
    axes.set_xlim(min(low, 0.0), max(high, 0.0))


def _title(mine: pd.DataFrame, name: str) -> str:
    n, promised = int(mine["n"].max()), int(mine["promised"].iloc[0])
    return f"{name} ({n}/{promised})" if is_incomplete(n, promised) else name


def _mark_sentences(there: pd.DataFrame, order: Sequence[str], hidden: Sequence[str], label: str) -> list[str]:
    """Sentences on the marks, on the classes that are left out, and on what the intervals do not cover."""
    means = there.groupby("class", sort=False)["value"].mean()
    against, n = unique_values(there, "against"), len(order)
    base = shorten(against[0], 30) if len(against) == 1 else "the baseline of each row"
    marks = f"Bar: {label} minus that of {base}, mean over common seeds. Dashed: mean over all classes."
    out = [marks + (" Whisker: 95 % interval, paired by seed." if there["low"].notna().any() else "")]
    if hidden:
        ends = [format_number(float(means[name]), 1, sign=True) for name in (hidden[-1], hidden[0])]
        out.append(
            f"{len(hidden)} of {n} classes are left out, those between the {len(order) - len(hidden)} with the largest "
            f"gains and losses; their mean gains go from {ends[0]} to {ends[1]}. The CSV has all classes."
        )
    if n >= 10 and there["low"].notna().any():
        out.append(f"Each interval is for its class alone: of {n} such intervals about {round(n / 20)} miss by chance.")
    if any(is_incomplete(k, promised) for k, promised in zip(there["n"], there["promised"], strict=True)):
        out.append("In brackets: common seeds of those planned, where some are missing or there are fewer than three.")
    if (there["n"] == 2).any():
        out.append(WIDE)
    return out
