"""Part `clock`: the clock is set while a training runs, between two attempts, and between two submissions.

libfaketime shifts the clock of a process, and its forks, by what a file says. Times of files stay those of the kernel,
as those of a file server would. The part runs in a process of its own, because the library is loaded at its start.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import atomic_write_json, read_json
from c2d.core.sweep_manifest import PlannedRun
from sweeps.state.plan import plan_rows
from tests.trust.kill_points import KillPoint, Watch
from tests.trust.killed_submission import RUNS, KilledSubmission
from tests.trust.killed_training import (
    KilledTraining,
    differences,
    import_everything,
    leftovers,
    make_tiny_store,
)
from tests.trust.part import Outcome, Row, measure, rows_of_process

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
JUMPS = {
    "an hour forward": "+3600",
    "an hour back": "-3600",
    "ten years forward": "+315360000",
    "ten years back": "-315360000",
}
PHASES = ("training", "checkpoint", "evaluation")
MOST_S = 300.0
"""A tiny training on a loaded machine; an hour must not be in it."""


def rows(scratch: Path) -> Iterator[Row]:
    """Run `main` under libfaketime and return its rows."""
    if not LIBRARY.exists():
        yield Row("clock", "clock jumps", "libfaketime", f"no {LIBRARY} (apt-get install libfaketime)", False)
        return
    yield from rows_of_process("clock", "tests.trust.clock_faults", scratch, environment_of_clock(scratch))


def environment_of_clock(scratch: Path) -> dict[str, str]:
    """Return the environment of a process whose clock the file `offset` shifts; the usual one without libfaketime."""
    if not LIBRARY.exists():
        return dict(os.environ)
    (scratch / "offset").write_text("+0")
    return {
        **os.environ, "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(scratch / "offset"),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip


def patch_sleep() -> None:
    """libfaketime refuses Python's sleep, which waits for a moment of the clock that is not shifted."""
    time.sleep = lambda seconds: select.select([], [], [], float(seconds)) and None


def main(scratch: Path) -> None:
    """Write one line for each row to rows.jsonl."""
    patch_sleep()
    import_everything()
    store = make_tiny_store(scratch / "store")
    trial = ClockTrial(scratch, KilledTraining(store, scratch / "whole"))
    with (scratch / "rows.jsonl").open("a") as stream:
        for row in trial.rows():
            stream.write(json.dumps(asdict(row)) + "\n")
            stream.flush()
    os._exit(0)  # libraries of torch print pages at the exit


class ClockTrial:
    """A training, and an undisturbed one of the same question."""

    def __init__(self, scratch: Path, whole: KilledTraining) -> None:
        self.scratch, self.whole, self.number = scratch, whole, 0
        ended, _ = whole.train()
        assert ended.code == 0, ended.output

    def rows(self) -> Iterator[Row]:
        """All rows of the part."""
        wanted = "ends equal to the undisturbed run; its seconds do not count the jump"
        for phase in PHASES:
            for name, offset in JUMPS.items():
                yield measure("clock", f"set {name} in {phase}", wanted, lambda p=phase, o=offset: self.jump(p, o))  # type: ignore[misc]
        for name, offset in JUMPS.items():
            yield measure("clock", f"killed, then set {name}", "`status` right at once; resumes to the equal result",
                          lambda o=offset: self.between(o))  # type: ignore[misc]  # fmt: skip
        wanted = "counts as alive, says that clocks differ; a second attempt is refused in one line"
        yield measure("clock", "another host's heartbeat lies a day in the future", wanted, self.future)
        for name, offset in JUMPS.items():
            yield measure("clock", f"submitted, then set {name}", "nothing is submitted twice; all runs wait",
                          lambda o=offset: self.submission(o))  # type: ignore[misc]  # fmt: skip

    def _set(self, offset: str) -> None:
        draft = self.scratch / ".offset"
        draft.write_text(offset)
        draft.replace(self.scratch / "offset")

    def _trial(self) -> KilledTraining:
        self._set("+0")
        self.number += 1
        return KilledTraining(self.whole.store, self.scratch / str(self.number))

    def jump(self, phase: str, offset: str) -> Outcome:
        """Set the clock in the middle of a phase."""
        trial = self._trial()
        point = KillPoint(phase, "before", 2) if phase != "training" else KillPoint(phase, "call", 400)
        ended, notes = trial.train(point, lambda notes, p: _Jump(trial.store.runs, notes, p, lambda: self._set(offset)))
        wrong = [] if ended.code == 0 else [f"exit code {ended.code}: {ended.last_line}"]
        if not any("jumped" in note for note in notes):
            wrong.append("the clock was not set")
        if not wrong:
            wrong += [f"{item} differs" for item in differences(trial.run, self.whole.run)]
            status, result = trial.run.read_status(), read_json(trial.run.result)
            seconds = {"elapsed_s": status["elapsed_s"], **result["seconds"]}
            wrong += [f"{key} is {value}" for key, value in seconds.items() if not 0 <= value < MOST_S]
            wrong += [f"`status` shows {trial.state}"] if trial.state != "done" else []
        self._set("+0")
        return not wrong, "; ".join(wrong) or "equal"

    def between(self, offset: str) -> Outcome:
        """Kill, set the clock, look, resume."""
        trial = self._trial()
        trial.train(KillPoint("checkpoint", "after", 15))
        self._set(offset)
        state = trial.state
        wrong = [] if state == "waiting" else [f"`status` shows {state}"]
        ended, _ = trial.train()
        wrong += [f"exit code {ended.code}: {ended.last_line}"] if ended.code else []
        wrong += [] if ended.code else [f"{item} differs" for item in differences(trial.run, self.whole.run)]
        wrong += [f"left behind: {item}" for item in leftovers(trial.store.runs)]
        self._set("+0")
        return not wrong, "; ".join(wrong) or f"{state}, then equal"

    def future(self) -> Outcome:
        """A run that another host writes, whose clock is a day ahead."""
        trial = self._trial()
        at = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
        status = {"format": 1, "state": "running", "attempt": 1, "pid": 1, "host": "elsewhere", "heartbeat": at}
        atomic_write_json(trial.run.status, status)
        trial.run.lock.touch()
        row = plan_rows([PlannedRun(trial.run.id, "student")], trial.store.runs, {}, queue_answered=False)[0]
        ended, _ = trial.train()
        line = ended.last_line
        passed = (
            row.state == "running" and "clocks differ" in row.reason and ended.code == 2 and "is being written" in line
        )
        return passed, f"{row.state} ({row.reason}); exit code {ended.code}"

    def submission(self, offset: str) -> Outcome:
        """Submit, set the clock, submit again."""
        self._set("+0")
        self.number += 1
        with pytest.MonkeyPatch.context() as patch:
            trial = KilledSubmission(self.scratch / f"sub{self.number}", patch)
            first, _ = trial.submit()
            self._set(offset)
            second, _ = trial.submit()
            wrong = [f"exit code {end.code}: {end.last_line}" for end in (first, second) if end.code]
            wrong += [f"{run} submitted {n} times" for run, n in trial.submitted().items() if n != 1]
            if trial.states() != ["waiting"] * RUNS:
                wrong.append(f"`status` shows {trial.states()}")
        self._set("+0")
        return not wrong, "; ".join(wrong) or f"{RUNS} runs, each once"


class _Jump(Watch):
    """Sets the clock where `Watch` kills."""

    def __init__(self, inside: Path, notes: Path, point: KillPoint, action: Any) -> None:
        super().__init__(inside, notes, point, "start")
        self.action = action

    def kill(self, **facts: Any) -> None:
        self.point = None
        self.action()
        self.note(jumped=self.phase)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
