"""Numbers and table of a sweep: hours and wasted ones, ETA, stale heartbeats, files that come late, watching."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from c2d.core.errors import RunError
from c2d.core.job_file import Job, append_attempt
from c2d.core.run_folder import RunFolder
from sweeps.scheduler.queue import JobFacts
from sweeps.state.plan import Row
from sweeps.state.status import Summary, summarize
from sweeps.state.status_table import has_ended, print_status, watch_status

NOW = 1_800_000_000.0
HASH = "0123456789ab"


def stamp(ago_s: float = 0.0) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).isoformat(timespec="seconds")


def local(ago_s: float) -> str:
    """As SLURM prints a time."""
    return datetime.fromtimestamp(NOW - ago_s).isoformat(timespec="seconds")  # noqa: DTZ006


def row(runs: Path, name: str, state: Any, gpus: int = 2, ago_s: float = 5, **facts: Any) -> Row:
    run = RunFolder(runs / f"{name}-{HASH}-s0")
    run.path.mkdir(parents=True, exist_ok=True)
    given = {"kind": "student", "cells": ({"method": name, "seed": "0"},), "reason": f"why {name}", "launch": False}
    own = {key: facts.pop(key) for key in list(facts) if key in given or key in ("failure_class", "needs")}
    job = Job(sweep="s", where=facts.pop("where", "slurm"), state="submitted", name="j", job=f"7_{name}", gpus=gpus)
    read = {"state": state, "attempt": 1, "host": "n1", "heartbeat": stamp(ago_s), **facts}
    return Row(run, state=state, status=read, job=None if state == "new" else job, **{**given, **own})


def one(found: Summary, name: str) -> dict[str, Any]:
    return next(run for run in found["runs"] if run["run"].startswith(name))


def shown(found: Summary) -> str:
    console = Console(width=100, file=None, record=True, force_terminal=False, highlight=False)
    with console.capture() as capture:
        print_status(console, found)
    return capture.get()


def test_hours_are_counted_and_wasted_ones_apart(tmp_path: Path) -> None:
    lost = row(tmp_path, "b", "running", elapsed_s=7200, iteration=5, iterations=10)
    append_attempt(lost.run, **{"class": "killed", "lost_s": 1800.0})
    append_attempt(lost.run, **{"class": "killed", "lost_s": None})
    rows = [row(tmp_path, "a", "done", elapsed_s=3600), lost, row(tmp_path, "c", "failed", gpus=1, elapsed_s=1800)]
    found = summarize(rows, {}, NOW)
    assert found["hours"] == {"total": 3.5, "wasted": 1.0, "expected": 5.5}
    assert found["gpu_hours"] == {"total": 6.5, "wasted": 1.5, "expected": 10.5}
    assert found["counts"] == {"running": 1, "done": 1, "failed": 1}
    assert one(found, "b")["deaths"] == 2
    assert json.dumps(found, allow_nan=False)


def test_a_run_never_wastes_more_than_it_took(tmp_path: Path) -> None:
    first = row(tmp_path, "a", "done", elapsed_s=60)
    append_attempt(first.run, **{"class": "killed", "lost_s": 1e9})
    assert one(summarize([first], {}, NOW), "a")["hours_wasted"] == 60 / 3600


def test_status_of_an_empty_sweep() -> None:
    found = summarize([], {}, NOW)
    assert (found["runs"], found["counts"], found["eta_s"], found["retries"]) == ([], {}, 0.0, 0)
    assert "no runs" in shown(found)


@pytest.mark.parametrize(("ago_s", "stale"), [(299, False), (301, True)])
def test_old_heartbeats_are_stale(tmp_path: Path, ago_s: float, stale: bool) -> None:
    found = summarize([row(tmp_path, "a", "running", ago_s=ago_s)], {}, NOW)
    assert (one(found, "a")["stale"], found["stale"]) == (stale, int(stale))
    assert one(found, "a")["heartbeat_age_s"] == ago_s
    assert ("STALE, no heartbeat for 5 min" in " ".join(shown(found).split())) == stale
    done = summarize([row(tmp_path, "a", "done", ago_s=9e9)], {}, NOW)
    assert one(done, "a")["heartbeat_age_s"] is None


@pytest.mark.parametrize(
    ("ended_ago_s", "state"), [(0, "finishing"), (60, "finishing"), (119, "finishing"), (130, "waiting")]
)
def test_files_that_come_late_are_no_failure(tmp_path: Path, ended_ago_s: float, state: str) -> None:
    late = row(tmp_path, "a", "waiting")
    fact = JobFacts("7_a", state="COMPLETED", started=local(ended_ago_s + 500), elapsed_s=500.0)
    assert one(summarize([late], {"7_a": fact}, NOW), "a")["state"] == state
    timeless = JobFacts("7_a", state="COMPLETED")
    assert one(summarize([late], {"7_a": timeless}, NOW), "a")["state"] == "finishing"
    for wrong in ("RUNNING", "FAILED"):
        other = JobFacts("7_a", state=wrong, started=local(500), elapsed_s=500.0)
        assert one(summarize([late], {"7_a": other}, NOW), "a")["state"] == "waiting"


def test_a_recorded_failure_is_not_finishing(tmp_path: Path) -> None:
    fact = JobFacts("7_a", state="COMPLETED")
    assert one(summarize([row(tmp_path, "a", "failed")], {"7_a": fact}, NOW), "a")["state"] == "failed"


def metrics(row: Row, *points: tuple[int, float]) -> Row:
    lines = [json.dumps({"event": "train", "iteration": n, "time": t}) for n, t in points]
    row.run.metrics.write_text("\n".join(['{"event": "val"}', "half a li", *lines, '{"event": "tr']))
    return row


def test_eta_of_a_running_run_follows_its_last_pace(tmp_path: Path) -> None:
    running = row(tmp_path, "a", "running", elapsed_s=1000, iteration=50, iterations=150)
    assert one(summarize([running], {}, NOW), "a")["left_s"] == 2000, "20 s an iteration so far"
    metrics(running, (40, 0.0), (50, 20.0))
    assert one(summarize([running], {}, NOW), "a")["left_s"] == 200
    metrics(running, (90, 0.0), (100, 999.0), (40, 1000.0), (50, 1010.0))
    assert one(summarize([running], {}, NOW), "a")["left_s"] == 100, "what was before the restart does not count"
    starting = row(tmp_path, "b", "running", iterations=None)
    assert one(summarize([starting], {}, NOW), "b")["left_s"] is None


def test_eta_of_a_sweep(tmp_path: Path) -> None:
    running = [row(tmp_path, f"a{n}", "running", elapsed_s=100, iteration=10, iterations=20) for n in range(2)]
    finished = [row(tmp_path, f"d{n}", "done", elapsed_s=300) for n in range(3)]
    waiting = [row(tmp_path, f"w{n}", "waiting") for n in range(4)]
    assert summarize(running, {}, NOW)["eta_s"] == 100
    assert summarize(finished, {}, NOW)["eta_s"] == 0
    assert summarize([*finished, *waiting], {}, NOW)["eta_s"] == 1200, "one at a time while none runs"
    found = summarize([*running, *finished, *waiting], {}, NOW)
    assert found["eta_s"] == (2 * 100 + 4 * 300) / 2
    assert summarize(waiting, {}, NOW)["eta_s"] is None
    teacher = row(tmp_path, "t", "waiting", kind="teacher")
    assert summarize([*finished, teacher], {}, NOW)["eta_s"] is None, "students say nothing of teachers"
    assert summarize([row(tmp_path, "x", "blocked"), *finished], {}, NOW)["eta_s"] == 0


def test_runs_at_once_are_those_of_the_last_minutes(tmp_path: Path) -> None:
    """Between two runs of a launcher lie some seconds in which fewer run."""
    ended = [row(tmp_path, f"d{n}", "done", elapsed_s=300, ago_s=10, begun=NOW - 310) for n in range(2)]
    waiting = [row(tmp_path, f"w{n}", "waiting") for n in range(4)]
    assert summarize([*ended, *waiting], {}, NOW)["eta_s"] == round(4 * 300 * 310 / (2 * 300), 1)
    running = [row(tmp_path, f"a{n}", "running", iteration=9, iterations=10, elapsed_s=270) for n in range(3)]
    assert summarize([*running, *ended, *waiting], {}, NOW)["eta_s"] == (3 * 30 + 4 * 300) / 3
    ahead = row(tmp_path, "x", "done", elapsed_s=300, ago_s=-9e6, begun=NOW + 8e6)
    assert summarize([ahead, *waiting], {}, NOW)["eta_s"] == 1200, "a clock that is ahead counts for nothing"


def test_a_run_that_begins_is_as_long_as_the_others(tmp_path: Path) -> None:
    rows = [row(tmp_path, "d", "done", elapsed_s=300), row(tmp_path, "a", "running", elapsed_s=20)]
    assert summarize(rows, {}, NOW)["eta_s"] == 280


def test_the_expected_hours_of_a_sweep(tmp_path: Path) -> None:
    done = row(tmp_path, "d", "done", elapsed_s=3600)
    half = row(tmp_path, "a", "running", elapsed_s=1800, iteration=5, iterations=10)
    found = summarize([done, half, row(tmp_path, "w", "new")], {}, NOW)
    # Three hours of two GPUs each; a run that was never launched gets as many as the others.
    assert found["gpu_hours"]["expected"] == 2 * (1 + 1 + 1)
    assert found["hours"]["expected"] == 3
    teacher = row(tmp_path, "t", "waiting", kind="teacher")
    assert summarize([done, teacher], {}, NOW)["hours"]["expected"] is None


def test_equal_methods_are_the_better_measure(tmp_path: Path) -> None:
    finished = [row(tmp_path / "1", "icod", "done", elapsed_s=900), row(tmp_path, "fgd", "done", elapsed_s=100)]
    half = row(tmp_path / "2", "icod", "waiting", iteration=10, iterations=20)
    assert summarize([*finished, half], {}, NOW)["eta_s"] == 450


def test_the_table_fits_and_ends_with_failures(tmp_path: Path) -> None:
    long = "retinanet-qr18-icod+fgfi-and-a-very-long-name"
    cells = ({"method": "c2d[+fgfi]", "method.icod.T": "2", "seed": "0"}, {"method": "x", "seed": "0"})
    rows = [
        row(tmp_path, "f", "failed", failure_class="nan", reason="nan: the loss is not finite " * 5),
        row(tmp_path, "e", "failed", failure_class="host-oom", reason="host-oom: [red]memory[/]"),
        row(tmp_path, long, "running", iteration=123456, iterations=500000, elapsed_s=8e4, cells=cells),
        row(tmp_path, "w", "waiting"),
        row(tmp_path, "n", "new"),
        row(tmp_path, "b", "blocked", cells=(), kind="teacher"),
        *[row(tmp_path, f"d{n}", "done", elapsed_s=60) for n in range(30)],
    ]
    text = shown(summarize(rows, {}, NOW) | {"sweep": "demo", "question": "Does it [help]?"})
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "demo: Does it [help]?"
    assert "36 runs: 1 new, 1 waiting, 1 running, 30 done, 2 failed, 1 blocked" in lines[1]
    assert "... and 10 more" in text
    assert "[red]memory[/]" in text
    assert "123456/500000" in text
    states = [line.split()[0] for line in lines if line and line.split()[0] in ("done", "running", "blocked", "failed")]
    assert list(dict.fromkeys(states)) == ["done", "running", "blocked", "failed"]
    assert text.index("host-oom") < text.index("nan: the loss")


def watched(looks: list[Summary], retry: Callable[[], object] = lambda: None) -> tuple[Summary, list[float], str]:
    left, slept = list(looks), []
    console = Console(width=100, record=True)
    with console.capture() as capture:
        found = watch_status(lambda: left.pop(0), retry, console, every_s=7, sleep=slept.append)
    assert not left
    return found, slept, capture.get()


def test_watching_ends_with_the_last_run(tmp_path: Path) -> None:
    first = summarize([row(tmp_path, "a", "running"), row(tmp_path, "b", "waiting")], {}, NOW)
    fact = {"7_b": JobFacts("7_b", state="COMPLETED")}
    late = summarize([row(tmp_path, "a", "done"), row(tmp_path, "b", "waiting")], fact, NOW)
    last = summarize([row(tmp_path, "a", "done"), row(tmp_path, "b", "failed", failure_class="nan")], {}, NOW)
    found, slept, _ = watched([first, late, last])
    assert (found, slept) == (last, [7, 7])


def test_watching_retries_and_continues(tmp_path: Path) -> None:
    retried: list[int] = []
    bad = summarize([row(tmp_path, "a", "failed", failure_class="killed")], {}, NOW)
    again = summarize([row(tmp_path, "a", "running")], {}, NOW)
    good = summarize([row(tmp_path, "a", "done")], {}, NOW)
    assert (bad["retries"], again["retries"]) == (1, 0)
    _, slept, _ = watched([bad, again, good], lambda: retried.append(1))
    assert (retried, slept) == ([1], [7, 7])


def test_local_runs_are_retried_by_their_launcher(tmp_path: Path) -> None:
    found = summarize([row(tmp_path, "a", "failed", failure_class="killed", where="local")], {}, NOW)
    assert found["retries"] == 0
    assert watched([found])[1] == []


def test_an_unreachable_controller_does_not_end_watching(tmp_path: Path) -> None:
    bad = summarize([row(tmp_path, "a", "failed", failure_class="killed")], {}, NOW)
    good = summarize([row(tmp_path, "a", "done")], {}, NOW)

    def retry() -> None:
        raise RunError("SLURM does not answer [squeue]")

    _, slept, text = watched([bad, good], retry)
    assert slept == [7]
    assert "warning: SLURM does not answer [squeue]" in text


def test_runs_without_a_job_are_not_waited_for(tmp_path: Path) -> None:
    rows = [row(tmp_path, "n", "new"), row(tmp_path, "b", "blocked"), row(tmp_path, "w", "waiting", launch=True)]
    assert has_ended(summarize(rows, {}, NOW))
    assert not has_ended(summarize([row(tmp_path, "q", "waiting")], {}, NOW))


def test_a_waiting_job_has_the_start_that_slurm_expects(tmp_path: Path) -> None:
    """squeue prints `N/A` where it has no plan; a start in the past is that before a requeue."""
    times = {"a": local(-3600), "b": "", "c": local(60), "d": "9999-99-99T00:00:00"}
    rows = [row(tmp_path, name, "waiting") for name in times]
    facts = {f"7_{name}": JobFacts(f"7_{name}", state="PENDING", started=at) for name, at in times.items()}
    found = summarize(rows, facts, NOW)
    assert [one(found, name)["starts_at"] is not None for name in times] == [True, False, False, False]
    assert datetime.fromisoformat(one(found, "a")["starts_at"]).timestamp() == NOW + 3600
    assert "why a, expected to start" in " ".join(shown(found).split())
    assert one(summarize(rows, {}, NOW), "a")["starts_at"] is None  # the controller did not answer


def test_the_log_of_each_run_and_those_of_failed_ones_below_the_table(tmp_path: Path) -> None:
    rows = [row(tmp_path, f"{number}-" + "x" * 60, "failed") for number in range(7)]
    rows[0].run.log.write_text("")
    assert rows[1].job is not None
    rows[1] = replace(rows[1], job=rows[1].job.model_copy(update={"folder": str(tmp_path)}))
    output = tmp_path / f"{rows[1].job.job}_0_log.out"
    output.write_text("")
    for late in rows[2:]:
        late.run.log.write_text("")
    found = summarize(rows, {}, NOW)
    assert [run["log"] for run in found["runs"]][:2] == [str(rows[0].run.log), str(output)]
    lines = [line.rstrip() for line in shown(found).splitlines()]
    assert f"log: {output}" in lines  # on one line, wider than the terminal
    assert lines[-1] == "... and 2 more logs (`c2d sweep logs DEF`)"
