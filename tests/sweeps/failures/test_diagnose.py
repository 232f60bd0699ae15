"""Failure classes: recorded failures of a real cluster, every state of accounting, and arbitrary text."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.job_file import Job, append_attempt, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.failures.diagnose import diagnose
from sweeps.failures.evidence import Evidence, gather_evidence
from sweeps.failures.log_patterns import ATTEMPT_START
from sweeps.scheduler.queue import FINISHED, JobFacts, parse_sacct
from tests.processor_cost import processor_cost

T = "2026-11-20T10:00:00+00:00"
LATER = "2026-11-20T11:00:00+00:00"
TRACE = 'Traceback (most recent call last):\n  File "/x/c2d/training/fit.py", line 12, in fit\n    model(batch)\n'
SLURMSTEPD = "slurmstepd-n1: error: *** STEP 5.0 ON n1 CANCELLED AT 2026-11-20T10:00:00"


def failed(name: str, message: str, **facts: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "state": "failed",
        "failure_class": name,
        "reason": message,
        "error": message,
        "heartbeat": T,
        **facts,
    }


def facts(state: str, exit_code: int | None = None, signal: int | None = None, **more: Any) -> JobFacts:
    return JobFacts("7_0", "c2d", state, node="n1", exit_code=exit_code, signal=signal, **more)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("OUT_OF_MEMORY", "host-oom"),
        ("TIMEOUT", "time-limit"),
        ("NODE_FAIL", "node-failure"),
        ("BOOT_FAIL", "node-failure"),
        ("PREEMPTED", "preempted"),
        ("CANCELLED", "cancelled"),
        ("CANCELLED by 1000", "cancelled"),
        ("CANCELLED+", "cancelled"),
        ("cancelled by 0", "cancelled"),
        ("FAILED", "unknown"),
        ("DEADLINE", "unknown"),
        ("REVOKED", "unknown"),
        ("", "unknown"),
        ("SOMETHING_NEW", "unknown"),
    ],
)
def test_states_of_accounting(state: str, found: str) -> None:
    answer = diagnose(Evidence(facts=facts(state)))
    assert answer.failure_class == found
    assert answer.suggestion == FAILURE_CLASSES[found].suggestion
    assert answer.lines == ([f"SLURM: job 7_0 {state} on n1"] if state else [])


@pytest.mark.parametrize(
    ("exit_code", "signal", "given", "found"),
    [
        (None, 9, None, "killed"),
        (0, 15, None, "killed"),
        (137, None, None, "killed"),
        (9, None, None, "killed"),
        (15, None, None, "killed"),
        (9, None, 1, "unknown"),
        (None, None, 137, "killed"),
        (None, None, 143, "killed"),
        (None, None, 130, "preempted"),
        (None, None, 1, "unknown"),
        (1, None, None, "unknown"),
        (None, 11, None, "unknown"),
        (None, None, 139, "unknown"),
    ],
)
def test_exit_codes_and_signals(exit_code: int | None, signal: int | None, given: int | None, found: str) -> None:
    assert diagnose(Evidence(facts=facts("FAILED", exit_code, signal), exit_code=given)).failure_class == found


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "cuda-oom"),
        (TRACE + "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "cuda-oom"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=5.0. Some of the step tasks have been", "host-oom"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.batch.", "host-oom"),
        ("srun: error: n1: task 0: Out Of Memory", "host-oom"),
        ("slurmstepd-n1: error: StepId=5.0 exceeded memory limit (9 > 8), being killed", "host-oom"),
        (TRACE + "MemoryError", "host-oom"),
        (TRACE + "numpy._core._exceptions._ArrayMemoryError: Unable to allocate; Cannot allocate memory", "host-oom"),
        (TRACE + "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.", "host-oom"),
        (TRACE + "OSError: [Errno 28] No space left on device: 'runs/x'", "disk"),
        (TRACE + "OSError: [Errno 122] Disk quota exceeded", "disk"),
        (TRACE + "ModuleNotFoundError: No module named 'mmdet'", "import"),
        (TRACE + "ImportError: /x/_ext.so: undefined symbol: _ZN3c10", "import"),
        ("bash: line 12: python3: command not found", "import"),
        ("[rank1]: E Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9)", "hang"),
        (TRACE + "RuntimeError: [../gloo/pair.cc] Timed out waiting 1800000ms for recv operation", "hang"),
        (SLURMSTEPD + " DUE TO TIME LIMIT ***", "time-limit"),
        (SLURMSTEPD + " DUE TO PREEMPTION ***", "preempted"),
        (SLURMSTEPD + " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", "node-failure"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-20T10:00:00 ***", "cancelled"),
        (SLURMSTEPD + " ***\nsrun: error: n1: task 0: Exited with exit code 1", "unknown"),
        (TRACE + "KeyError: 'rpn'", "user-code"),
        (TRACE + "c2d.core.errors.Special: odd", "unknown"),
        ("2026-11-20 10:00:00 failed (nan): the loss is not finite at iteration 7", "nan"),
        ("run-x failed (data): no annotation file", "data"),
        ("iter 12/100 loss 1.0\nall is well", "unknown"),
        ("", "unknown"),
    ],
)
def test_patterns_in_a_log(log: str, found: str) -> None:
    assert diagnose(Evidence(facts=facts("FAILED", 1), log_tail=log)).failure_class == found


@pytest.mark.parametrize("reason", ["DependencyNeverSatisfied", "Dependency"])
def test_a_job_with_a_failed_dependency_was_not_cancelled_by_a_user(reason: str) -> None:
    answer = diagnose(Evidence(facts=facts("CANCELLED", 0, reason=reason)))
    assert (answer.failure_class, answer.lines) == ("unknown", [f"SLURM: job 7_0 CANCELLED on n1 ({reason})"])


RECORDED = sorted(path.parent for path in (Path(__file__).parents[2] / "fixtures" / "failures").glob("*/expected.json"))


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.name)
def test_recorded_failures_of_a_real_cluster(case: Path) -> None:
    """As tests/cluster/record_failures.py left them; once with accounting, once as a node sees it, without."""
    expected = json.loads((case / "expected.json").read_text())
    rows = parse_sacct("".join((case / "sacct.txt").read_text().splitlines(keepends=True)[1:]))
    ended = [row for row in rows if row.state in FINISHED]
    code = case / "exit_code"
    ranks = [json.loads(path.read_text()) for path in sorted((case / "ranks").glob("*.json"))]
    status = case / "status.json"
    evidence = Evidence(
        json.loads(status.read_text()) if status.exists() else {},
        facts=(ended or rows)[-1],
        exit_code=int(code.read_text()) if code.exists() else None,
        log_tail=(case / "stderr.txt").read_text(),
        ranks=ranks,
    )
    found = diagnose(evidence)
    assert (found.failure_class, found.rank) == (expected["class"], expected["rank"]), found
    assert 1 <= len(found.lines) <= 5
    assert diagnose(replace(evidence, exit_code=None)).failure_class == expected["class"], "seen from the login node"
    without = diagnose(replace(evidence, facts=None)).failure_class
    assert without in (expected["class"], "unknown", "killed", "preempted"), (
        "less is known on the node, and nothing else"
    )


def test_there_are_recorded_failures() -> None:
    assert {"cancelled", "time-limit", "host-oom", "nan", "import", "preempted", "node-failure"} <= {
        json.loads((case / "expected.json").read_text())["class"] for case in RECORDED
    }


def test_out_of_memory_comes_before_the_kill_that_follows() -> None:
    log = "slurmstepd-n1: error: StepId=5.0 exceeded memory limit (9 > 8), being killed"
    assert diagnose(Evidence(facts=facts("CANCELLED"), log_tail=log)).failure_class == "host-oom"


def test_a_failure_of_the_whole_job_has_no_first_rank() -> None:
    log = "srun: error: n1: task 0: Exited with exit code 130"
    assert diagnose(Evidence(log_tail=log, exit_code=130)) == replace(
        diagnose(Evidence(exit_code=130)), lines=[log], rank=None
    )


def test_what_the_run_recorded_comes_first() -> None:
    log = SLURMSTEPD + " DUE TO TIME LIMIT ***"
    answer = diagnose(Evidence(failed("nan", "loss is nan at 7"), facts=facts("TIMEOUT"), log_tail=log))
    assert (answer.failure_class, answer.lines[-1]) == ("nan", "loss is nan at 7")


def test_the_class_of_an_unexpected_error_is_derived_from_its_text() -> None:
    message = "OSError: [Errno 28] No space left on device"
    assert diagnose(Evidence(failed("user-code", message))).failure_class == "disk"
    worker = failed("user-code", "RuntimeError: DataLoader worker (pid(s) 7) exited unexpectedly")
    assert diagnose(Evidence(worker)).failure_class == "user-code"
    assert diagnose(Evidence(worker, facts=facts("OUT_OF_MEMORY"))).failure_class == "host-oom"


def test_the_class_killed_gives_way_to_a_known_reason() -> None:
    killed = failed("killed", "its process ended with exit code 137")
    assert diagnose(Evidence(killed, facts=facts("OUT_OF_MEMORY"))).failure_class == "host-oom"
    assert diagnose(Evidence(killed, log_tail="srun: error: n1: task 0: Out Of Memory")).failure_class == "host-oom"
    assert diagnose(Evidence(killed, facts=facts("FAILED", 9))).failure_class == "killed"


def test_a_failure_of_an_earlier_attempt_is_ignored() -> None:
    evidence = Evidence(failed("nan", "old"), facts=facts("NODE_FAIL"), since=1_795_172_400.0 + 3600 * 24)
    assert diagnose(evidence).failure_class == "node-failure"
    assert diagnose(replace(evidence, facts=None)).failure_class == "unknown"


def test_a_log_of_several_starts_is_read_from_the_newest() -> None:
    log = f"{TRACE}MemoryError\n{SLURMSTEPD} DUE TO PREEMPTION ***\n{ATTEMPT_START}: run\n{TRACE}KeyError: 'rpn'"
    answer = diagnose(Evidence(log_tail=log))
    assert (answer.failure_class, answer.lines[-1]) == ("user-code", "KeyError: 'rpn'")
    begun = {"state": "running", "begun": 1_900_000_000.0}
    assert diagnose(Evidence(begun, log_tail=f"{SLURMSTEPD} DUE TO TIME LIMIT ***")).failure_class == "unknown"


def test_the_first_failed_rank_is_the_earliest_own_failure() -> None:
    ranks = [
        {"time": T, "rank": 0, "class": "user-code", "line": "RuntimeError: Connection reset by peer", "attempt": 1},
        {"time": LATER, "rank": 2, "class": "cuda-oom", "line": "CUDA out of memory", "attempt": 1},
        {"time": "2026-11-20T11:30:00+00:00", "rank": 1, "class": "nan", "line": "loss", "attempt": 1},
    ]
    answer = diagnose(Evidence(failed("user-code", "Connection reset by peer"), ranks=ranks))
    assert (answer.failure_class, answer.rank) == ("cuda-oom", 2)


def test_ranks_of_an_earlier_start_are_ignored() -> None:
    ranks = [
        {"time": T, "rank": 1, "class": "nan", "line": "old", "start": "5-0"},
        {"time": LATER, "rank": 3, "class": "data", "line": "new", "start": "5-1"},
    ]
    assert (diagnose(Evidence(ranks=ranks)).failure_class, diagnose(Evidence(ranks=ranks)).rank) == ("data", 3)


def test_the_first_failed_rank_from_logs() -> None:
    log = (
        f"==> rank 0 <==\n{TRACE}RuntimeError: [pair.cc] Connection closed by peer\n"
        f"==> rank 1 <==\n{TRACE}ValueError: 7 boxes\n"
    )
    answer = diagnose(Evidence(log_tail=log))
    assert (answer.failure_class, answer.rank, answer.lines[-1]) == ("user-code", 1, "ValueError: 7 boxes")
    prefixed = "[rank0]: Traceback (most recent call last):\n[rank0]: RuntimeError: Broken pipe\n" + (
        "[rank3]: Traceback (most recent call last):\n[rank3]: ModuleNotFoundError: No module named 'x'"
    )
    assert (diagnose(Evidence(log_tail=prefixed)).failure_class, diagnose(Evidence(log_tail=prefixed)).rank) == (
        "import",
        3,
    )


def test_srun_names_the_task_that_exited_first() -> None:
    log = "srun: error: n4: task 1: Exited with exit code 3\nsrun: error: n2: task 0: Terminated"
    answer = diagnose(Evidence(log_tail=log, exit_code=143))
    assert (answer.failure_class, answer.rank) == ("unknown", 1), "143 is rank 0's, which was only ended"
    log = "srun: error: n4: task 1: Killed\nsrun: error: n2: task 0: Terminated"
    assert diagnose(Evidence(log_tail=log, exit_code=143)).failure_class == "killed"


def test_in_a_hang_the_rank_without_heartbeat_is_named() -> None:
    late = "E Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9)"
    log = f"==> rank 0 <==\n[Rank 0] {late}\n==> rank 1 <==\niter 7\n==> rank 2 <==\n[Rank 2] {late}"
    assert (diagnose(Evidence(log_tail=log)).failure_class, diagnose(Evidence(log_tail=log)).rank) == ("hang", 1)


def test_the_signal_before_the_time_limit_is_a_timeout() -> None:
    polite = {"state": "waiting", "reason": "interrupted by SIGUSR2; call again to continue", "heartbeat": T}
    assert diagnose(Evidence(polite, facts=facts("FAILED", 2))).failure_class == "time-limit"
    polite["reason"] = "interrupted by SIGTERM; call again to continue"
    assert diagnose(Evidence(polite, facts=facts("FAILED", 2))).failure_class == "preempted"
    log = "run: asked to stop by SIGUSR2; it continues from its newest checkpoint"
    assert diagnose(Evidence(log_tail=log, exit_code=130)).failure_class == "time-limit"


def test_the_record_of_the_node_is_used_last() -> None:
    noted = [{"time": T, "class": "hang"}]
    assert diagnose(Evidence(attempts=noted)).failure_class == "hang"
    assert diagnose(Evidence(attempts=noted, facts=facts("OUT_OF_MEMORY"))).failure_class == "host-oom"
    assert diagnose(Evidence(attempts=noted, since=1_900_000_000.0)).failure_class == "unknown"


def test_a_warning_about_an_import_is_no_import_error() -> None:
    log = f"warning: ImportError: no compiled ops, using stand-ins\n{TRACE}KeyError: 'rpn'"
    assert diagnose(Evidence(log_tail=log)).failure_class == "user-code"


def test_lines_are_few_and_no_progress_bars() -> None:
    log = "start\n" + " 10%|###   | 5/50 [00:01<00:09, 4.7it/s]\r 20%|####  | 10/50 [00:02<00:08, 4.7it/s]\n" * 9
    log += (
        "\n".join(f"line {number} {'x' * 500}" for number in range(9))
        + "\n━━━━━━ 40% 0:00:07\n\n"
        + TRACE
        + "KeyError: 1"
    )
    answer = diagnose(Evidence(log_tail=log))
    assert len(answer.lines) == 5
    assert answer.lines[-1] == "KeyError: 1"
    assert all(len(line) <= 200 and "it/s" not in line and "━" not in line for line in answer.lines)


words = st.sampled_from(
    [
        "CUDA out of memory",
        "oom-kill",
        "DUE TO TIME LIMIT",
        "Traceback (most recent call last):",
        "[rank1]:",
        "\r",
        "\n",
        "==> rank 7 <==",
        "failed (nope): ",
        "CANCELLED AT 2026-99-20T10:00:00",
        "srun: error: n1: task 3: Killed",
        "Errno 28",
        "100%",
        "ImportError",
    ]
)
anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)
)
values = st.dictionaries(
    st.sampled_from(
        ["state", "failure_class", "reason", "error", "heartbeat", "begun", "attempt", "time", "rank", "class", "line"]
    ),
    anything,
)


@given(
    st.lists(words | st.text(max_size=40), max_size=30).map("".join),
    values,
    st.lists(values, max_size=3),
    st.none() | st.integers(),
    st.none() | st.builds(JobFacts, job=st.just("1"), state=st.text(max_size=12), signal=st.none() | st.integers()),
)
def test_arbitrary_evidence_gives_a_class(
    log: str, status: dict[str, Any], ranks: list[dict[str, Any]], code: int | None, fact: JobFacts | None
) -> None:
    answer = diagnose(Evidence(status, ranks, fact, code, log, ranks, 1.0))
    assert answer.failure_class in FAILURE_CLASSES
    assert len(answer.lines) <= 5


def test_a_long_line_is_read_quickly() -> None:
    evidence = Evidence(log_tail=("a" * 65536 + "\n") * 3 + "task" * 20000)
    _, cost = processor_cost(lambda: diagnose(evidence))
    assert cost < 0.5


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "ssd-icod-0123456789ab-s0")
    atomic_write_json(folder.spec, {})
    return folder


def launched(run: RunFolder, **facts: Any) -> Job:
    job = Job(**{"sweep": "s", "where": "slurm", "state": "submitted", "name": "c2d-s-1", "job": "7_0", **facts})
    write_job(run, job)
    return job


def test_evidence_is_gathered_from_the_newest_attempt(run: RunFolder, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "7_0_0_log.out").write_text(f"MemoryError\n{ATTEMPT_START}\nRuntimeError: Broken pipe\n")
    (logs / "7_0_1_log.out").write_text("".join(f"line {n}\n" for n in range(500)) + "ValueError: 3\n")
    (logs / "7_01_0_log.out").write_text("another job\n")
    launched(run, folder=str(logs), submitted=LATER)
    atomic_write_json(run.status, failed("nan", "old"))
    atomic_write_json(run.path / "ranks" / "1.json", {"time": LATER, "rank": 1, "class": "user-code", "line": "x"})
    append_attempt(run, **{"class": "killed"})
    found = gather_evidence(run, facts("FAILED", 1))
    assert "MemoryError" not in found.log_tail
    assert "another job" not in found.log_tail
    assert found.log_tail.count("line ") == 198, "200 with the error and the empty one after it"
    assert [len(found.ranks), len(found.attempts)] == [1, 1]
    answer = diagnose(found)
    assert (answer.failure_class, answer.rank) == ("user-code", 1)


def test_a_local_run_and_a_broken_folder(run: RunFolder, tmp_path: Path) -> None:
    assert diagnose(gather_evidence(run, None)).failure_class == "unknown"
    run.status.write_text("{half")
    run.log.write_text(f"{TRACE}KeyError: 'x'\n")
    assert diagnose(gather_evidence(run, None)).failure_class == "user-code"
    launched(run, where="local", job=None, folder=str(tmp_path))
    (tmp_path / f"{run.id}.out").write_text("MemoryError\n")
    assert diagnose(gather_evidence(run, None)).failure_class == "host-oom"


def test_it_imports_the_standard_library_only() -> None:
    heavy = "('torch', 'numpy', 'pydantic', 'yaml')"
    code = f"import sys, sweeps.failures.diagnose; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_diagnosis_is_plain_data() -> None:
    assert set(asdict(diagnose(Evidence()))) == {"failure_class", "rank", "lines", "suggestion"}


def test_the_lines_of_a_diagnosis_have_no_secret() -> None:
    log = (
        'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: cannot read https://me:s3cret@host/x\n'
    )
    lines = diagnose(Evidence(status={"state": "failed"}, log_tail=log)).lines
    assert "ValueError: cannot read https://***@host/x" in lines
