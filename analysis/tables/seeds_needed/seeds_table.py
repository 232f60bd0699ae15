"""Build the table of `kind: seeds_needed`: for each baseline the noise of its comparisons, and the seeds they need.

One table is about one number. A row is a baseline with the rows that are compared with it:

    baseline's mean | residual SD | df | compared | seeds | smallest difference | seeds needed

The statistics are `analysis.stats.power`. The rows must share a protocol, as those of any table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from analysis.loading.columns import Quantity, quantity
from analysis.loading.schema import Study
from analysis.spec.labels import label_of_axis, label_of_column, math_of
from analysis.spec.seeds_needed_spec import SeedsNeededSpec
from analysis.stats.power.comparison_power import MOST_SEEDS, seeds_needed, smallest_difference
from analysis.stats.power.residual_spread import ResidualSpread, residual_spread
from analysis.tables import aggregate, notes, protocol_check
from analysis.tables.aggregate import Samples
from analysis.tables.build_table import baseline_rows
from analysis.tables.groups import Group, groups
from analysis.tables.table import Cell, Column, Ledger, Row, Table
from c2d.core.errors import InputError, abbreviate

SD, DF, COMPARED, SEEDS, SMALLEST, NEEDED = (
    "residual_sd.", "residual_df.", "compared.", "seeds.", "smallest_difference.", "seeds_needed.",
)  # fmt: skip
PREFIXES = (SD, DF, COMPARED, SEEDS, SMALLEST, NEEDED)
"""Of the keys of the columns, before the key of the number."""
CHI_SQUARE = "95 % chi-square"
AT_ENDS = "at the ends of the 95 % interval of the residual SD"
FROM_BASELINE = (
    "no row shares two seeds with this baseline yet: the SD is the baseline's own over seeds. What a seed does to all "
    "rows alike is in it, and would cancel in a difference, so fewer seeds may do"
)
FROM_DIFFERENCES = (
    "the baseline varies more than its rows, which are tested one by one: the SD is that of their differences / √2, "
    "the seeds are those of a paired t test at 5 % / number of rows (Holm's first step)"
)


@dataclasses.dataclass(frozen=True)
class _Family:
    """A baseline, and the rows that are compared with it."""

    baseline: Group
    rows: tuple[Group, ...]


def build_seeds_tables(
    study: Study, spec: SeedsNeededSpec, sweep: str, name: str = "", allow_mixed: bool = False
) -> list[Table]:
    """Build a table for each number of the spec; with several numbers their names end with its key.

    Args:
        sweep: its name; "" for the runs of no sweep.
        name: of the table; "" takes the spec's.
        allow_mixed: rows that were trained under different protocols are named below instead of an error.

    Raises:
        InputError: unknown axes or labels; no cells; a baseline that is no row; mixed protocols.
    """
    rows = groups(study, sweep, spec.rows, spec.where, spec.labels)
    if not rows:
        raise InputError("no cell has these labels in `rows` and `where`; take labels that occur together")
    baselines = baseline_rows(spec, rows)
    checked = protocol_check.check_protocols(study, sweep, rows, baselines, allow_mixed)
    families = [
        _Family(row, tuple(other for other, theirs in zip(rows, baselines, strict=True) if theirs is row is not other))
        for row, own in zip(rows, baselines, strict=True)
        if own is row
    ]
    if not families:
        raise InputError(
            "no row is the baseline of itself and of others; name in `baseline` a label of each axis it varies"
        )
    alone = [row.name for row, own in zip(rows, baselines, strict=True) if own is None]
    first = [family.baseline for family in families]
    ledger = protocol_check.check_protocols(study, sweep, first, first, allow_mixed).ledger
    ledger = dataclasses.replace(ledger, mixed=checked.ledger.mixed)
    base = name or spec.name or "seeds-needed"
    names = {key: base if len(spec.columns) == 1 else f"{base}-{key}" for key in spec.columns}
    return [_table(study, spec, families, ledger, key, names[key], alone) for key in spec.columns]


def _table(
    study: Study,
    spec: SeedsNeededSpec,
    families: Sequence[_Family],
    ledger: Ledger,
    key: str,
    name: str,
    alone: Sequence[str],
) -> Table:
    """The table of one number; `alone`: names of the rows without a baseline."""
    about = quantity(key)
    axes = [axis for axis in spec.rows if axis not in spec.baseline] or list(spec.rows)
    columns = _columns(spec, about)
    drafts, spreads = [], []
    for family in families:
        labels = tuple(text for axis, text in zip(spec.rows, family.baseline.shown, strict=True) if axis in axes)
        cells, spread = _cells(spec, family, about)
        spreads.append(spread)
        row = Row(family.baseline.key, labels, dict(zip([column.key for column in columns], cells, strict=True)))
        drafts.append(notes.add_sentences(row, SD + key, list(_remarks(spec, family, spread))))
    numbered, footnotes = notes.assign_marks(drafts, columns)
    title = spec.title or f"Seeds that detect {_amount(spec, about)}"
    return Table(
        name=name,
        title=title if len(spec.columns) == 1 else f"{title} ({label_of_column(spec, key)})",
        row_axes=tuple(axes),
        columns=columns,
        rows=numbered,
        caption=spec.caption,
        notes=footnotes,
        ledger=ledger,
        statistics=(*_sentences(spec, about, spreads), *_left_out(alone)),
        store=str(study.runs),
        tex_ledger=spec.ledger_in_latex,
        tex_wide=spec.wide,
        axis_labels={axis: label_of_axis(spec, axis) for axis in axes if axis in spec.labels_of_axes},
        math=math_of(spec),
    )


def _amount(spec: SeedsNeededSpec, about: Quantity) -> str:
    """ "1 % AP", as headers and sentences have it."""
    unit = f" {about.unit}" if about.unit else ""
    return f"{spec.difference:g}{unit} {label_of_column(spec, about.key)}"


def _columns(spec: SeedsNeededSpec, about: Quantity) -> tuple[Column, ...]:
    key, digits = about.key, spec.digits.get(about.key, about.digits)
    label = label_of_column(spec, key)
    return (
        Column(key, f"{label} of the baseline", about.unit, digits),
        Column(SD + key, "residual SD", about.unit, digits + 1, "power analysis"),
        Column(DF + key, "df", "", 0, "power analysis"),
        Column(COMPARED + key, "rows compared", "", 0, "power analysis"),
        Column(SEEDS + key, "seeds", "", 0, "power analysis"),
        Column(SMALLEST + key, "smallest detectable difference", about.unit, digits, "power analysis"),
        Column(NEEDED + key, f"seeds for {spec.difference:g}{f' {about.unit}' if about.unit else ''}", "", 0,
               "power analysis"),
    )  # fmt: skip


def _cells(spec: SeedsNeededSpec, family: _Family, about: Quantity) -> tuple[list[Cell], ResidualSpread]:
    """The cells of one baseline, in the order of the columns, and the spread behind them."""
    baseline = aggregate.row_samples(family.baseline, about, None)
    samples = {row.key: aggregate.row_samples(row, about, None) for row in family.rows}
    compared = spec.family or len(family.rows) or 1
    spread = residual_spread({key: found.values for key, found in samples.items()}, baseline.values, compared)
    used = [samples[key] for key in spread.rows]
    runs = _runs([baseline, *used])
    cells = [aggregate.mean_cell(baseline, about)]
    if spread.sd is None:
        missing = Cell(kind="missing", reason=spread.reason, runs=tuple(runs), files=tuple(runs.values()))
        return [*cells, *(dataclasses.replace(missing) for _ in PREFIXES)], spread

    def cell(
        value: float | None,
        low: float | None = None,
        high: float | None = None,
        interval: str = "",
        test: str = "",
        reason: str = "",
    ) -> Cell:
        return Cell(
            kind="missing" if value is None else "value",
            value=value,
            low=low,
            high=high,
            interval=interval,
            test=test,
            reason=reason,
            runs=tuple(runs),
            files=tuple(runs.values()),
        )

    in_sd = smallest_difference(spread.test, spread.seeds, spec.power)
    test = _test(spread, spec)
    needed, fewest, most = (
        seeds_needed(spread.test, spec.difference / sd, spec.power) for sd in (spread.sd, spread.low, spread.high)
    )
    unplanned = f"more than {MOST_SEEDS:,} seeds" if needed is None else ""
    cells += [
        cell(spread.sd, spread.low, spread.high, interval=f"{CHI_SQUARE}, {spread.df} df"),
        cell(spread.df),
        cell(compared),
        cell(spread.seeds),
        cell(in_sd * spread.sd, in_sd * spread.low, in_sd * spread.high, interval=AT_ENDS, test=test),
        cell(needed, fewest, most, interval=AT_ENDS, test=test, reason=unplanned)
        if most is not None
        else cell(needed, interval=f"none: more than {MOST_SEEDS:,} seeds {AT_ENDS}", test=test, reason=unplanned),
    ]
    return cells, spread


def _runs(samples: Sequence[Samples]) -> dict[str, str]:
    """{run: its file}, those of the baseline first."""
    return {run: found.files[run] for found in samples for _, run in sorted(found.runs.items())}


def _test(spread: ResidualSpread, spec: SeedsNeededSpec) -> str:
    test, power = spread.test, f"power {100 * spec.power:g} %"
    if test.rows > 1:
        return f"Dunnett, {test.rows} rows and their baseline, {power}"
    level = 5 * test.share
    return f"paired t at {level:.2g} % (Holm's first step), {power}" if test.share < 1 else f"paired t, {power}"


def _remarks(spec: SeedsNeededSpec, family: _Family, spread: ResidualSpread) -> Iterator[str]:
    """Sentences on one baseline: where the spread comes from, and what is not in it."""
    if spread.sd is None:
        return
    if spread.source == "baseline":
        yield FROM_BASELINE
        if not spec.family and not family.rows:
            yield "no row is planned in the sweep: seeds as for one row; `family` in the spec sets their number"
    if spread.source == "differences":
        yield FROM_DIFFERENCES
    left = len(family.rows) - len(spread.rows)
    if spread.source != "baseline" and left:
        yield f"the residual is that of {len(spread.rows)} of {len(family.rows)} rows"
    yield from spread.notes


def _left_out(alone: Sequence[str]) -> Iterator[str]:
    if alone:
        yield f"Without a baseline among the rows, so in no line: {abbreviate(alone)}"


def _sentences(spec: SeedsNeededSpec, about: Quantity, spreads: Sequence[ResidualSpread]) -> Iterator[str]:
    """The sentences below the table."""
    yield (
        "Residual SD: standard deviation of a run's number without the effects of its row and its seed, which is the "
        "noise of the differences; in brackets its 95 % interval (chi-square), for normal noise"
    )
    yield (
        "Smallest detectable difference: with the seeds of the column before, in a table of as many rows as are "
        "compared, a true difference of this size is significant with the right sign in "
        f"{100 * spec.power:g} % of all tables. Seeds for {_amount(spec, about)}: the smallest number of seeds with "
        "which that difference is. In brackets both at the ends of the interval of the SD: a plan is as uncertain as "
        "the few seeds that it comes from"
    )
    tests = sorted({_test(spread, spec) for spread in spreads if spread.sd is not None})
    if tests:
        yield (
            f"Tests, those of the main table: {'; '.join(tests)}. The power is that of each row by itself, whatever "
            "the other rows do"
        )
    yield (
        "Fix the number of seeds before the main table is trained: adding seeds until a difference is significant "
        "raises the probability of a false one above 5 %"
    )
