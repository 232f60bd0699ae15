"""`c2d explain TABLE ROW COLUMN`: the runs behind one number of a table, with commits, configs and files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.formats import csvfile
from analysis.formats.cell_text import source_note
from analysis.loading.columns import QUANTITIES
from analysis.loading.schema import Study, labels_of
from analysis.report.contrast_runs import contrast_lines
from analysis.report.run_values import SeedDifference, quantity_of, run_value, seed_differences
from analysis.tables.image_sources import LABELLED, images_text
from analysis.tables.protocol_facts import teachers
from c2d.core.errors import InputError, unknown_name
from c2d.core.regular_file import FormatError, read_bytes
from c2d.core.run_folder import DETECTIONS_FILE, ENV_FILE, METRICS_FILE, RESULT_FILE, SPEC_FILE

FILES = (
    (SPEC_FILE, "the question"),
    ("config.py", "stock config of the student"),
    ("train_config.py", "config of the training"),
    (ENV_FILE, "code, packages, machine"),
    (METRICS_FILE, "curves"),
    (RESULT_FILE, "the numbers"),
    (DETECTIONS_FILE, "all detections"),
    ("student.pth", "exported weights"),
)


@dataclass(frozen=True)
class RunDetails:
    """One run behind a number.

    Attributes:
        run: its id.
        seed: None where it is unknown.
        state: as in the frame.
        value: the run's own number, in the column's unit; None where it has none.
        facts: {name: text}.
        file: in the folder, which has the number; "" where it is unknown.
        folder: path of the run.
        factor: of a contrast, which is the sum of factor x value.
        files: {name in the folder: description}.
    """

    run: str
    seed: int | None
    state: str
    value: float | None
    facts: dict[str, str]
    file: str = ""
    folder: str = ""
    files: dict[str, str] = field(default_factory=dict)
    factor: float | None = None


@dataclass(frozen=True)
class Explanation:
    """One cell of a table and its runs.

    Attributes:
        cell: {header of the table's CSV: text}.
        runs: in the order of the cell.
        seeds: of a difference, the seeds that both rows have.
    """

    cell: dict[str, str]
    runs: list[RunDetails]
    seeds: list[SeedDifference] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the explanation as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    def text(self) -> str:
        """Return the explanation as lines of text."""
        cell = self.cell
        shown = f"{cell['value']} {cell['unit']}".strip() if cell["value"] else f"no value: {cell['reason']}"
        lines = [f"{cell['table']}: {cell['row']}, {cell['label']}: {shown}"]
        if cell["kind"].startswith("published"):
            lines.append(f"  published, not measured here; source: {cell['source']}")
        elif cell.get("factors"):
            terms = [(run.factor or 0.0, run.run, run.seed, run.value) for run in self.runs]
            lines += contrast_lines(cell, terms)
        elif cell["kind"] == "power analysis":
            between = f"[{cell['low']}, {cell['high']}], " if cell["low"] else ""
            lines += [f"  {between}{cell['interval']}"] if cell["interval"] else []
            lines.append("  computed from these runs, first those of the baseline")
        elif cell["value"]:
            spread = f", sample standard deviation {cell['sd']}" if cell["sd"] else ""
            what = "mean"
            if cell["kind"] == "gap closed":
                what = "share of the gap, of the means (runs: the row's, its control's, its reference's)"
            elif cell["kind"] == "gain per cost":
                what = (
                    "gain over the baseline divided by the extra cost, of the means (runs: the row's, its baseline's)"
                )
            elif cell["kind"] == "deviation":
                what = f"mean minus the published number ({cell['source']}), the mean"
            lines.append(f"  {what} of {cell['n']} of {cell['promised']} seeds{spread}")
            between = f"[{cell['low']}, {cell['high']}]: " if cell["low"] else ""
            lines.append(f"  95 % interval: {between}{cell['interval']}")
        if cell["test"]:
            p = f"p {cell['p']}, adjusted {cell['p_adjusted']}: " if cell["p"] else ""
            lines.append(f"  test: {p}{cell['test']}")
        if cell["cross_check"]:
            lines.append(f"  cross-check: {cell['cross_check']}")
        lines += [
            f"  seed {one.seed}: {one.value!r} - {one.baseline_value!r} = {one.difference:+.6g} {cell['unit']}".rstrip()
            + f"  ({one.run} - {one.baseline})"
            for one in self.seeds
        ]
        if cell["kind"] == "difference" and self.runs and not self.seeds:
            lines.append("  no difference of single seeds: the runs here are not pairs of one seed with a value each")
        for run in self.runs:
            value = f"  {run.value!r} {cell['unit']}".rstrip() if run.value is not None else ""
            value = f"  {run.factor:+.6g} x{value}" if run.factor is not None and value else value
            value += f"  in {run.file}" if run.file else ""
            lines.append(f"  {run.run}  {'' if run.seed is None else f'seed {run.seed}  '}{run.state}{value}")
            facts = {**run.facts, "folder": run.folder} if run.folder else run.facts
            lines += [f"    {name:9} {fact}" for name, fact in facts.items()]
            lines += [f"      {name:18} {what}" for name, what in run.files.items()]
        return "\n".join(lines)


def explain_cell(table: Path, row: str, column: str, runs: Path) -> Explanation:
    """Return the cell of a table that `c2d report` wrote, and its runs as they are in the store now.

    Args:
        table: .csv of a table, or another of its files.
        row: its name, its labels as shown, or its number from 1.
        column: its key or header.
        runs: the store.

    Raises:
        InputError: no such table, row, column; a file that is no table.
    """
    cells = _read(table)
    names = list(dict.fromkeys(cell["row"] for cell in cells))
    shown = {_labels(cell, joint): cell["row"] for joint in (" / ", " ") for cell in cells}
    number = int(row) if row.isdecimal() and len(row) < 10 else 0
    wanted_row = names[number - 1] if 0 < number <= len(names) else shown.get(row, row)
    if wanted_row not in names:
        raise unknown_name("row", row, [*names, *(label for label in shown if label not in names)])
    cells_of_row = [cell for cell in cells if cell["row"] == wanted_row]
    found = [cell for cell in cells_of_row if column in (cell["column"], *_headers(cell))]
    if not found:
        raise unknown_name("column", column, [cell["column"] for cell in cells_of_row])
    cell = found[0]
    if (own := QUANTITIES.get(cell.get("quantity", ""))) and cell["kind"] != "p value":
        cell = {**cell, "unit": own.unit}
    details = _runs_of_cell(cell, runs)
    paired = cell["kind"] == "difference"
    seeds = seed_differences([(run.run, run.seed, run.value) for run in details], int(cell["n"])) if paired else []
    return Explanation(cell, details, seeds)


def _read(path: Path) -> list[dict[str, str]]:
    given, what_next = path, "give the .csv that `c2d report` wrote into tables/"
    if path.suffix in (".tex", ".md", ".html", ".json"):
        path = path.with_suffix(".csv")
    try:  # utf-8-sig: a spreadsheet may have added a byte order mark
        cells = csvfile.read(read_bytes(path).decode("utf-8-sig"))
    except FormatError as error:
        beside = f" (beside {given})" if path != given else ""
        raise InputError(f"table {path}{beside} {error}; {what_next}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; was it saved by another program? {what_next}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; {what_next}") from None
    if not cells:
        raise InputError(f"{path} has no cells: there was nothing to report when it was written")
    return cells


def _headers(cell: dict[str, str]) -> tuple[str, str]:
    """The header of a column without and with its unit; that of a published one as tables have it."""
    with_unit, source = f"{cell['label']} [{cell['unit']}]", source_note(cell["kind"])
    return cell["label"], f"{with_unit} ({source})" if source else with_unit


def _labels(cell: dict[str, str], joint: str) -> str:
    """The row's labels as shown: "ssd300 / kd_cls" in sentences, "ssd300 kd_cls" in a command."""
    keys = list(cell)
    return joint.join(cell[key] for key in keys[keys.index("row") + 1 : keys.index("column")] if cell[key])


def _runs_of_cell(cell: dict[str, str], runs: Path) -> list[RunDetails]:
    from analysis.loading.load import read_study

    wanted = csvfile.run_ids(cell["runs"])
    if not wanted:
        return []
    study = read_study(runs, ())
    rows = {str(row["run"]): row for row in study.frame.to_dict("records")}
    files = dict(zip(wanted, csvfile.run_ids(cell["files"]), strict=False))
    found = [
        _run_details(study, rows[run], cell, files.get(run, "")) if run in rows else _missing_run(run, runs)
        for run in wanted
    ]
    factors = csvfile.factors(cell)
    return [replace(run, factor=factor) for run, factor in zip(found, factors, strict=True)] if factors else found


def _missing_run(run: str, runs: Path) -> RunDetails:
    return RunDetails(run, None, f"not in {runs}", None, {})


def _run_details(study: Study, row: dict[Any, Any], cell: dict[str, str], file: str) -> RunDetails:
    folder = study.runs / str(row["run"])
    own = run_value(folder, row, quantity_of(cell.get("quantity") or cell["column"]), file)
    facts = {
        "measured": own.conditions,
        "problem": own.problem,
        "cell": ", ".join(f"{axis}={label}" for axis, label in labels_of(row).items()),
        "commit": _code(str(row["code"] or "")),
        "versions": ", ".join(
            f"{name} {row[name]}" for name in ("c2d", "torch", "mmdet", "mmcv", "python") if row[name]
        ),
        "device": str(row["device"] or ""),
        "trained": str(row["time"] or ""),
        "data": f"{row['dataset']} ({str(row['dataset_digest'])[:12]})",
        "schedule": _schedule(row),
        "method": str(row["method_json"] or "") if row["method_json"] not in ("", "[]") else "none",
        "teacher": teachers(row),
    }
    if (images := images_text(row)) != LABELLED:
        facts["images"] = images
    files = {name: what for name, what in FILES if (folder / name).is_file()}
    seed = int(row["seed"]) if row["seed"] == row["seed"] else None
    known_facts = {name: fact for name, fact in facts.items() if fact}
    return RunDetails(str(row["run"]), seed, str(row["state"]), own.value, known_facts, file, str(folder), files)


def _code(code: str) -> str:
    return f"{code[:-1]} with uncommitted changes" if code.endswith("+") else code


def _schedule(row: dict[Any, Any]) -> str:
    def number(key: str) -> str:
        return f"{row[key]:g}" if isinstance(row[key], int | float) and row[key] == row[key] else "?"

    return f"{row['schedule']}: {number('iterations_planned')} iterations, batch {number('batch')}, lr {number('lr')}"
