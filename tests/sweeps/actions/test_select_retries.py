"""What is started again: every state and class by itself and by name, filters, budgets, back-off, more resources."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.job_file import Job, append_attempt, read_attempts
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.actions import row_filters, select_retries, tasks
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.failures.retry_policy import AUTOMATIC
from sweeps.state.failed_attempts import pending_retries
from sweeps.state.plan import Row

NOW = time.time()
HASH = "0123456789ab"


def stamp(ago_s: float = 0.0) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).isoformat(timespec="seconds")


def row(
    runs: Path,
    name: str,
    state: Any = "failed",
    failure_class: str | None = "killed",
    needs: tuple[str, ...] = (),
    job: dict[str, Any] | None = None,
    **facts: Any,
) -> Row:
    run = RunFolder(runs / name)
    run.path.mkdir(parents=True, exist_ok=True)
    launched = Job(
        **{
            "sweep": "s",
            "where": "slurm",
            "state": "submitted",
            "name": "c2d-s-1",
            "job": "7_0",
            "submitted": stamp(9e4),
        }
        | (job or {})
    )
    status = {
        "state": "failed",
        "attempt": 1,
        "host": "n1",
        "heartbeat": stamp(8e4),
        "iteration": 5,
        **facts.pop("status", {}),
    }
    given: dict[str, Any] = {
        "kind": "student",
        "cells": (),
        "reason": "x",
        "launch": False,
        "status": status,
        "job": launched,
    } | facts
    wrong = failure_class if state == "failed" else None
    return Row(run, state=state, failure_class=wrong, needs=needs, **given)


def ids(rows: list[Row]) -> list[str]:
    return [row.run.id for row in rows]


def record_failures(row: Row, *iterations: int, name: str | None = None, ago_s: float = 7e4, **facts: Any) -> None:
    given = {"class": name or row.failure_class, "job": "7_0", "requeued": False, **facts}
    for iteration in iterations:
        append_attempt(row.run, iteration=iteration, **given)
    lines = (row.run.path / "attempts.jsonl").read_text().splitlines()
    atomic = [line.replace(line.split('"')[3], stamp(ago_s), 1) for line in lines]
    (row.run.path / "attempts.jsonl").write_text("\n".join(atomic) + "\n")


@pytest.fixture
def cells(tmp_path: Path) -> list[Row]:
    return [
        row(tmp_path, f"{method}-{lr}-s{seed}", cells=({"method": method, "lr": lr, "seed": str(seed)},))
        for method, lr in (("icod", "1"), ("icod", "2"), ("fgd", "1"))
        for seed in (0, 1)
    ]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ([], 6),
        (["method=icod"], 4),
        (["method=icod", "method=fgd"], 6),
        (["method=icod", "lr=1"], 2),
        (["method=icod", "lr=1", "seed=1"], 1),
        (["method=fgd", "lr=2"], 0),
        (["lr=1", "lr=2", "seed=0"], 3),
    ],
)
def test_labels_of_one_axis_mean_or_and_axes_mean_and(cells: list[Row], filters: list[str], count: int) -> None:
    assert len(row_filters.filter_rows(cells, filters)) == count
    assert ids(select_retries.select_retries(cells, filters=filters)) == ids(row_filters.filter_rows(cells, filters))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methd=icod", "unknown axis 'methd'; did you mean 'method'?"),
        ("method=icdo", "unknown label of axis method: 'icdo'; did you mean 'icod'?"),
        ("method", "'method' is not axis=label; axes: lr, method, seed"),
    ],
)
def test_a_wrong_filter_is_explained(cells: list[Row], text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        row_filters.filter_rows(cells, [text])
    assert message in str(caught.value)


def test_equal_cells_match_by_any_of_them(tmp_path: Path) -> None:
    both = row(tmp_path, "b", cells=({"m": "a", "t": "1"}, {"m": "b", "t": "2"}))
    assert row_filters.matches(both, {"m": {"b"}, "t": {"2"}})
    assert not row_filters.matches(both, {"m": {"a"}, "t": {"2"}}), "one cell has to match as a whole"
    assert not row_filters.matches(row(tmp_path, "teacher", kind="teacher"), {"m": {"a"}})


@pytest.mark.parametrize("name", FAILURE_CLASSES)
def test_automatic_classes_are_retried_and_any_class_by_name(tmp_path: Path, name: str) -> None:
    rows = [row(tmp_path, "a", failure_class=name)]
    assert bool(select_retries.select_retries(rows)) == (name in AUTOMATIC)
    assert select_retries.select_retries(rows, states=["failed"]) == select_retries.select_retries(rows), (
        "a state is no class"
    )
    assert select_retries.select_retries(rows, classes=[name]) == rows
    assert select_retries.select_retries(rows, ids=["a"]) == rows


@pytest.mark.parametrize("state", ["new", "waiting", "running", "done"])
def test_runs_in_other_states_are_not_selected(tmp_path: Path, state: str) -> None:
    rows = [row(tmp_path, "a", state)]
    assert (
        select_retries.select_retries(rows)
        == select_retries.select_retries(rows, states=[state])
        == select_retries.select_retries(rows, ids=["a"])
        == []
    )


def test_an_interrupted_run_continues_when_its_state_is_named(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a", "waiting", launch=True)]
    assert select_retries.select_retries(rows) == []
    assert select_retries.select_retries(rows, states=["waiting"]) == rows


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": ["hostoom"]}, "did you mean 'host-oom'?"),
        ({"states": ["fialed"]}, "did you mean 'failed'?"),
        ({"ids": ["zz"]}, "unknown run of this sweep 'zz'"),
        ({"filters": ["m=1"]}, "unknown axis 'm'"),
    ],
)
def test_unknown_names_are_explained(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        select_retries.select_retries([row(tmp_path, "a")], **given)
    assert message in str(caught.value)


def test_an_id_prefix_is_enough(tmp_path: Path) -> None:
    rows = [row(tmp_path, f"ssd-icod-{HASH}-s{seed}", failure_class="nan") for seed in range(3)]
    assert select_retries.select_retries(rows, ids=["ssd-icod-0123"]) == rows
    assert select_retries.select_retries(rows, ids=[rows[1].run.id]) == rows[1:2]


def test_the_wait_is_at_most_the_back_off(tmp_path: Path) -> None:
    first = row(tmp_path, "a", job={"submitted": stamp(1000)})
    record_failures(first, 1, 2, ago_s=30)
    assert select_retries.select_retries([first], now=NOW) == []
    assert pending_retries([first]) == [first]
    assert select_retries.select_retries([first], now=NOW + 60) == [first]
    assert select_retries.select_retries([first], ignore_backoff=True, now=NOW) == [first]


def test_a_long_training_that_goes_on_in_each_job_waits_for_no_back_off(tmp_path: Path) -> None:
    long, stuck = row(tmp_path, "long", failure_class="time-limit"), row(tmp_path, "stuck", failure_class="time-limit")
    record_failures(long, 100, 200, 300, ago_s=30)
    record_failures(stuck, 100, 100, 100, ago_s=30)
    assert select_retries.select_retries([long, stuck], now=NOW) == [long]


def test_the_retry_budget_ends_retries_unless_overridden(tmp_path: Path) -> None:
    first = row(tmp_path, "a")
    record_failures(first, *range(FAILURE_CLASSES["killed"].max_retries + 1))
    assert (
        select_retries.select_retries([first])
        == select_retries.select_retries([first], ignore_backoff=True)
        == pending_retries([first])
        == []
    )
    assert select_retries.select_retries([first], classes=["killed"]) == [first]


@pytest.mark.parametrize("name", AUTOMATIC)
@pytest.mark.parametrize("noted", [True, False])
def test_a_run_that_always_fails_is_not_retried_for_ever(tmp_path: Path, name: str, noted: bool) -> None:
    """Also where nothing on the node notes the deaths: the launcher does so before it launches again."""
    launches = 0
    for number in range(50):  # all within one second
        first = row(tmp_path, "a", failure_class=name, job={"submitted": stamp(1), "submissions": number + 1})
        if noted:
            append_attempt(first.run, **{"class": name, "iteration": 5, "requeued": False, "node": "n1"})
        picked = select_retries.select_retries([first], ignore_backoff=True)
        if not picked:
            break
        select_retries.record_missing_failures(picked)
        launches += 1
    assert 1 <= launches <= FAILURE_CLASSES[name].max_retries
    assert all(death["class"] == name for death in read_attempts(RunFolder(tmp_path / "a")))


def test_a_failure_is_recorded_once(tmp_path: Path) -> None:
    first = row(tmp_path, "a")
    select_retries.record_missing_failures([first])
    select_retries.record_missing_failures([first])
    (death,) = read_attempts(first.run)
    assert (death["class"], death["node"], death["iteration"], death["by"]) == ("killed", "n1", 5, "retry")


def test_a_failed_teacher_releases_its_students(tmp_path: Path) -> None:
    teacher = row(tmp_path, "t", kind="teacher")
    coded = row(tmp_path, "u", failure_class="nan", kind="teacher")
    students = [
        row(tmp_path, "a", "blocked", needs=("t",)),
        row(tmp_path, "b", "blocked", needs=("t", "u")),
        row(tmp_path, "c", "blocked", needs=("u",)),
    ]
    rows = [teacher, coded, *students]
    assert ids(select_retries.select_retries(rows)) == ["t", "a"], "b has to wait for u as well"
    assert ids(select_retries.select_retries(rows, classes=["nan"])) == ["u", "c"]
    assert ids(select_retries.select_retries(rows, classes=["nan", "killed"])) == ids(rows)
    assert ids(select_retries.select_retries(rows, ids=["t"])) == ["t", "a"]
    assert ids(select_retries.select_retries(rows, ids=["c"])) == ["u", "c"], (
        "who asks for a blocked run means its teacher"
    )
    assert ids(select_retries.select_retries(rows, states=["blocked"])) == ["t", "a"]


def test_a_chain_of_teachers_is_released(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, "t", kind="teacher"),
        row(tmp_path, "u", "blocked", kind="teacher", needs=("t",)),
        row(tmp_path, "a", "blocked", needs=("u",), cells=({"m": "1"},)),
    ]
    assert ids(select_retries.select_retries(rows)) == ["t", "u", "a"]
    assert ids(select_retries.select_retries(rows, ids=["a"])) == ["t", "u", "a"]
    assert ids(select_retries.select_retries(rows, filters=["m=1"])) == ["t", "u", "a"]


def test_a_limit_counts_students(tmp_path: Path) -> None:
    rows = [row(tmp_path, "t", kind="teacher"), row(tmp_path, "v", kind="teacher")]
    rows += [row(tmp_path, name, "blocked", needs=("t",)) for name in "abc"]
    assert ids(select_retries.select_retries(rows, limit=2)) == ["t", "a", "b"]
    assert ids(select_retries.select_retries(rows[:2], limit=1)) == ["t"]


PROFILE = Profile(name="p", mem_gb=32, max_mem_gb=64, max_hours=20)


@pytest.mark.parametrize(
    ("had", "gets", "message"),
    [
        (None, 48, "a: out of memory, 32 -> 48 GB"),
        (48.0, 64, "a: out of memory, 48 -> 64 GB"),
        (64.0, 64, "a: out of memory; 64 GB is the maximum of profile p (max_mem_gb)"),
        (80.0, 80, "a: out of memory; 80 GB is the maximum"),
    ],
)
def test_memory_is_raised_up_to_the_profile(tmp_path: Path, had: float | None, gets: float, message: str) -> None:
    lines: list[str] = []
    first = row(tmp_path, "a", failure_class="host-oom", job={"mem_gb": had})
    assert tasks.retry_task(first, [first], PROFILE, lines.append).mem_gb == gets
    assert message in lines[0]


@pytest.mark.parametrize(
    ("iterations", "had", "gets"),
    [((0,), None, 8), ((5, 5), None, 8), ((5, 5), 8.0, 16), ((5, 5), 16.0, 20), ((5,), None, None), ((5, 9), 8.0, 8)],
)
def test_hours_are_raised_where_a_job_makes_no_progress(
    tmp_path: Path, iterations: tuple[int, ...], had: float | None, gets: float | None
) -> None:
    lines: list[str] = []
    first = row(tmp_path, "a", failure_class="time-limit", job={"hours": had})
    record_failures(first, *iterations)
    assert tasks.retry_task(first, [first], PROFILE, lines.append).hours == gets
    assert bool(lines) == (gets not in (None, had))


def test_raised_resources_are_kept_and_other_classes_raise_none(tmp_path: Path) -> None:
    lines: list[str] = []
    first = row(tmp_path, "a", job={"mem_gb": 48, "hours": 6, "size": "large", "exclude": ["n9"]})
    task = tasks.retry_task(first, [first], PROFILE, lines.append)
    assert (task.mem_gb, task.hours, task.size, task.exclude, task.after) == (48, 6, "large", ("n9",), ())
    assert lines == []


def test_a_profile_that_is_given_holds_and_is_raised_from(tmp_path: Path) -> None:
    first = row(tmp_path, "a", failure_class="host-oom", job={"mem_gb": 24, "hours": 6})
    given = PROFILE.model_copy(update={"mem_gb": 40.0})
    assert tasks.retry_task(first, [first], given, print, is_given=True).mem_gb == 60
    assert tasks.retry_task(first, [first], given, print, is_given=True).hours is None
    assert tasks.retry_task(first, [first], given, print).mem_gb == 36  # the stored one: what a retry had raised
    other = row(tmp_path, "b", failure_class="nan", job={"mem_gb": 24, "hours": 6})
    assert tasks.retry_task(other, [other], given, print, is_given=True).mem_gb is None


@pytest.mark.parametrize(
    ("name", "own_gb", "mem_gb"), [("p", 32.0, 48.0), ("p", 64.0, None), ("q", 32.0, None), ("q", 64.0, None)]
)
def test_a_submission_keeps_what_a_retry_raised_for_the_same_profile(
    tmp_path: Path, name: str, own_gb: float, mem_gb: float | None
) -> None:
    interrupted = row(tmp_path, "a", "waiting", launch=True, job={"mem_gb": 48.0, "profile": "p"})
    definition = parse_definition(
        "question: Does it?\nbase: {dataset: scenes}\naxes: {method: {a: []}}\n", "a.yaml", "a"
    )
    (task,) = tasks.tasks_of([interrupted], definition, None, Profile(name=name, mem_gb=own_gb))
    assert task.mem_gb == mem_gb


def test_failing_nodes_are_excluded_and_named(tmp_path: Path) -> None:
    rows = [row(tmp_path, name) for name in "abc"]
    record_failures(rows[0], 1, name="node-failure", node="n3")
    record_failures(rows[1], 1, name="hang", node="n3")
    record_failures(rows[1], 1, 2, name="killed", node="desk", job=None)  # the host of local runs
    record_failures(rows[1], 1, 2, 3, name="preempted", node="n4")
    record_failures(rows[2], 1, name="killed", node="n5")
    assert tasks.nodes_to_exclude(rows) == ["n3"]
    lines: list[str] = []
    assert tasks.retry_task(rows[2], rows, PROFILE, lines.append).exclude == ("n3",)
    assert lines == ["c: not on n3, where runs of this sweep failed 2 times or more"]


def test_a_student_waits_for_teachers_that_are_not_done(tmp_path: Path) -> None:
    rows = [row(tmp_path, "t", kind="teacher"), row(tmp_path, "u", "done", kind="teacher")]
    rows.append(row(tmp_path, "a", "blocked", needs=("t", "u")))
    assert tasks.retry_task(rows[2], rows, PROFILE, print).after == ("t",)


def test_a_run_that_was_never_launched_takes_the_profile(tmp_path: Path) -> None:
    first = Row(RunFolder(tmp_path / "a"), "student", (), "failed", "x", False, {"state": "failed"}, None, "killed")
    task = tasks.retry_task(first, [first], PROFILE, print)
    assert (task.mem_gb, task.hours, task.size, task.exclude) == (None, None, "small", ())
    atomic_write_json(first.run.spec, {})
    assert select_retries.select_retries([first]) == [first]
