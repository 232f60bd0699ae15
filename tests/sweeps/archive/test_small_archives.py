"""One small file for a study: thinned curves, no places, the tables of the store, and the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.loading.loss_curves import read_metrics, read_thinned, read_validation
from c2d.cli.main import main
from c2d.core.errors import InputError
from c2d.core.run_folder import read_json
from sweeps.archive.export_runs import ExportRequest, export_runs
from sweeps.archive.import_runs import import_runs
from sweeps.archive.thinned_curves import thin_curves

STORE = Path(__file__).parents[2] / "fixtures" / "runs"
SMALL = {"weights": False, "detections": False, "places": False, "curve_points": 2}


def pack(runs: Path, out: Path) -> Path:
    export_runs(ExportRequest(runs, out, sweeps=["tiny"], **SMALL), lambda line: None)  # type: ignore[arg-type]
    return out


def test_the_first_and_last_steps_and_every_other_event_stay(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    train = [{"event": "train", "iteration": step, "loss": step / 2} for step in range(1, 102)]
    path.write_text(
        "".join(json.dumps(event) + "\n" for event in [*train, {"event": "val", "iteration": 101, "AP": 0.5}])
    )
    thin_curves(path, 6)
    assert list(read_metrics(path)["iteration"]) == [1, 21, 41, 61, 81, 101]
    assert list(read_metrics(path)["loss"]) == [0.5, 10.5, 20.5, 30.5, 40.5, 50.5]
    assert read_metrics(path).attrs["skipped"] == 0
    assert list(read_validation(path)["AP"]) == [0.5]
    assert read_thinned(path) == (6, 101)
    thin_curves(path, 3)  # an export of an import: the number of recorded steps stays
    assert read_thinned(path) == (3, 101)
    before = path.read_bytes()
    thin_curves(path, 50)
    assert path.read_bytes() == before


def test_tables_of_the_archive_are_those_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "cache"))
    spec = tmp_path / "t.yaml"
    spec.write_text(
        "kind: table\nsweep: tiny\nrows: {method: [baseline, icod]}\nbaseline: {method: baseline}\n"
        "columns: [AP, AP50, tide.Cls]\n"
    )
    archive = pack(STORE, tmp_path / "a.tar.xz")
    import_runs(archive, tmp_path / "new")
    for name, runs in (("store", STORE), ("archive", archive), ("imported", tmp_path / "new")):
        with pytest.raises(SystemExit) as stop:
            main(["report", "--sweep", "tiny", "--runs", str(runs), "--out", str(tmp_path / name), str(spec)])
        assert not stop.value.code
    for suffix in ("md", "csv"):
        store, *others = [
            (tmp_path / name / f"tables/t.{suffix}").read_bytes() for name in ("store", "archive", "imported")
        ]
        assert others == [store, store], suffix
    whole, *rest = [read_json(tmp_path / name / "tables/t.json")["table"] for name in ("store", "archive", "imported")]
    assert rest == [{**whole, "store": str(archive)}, {**whole, "store": str(tmp_path / "new")}]
    assert str(archive) in (tmp_path / "archive/tables/t.tex").read_text()  # and not the folder in the cache


def test_the_same_runs_make_the_same_file_also_after_an_import(tmp_path: Path) -> None:
    first, second = (pack(STORE, tmp_path / name) for name in ("a.tar.xz", "b.tar.xz"))
    assert first.read_bytes() == second.read_bytes()
    done = import_runs(first, tmp_path / "new")
    assert len(done.added) == 8
    assert not done.refused
    third = pack(tmp_path / "new", tmp_path / "c.tar.xz")
    import_runs(third, tmp_path / "again")
    for name in ("status.json", "env.json", "metrics.jsonl", "result.json", "train_config.py"):
        for run in done.added:
            assert (tmp_path / "new" / run / name).read_bytes() == (tmp_path / "again" / run / name).read_bytes()
    assert read_json(tmp_path / "again" / done.added[0] / "env.json")["attempts"][0]["machine"]["host"] == "host-1"


@pytest.mark.parametrize(
    ("out", "points", "message"),
    [("a.zip", None, "an archive file is NAME.tar.xz"), ("a.tar.gz", None, "NAME.tar.xz"), ("a", 1, "give 2 or more")],
)
def test_other_archives_and_too_few_points_are_refused(
    tmp_path: Path, out: str, points: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        export_runs(ExportRequest(STORE, tmp_path / out, sweeps=["tiny"], curve_points=points), lambda line: None)


def test_a_file_that_is_no_archive_is_refused_and_nothing_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(b"not xz")
    with pytest.raises(InputError, match="is refused"):
        import_runs(tmp_path / "a.tar.xz", tmp_path / "new")
    assert not (tmp_path / "new").exists()
