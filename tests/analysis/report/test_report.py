"""`c2d report` and `c2d explain` from end to end, on made-up stores and on the fixture that a real sweep wrote."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.report import defaults
from analysis.report.report import write_report
from analysis.report.report_contents import ReportContents, ReportRequest
from benchmarks.suite.synthetic_store import make_store
from c2d.cli.main import main
from c2d.core.errors import InputError

STORE = Path(__file__).parents[2] / "fixtures" / "runs"
AXES = {"method": ["baseline", "kd_cls", "c2d"]}


def states(folder: Path) -> dict[str, tuple[str, int]]:
    """{file: (digest, time of change)} of everything in a folder."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def fixture_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportContents, Path, list[str]]:
    """The default report of tests/fixtures/runs."""
    place, said = tmp_path_factory.mktemp("report"), []
    before = states(STORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(STORE.parent)  # a table names its store
        made = write_report(ReportRequest(Path("runs"), place / "out", ("tiny",), cache=place / "cache"), said.append)
    assert states(STORE) == before  # nothing in a store is ever changed
    return made, place / "out", said


def test_the_fixture_gives_everything_and_skips_nothing(fixture_report: tuple[ReportContents, Path, list[str]]) -> None:
    made, out, said = fixture_report
    assert made.skipped == []
    assert made.study.problems == []
    assert [table.name for table in made.tables] == ["tiny", "tiny-errors", "tiny-cost"]
    figures = ["seeds", "tide", "tide-curves", "iou", "precision-recall", "f1-threshold", "confusion", "reliability",
               "per-class", "training", "detections"]  # fmt: skip
    assert [figure.name for figure in made.figures] == [f"tiny-{name}" for name in figures]
    wanted = {"report.html", "runs.csv"}
    wanted |= {f"tables/{table.name}.{end}" for table in made.tables for end in ("tex", "md", "csv", "html", "json")}
    wanted |= {f"figures/tiny-{name}.{end}" for name in figures for end in ("pdf", "svg", "csv")}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == wanted
    assert {path.relative_to(out).as_posix() for path in made.files} == wanted
    assert said[0].endswith("1 sweep, 10 runs: 8 done, 1 failed, 1 waiting")


def test_the_table_is_the_one_that_was_looked_at(fixture_report: tuple[ReportContents, Path, list[str]]) -> None:
    """`python tests/fixtures/make_runs.py --tex` writes it again; read the difference before you commit it."""
    _, out, _ = fixture_report
    assert (out / "tables" / "tiny.tex").read_text(encoding="utf-8") == (STORE.parent / "tiny.tex").read_text(
        encoding="utf-8"
    )


def test_the_page_names_every_run_and_the_failure(fixture_report: tuple[ReportContents, Path, list[str]]) -> None:
    made, out, _ = fixture_report
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(run in page for run in made.study.frame["run"])
    assert "loss_cls is nan at iteration 1" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
    assert len(page) < 5e6


def test_the_frame_has_a_row_for_every_promise(fixture_report: tuple[ReportContents, Path, list[str]]) -> None:
    _, out, _ = fixture_report
    frame = pd.read_csv(out / "runs.csv")
    assert len(frame) == 10
    assert frame["AP"].notna().sum() == 7
    assert list(frame["state"]).count("failed") == 1


def test_every_cell_of_a_table_is_explained(
    fixture_report: tuple[ReportContents, Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = fixture_report
    path = out / "tables" / "tiny.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        cells = [cell for cell in csv.DictReader(stream) if cell["value"]]
    assert len(cells) > 10
    for cell in cells[::5]:
        with pytest.raises(SystemExit) as end:
            main(["explain", str(path), cell["row"], cell["column"], "--runs", str(STORE), "--json"])
        assert end.value.code == 0
        found = json.loads(capsys.readouterr().out)
        assert float(found["cell"]["value"]) == float(cell["value"])
        values = [run["value"] for run in found["runs"]]
        assert [run["run"] for run in found["runs"]] == cell["runs"].split()
        if cell["kind"] == "measured":
            assert sum(values) / len(values) == pytest.approx(float(cell["value"]), abs=1e-9)


def test_the_same_store_gives_the_same_files(
    fixture_report: tuple[ReportContents, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = fixture_report
    monkeypatch.chdir(STORE.parent)
    write_report(ReportRequest(Path("runs"), tmp_path / "again", ("tiny",), cache=tmp_path / "cache"))
    first, second = (
        {name: digest for name, (digest, _) in states(place).items()} for place in (out, tmp_path / "again")
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name] and name != "report.html"] == []


def test_a_laptop_without_torch_is_enough(tmp_path: Path) -> None:
    """Whatever would import torch, mmdet or their kin fails in this process."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys("
        "['torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'timm', 'tidecv', 'pycocotools']));"
        "from c2d.cli.main import main; main(sys.argv[1:])"
    )
    words = ["report", "--sweep", "tiny", "--runs", str(STORE), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--cache", str(tmp_path / "cache")],
        env={**os.environ, "PYTHONPATH": str(STORE.parents[2])}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One default figure where drawing all of them would tell nothing more."""
    monkeypatch.setattr(defaults, "FIGURES", {"seeds": "AP of every seed"})


def spec(tmp_path: Path, text: str, name: str = "mine.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_named_specs_are_all_there_is(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", AXES)
    given = spec(tmp_path, "kind: table\nrows: {method: [c2d, baseline]}\ncolumns: [AP50]\ndifferences: []\n")
    made = write_report(
        ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), (given,), cache=tmp_path / "cache")
    )
    assert [(table.name, [row.key for row in table.rows]) for table in made.tables] == [
        ("mine", ["method=c2d", "method=baseline"])
    ]
    assert made.figures == []


def test_one_spec_for_several_sweeps_is_several_tables(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_store(tmp_path / "runs", AXES, name=name)
    given = spec(tmp_path, "kind: table\nrows: {method: []}\n")
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", (), (given,), cache=tmp_path / "cache"))
    assert [table.name for table in made.tables] == ["mine-one", "mine-two"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: table\nrows: {method: []}\ncolumns: [AP, mAP]\n", "mAP"),
        ("kind: table\nrows: {methode: []}\n", "did you mean 'method'"),
        ("kind: table\nrows: {method: [cd2]}\n", "did you mean 'c2d'"),
        ("kind: tabel\nrows: {method: []}\n", "table"),
        ("kind: table\nrows: {method: []}\nsweep: mad\n", "did you mean 'made'"),
        ("kind: heatmap\nx: method\ny: T\n", "unknown axis"),
        ("[", "mine.yaml"),
    ],
)
def test_a_bad_spec_is_refused_and_nothing_is_written(tmp_path: Path, text: str, words: str) -> None:
    make_store(tmp_path / "runs", AXES, seeds=1)
    asked = ReportRequest(tmp_path / "runs", tmp_path / "out", (), (spec(tmp_path, text),), cache=tmp_path / "cache")
    with pytest.raises(InputError) as error:
        write_report(asked)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("few_figures")
def test_mixed_protocols_are_refused_by_name_skipped_by_default_and_marked_when_allowed(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", AXES, schedule=lambda labels: {"iterations": 40} if labels["method"] == "c2d" else {})
    given = spec(tmp_path, "kind: table\nrows: {method: []}\nbaseline: {method: baseline}\n")

    def asked(specs: tuple[str, ...], allowed: bool, out: str) -> ReportRequest:
        return ReportRequest(tmp_path / "runs", tmp_path / out, ("made",), specs, allowed, tmp_path / "cache")

    with pytest.raises(InputError, match="--allow-mixed"):
        write_report(asked((given,), False, "a"))
    assert not (tmp_path / "a").exists()
    made = write_report(asked((), False, "b"))
    assert {item.name for item in made.skipped} >= {"made", "made-errors", "made-cost"}
    assert "--allow-mixed" in (tmp_path / "b" / "report.html").read_text()
    (table,) = write_report(asked((given,), True, "c")).tables
    assert table.ledger.mixed
    (row,) = [row for row in table.rows if row.key == "method=c2d"]
    assert any(row.cells[column.key].notes for column in table.columns)


def test_damaged_files_are_named_and_the_rest_is_reported(tmp_path: Path) -> None:
    record = make_store(tmp_path / "runs", AXES, with_detections=True)
    first, second, third = (cell["run"] for cell in record["cells"][:3])
    (tmp_path / "runs" / first / "result.json").write_text('{"AP": ')
    (tmp_path / "runs" / second / "detections.json.gz").write_bytes(b"nonsense")
    (tmp_path / "runs" / third / "metrics.jsonl").write_bytes(b"\xff\x00{")
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "runs" / "sweeps" / "odd.json").write_text("[]")
    said: list[str] = []
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", (), cache=tmp_path / "cache"), said.append)
    named = {str(problem.path) for problem in made.problems}
    assert {part for part in (first, second, "odd.json") if not any(part in name for name in named)} == set(), named
    assert any("skipped" in line and first in line for line in said)
    (table,) = [table for table in made.tables if table.name == "made"]
    assert (table.rows[0].cells["AP"].n, table.rows[0].cells["AP"].n_planned) == (2, 3)


@pytest.mark.usefixtures("few_figures")
def test_one_odd_sweep_does_not_cost_the_others_their_report(tmp_path: Path) -> None:
    """A record that promises two runs for one cell and seed."""
    make_store(tmp_path / "runs", AXES, seeds=1, name="good")
    record = make_store(tmp_path / "runs", {"method": ["baseline", "other"]}, seeds=1, name="odd")
    record["cells"].append({**record["cells"][0], "run": record["cells"][1]["run"]})
    (tmp_path / "runs" / "sweeps" / "odd.json").write_text(json.dumps(record))
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", cache=tmp_path / "cache"))
    assert [table.name for table in made.tables] == ["good", "good-errors", "good-cost"]
    assert [item.name for item in made.skipped] == ["sweep odd"]
    assert "sweep odd" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("name", ["tiny copy", "ü", "a'b", ".hid", "<b>", "x" * 95])
def test_a_sweep_may_have_any_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    make_store(tmp_path / "runs", {"method": ["baseline", "b"]}, seeds=1, name=name)
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", (name,), cache=tmp_path / "cache"))
    assert made.skipped == []
    assert len(made.tables) == 3


@pytest.mark.usefixtures("few_figures")
def test_default_names_never_collide(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", AXES, seeds=1, name="a")
    make_store(tmp_path / "runs", {"method": ["baseline", "x"]}, seeds=1, name="a-errors")
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", cache=tmp_path / "cache"))
    names = [table.name for table in made.tables]
    assert names == ["a", "a-errors", "a-cost", "a-errors-2", "a-errors-errors", "a-errors-cost"]


@pytest.mark.usefixtures("few_figures")
def test_a_record_without_question_or_labels_is_a_report_too(tmp_path: Path) -> None:
    record = make_store(tmp_path / "runs", {}, seeds=2)
    del record["question"]
    (tmp_path / "runs" / "sweeps" / "made.json").write_text(json.dumps(record))
    said: list[str] = []
    made = write_report(
        ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), cache=tmp_path / "cache"), said.append
    )
    assert made.skipped == []
    assert any("its cells have no labels" in line for line in said)
    assert (tmp_path / "out" / "report.html").is_file()


def test_missing_ground_truth_is_said_once_on_the_terminal(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", AXES, with_detections=True)
    for path in (tmp_path / "runs" / "targets").iterdir():
        path.unlink()
    said: list[str] = []
    made = write_report(
        ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), cache=tmp_path / "cache"), said.append
    )
    assert any("targets" in str(problem.path) or "targets" in problem.message for problem in made.problems)
    assert 0 < sum("skipped" in line for line in said) < 4


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", AXES, seeds=1)
    (tmp_path / "out" / "figures" / "mine.svg").mkdir(parents=True)
    given = spec(tmp_path, "kind: seeds\n")
    with pytest.raises(InputError, match=r"cannot write .*mine\.svg"):
        write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), (given,), cache=tmp_path / "cache"))


def test_the_cache_that_was_named_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "usual"))
    make_store(tmp_path / "runs", AXES, seeds=1, with_detections=True)
    write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), cache=tmp_path / "named"))
    assert not (tmp_path / "usual").exists()


def test_nothing_finished_is_a_report_too(tmp_path: Path) -> None:
    states_of = {"baseline": "failed", "kd_cls": "new", "c2d": "running"}
    make_store(tmp_path / "runs", AXES, state=lambda labels, seed: states_of[labels["method"]])
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), cache=tmp_path / "cache"))
    assert made.skipped == []
    assert all(cell.kind == "missing" and cell.reason for row in made.tables[0].rows for cell in row.cells.values())
    assert (tmp_path / "out" / "report.html").is_file()


def test_hostile_names_reach_every_file_escaped(tmp_path: Path) -> None:
    axes = {"method": ["baseline", "<script>alert(1)</script>", "a_b & 50% $x$ #1 ~^\\", "=cmd()", "é日本"]}
    make_store(tmp_path / "runs", axes, seeds=2)
    made = write_report(ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), cache=tmp_path / "cache"))
    assert made.skipped == []
    assert "<script>alert(1)" not in (tmp_path / "out" / "report.html").read_text()
    assert "a_b & 50%" not in (tmp_path / "out" / "tables" / "made.tex").read_text()


def test_an_empty_store_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    for store in ("none", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="runs"):
            write_report(ReportRequest(tmp_path / store, tmp_path / "out", cache=tmp_path / "cache"))
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(tmp_path / "runs", AXES, seeds=1)
    given = spec(tmp_path, "kind: table\nrows: {method: []}\n")
    words = ["report", given, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--cache", str(tmp_path / "cache")])
    assert end.value.code == 0
    assert "1 table and 0 figures" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main([*words, "--sweep", "mad"])
    assert end.value.code == 2
    assert "did you mean" in capsys.readouterr().err
