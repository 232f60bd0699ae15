"""From a store to the frame: every promised cell has its row, every damage its problem."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.loading.columns import COCO, IOUS, NUMBERS, TIDE
from analysis.loading.load import frame_columns, read_study
from analysis.loading.schema import AXIS, STATES, Study
from analysis.tables.groups import groups
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from c2d.core.sweep_manifest import planned_runs

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"
BEAT = 1_795_207_551.0
"""The heartbeat of made-up runs, 2026-11-20 20:45:51 UTC."""
METHODS = {"method": ["baseline", "c2d"]}
TEACHER = "resnet18-classifier-0123456789ab-s0"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def _read(runs: Path, *sweeps: str, now: float = BEAT) -> Study:
    return read_study(runs, sweeps, cache=runs.parent / "cache", now=now)


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    write_json(path, value)


def _run(record: dict[str, Any], method: str, seed: int = 0) -> str:
    return next(c["run"] for c in record["cells"] if (c["labels"]["method"], c["seed"]) == (method, seed))


def test_a_row_for_every_cell_then_the_teachers(runs: Path) -> None:
    record = make_store(runs, METHODS, seeds=2)
    frame = _read(runs).frame
    assert frame["run"].tolist() == [*(cell["run"] for cell in record["cells"]), TEACHER]
    assert frame["role"].tolist() == ["student"] * 4 + ["teacher"]
    assert frame[AXIS + "method"].tolist()[:4] == ["baseline", "baseline", "c2d", "c2d"]
    assert pd.isna(frame[AXIS + "method"][4])
    assert frame["seed"].tolist() == [0, 1, 0, 1, 0]
    assert set(frame["sweep"]) == {"made"}
    first = json.loads((runs / record["cells"][0]["run"] / "result.json").read_text())
    for key in COCO:
        assert frame[key][0] == first[key]
    assert [frame[f"iou.{iou}"][0] for iou in IOUS] == [first["AP_per_iou"][iou] for iou in IOUS]
    assert [frame[f"tide.{error}"][0] for error in TIDE] == [first["tide"]["dAP"][error] for error in TIDE]
    row = frame.iloc[2]
    assert (row["method"], row["student"], row["schedule"], row["iterations_planned"]) == ("icod", "tiny", "smoke", 20)
    assert json.loads(row["method_json"]) == [{"icod": {"version": 1, "T": 2}}]
    assert json.loads(row["schedule_json"])["optimizer"]["lr"] == row["lr"] == 0.01
    assert (row["torch"], row["mmdet"], row["mmcv"]) == ("2.15.0", "3.5.1", "2.3.6")
    assert (row["code"], row["device"], row["engine"]) == ("a" * 40, "made-up CPU", "hotcoco 1.3.0")
    assert (row["teacher.classifier"], row["teacher_top1"], row["train_s"]) == (TEACHER, 0.95, 100.0)
    assert (row["train_cpu_s"], row["peak_mib"]) == (150.0, 900.0)
    assert (frame["top1"][4], frame["method"][4], frame["network"][4]) == (0.95, "classifier", "resnet18")
    assert np.isnan(frame["teacher_top1"][4])


def test_columns_and_types_are_the_same_whatever_is_there(runs: Path) -> None:
    runs.mkdir()
    empty = _read(runs).frame
    assert (len(empty), list(empty)) == (0, frame_columns(["student", "method", "question"]))
    make_store(runs, {"T": ["1"], "method": ["c2d"]}, state=lambda labels, seed: ["new", "failed", "done"][seed])
    full = _read(runs).frame
    assert list(full) == frame_columns(["T", "method", "student", "question"])
    for frame in (empty, full):
        assert {name: frame[name].dtype for name in frame} == {
            name: np.dtype("float64" if name in NUMBERS else "object") for name in frame
        }


def test_holes_are_rows_with_their_reason(runs: Path) -> None:
    states = ["new", "waiting", "running", "failed", "done"]
    record = make_store(runs, {"method": ["c2d"]}, seeds=5, state=lambda labels, seed: states[seed])
    frame = _read(runs).frame[:5]
    assert frame["state"].tolist() == states
    assert frame["reason"].tolist() == [
        "no run folder yet",
        "waiting: interrupted (iteration 7 of 20)",
        "running: iteration 7 of 20",
        "failed (nan): loss_cls is nan at iteration 7",
        "",
    ]
    assert frame["AP"].notna().tolist() == [False, False, False, False, True]
    assert frame["iteration"].tolist()[1:] == [7, 7, 7, 20]
    assert _read(runs).problems == []
    late = _read(runs, now=BEAT + 720).frame[:5]
    assert late["state"].tolist() == ["new", "waiting", "stale", "failed", "done"]
    assert late["reason"][2] == "stale: iteration 7 of 20, no heartbeat for 12 min"
    (group,) = groups(_read(runs), "made", {"method": []})
    assert (len(group.rows), len(group.done)) == (5, 1)
    status = runs / _run(record, "c2d", 1) / "status.json"
    _edit(status, lambda value: value.update(attempt=0, reason=None))
    assert _read(runs).frame["reason"][1] == "waiting: not started yet"
    shutil.rmtree(status.parent)
    status.parent.mkdir()
    assert _read(runs).frame["reason"][1] == "its folder has no spec.json yet"


@pytest.mark.parametrize(
    ("heartbeat", "state"),
    [
        ("2026-11-20T20:45:51+00:00", "running"),
        ("2026-11-20T20:45:51", "running"),
        ("2026-11-20T22:45:51+02:00", "running"),
        ("2026-11-20T20:40:50+00:00", "stale"),
        ("2030-01-01T00:00:00+00:00", "running"),
        ("yesterday", "stale"),
        (None, "stale"),
        ("0001-01-01T00:00:00+14:00", "stale"),
    ],
)
def test_a_heartbeat_older_than_five_minutes_is_stale(runs: Path, heartbeat: str | None, state: str) -> None:
    record = make_store(runs, {"method": ["c2d"]}, seeds=1, state=lambda labels, seed: "running")
    _edit(runs / _run(record, "c2d") / "status.json", lambda value: value.update(heartbeat=heartbeat))
    assert _read(runs).frame["state"][0] == state


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _set(**changes: Any) -> Callable[[Path], None]:
    return lambda path: _edit(path, lambda value: value.update(changes))


def _without(key: str) -> Callable[[Path], None]:
    return lambda path: _edit(path, lambda value: value.pop(key))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("result.json", _remove, "is missing although status.json has state done"),
        ("result.json", _cut, "is not valid JSON"),
        ("result.json", _set(format=2), "is of format 2; this version reads format 1"),
        ("result.json", _set(AP="0.3"), "AP is '0.3' where a number belongs"),
        ("result.json", _set(AP=37.4), "AP is 37.4, outside 0 to 1"),
        ("result.json", _set(APs=-1), "APs is -1, outside 0 to 1"),
        ("result.json", _without("AP75"), "AP75 is missing"),
        ("result.json", _set(tide={"dAP": []}), "tide.dAP is a list where an object belongs"),
        ("result.json", _set(kind="classifier", top1=0.5), "is of kind classifier, spec.json of kind detector"),
        ("spec.json", _remove, "is missing, so it is unknown what the run trains"),
        ("spec.json", _cut, "is not valid JSON"),
        ("spec.json", _without("schedule"), "schedule is missing"),
        ("spec.json", _set(method=["icod"]), "method is not a list of {distiller: parameters}"),
        ("spec.json", _set(seed=1), "spec.json has seed 1, the record of sweep made seed 0"),
        ("status.json", _cut, "is not valid JSON"),
        ("status.json", _remove, "is missing although there is a result.json"),
        ("status.json", _set(state="dreaming"), "state is 'dreaming', none of"),
        ("status.json", _set(iteration=[7]), "iteration is a list where a number belongs"),
    ],
)
def test_a_damaged_run_is_a_row_without_numbers_and_a_problem(
    runs: Path, name: str, damage: Callable[[Path], None], message: str
) -> None:
    path = runs / _run(make_store(runs, METHODS, seeds=1), "c2d") / name
    damage(path)
    study = _read(runs)
    row = study.frame.iloc[1]
    assert row["state"] == "damaged"
    assert message in row["reason"]
    assert row["reason"].startswith("damaged: ")
    assert row[[*COCO, "train_s", "teacher_top1"]].isna().all()
    (problem,) = study.problems
    assert problem.path == path
    assert message in problem.message
    assert study.frame["state"].tolist() == ["done", "damaged", "done"]


@pytest.mark.parametrize("damage", [_remove, _cut, _set(attempts=[])])
def test_numbers_without_provenance_are_shown_with_a_problem(runs: Path, damage: Callable[[Path], None]) -> None:
    path = runs / _run(make_store(runs, METHODS, seeds=1), "c2d") / "env.json"
    damage(path)
    study = _read(runs)
    assert (study.frame["state"][1], study.frame["code"][1]) == ("done", "")
    assert study.frame["AP"].notna()[1]
    assert [problem.path for problem in study.problems] == [path]


def test_null_is_an_undefined_number_and_no_damage(runs: Path) -> None:
    path = runs / _run(make_store(runs, METHODS, seeds=1), "c2d") / "result.json"
    _edit(path, lambda value: value.update(APl=None, tide=None))
    study = _read(runs)
    assert study.problems == []
    assert study.frame.loc[1, ["APl", "tide.Cls", "count.Cls"]].isna().all()
    assert study.frame["AP"].notna()[1]


def test_the_newest_attempt_says_where_it_ran(runs: Path) -> None:
    path = runs / _run(make_store(runs, METHODS, seeds=1), "c2d") / "env.json"

    def again(value: dict[str, Any]) -> None:
        newest = copy.deepcopy(value["attempts"][0])
        newest["git"]["dirty"] = True
        newest["machine"] |= {"gpu": ["NVIDIA H100", "NVIDIA H100"]}
        newest["packages"] = {"Torch": "3.0", "mmcv_lite": "2.0"}
        value["attempts"].append(newest)

    _edit(path, again)
    row = _read(runs).frame.iloc[1]
    assert (row["code"], row["device"]) == ("a" * 40 + "+", "2 x NVIDIA H100")
    assert (row["torch"], row["mmcv"], row["mmdet"]) == ("3.0", "2.0", "")
    _edit(path, lambda value: value["attempts"][1].update(git=None, snapshot="0123456789abcdef"))
    assert _read(runs).frame["code"][1] == "snapshot 0123456789ab"


def test_a_cpu_has_its_threads(runs: Path) -> None:
    """Trainings with one thread and with two part after some steps: a sum is rounded in another order."""
    path = runs / _run(make_store(runs, METHODS, seeds=1), "c2d") / "env.json"
    _edit(path, lambda value: value["attempts"][0]["machine"].update(cpu="EPYC", gpu=None))
    assert _read(runs).frame["device"][1] == "EPYC"
    _edit(path, lambda value: value["attempts"][0].update(environment={"OMP_NUM_THREADS": "1"}))
    assert _read(runs).frame["device"][1] == "EPYC, 1 thread"  # of before it was recorded
    _edit(path, lambda value: value["attempts"][0]["machine"].update(threads=2))
    assert _read(runs).frame["device"][1] == "EPYC, 2 threads"
    _edit(path, lambda value: value["attempts"][0]["machine"].update(threads="many"))
    (problem,) = _read(runs).problems
    assert "machine.threads" in str(problem)


def test_two_teachers_keep_their_own_numbers(runs: Path) -> None:
    """Top-1 of a classifier and AP of a detector are no one quantity, and a student may have both teachers."""
    run = _run(make_store(runs, METHODS, seeds=1), "c2d")
    both = {"classifier": {"run": TEACHER, "top1": 0.95}, "detector": {"run": "big-s0", "AP": 0.4}}
    _edit(runs / run / "result.json", lambda value: value.update(teachers=both))
    row = _read(runs).frame.iloc[1]
    assert (row["teacher_top1"], row["teacher_AP"]) == (0.95, 0.4)
    _edit(runs / run / "result.json", lambda value: value["teachers"].update(classifier=None))
    _edit(runs / run / "spec.json", lambda value: value.update(teachers={"classifier": None, "detector": "big-s0"}))
    row = _read(runs).frame.iloc[1]
    assert np.isnan(row["teacher_top1"])
    assert row["teacher_AP"] == 0.4


def test_the_teachers_own_result_is_read_where_the_student_did_not_record_it(runs: Path) -> None:
    run = _run(make_store(runs, METHODS, seeds=1), "c2d")
    _edit(runs / run / "result.json", lambda value: value.pop("teachers"))
    _edit(runs / TEACHER / "result.json", lambda value: value.update(top1=0.75))
    frame = _read(runs).frame
    assert frame["teacher_top1"][1] == 0.75
    assert np.isnan(frame["teacher_top1"][0])  # taught by nobody
    _edit(runs / run / "spec.json", lambda value: value.update(teachers={"classifier": run, "detector": "../x"}))
    assert np.isnan(_read(runs).frame["teacher_top1"][1])  # its own teacher: odd, and no endless loop


def test_single_runs_are_those_of_no_sweep(runs: Path) -> None:
    record = make_store(runs, METHODS, seeds=1)
    for name, method in (("zz-s3", []), ("own-run", [{"icod": {}}, {"fgfi": {}}])):
        shutil.copytree(runs / record["cells"][0]["run"], runs / name)
        _set(method=method)(runs / name / "spec.json")
    shutil.copytree(runs / TEACHER, runs / "teacher-alone-s0")
    (runs / "notes").mkdir()
    study = _read(runs)
    single = study.frame[study.frame["role"] == "single"]
    assert single["run"].tolist() == ["own-run", "teacher-alone-s0", "zz-s3"]
    assert single[AXIS + "student"].tolist() == ["tiny", "resnet18", "tiny"]
    assert single[AXIS + "method"].tolist() == ["icod+fgfi", "classifier", "baseline"]
    assert set(single["sweep"]) == {""}
    assert [(p.path.name, p.message) for p in study.problems] == [("notes", "is no run: it has no spec.json; left out")]
    assert [group.key for group in groups(study, "", {"method": []}, where={"student": ["tiny"]})] == [
        "method=icod+fgfi",
        "method=baseline",
    ]
    named = _read(runs, "made")
    assert "single" not in set(named.frame["role"])
    assert named.problems == []


def test_a_run_of_two_sweeps_has_rows_in_both_in_the_order_asked_for(runs: Path) -> None:
    record = make_store(runs, METHODS, seeds=1)
    other = {**record, "name": "another", "axes": {"how": ["x"]}, "orphans": ["gone-s2", record["cells"][1]["run"]]}
    other["cells"] = [{"labels": {"how": "x"}, "seed": 0, "run": record["cells"][0]["run"]}]
    write_json(runs / "sweeps" / "another.json", other)
    frame = _read(runs).frame
    assert frame["sweep"].tolist() == ["another"] * 4 + ["made"] * 3
    assert frame["role"].tolist() == ["student", "teacher", "orphan", "orphan", "student", "student", "teacher"]
    assert (frame["state"][2], frame["seed"][2], frame["state"][3]) == ("new", 2, "done")
    assert frame[AXIS + "how"].fillna("-").tolist() == ["x", *"------"]
    assert _read(runs, "made", "another", "made").frame["sweep"].tolist() == ["made"] * 3 + ["another"] * 4
    assert list(_read(runs, "made").sweeps) == ["made"]


def test_equal_cells_have_a_row_each(runs: Path) -> None:
    record = make_store(runs, {"method": ["baseline", "c2d"], "T": ["1", "2"]}, seeds=1)
    for cell in record["cells"]:
        if cell["labels"]["method"] == "baseline":
            cell["run"] = record["cells"][0]["run"]
    write_json(runs / "sweeps" / "made.json", record)
    study = _read(runs, "made")
    assert len(study.frame) == 5
    assert [group.shown for group in groups(study, "made", {"method": [], "T": []})] == [
        ("baseline", ""),
        ("c2d", "1"),
        ("c2d", "2"),
    ]


def test_every_run_that_the_launcher_knows_has_a_row(runs: Path) -> None:
    record = make_store(runs, METHODS, seeds=2)
    assert {planned.run for planned in planned_runs(record)} == set(_read(runs).frame["run"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(format=2), "is of format 2"),
        (lambda record: record.pop("needs"), "needs is missing"),
        (lambda record: record.pop("cells"), "cells is missing"),
        (lambda record: record["cells"].append(3), r"cells\[2\] is a number where an object belongs"),
        (lambda record: record["cells"][0].update(run="../../etc"), r"cells\[0\].run holds '../../etc'"),
        (lambda record: record["cells"][0].update(seed="0"), r"cells\[0\].seed is '0' where a number belongs"),
        (lambda record: record["cells"][0].update(seed=0.5), r"cells\[0\].seed is .* where a whole number belongs"),
        (lambda record: record["cells"][0].update(labels={"method": 3}), "where text belongs"),
        (lambda record: record["cells"][0].update(labels={"method": "\ud800"}), "which no file can hold"),
        (lambda record: record.update(axes=[]), "axes is a list where an object belongs"),
        (lambda record: record.update(teachers=["a/b"]), "teachers holds 'a/b' where a run id belongs"),
        (lambda record: record.update(question=None), "question is null where text belongs"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_as_a_whole(
    runs: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    make_store(runs, METHODS, seeds=1)
    _edit(runs / "sweeps" / "made.json", change)
    study = _read(runs)
    assert study.sweeps == {}
    (problem,) = study.problems
    assert problem.path == runs / "sweeps" / "made.json"
    assert re.search(message, problem.message)
    assert set(study.frame["role"]) == {"single"}
    assert len(_read(runs, "made").frame) == 0


def test_stores_and_sweeps_that_are_not_there(runs: Path) -> None:
    record = make_store(runs, METHODS, seeds=1)
    with pytest.raises(InputError, match=r"unknown sweep .*'mad'; did you mean 'made'\? known: made"):
        _read(runs, "mad")
    with pytest.raises(InputError, match="does not exist"):
        _read(runs / "none")
    with pytest.raises(InputError, match="is a run, not a store"):
        _read(runs / record["cells"][0]["run"])
    with pytest.raises(InputError, match="is a file"):
        _read(runs / record["cells"][0]["run"] / "spec.json")


def test_nothing_in_the_store_is_changed(runs: Path) -> None:
    make_store(runs, METHODS, seeds=2)

    def everything() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [runs, *runs.rglob("*")]}

    before = everything()
    _read(runs)
    read_study(runs, cache=runs / "cache")
    assert everything() == before
    problems = read_study(runs, cache=runs / "cache").problems
    assert ["lies in the store" in problem.message for problem in problems] == [True]


def test_the_fixture_store(tmp_path: Path) -> None:
    study = read_study(FIXTURE, cache=tmp_path)
    assert study.problems == []
    done = study.frame[study.frame["state"] == "done"]
    assert len(done) >= 3
    for _, row in done.iterrows():
        folder = FIXTURE / row["run"]
        result, spec = json.loads((folder / "result.json").read_text()), json.loads((folder / "spec.json").read_text())
        metric = "top1" if spec["kind"] == "classifier" else "AP"
        assert row[metric] == result[metric]
        assert row["name"] == spec["name"]
        assert row["run"].startswith(spec["name"])
        assert row["torch"] != "" != row["mmdet"]
        if spec["teachers"]["classifier"]:
            assert row["teacher_top1"] == result["teachers"]["classifier"]["top1"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, item in inner for path in _paths(item, (*here, key)))]


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value[path[0]] = _replaced(value[path[0]], path[1:], new)
    return value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("made") / "runs"
    make_store(runs, {"method": ["c2d"]}, seeds=1)
    return runs


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_file_of_whatever_content_stops_the_reading(made: Path, data: st.DataObject) -> None:
    files = sorted(path for path in made.rglob("*.json"))
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    value = json.loads(whole)
    where = data.draw(st.sampled_from(_paths(value)))
    try:
        path.write_text(json.dumps(_replaced(value, where, data.draw(_JSON))))
        study = read_study(made, cache=made.parent / "cache", now=BEAT)
    finally:
        path.write_bytes(whole)
    assert set(study.frame["state"]) <= set(STATES)
    assert {"seed", *NUMBERS} >= {name for name in study.frame if study.frame[name].dtype == np.float64}
    done = study.frame["state"] == "done"
    assert study.frame.loc[~done, ["params", "top1", "top5", "ece", "train_s", "detect_s", "AP"]].isna().all(axis=None)
    for problem in study.problems:
        problem.message.encode()
        assert "\n" not in problem.message
    for name in study.frame:
        if study.frame[name].dtype == object:
            assert all(isinstance(item, str) or item != item for item in study.frame[name]), name
            "".join(item for item in study.frame[name] if isinstance(item, str)).encode()
