"""Reports made up for tests: an empty one, one with every kind of content, one that is as large as a study gets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from analysis.loading.failure_list import Failure
from analysis.page.page_model import PageContent, PageFigure, SkippedItem, SweepProgress
from analysis.tables.table import Cell, Column, Ledger, Row, Table
from c2d.core.regular_file import Problem

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'&`{{ 7*7 }} {% raw %} \N{SNOWMAN}"
METHODS = ("baseline", "kd_cls", "icod", "fgfi", "defeat", "icod+fgfi")
STUDENTS = ("ssd300-vgg16", "retinanet-r18", "fcos-r18")


def empty() -> PageContent:
    """Nothing was found."""
    return PageContent(title="Nothing yet", created="2026-11-21 12:00 UTC")


def run_id(student: str, method: str, seed: int) -> str:
    return f"{student}-{method}-{abs(hash_of(student + method)):012x}-s{seed}"


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-6:], "big")


def table(
    name: str = "main",
    title: str = "Distillation into compact students",
    students: tuple[str, ...] = STUDENTS,
    methods: tuple[str, ...] = METHODS,
    seeds: int = 3,
) -> Table:
    """Rows students x methods: mean, difference, a published pair, one missing and one unfinished cell."""
    random = np.random.default_rng(len(name))
    columns = (
        Column("AP", "AP", "%", 1, "measured", "higher"),
        Column("delta.AP", "Δ AP", "%", 1, "difference", "higher"),
        Column("published.AP", "AP", "%", 1, "published", "higher"),
        Column("published.delta.AP", "Δ AP", "%", 1, "published difference", "higher"),
        *(Column(key, key, "%", 1, "measured", "higher") for key in ("AP50", "AP75", "APs", "APm", "APl")),
        Column("tide.Cls", "TIDE Cls", "%", 1, "measured", "lower"),
        Column("train_hours", "training", "h", 2, "measured"),
    )
    rows = []
    for s, student in enumerate(students):
        for m, method in enumerate(methods):
            runs = tuple(run_id(student, method, seed) for seed in range(seeds))
            base = 20.0 + 4 * s + 0.7 * m
            cells = {
                column.key: Cell(
                    value=float(base * (1 + 0.1 * c) + random.normal(0, 0.2)),
                    n=seeds,
                    n_planned=seeds,
                    sd=float(abs(random.normal(0.2, 0.1)) + 0.01),
                    low=base - 0.5,
                    high=base + 0.5,
                    interval=f"t, {seeds} seeds",
                    bold=m == len(methods) - 1,
                    runs=runs,
                )
                for c, column in enumerate(columns)
                if column.kind == "measured"
            }
            if m:
                cells["delta.AP"] = Cell(
                    value=0.7 * m - 1.0, n=seeds, n_planned=seeds, sd=0.3, low=0.7 * m - 1.9, high=0.7 * m + 0.1,
                    interval="paired t over seeds", p=0.0123456789 / m, p_adjusted=min(1.0, 0.04 * m), test="paired t",
                    runs=runs + tuple(run_id(student, methods[0], seed) for seed in range(seeds)),
                )  # fmt: skip
            else:
                cells["delta.AP"] = Cell("missing", reason="the baseline itself")
            cells["published.AP"] = Cell(value=base + 1.5, source="Example et al. 2021, table 1")
            cells["published.delta.AP"] = Cell(value=0.5 * m, source="Example et al. 2021, table 1")
            if (s, m) == (1, 2):
                cells["AP75"] = Cell("missing", n_planned=seeds, reason="failed: nan", runs=())
            if (s, m) == (1, 3):
                cells["AP"] = Cell(value=24.5, n=seeds - 1, n_planned=seeds, sd=0.4, interval="n < 3: none",
                                   runs=runs[:-1])  # fmt: skip
            if (s, m) == (2, 4):
                del cells["published.AP"], cells["published.delta.AP"]
            rows.append(Row(f"student={student}, method={method}", (student, method), cells, is_baseline=m == 0))
    mixed = f"{students[-1]} / {methods[-1]} was trained with lr 0.02, its baseline with 0.01"
    return Table(
        name=name,
        title=title,
        row_axes=("student", "method"),
        columns=columns,
        rows=tuple(rows),
        caption="COCO metrics on the validation split, from the last checkpoint of every run.",
        notes={"m": mixed},
        ledger=Ledger(
            same={"schedule": "1x, 90,000 iterations", "batch": "16", "precision": "fp32", "torch": "2.15.0"},
            differs={
                "teacher metric": {row.key: "" if row.is_baseline else "top-1 0.951" for row in rows},
                "lr": {row.key: "0.02" if row is rows[-1] else "0.01" for row in rows},
            },
            mixed=(mixed,),
        ),
        statistics=(
            "Intervals are paired t intervals over seeds; p after Holm over the table",
            "Bold is best, or not distinguishable from the best at 0.05.",
        ),
        store="runs",
    )


def drawing(seed: int = 0, points: int = 400) -> str:
    """An SVG as matplotlib writes it, ids, style sheet and metadata included."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawn

    random = np.random.default_rng(seed)
    drawn = Drawn(figsize=(6.4, 4))
    FigureCanvasSVG(drawn)
    axes = drawn.add_subplot()
    for k, method in enumerate(METHODS):
        x = np.linspace(0, 10, points)
        axes.plot(x, np.cumsum(random.normal(0.02 * k, 1, points)) / 8 + k, label=method)
    axes.set_xlabel("iteration, thousands")
    axes.set_ylabel("AP, %")
    axes.legend(frameon=False)
    text = io.StringIO()
    drawn.savefig(text, format="svg")
    return text.getvalue()


def runs(count: int = 18) -> list[dict[str, object]]:
    """A line a run, students x methods x seeds, then as many as are asked for."""
    out = []
    for k in range(count):
        seed, method, student = k % 3, METHODS[k // 3 % len(METHODS)], STUDENTS[k // 18 % len(STUDENTS)]
        done = k % 17 != 16
        out.append({
            "run": run_id(student, method, seed) + ("" if k < 54 else f"-{k}"), "sweep": "compact", "role": "student",
            "cells": f"student {student}, method {method}", "seed": seed, "state": "done" if done else "failed",
            "AP": 0.2 + 0.001 * (k * 7 % 50) if done else float("nan"), "AP50": 0.4 if done else None,
            "train_s": 3600.0 + k, "teacher": "resnet18-classifier-0123456789ab-s0", "code": "1a2b3c4", "c2d": "0.1.0",
            "torch": "2.15.0", "mmdet": "3.5.1", "device": "NVIDIA made-up 40 GB", "time": "2026-11-20T20:45:50+00:00",
            "reason": None if done else "the loss is not finite",
        })  # fmt: skip
    return out


def full(tables: int = 2, figures: int = 2, count: int = 54) -> PageContent:
    """Every section has content."""
    drawings = [drawing(k) for k in range(figures)]
    made = [table("main"), *(table(f"extra-{k}", f"Another view, {k}") for k in range(1, tables))]
    listed = runs(count)
    return PageContent(
        title="Does a classifier teach a compact detector?",
        created="2026-11-21 12:00 UTC",
        sweeps=[
            SweepProgress(
                "compact",
                "Does an image classifier teach a compact detector, and how does it compare with a detector teacher "
                "under the same protocol?",
                {"done": 48, "running": 2, "waiting": 1, "failed": 3},
            ),
            SweepProgress("weights", "Which loss weight is best?", {"done": 12, "new": 6}),
        ],
        store="runs",
        tables=made[:tables],
        figures=[
            PageFigure(f"curve-{k}", f"Accuracy over training, {k}", svg, "x,y\n" + "1.5,2.25\n" * 50,
                   "AP on the validation split; the band is a 95 % interval over three seeds.",
                   files=(f"figures/curve-{k}.pdf", f"figures/curve-{k}.svg"))
            for k, svg in enumerate(drawings)
        ],
        failures=[
            Failure(str(run["run"]), (str(run["cells"]),), "failed", "nan",
                    "the loss is not finite: a lower learning rate or loss weight, or fp32",
                    tuple(f"iteration {k}: loss {k}.0" for k in range(12)), "loss_cls is nan at iteration 7")
            for run in listed if run["state"] == "failed"
        ],
        problems=[Problem(Path("runs/odd/result.json"), "not JSON: line 1, column 2; the run is left out")],
        runs=listed,
        skipped=[SkippedItem("per-class", "no run has detections")],
        commits={"1a2b3c4": 50, "5d6e7f8+": 4},
        provenance={"command": "c2d report --sweep compact --out report", "c2d": "0.1.0", "hotcoco": "1.3.0"},
        table_files={one.name: f"report/tables/{one.name}.csv" for one in made},
    )  # fmt: skip


def hostile() -> PageContent:
    """Script tags, braces and quotes in every text there is; control characters and half a pair in a log line."""
    bad = HOSTILE
    cell = Cell(value=1.0, n=3, n_planned=3, sd=0.1, low=0.0, high=2.0, interval=bad, test=bad, p=0.5, notes=("x",),
                runs=(bad,), source=bad)  # fmt: skip
    gone = Cell("missing", reason=bad, n_planned=3)
    odd = Table(
        name=bad, title=bad, row_axes=(bad, bad), columns=(Column(bad, bad, bad, 1), Column("b", bad, bad, 1)),
        rows=(Row(bad, (bad, ""), {bad: cell, "b": gone}), Row("2" + bad, (bad, bad), {bad: gone, "b": cell})),
        caption=bad, notes={"x": bad}, ledger=Ledger({bad: bad}, {bad: {bad: bad}}, (bad,)), statistics=(bad,),
        store=bad,
    )  # fmt: skip
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt" '
        'onload="alert(3)"><script>alert(4)</script><style>* {fill: red} @import "x.css"; '
        '.a {background: url(https://bad.example/a.png)}</style><a xlink:href="javascript:alert(5)"><text>x</text></a>'
        '<image xlink:href="https://bad.example/b.png"/><rect id="r" clip-path="url(#r)" onclick="alert(6)"/>'
        '<foreignObject><p>x</p></foreignObject></svg>'
    )  # fmt: skip
    return PageContent(
        title=bad, created=bad, sweeps=[SweepProgress(bad, bad, {bad: 2, "done": 1})], store=bad, tables=[odd],
        figures=[PageFigure(bad, bad, svg, bad, bad, bad, bad, (bad,)),
                 PageFigure("broken", "Broken", "<svg", note=bad)],
        failures=[Failure(bad, (bad,), bad, bad, bad, (bad, "bell \a, escape \x1b[31m, half \udc80"), bad)],
        problems=[Problem(Path(bad), bad)], runs=[{"run": bad, "cells": bad, "state": bad, "seed": bad, bad: bad}],
        skipped=[SkippedItem(bad, bad)], commits={bad: 1}, provenance={bad: bad}, table_files={bad: bad},
    )  # fmt: skip
