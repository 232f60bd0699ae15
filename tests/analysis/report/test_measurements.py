"""A report of runs that were timed on two backends: one table and one figure each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.loading.load import read_study
from analysis.report.explain import explain_cell
from analysis.report.report import write_report
from analysis.report.report_contents import ReportRequest
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from tests.analysis.loading.test_latency_conditions import put

SPEC = "kind: table\nsweep: made\nrows: {method: []}\ncolumns: [AP, latency_p50]\ndifferences: []\ntitle: Cost\n"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    record = make_store(runs, {"method": ["baseline", "kd"]}, seeds=2)
    study = read_study(runs, cache=tmp_path / "cache")
    for cell in record["cells"]:
        put(study, cell["run"], "a.json", ms=5.0 + cell["seed"])
        gain = 1.5 if cell["labels"]["method"] == "kd" else 0.0
        put(study, cell["run"], "b.json", ms=2.0 + cell["seed"] - gain, backend="tensorrt")
    return runs


def request(store: Path, *specs: str) -> ReportRequest:
    return ReportRequest(store, store.parent / "out", ("made",), specs, cache=store.parent / "cache")


def test_two_backends_are_two_tables(store: Path) -> None:
    spec = store.parent / "cost.yaml"
    spec.write_text(SPEC)
    contents = write_report(request(store, str(spec)))
    assert [(table.name, table.title) for table in contents.tables] == [
        ("cost-eager", "Cost (backend eager)"),
        ("cost-tensorrt", "Cost (backend tensorrt)"),
    ]
    values = [[row.cells["latency_p50"].value for row in table.rows] for table in contents.tables]
    assert values == [[5.5, 5.5], [2.5, 1.0]]
    assert contents.tables[0].rows[0].cells["latency_p50"].files == ("latency/a.json",) * 2


def test_the_default_report_has_one_cost_table_and_one_figure_each(store: Path) -> None:
    contents = write_report(request(store))
    assert contents.skipped == []
    assert {table.name for table in contents.tables} >= {"made-cost-eager", "made-cost-tensorrt"}
    assert {drawn.name for drawn in contents.drawn} >= {"made-pareto-eager", "made-pareto-tensorrt"}


def test_a_spec_that_names_a_backend_is_one_table(store: Path) -> None:
    spec = store.parent / "cost.yaml"
    spec.write_text(SPEC + "latency: {backend: tensorrt, device: H200}\n")
    assert [table.name for table in write_report(request(store, str(spec))).tables] == ["cost"]
    spec.write_text(SPEC + "latency: {device: H100}\n")
    with pytest.raises(
        InputError, match=r"cost.yaml: unknown device 'H100' of the latency files; did you mean 'NVIDIA H200"
    ):
        write_report(request(store, str(spec)))


def test_explain_reads_a_latency_and_its_difference_from_the_files_of_the_table(store: Path) -> None:
    spec = store.parent / "cost.yaml"
    spec.write_text(SPEC.replace("differences: []", "differences: [latency_p50]\nbaseline: {method: baseline}"))
    write_report(request(store, str(spec)))
    table = store.parent / "out" / "tables" / "cost-tensorrt.csv"
    mean = explain_cell(table, "method=baseline", "latency_p50", store)
    assert [(run.value, run.file) for run in mean.runs] == [(2.0, "latency/b.json"), (3.0, "latency/b.json")]
    assert mean.runs[0].facts["measured"] == "NVIDIA H200 141GB HBM3e, backend: tensorrt, precision: fp32"
    assert "seed 1  done  3.0 ms  in latency/b.json" in mean.text()
    delta = explain_cell(table, "method=kd", "delta.latency_p50", store)
    assert [run.value for run in delta.runs] == [0.5, 1.5, 2.0, 3.0]
    assert [(one.seed, one.difference) for one in delta.seeds] == [(0, -1.5), (1, -1.5)]
    assert "seed 0: 0.5 - 2.0 = -1.5 ms" in delta.text()
    assert json.loads(delta.to_json())["seeds"][1]["difference"] == -1.5


def test_explain_names_a_file_that_is_gone(store: Path) -> None:
    spec = store.parent / "cost.yaml"
    spec.write_text(SPEC + "latency: {backend: eager}\n")
    write_report(request(store, str(spec)))
    for path in store.glob("*/latency/a.json"):
        path.unlink()
    found = explain_cell(store.parent / "out" / "tables" / "cost.csv", "1", "latency_p50", store)
    assert found.runs[0].value is None
    assert "latency/a.json" in found.runs[0].facts["problem"]
