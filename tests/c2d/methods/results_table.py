"""docs/results/methods.md: one row for each method on each of three small students.

    c2d sweep submit methods --where local --filter seed=0
    c2d bench step RUN... --out steps.json          # the runs of that sweep, see --list
    python -m tests.c2d.methods.results_table --runs runs --steps steps.json > table.md

`--list` prints the runs for the second command. The deviation from the slow reference comes from each method's own
test module (`parity`), on the tiny detectors of the tests.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
from pathlib import Path
from typing import Any

from c2d.methods import DISTILLERS

TINY = {"retinanet": "retinanet", "gfl": "gfl", "faster": "faster"}
EDGE = 10
"""Iterations at each end of a run over which a loss is averaged."""


def cells(runs: Path) -> dict[tuple[str, str], str]:
    """(model, method) -> run id of seed 0."""
    record = json.loads((runs / "sweeps" / "methods.json").read_text())
    return {(c["labels"]["model"], c["labels"]["method"]): c["run"] for c in record["cells"] if str(c["seed"]) == "0"}


def losses(folder: Path) -> tuple[float, float] | None:
    """Sum of the weighted distillation terms: mean of the first and of the last iterations that have them."""
    found = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        event = json.loads(line)
        terms = [v for key, v in event.items() if key.startswith("loss_kd_") and not key.endswith("_idle")]
        if event["event"] == "train" and terms:
            found.append(sum(terms))
    return (statistics.mean(found[:EDGE]), statistics.mean(found[-EDGE:])) if found else None


def deviation(method: str, model: str) -> str:
    """The largest relative deviation, value or gradient, from the slow reference in fp64."""
    if method == "icod":
        return "see below"
    module = importlib.import_module(f"tests.c2d.methods.test_{method}")
    return f"{module.parity(TINY[model]):.0e}"


def row(model: str, method: str, runs: Path, run: str | None, step: dict[str, Any] | None) -> str:
    """One line of the table."""
    taught = DISTILLERS[method].DETECTORS if method in DISTILLERS else ()
    if run is None:
        return f"| {model} | {method} | does not apply: it teaches {', '.join(taught)} | | | | | |"
    result = json.loads((runs / run / "result.json").read_text())
    ap = f"{100 * result['AP']:.1f}"
    if method == "baseline":
        return f"| {model} | baseline | {ap} | – | – | 1 | 1 | – |"
    ends = losses(runs / run)
    assert ends is not None, f"{run} has no distillation term"
    time = memory = "–"
    if step is not None:
        pairs = zip(step["plain_ms"], step["distilled_ms"], strict=True)
        time = f"{statistics.median(taught / plain for plain, taught in pairs):.2f}"
        memory = f"{step['distilled_mib'] / step['plain_mib']:.2f}"
    cells = [model, method, ap, f"{ends[0]:.3g}", f"{ends[1]:.3g}", time, memory, deviation(method, model)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, or the runs to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=Path, help="what `c2d bench step --out` wrote")
    parser.add_argument("--list", action="store_true", help="print the runs to measure")
    given = parser.parse_args()
    found = cells(given.runs)
    if given.list:
        print(" ".join(run for (_, method), run in found.items() if method != "baseline"))
        return
    steps = {} if given.steps is None else {r["question"]: r for r in json.loads(given.steps.read_text())["records"]}
    print("| student | method | AP | loss, start | loss, end | step time | memory | deviation |")
    print("|---|---|---|---|---|---|---|---|")
    for model in TINY:
        for method in ("baseline", *DISTILLERS):
            run = found.get((model, method))
            print(row(model, method, given.runs, run, steps.get(run or "")), flush=True)


if __name__ == "__main__":
    main()
