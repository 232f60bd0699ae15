"""Every row of ICOD's tables in published.csv stands beside one cell of one shipped definition, or says why not."""

from __future__ import annotations

import pytest

from analysis.loading.load import read_study
from analysis.loading.published_file import PublishedRow, load_published
from analysis.loading.schema import Study
from analysis.report import defaults
from analysis.spec.table_spec import TableSpec
from analysis.tables.groups import groups
from analysis.tables.published import find_published
from benchmarks.suite.synthetic_run import write_json
from tests.analysis.planned_store import planned

TABLES = [item for item in defaults.shipped_reports() if isinstance(item, TableSpec) and item.published]
LATER = "comparison with detector-to-detector (as summarised in notes; final version)"
ROWS = {row.line: row for row in load_published()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The records of all sweeps, none of whose runs has begun."""
    runs = tmp_path_factory.mktemp("planned")
    for sweep in {item.sweep for item in TABLES}:
        write_json(runs / "sweeps" / f"{sweep}.json", planned(sweep)[0])
    return read_study(runs, (), runs.parent / "cache")


def matched(study: Study, paper: str) -> dict[int, set[tuple[str, str]]]:
    """{line of published.csv: (sweep, runs of the cell of seed 0) of every report that shows it}."""
    found: dict[int, set[tuple[str, str]]] = {}
    for spec in TABLES:
        assert spec.published
        for group in groups(study, spec.sweep, spec.rows, spec.where):
            row = find_published(spec.published, group)
            if row is not None and row.text["paper_key"] == paper:
                found.setdefault(row.line, set()).add((spec.sweep, group.rows["run"].iloc[0]))
    return found


def why_not(row: PublishedRow) -> str:
    """Why a row of ICOD has no cell of its own; "" for rows that must have one."""
    table, method = row.text["table"], row.text["method"]
    if table == "Table A (README)":
        return "two rows of Table 1 again"
    if table == LATER and not (method == "ours + FKD" and row.text["AP"] in ("28.0", "32.6")):
        return "a row of Table 2 again"
    if table == "Table 3b (teacher input size)" and row.other == {"teacher_top1": "80.30"}:
        return "the row of ResNet50 in Table 3b (teacher network) again"
    if table == "Section 4.1 text":
        return "the classifier that QR50's backbone is, no detector"
    return ""


def test_every_row_of_icods_tables_has_one_cell(study: Study) -> None:
    found = matched(study, "icod")
    lines = {line for line, row in ROWS.items() if row.text["paper_key"] == "icod" and not why_not(row)}
    assert len(lines) == 85 - 2 - 6 - 1 - 1
    assert {line: ROWS[line].text["table"] for line in lines - set(found)} == {}
    assert {line: cells for line, cells in found.items() if len(cells) > 1} == {}
    assert set(found) == lines
