"""The public interface: its names, signatures and docstrings, and what docs/api.md says of it.

`SIGNATURES` is literal: a change of the interface is a conscious edit here, and a line in CHANGELOG.md.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
import c2d
from benchmarks.suite.example_store import make_example_store
from tests.test_arrows import HEAVY, within
from tests.test_light_imports import loaded_after

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
C2D = ["Busy", "Detections", "InputError", "Run", "RunError", "Student", "__version__", "evaluate", "load_student",
       "resolve", "train"]  # fmt: skip
ANALYSIS = ["InputError", "ResultTable", "columns", "compare", "latency", "load", "losses", "per_class", "plot",
            "table", "tide", "validations"]  # fmt: skip
SIGNATURES = {
    "c2d.resolve": "spec, *, runs=None, data=None",
    "c2d.train": "spec, *, runs=None, data=None, workers=None, threads=None, checkpoint_every=None, download=False, "
    "stop_after=None, monitor=None, cache_teacher=None, track=(), quiet=False",
    "c2d.evaluate": "run, *, runs=None, data=None, check=False, workers=None",
    "c2d.load_student": "run, *, runs=None, device=None",
    "c2d.Student.predict": "self, images, score=0.0",
    "analysis.load": "store='runs', sweep=None, *, details=True, cache=None",
    "analysis.columns": "",
    "analysis.per_class": "runs",
    "analysis.tide": "runs, by='iou'",
    "analysis.latency": "runs",
    "analysis.losses": "runs",
    "analysis.validations": "runs",
    "analysis.table": "runs, spec=None, *, rows=None, columns=None, baseline='auto', sweep=None, allow_mixed=False, "
    "**keys",
    "analysis.plot": "kind, runs, *, series=None, baseline='auto', sweep=None, part=None, **keys",
    "analysis.compare": "a, b, *, targets=None, runs=None, iou=0.5, score=None, samples=1000, seed=0",
    "analysis.ResultTable.to_frame": "self, statistic='value'",
    "analysis.ResultTable.cells": "self",
    "analysis.ResultTable.to_latex": "self, path=None",
    "analysis.ResultTable.to_markdown": "self, path=None",
    "analysis.ResultTable.to_csv": "self, path=None",
    "analysis.ResultTable.to_html": "self, path=None",
    "analysis.ResultTable.to_json": "self, path=None",
}


def public(name: str) -> Any:
    """The function or method of a dotted name."""
    found: Any = {"c2d": c2d, "analysis": analysis}[name.partition(".")[0]]
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("public") / "example"
    make_example_store(path)
    return path


@pytest.fixture(scope="module")
def runs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return analysis.load(store, cache=tmp_path_factory.mktemp("cache"))


def test_the_public_names_exist_and_are_described() -> None:
    assert c2d.__all__ == C2D
    assert analysis.__all__ == ANALYSIS
    for package in (c2d, analysis):
        for name in package.__all__:
            found = getattr(package, name)
            assert isinstance(found, str) or inspect.getdoc(found), name


def test_every_function_of_the_interface_is_in_the_table() -> None:
    named = {f"{p.__name__}.{n}" for p in (c2d, analysis) for n in p.__all__ if inspect.isfunction(getattr(p, n))}
    assert named == {name for name in SIGNATURES if name.count(".") == 1}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_changes_by_intent_alone(name: str) -> None:
    signature = inspect.signature(public(name))
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    assert str(inspect.Signature(plain)) == f"({SIGNATURES[name]})"
    assert all(
        one.annotation is not inspect.Parameter.empty for one in signature.parameters.values() if one.name != "self"
    )
    assert signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name.count(".") == 1])
def test_a_docstring_has_arguments_result_and_errors(name: str) -> None:
    text = inspect.getdoc(public(name)) or ""
    sections = re.findall(r"^(Args|Returns|Raises|Warns):$", text, re.MULTILINE)
    assert {"Returns", "Raises"} <= set(sections)
    arguments = [one for one in SIGNATURES[name].replace("*, ", "").replace("**", "").split(", ") if one]
    for argument in arguments:
        assert re.search(rf"^    {argument.partition('=')[0]}: ", text, re.MULTILINE), f"{name}: {argument}"


def test_the_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import c2d, analysis")
    assert {"c2d.api.train_run", "analysis.api.make_table"} <= loaded
    assert not {m for m in loaded if within(m, *HEAVY, "pandas", "numpy", "matplotlib", "scipy", "pydantic", "typer")}


def test_every_example_of_the_page_about_the_analysis_runs(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(store, tmp_path / "example")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "cache"))
    had_pyplot = "matplotlib.pyplot" in sys.modules
    names = run_examples("analysis")
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
    assert names["table"].to_frame().shape == (6, 4)
    assert (tmp_path / "table.tex").read_text() == names["table"].to_latex()
    assert (tmp_path / "pareto.pdf").read_bytes().startswith(b"%PDF")
    assert names["comparison"].images == 40


def run_examples(package: str) -> dict[str, Any]:
    """Run the Python blocks of the page from the import of a package on to that of the next; return their names."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    begin = next(place for place, block in enumerate(blocks) if f"import {package}\n" in block)
    end = next((p for p, block in enumerate(blocks) if p > begin and re.match(r"import (c2d|analysis)\n", block)), None)
    names: dict[str, Any] = {}
    for block in blocks[begin:end]:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_tables_are_those_of_a_report(store: Path, runs: pd.DataFrame, tmp_path: Path) -> None:
    from analysis.report.report import write_report
    from analysis.report.report_contents import ReportRequest

    spec = tmp_path / "wide.yaml"
    spec.write_text(
        "kind: table\nrows: {model: [], method: []}\nbaseline: {method: baseline}\n"
        "columns: [AP, tide.Cls, latency_p50]\nlatency: {backend: onnx}\n"
    )
    write_report(ReportRequest(store, tmp_path / "out", (), (str(spec),), cache=tmp_path / "cache"))
    made = analysis.table(runs, spec)
    written = (tmp_path / "out" / "tables" / "wide.csv").read_text()
    assert made.to_csv().replace("\r\n", "\n") == written
    assert made.to_latex() == (tmp_path / "out" / "tables" / "wide.tex").read_text()
    keywords = analysis.table(
        runs, rows=["model", "method"], baseline="baseline", columns=["AP", "tide.Cls", "latency_p50"],
        latency={"backend": "onnx"}, name="wide",
    )  # fmt: skip
    assert keywords.to_csv() == made.to_csv()


def test_means_are_those_of_pandas(runs: pd.DataFrame) -> None:
    table = analysis.table(runs, columns=["AP", "params"], baseline=None)
    grouped = runs[runs["role"] == "student"].groupby(["axis.model", "axis.method"])["AP"]
    assert table.to_frame()["AP"].to_dict() == pytest.approx((100 * grouped.mean()).to_dict())
    assert table.to_frame("sd")["AP"].to_dict() == pytest.approx((100 * grouped.std()).to_dict())
    assert table.to_frame("n")["AP"].to_dict() == grouped.count().to_dict()


def test_a_frame_has_one_row_a_run_and_every_number(store: Path, runs: pd.DataFrame) -> None:
    assert not runs["run"].duplicated().any()
    assert sorted(runs["state"].unique()) == ["done", "failed"]
    row = runs.iloc[4]
    result = json.loads((store / row["run"] / "result.json").read_text())
    assert row["AP"] == result["AP"]
    assert row["iou.0.75"] == result["AP_per_iou"]["0.75"]
    assert row["tide.Loc"] == result["tide"]["dAP"]["Loc"]
    assert row["class.AP.dog"] == result["per_class"]["dog"]["AP"]
    measured = json.loads((store / row["run"] / "latency" / "onnx.json").read_text())
    column = "latency.p50_ms[device=example GPU, backend=onnx, precision=fp32, batch=1, stage=end to end]"
    assert row[column] == pytest.approx(
        sum(pd.Series(one["samples_ms"]).median() for one in measured["launches"]) / 3, rel=1e-12
    )
    failed = runs[runs["state"] == "failed"].iloc[0]
    assert failed["reason"] == "failed (nan): loss_cls is nan at iteration 7"
    assert all(failed[name] != failed[name] for name in ("AP", "class.AP.dog", column))


def test_details_are_those_of_the_files(store: Path, runs: pd.DataFrame) -> None:
    result = json.loads((store / runs["run"][0] / "result.json").read_text())
    classes = analysis.per_class(runs.head(1)).set_index("class")
    assert {key: classes[key]["car"] for key in ("AP", "AR100", "boxes")} == {
        key: result["per_class"]["car"][key] for key in ("AP", "AR100", "boxes")
    }
    assert classes.loc["car", "tide.Cls"] == result["tide"]["per_class"]["car"]["dAP"]["Cls"]
    by_iou = analysis.tide(runs.head(1)).set_index("iou")
    assert by_iou["tide.Loc"][0.75] == result["tide"]["per_iou"]["0.75"]["dAP"]["Loc"]
    assert analysis.tide(runs.head(1), by="size")["size"].tolist() == ["small", "medium", "large"]
    assert analysis.latency(runs.head(2))["backend"].tolist() == ["eager", "onnx"] * 2
    losses = analysis.losses(runs[runs["state"] == "failed"])
    assert losses["iteration"].tolist() == list(range(1, 21))
    assert analysis.validations(runs.head(1))["iteration"].tolist() == [10]


def test_a_frame_survives_what_pandas_does(store: Path, runs: pd.DataFrame, tmp_path: Path) -> None:
    whole = analysis.table(runs).to_csv()
    runs.to_csv(tmp_path / "runs.csv", index=False)
    read = pd.read_csv(tmp_path / "runs.csv", keep_default_na=False, na_values=[""])
    shuffled = runs.sample(frac=1, random_state=0).reset_index(drop=True)
    parts = pd.concat([part for _, part in runs.groupby("axis.method")])
    for changed in (read, shuffled, parts, runs.assign(mine=1).copy()):
        assert analysis.table(changed).to_csv() == whole
    half = runs[runs["axis.model"] == "small"]
    assert analysis.table(half, rows="method", columns="AP").to_frame().index.tolist() == ["baseline", "kd", "kd-boxes"]


def test_runs_of_two_stores_stand_in_one_table(store: Path, runs: pd.DataFrame, tmp_path: Path) -> None:
    """One sweep that was trained on two clusters: seeds 0 and 1 here, seed 2 there, as one store."""
    for run in runs.loc[runs["seed"] == 2, "run"]:
        shutil.copytree(store / run, tmp_path / "there" / run)
    shutil.copytree(store / "sweeps", tmp_path / "there" / "sweeps")
    there = analysis.load(tmp_path / "there", cache=tmp_path / "cache")
    both = pd.concat([runs[runs["seed"] != 2], there[there["state"] != "new"]], ignore_index=True)
    keys: dict[str, Any] = {"columns": ["AP", "latency_p50"], "latency": {"backend": "eager"}}
    assert analysis.table(both, **keys).to_frame().equals(analysis.table(runs, **keys).to_frame())
    twice = pd.concat([runs, there[there["state"] == "done"]])
    with pytest.raises(analysis.InputError, match=r"twice \(.*there.*\); keep one of each: runs.drop_duplicates"):
        analysis.table(twice)


def test_loading_changes_nothing(store: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    analysis.load(store, cache=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_mistakes_are_one_line_with_the_nearest_name(runs: pd.DataFrame) -> None:
    mistakes: dict[str, Any] = {
        "unknown axis of sweep 'example' 'methid'; did you mean 'method'": lambda: analysis.table(runs, rows="methid"),
        "colums: unknown key 'colums'; did you mean 'columns'": lambda: analysis.table(runs, colums="AP"),
        "unknown kind of figure 'paretto'; did you mean 'pareto'": lambda: analysis.plot("paretto", runs),
        "xx: unknown key 'xx'; did you mean 'x'": lambda: analysis.plot("pareto", runs, xx="params"),
        "unknown baseline 'base'; did you mean 'baseline'": lambda: analysis.table(runs, baseline="base"),
        "unknown sweep in the frame 'exampel'; did you mean 'example'": lambda: analysis.table(runs, sweep="exampel"),
        "no column 'seed', 'store', 'cells_json'": lambda: analysis.table(runs[["run", "AP"]]),
        "the frame has no rows": lambda: analysis.table(runs[runs["AP"] > 1]),
        "mixes the labels 'small', 'large' of axis model": lambda: analysis.table(runs, rows="method"),
        "latencies under different conditions": lambda: analysis.plot("pareto", runs),
        "is a table; build it with analysis.table": lambda: analysis.plot("icod-table1", runs),
        "unknown `by` of TIDE 'ious'; did you mean 'iou'": lambda: analysis.tide(runs, "ious"),  # type: ignore[arg-type]
        "unknown statistic 'std'; did you mean 'sd'": lambda: analysis.table(runs, columns="AP").to_frame("std"),
    }
    for message, call in mistakes.items():
        with pytest.raises(analysis.InputError, match=re.escape(message)) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_frame_needs_its_store_for_details_alone(store: Path, tmp_path: Path) -> None:
    """A CSV file is read on another machine, where the store is not."""
    there = shutil.copytree(store, tmp_path / "there")
    runs = analysis.load(there)
    wanted, drawn = analysis.table(runs).to_frame(), analysis.plot("seeds", runs).data
    shutil.rmtree(there)
    assert analysis.table(runs).to_frame().equals(wanted)
    assert analysis.plot("seeds", runs).data.equals(drawn)
    with pytest.warns(UserWarning, match=r"result\.json: is missing"):
        assert analysis.per_class(runs).empty


def test_a_terminal_shows_aligned_columns(runs: pd.DataFrame) -> None:
    """The cells are those of Markdown, without its markup: equal widths, marks as they are, the best between stars."""
    table = analysis.table(runs, columns=["AP", "AP50"], title="日本 <b>")
    lines = str(table).splitlines()
    assert lines[0] == "日本 <b>"
    head = next(at for at, line in enumerate(lines) if line.startswith("model"))
    rows = lines[head : head + 7]
    assert rows[0].split() == ["model", "method", "AP", "[%]", "ΔAP", "[%]", "AP50", "[%]"]
    assert rows[3].split()[:7] == ["small", "kd-boxes", "*21.1*", "±", "4.9", "(3)", "a"]
    ends = [rows[at].rstrip().endswith(end) for at, end in ((1, "44.6 ± 5.4 (3)"), (3, "*52.6* ± 5.6 (3)"), (6, "†"))]
    assert ends == [True] * 3
    assert {len(rows[0]), *map(len, rows[1:])} == {len(rows[0])}
    assert "<sup>" not in str(table)
    assert max(map(len, lines[head + 7 :])) <= 100


def test_a_changed_label_or_number_is_refused(runs: pd.DataFrame) -> None:
    """Tables read the cells of a run, so a label that was changed would change nothing."""
    first = runs["run"][0]
    changed: dict[str, Any] = {
        f"axis.method of run {first} is 'mine', and its cells have 'baseline'": {"axis.method": "mine"},
        f"sweep of run {first} is 'all', and its cells have 'example'": {"sweep": "all"},
        f"AP of run {first} is '28.2'; wanted is the number of its file, 0 to 1": {"AP": 28.2},  # in percent
        f"AP of run {first} is 'high'": {"AP": "high"},
    }
    for message, columns in changed.items():
        with pytest.raises(analysis.InputError, match=re.escape(message)):
            analysis.table(runs.assign(**columns))


def test_a_side_of_a_comparison_is_one_run(runs: pd.DataFrame) -> None:
    done = runs[runs["state"] == "done"]
    for side in (done.iloc[[0]], done, None, 3):
        with pytest.raises(analysis.InputError, match="give one row of the frame"):
            analysis.compare(side, done.iloc[1])
    with pytest.raises(analysis.InputError, match="samples is '100'; give a whole number"):
        analysis.compare(done.iloc[0], done.iloc[1], samples="100")  # type: ignore[arg-type]
    of_numpy: dict[str, Any] = {"samples": np.int64(100), "seed": np.int64(0), "iou": np.float32(0.5)}
    found = analysis.compare(done.iloc[0].to_dict(), done.iloc[1], **of_numpy)
    assert json.loads(found.to_json())["samples"] == 100


def test_the_wheel_says_that_it_is_typed() -> None:
    """Without the file, mypy takes every name of the interface for Any."""
    assert all((ROOT / package / "py.typed").is_file() for package in ("c2d", "analysis"))
    assert '"*.typed"' in (ROOT / "pyproject.toml").read_text()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.commands.extra_packages.find_spec", lambda name: None)
    wanted = "the functions of `import analysis` need pandas, .* pip install 'c2d-suite\\[analysis\\]'"
    for call in (lambda: analysis.load("runs"), analysis.columns, lambda: analysis.compare("a", "b")):
        with pytest.raises(analysis.InputError, match=wanted):
            call()


def test_every_column_of_a_frame_is_described(runs: pd.DataFrame) -> None:
    described = analysis.columns()
    families = tuple(name[:-1] for name in described.index if name.endswith("*"))
    assert [one for one in map(str, runs) if one not in described.index and not one.startswith(families)] == []
    assert described[described["meaning"] == ""].index.tolist() == []
    shown = described[described["key"] != ""]
    assert set(shown.loc[shown["shown_in"] == "%", "unit"]) == {"0-1"}
