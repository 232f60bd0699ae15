"""How lines of several processes become rows, and which of them are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.backends.registry import BACKENDS, Backend
from benchmarks.latency import latency_table, measure
from benchmarks.latency.latency_request import LatencyRequest
from benchmarks.latency.latency_row import LatencyRow
from benchmarks.latency.measure import Interrupted, measure_latency
from c2d.core.errors import InputError

Answer = tuple[list[dict[str, Any]], str]
MACHINE = {"governor": None, "cores": 2}
CONDITIONS = {
    "backend": "eager", "precision": "fp32", "input": "64x64", "images": "real", "score_threshold": 0.05,
    "mode": "closed loop", "threads": 1, "cores": 2,
}  # fmt: skip
FACTS = {"device": "cpu", "machine": MACHINE, "notes": [], "sha256": None, "nms": "out", "conditions": CONDITIONS}
EQUAL = {"equal": True, "max_deviation": 0.0, "tolerance": 1e-4, "AP": 0.25, "note": "", "sha256": None, "counts": {}}


def sample(batch: int, value: float = 5.0, disturbed: str | None = None) -> dict[str, Any]:
    facts = {
        "clock": "perf_counter",
        "nms": "in",
        "warm_up_ms": [],
        "missed_intervals": 0,
        "seen": {},
        "peak_mib": 70.4,
    }
    return {"batch": batch, "stage": "model", "samples_ms": [value] * 200, "disturbed": disturbed, **facts}


def rows_of(
    answers: dict[str, list[Answer]],
    monkeypatch: pytest.MonkeyPatch,
    batches: tuple[int, ...] = (1,),
) -> tuple[list[LatencyRow], list[str]]:
    """Return (rows, backends in the order of their processes); each process takes the next answer of its backend."""
    for name in answers:
        monkeypatch.setitem(BACKENDS, name, BACKENDS.get(name, Backend("made.up", "fp32", "made")))
    left = {name: list(given) for name, given in answers.items()}
    asked: list[str] = []

    def launch(request: LatencyRequest) -> Answer:
        asked.append(request.backend + ("?" if request.check_only else ""))
        return left[request.backend].pop(0)

    monkeypatch.setattr(measure, "run_worker", launch)
    count = max(len(given) for given in answers.values()) - 1
    base = LatencyRequest("c.py", "k.pth", "eager", "", "work", batches=batches, stages=("model",))
    return measure_latency(base, list(answers), count), asked


def test_launches_of_the_backends_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    good: Answer = ([{"facts": FACTS}, sample(1), {"note": "no graph breaks"}], "")
    examined: Answer = ([{"facts": FACTS}, {"checks": EQUAL}], "")
    rows, asked = rows_of({"eager": [examined, good, good], "made": [examined, good, good]}, monkeypatch)
    assert asked == ["eager?", "made?", "eager", "made", "eager", "made"]
    assert [len(row.launches) for row in rows] == [2, 2]
    assert rows[0].notes == ["no graph breaks"]
    assert rows[0].disturbed is None


def test_an_interruption_keeps_the_finished_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backends, two launches each; Ctrl-C in the last one."""
    asked: list[str] = []

    def launch(request: LatencyRequest) -> Answer:
        asked.append(request.backend)
        if request.check_only:
            return [{"facts": FACTS}, {"checks": EQUAL}], ""
        if len(asked) == 6:
            raise KeyboardInterrupt
        return [{"facts": FACTS}, sample(1)], ""

    monkeypatch.setitem(BACKENDS, "made", Backend("made.up", "fp32", "made"))
    monkeypatch.setattr(measure, "run_worker", launch)
    base = LatencyRequest("c.py", "k.pth", "eager", "", "work", batches=(1,), stages=("model",))
    with pytest.raises(Interrupted, match="what has been measured is kept") as stopped:
        measure_latency(base, ["eager", "made"], 2)
    eager, made = stopped.value.rows
    assert [len(row.launches) for row in (eager, made)] == [2, 1]
    assert (eager.reason, made.reason) == ("", "interrupted after 1 of 2 launches")
    assert not made.expected


def test_unequal_and_unavailable_backends_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**EQUAL, "equal": False, "max_deviation": 0.5, "note": "most in output 3"}
    rows, asked = rows_of(
        {
            "absent": [([{"failed": "not installed: pip install it", "kind": "unavailable"}], "")],
            "broken": [([{"failed": "ValueError: made", "kind": "error"}], "its process ended with 1")],
            "other": [([{"facts": FACTS}, {"checks": other}], "")],
            "killed": [([], "its process was killed (SIGKILL)")],
        },
        monkeypatch,
    )
    assert asked == ["absent?", "broken?", "other?", "killed?"]
    assert [row.reason for row in rows] == [
        "not installed: pip install it",
        "ValueError: made",
        "not equal to eager: outputs differ by 0.5, allowed is 0.0001; not timed (most in output 3)",
        "its process was killed (SIGKILL)",
    ]
    assert [row.expected for row in rows] == [True, False, False, False]


def test_wrong_input_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="does not fit the model"):
        rows_of({"eager": [([{"failed": "k.pth does not fit the model", "kind": "input"}], "")]}, monkeypatch)


def test_a_killed_process_keeps_its_finished_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = [{"facts": FACTS}, {"begin": [1, "model"]}, sample(1), {"begin": [8, "model"]}]
    examined: Answer = ([{"facts": FACTS}, {"checks": EQUAL}], "")
    rows, _ = rows_of({"eager": [examined, (lines, "its process was killed (SIGKILL)")]}, monkeypatch, (1, 8, 16))
    assert [len(row.launches) for row in rows] == [1, 0, 0]
    assert [row.reason for row in rows] == [
        "",
        "launch 1: its process was killed (SIGKILL)",
        "launch 1: its process was killed (SIGKILL), at batch 8",
    ]


def test_a_disturbed_row_shows_numbers_only_with_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    examined: Answer = ([{"facts": FACTS}, {"checks": EQUAL}], "")
    some: list[Answer] = [
        ([{"facts": FACTS}, sample(1, 5.0), sample(8, 40.0)], ""),
        ([{"facts": FACTS}, sample(1, 5.0), sample(8, 42.0, "other processes")], ""),
        ([{"facts": FACTS}, sample(1, 5.0), sample(8, 41.0)], ""),
    ]
    rows, _ = rows_of({"eager": [examined, *some]}, monkeypatch, (1, 8))
    first, second = [line for line in latency_table.markdown(rows).splitlines() if "model" in line]
    assert first == "| eager | fp32 | 64x64 | 1 | model | 5 [5, 5] | 5 | 5 | 5 | 3, 600 | 0.0% | 70 | 25.0 |  |"
    assert second == "| eager | fp32 | 64x64 | 8 | model | – | – | – | – | – | – | – | – | 1 |"
    assert "1. left out, disturbed: launch 2: other processes" in latency_table.markdown(rows)
    shown = latency_table.markdown(rows, with_disturbed=True)
    # mean 41, standard deviation 1: 1 / 41 = 2.4 %; t(2) is 4.303, so 41 +- 4.303 / sqrt(3) = 2.484
    assert "| 8 | model | 41 [38.52, 43.48] | 41 | 41 | 41 | 3, 600 | 2.4% | 70 | 25.0 | 1, 2 |" in shown
    assert "2. its launches differ by more than 2%" in shown


def test_exit_reasons_of_a_process(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("Traceback\nValueError: made\n\n")
    assert measure._exit_reason(0, log) == ""
    assert measure._exit_reason(-9, log) == "its process was killed (SIGKILL), as a system out of memory does"
    assert measure._exit_reason(1, log) == "its process ended with 1: ValueError: made"
