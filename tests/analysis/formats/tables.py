"""Tables made up by hand: one that looks like a paper's, one with hostile names, and any table at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from analysis.tables.table import Cell, Column, Ledger, Row, Table

NASTY = "_ % & # $ { } ~ ^ \\ | < > \" ' ` * [x](y) -- @a =1+1 www.b.c http://d.e "
NASTY += "<script>alert(1)</script> ü ß λ 你好 \u2028\t\n$x$"


def measured(value: float, sd: float | None = 0.2, n: int = 3, n_planned: int = 3, **more: object) -> Cell:
    """One measured cell; `more` are fields of Cell."""
    runs = tuple(f"ssd300-icod-0123456789ab-s{seed}" for seed in range(n))
    return replace(Cell(value=value, sd=sd, n=n, n_planned=n_planned, runs=runs), **more)  # type: ignore[arg-type]


def difference(value: float, low: float | None, high: float | None, p: float | None = 0.012, **more: object) -> Cell:
    """One difference to the baseline, with its interval and test."""
    cell = Cell(
        value=value,
        n=3,
        n_planned=3,
        low=low,
        high=high,
        interval="95 % paired t over seeds",
        p=p,
        p_adjusted=p,
        test="paired t, Holm",
    )
    return replace(cell, **more)  # type: ignore[arg-type]


def published(value: float) -> Cell:
    return Cell(value=value, source="arXiv 2106.05209, Table 1")


COLUMNS = (
    Column("AP", "AP", "%", 1, "measured", "higher"),
    Column("delta.AP", "Δ AP", "%", 1, "difference", "higher"),
    Column("published.AP", "AP", "%", 1, "published", "higher"),
    Column("published.delta.AP", "Δ AP", "%", 1, "published difference", "higher"),
    Column("AP50", "AP50", "%", 1, "measured", "higher"),
    Column("tide.Cls", "TIDE Cls", "%", 1, "measured", "lower"),
    Column("params", "params", "M", 2),
)
NO_BASELINE = Cell(kind="missing", reason="the baseline itself")


def paper() -> Table:
    """Two students, three methods; one cell unfinished, one failed, one published number missing."""
    rows = []
    for student, start, size in (("SSD300", 25.61, 34.31), ("RetinaNet-R18", 31.77, 19.81)):
        for at, method in enumerate(("baseline", "kd_cls", "loc + kd_loc")):
            cells = {
                "AP": measured(start + 0.713 * at, 0.15 + 0.04 * at, bold=at == 2),
                "delta.AP": NO_BASELINE if at == 0 else difference(0.713 * at, 0.713 * at - 0.9, 0.713 * at + 0.9),
                "published.AP": published(start + 0.7 * at),
                "published.delta.AP": NO_BASELINE if at == 0 else published(0.7 * at),
                "AP50": measured(43.8 + at, 0.31, bold=at == 2),
                "tide.Cls": measured(6.82 - at, 0.1, bold=at == 2, near_best=at == 1),
                "params": Cell(value=size),
            }
            rows.append(Row(f"model={student}, method={method}", (student, method), cells, is_baseline=at == 0))
    rows[4].cells["AP"] = measured(32.02, 0.4, n=2)
    rows[4].cells["delta.AP"] = difference(
        -0.204, None, None, None, n=2, interval="too few pairs", test="too few pairs"
    )
    rows[5].cells["AP50"] = Cell(kind="missing", n_planned=3, reason="failed: out of memory (3 of 3 seeds)")
    rows[5].cells["published.AP"] = Cell(kind="missing", reason="not in the paper", notes=("a",))
    return Table(
        name="icod-table1",
        title="Compact students on COCO",
        row_axes=("student", "method"),
        columns=COLUMNS,
        rows=tuple(rows),
        caption="All students are trained under the 1x schedule and evaluated on val2017.",
        notes={"a": "not in the paper"},
        ledger=Ledger(
            same={"schedule": "1x", "batch": "16", "init": "torchvision:resnet18", "code": "0a1b2c3d"},
            differs={
                "teacher metric": {row.key: "84.1" if row.labels[1] != "baseline" else "none" for row in rows},
                "learning rate": {row.key: "0.02" if at else "0.01" for at, row in enumerate(rows)},
            },
        ),
        statistics=(
            "Differences are paired by seed: mean, 95 % t interval, paired t test, Holm over the table",
            "Bold: best, or not distinguishable from the best (p > 0.05)",
        ),
        store="runs",
    )


def complete() -> Table:
    """Three seeds in every cell: n is said in the caption."""
    table = paper()
    keys = ("AP", "delta.AP", "params")
    rows = tuple(replace(row, cells={key: row.cells[key] for key in keys}) for row in table.rows[:3])
    return replace(table, columns=tuple(column for column in COLUMNS if column.key in keys), rows=rows)


def wide(columns: int = 14) -> Table:
    """Wider than a page."""
    table = paper()
    more = tuple(Column(f"AP{at}", f"AP {at}", "%", 1) for at in range(columns))
    rows = tuple(
        replace(row, cells={column.key: measured(30.0 + at) for column in more}) for at, row in enumerate(table.rows)
    )
    return replace(table, columns=more, rows=rows, name="wide", title="Wider than a page")


def long(rows: int = 70) -> Table:
    """Longer than a page."""
    table = complete()
    many = tuple(
        replace(table.rows[at % 3], key=f"row={at}", labels=(f"group {at // 7}", f"row {at}")) for at in range(rows)
    )
    return replace(table, rows=many, name="long", title="Longer than a page")


def hostile(name: str = NASTY) -> Table:
    """A hostile name wherever a name can stand."""
    columns = (
        Column(name, name, name, 1, "measured", "higher"),
        Column("d", name, "%", 1, "difference"),
        Column("p", name, "", 2, "published"),
        Column("plain", "AP", "%", 1),
    )
    cells = {
        name: measured(12.3, notes=(name,), runs=(name, "b"), interval=name),
        "d": difference(-1.2, -2.0, -0.4, test=name),
        "p": Cell(value=1.25, source=name),
        "plain": Cell(kind="missing", reason=name),
    }
    rows = (
        Row(name, (name, name), cells),
        Row(f"{name}2", (name, "[0] *"), {**cells, "plain": measured(5.0, None)}),
        Row("last", ("*", ""), {}, is_baseline=True),
    )
    ledger = Ledger({name: name}, {name: {name: name, "last": "x"}}, (name + "!",))
    return Table(name, name, (name, "axis"), columns, rows, name, {name: name}, ledger, (name,), name)


LONG_WORD = "averylongnamewithoutanybreak" * 12
ALPHABET = st.one_of(
    st.sampled_from("_%&#$}{~^\\|<>\"'`*[]()!=+-@:/.,; \n\r\t\0aZ09éλ–†−ﬁ你😀\u202e\x85"), st.characters(codec="utf-8")
)
NAMES = st.one_of(st.text(ALPHABET, max_size=12), st.sampled_from(["", NASTY, LONG_WORD, "kd_cls", "ssd300"]))
FLOATS = st.floats(-1e7, 1e7, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.05, 0.25, -0.04, 37.45, 1e-9, 99.95])
KINDS: st.SearchStrategy[Any] = st.sampled_from(
    ["measured", "difference", "gap closed", "gain per cost", "published", "published difference", "deviation"]
)
BETTER: st.SearchStrategy[Any] = st.sampled_from(["higher", "lower", ""])
MAYBE = st.none() | FLOATS
PS = st.none() | st.floats(0, 1)
TEXTS = st.lists(NAMES, max_size=2).map(tuple)
CELLS = st.builds(
    Cell,
    kind=st.sampled_from(["value", "value", "value", "missing"]),
    value=MAYBE,
    n=st.integers(0, 12),
    n_planned=st.integers(0, 12),
    sd=st.none() | st.floats(0, 1e5),
    low=MAYBE,
    high=MAYBE,
    interval=NAMES,
    p=PS,
    p_adjusted=PS,
    test=NAMES,
    bold=st.booleans(),
    near_best=st.booleans(),
    reason=NAMES,
    notes=TEXTS,
    runs=st.lists(NAMES.filter(bool), max_size=3).map(tuple),
    source=NAMES,
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any table whose keys are unique, with at least one axis or column."""
    axes = tuple(draw(st.lists(NAMES, max_size=3)))
    keys = draw(st.lists(NAMES, min_size=0 if axes else 1, max_size=4, unique=True))
    columns = tuple(
        Column(key, draw(NAMES), draw(NAMES), draw(st.integers(0, 4)), draw(KINDS), draw(BETTER)) for key in keys
    )
    rows = tuple(
        Row(
            key,
            tuple(draw(NAMES) for _ in axes),
            {key: draw(CELLS) for key in draw(st.sets(st.sampled_from(keys)) if keys else st.just(set()))},
            draw(st.booleans()),
        )
        for key in draw(st.lists(NAMES, max_size=4, unique=True))
    )
    facts = st.dictionaries(NAMES, NAMES, max_size=2)
    differs = st.dictionaries(
        NAMES, st.dictionaries(st.sampled_from([row.key for row in rows] or ["x"]), NAMES), max_size=2
    )
    ledger = Ledger(draw(facts), draw(differs), draw(TEXTS))
    return Table(
        draw(NAMES), draw(NAMES), axes, columns, rows, draw(NAMES), draw(facts), ledger, draw(TEXTS), draw(NAMES)
    )
