"""Part `writers`: two processes that write the same thing at the same moment, and files that arrive late."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from c2d.core.sweep_manifest import PlannedRun
from sweeps.state.plan import plan_rows
from tests.trust import killed_report, killed_submission
from tests.trust.forks import Ended, Started, start_command, wait
from tests.trust.kill_points import KillPoint
from tests.trust.killed_report import KilledReport
from tests.trust.killed_submission import RUNS, KilledSubmission
from tests.trust.killed_training import (
    EVERY,
    KilledTraining,
    damaged_files,
    differences,
    import_everything,
    leftovers,
    make_tiny_store,
)
from tests.trust.part import Outcome, Row, measure

ROUNDS = int(os.environ.get("C2D_TRUST_ROUNDS", "8"))


def rows(scratch: Path) -> Iterator[Row]:
    """Two trainings, two submissions, two reports; late files."""
    import_everything()
    killed_report.import_everything()
    killed_submission.import_everything()
    store = make_tiny_store(scratch / "store")
    whole = KilledTraining(store, scratch / "whole")
    ended, _ = whole.train()
    if ended.code:
        raise RuntimeError(ended.output)
    trials = Writers(scratch, whole)
    one = "one trains, the other is refused in one line; the result is equal"
    yield measure("writers", f"two trainings of one run, {ROUNDS} times", one, lambda: trials.trainings(killed=False))
    yield measure("writers", f"two that take over from a killed one, {ROUNDS} times", one,
                  lambda: trials.trainings(killed=True))  # fmt: skip
    yield measure("writers", f"two submissions of one sweep, {ROUNDS} times", "every run is submitted once",
                  trials.submissions)  # fmt: skip
    yield measure("writers", "two reports into one folder, 3 times", "every file whole and of one of them (equal)",
                  trials.reports)  # fmt: skip
    for name in ("result.json", "status.json", "student.pth", "detections.json.gz"):
        yield measure("writers", f"{name} arrives late", "no other file is read in its place; then done",
                      lambda late=name: trials.late(late))  # type: ignore[misc]  # fmt: skip


class Writers:
    """Pairs of processes; `whole` is the undisturbed training."""

    def __init__(self, scratch: Path, whole: KilledTraining) -> None:
        self.scratch, self.whole, self.number = scratch, whole, 0

    def _trial(self) -> KilledTraining:
        self.number += 1
        return KilledTraining(self.whole.store, self.scratch / f"run{self.number}")

    def trainings(self, killed: bool, rounds: int = ROUNDS) -> Outcome:
        """Start two `c2d train` of one run at once.

        Args:
            killed: a third one was killed in it before, and its lock lies there.
            rounds: number of pairs.
        """
        wrong, refused = list[str](), 0
        for _ in range(rounds):
            trial = self._trial()
            if killed:
                trial.train(KillPoint("checkpoint", "after", 15))
            words = ["train", str(trial.run.path), "--runs", str(trial.store.runs), "--data", str(trial.store.data)]
            words += ["--workers", "0", "--checkpoint-every", str(EVERY), "--quiet"]
            ends = both(lambda path, words=words: start_command(words, path), trial.root)  # type: ignore[misc]
            codes = sorted(end.code for end in ends)
            late = all(end.code == 0 for end in ends)  # the second found the run done
            refused += codes == [0, 2]
            if codes != [0, 2] and not late:
                wrong.append(f"exit codes {codes}: {[end.last_line for end in ends if end.code]}")
            wrong += [end.last_line for end in ends if end.code == 2 and "is being written by" not in end.last_line]
            if trial.run.read_status().get("attempt") != 1 + killed:
                wrong.append(f"{trial.run.read_status().get('attempt')} attempts")
            wrong += [f"{item} differs" for item in differences(trial.run, self.whole.run)] if 0 in codes else []
            wrong += [f"left behind: {item}" for item in leftovers(trial.store.runs)]
        return not wrong, "; ".join(wrong[:3]) or f"refused {refused} of {rounds} times, else the run was done already"

    def submissions(self) -> Outcome:
        """Start two `c2d sweep submit` of one sweep at once."""
        wrong = list[str]()
        for _ in range(ROUNDS):
            self.number += 1
            with pytest.MonkeyPatch.context() as patch:
                trial = KilledSubmission(self.scratch / f"sub{self.number}", patch)
                ends = both(lambda path: start_command(trial.words, path), trial.root)  # noqa: B023
                wrong += [f"exit code {end.code}: {end.last_line}" for end in ends if end.code]
                if set(trial.submitted().values()) != {1} or len(trial.submitted()) != RUNS:
                    wrong.append(f"submitted: {dict(trial.submitted())}")
                wrong += trial.wrong_jobs()
        return not wrong, "; ".join(wrong[:3]) or f"{ROUNDS} sweeps of {RUNS} runs, each submitted once"

    def reports(self) -> Outcome:
        """Start two `c2d report` into one folder, with one cache, at once."""
        trial, wrong = KilledReport(self.scratch / "report"), list[str]()
        trial.report()
        wanted = trial.files()
        for _ in range(3):
            shutil.rmtree(trial.out)
            shutil.rmtree(trial.cache)
            ends = both(lambda path: start_command(trial.words, path), trial.root)
            wrong += [f"exit code {end.code}: {end.last_line}" for end in ends if end.code]
            wrong += [f"{name} differs" for name, data in trial.files().items() if wanted.get(name) != data]
            wrong += [] if trial.files().keys() == wanted.keys() else ["files are missing"]
            wrong += [f"left behind: {name}" for name in trial.drafts()]
        return not wrong, "; ".join(wrong[:3]) or f"{len(wanted)} files, equal byte for byte"

    def late(self, name: str) -> Outcome:
        """Hide one file of a finished run, look and train, and let it arrive."""
        trial = self._trial()
        trial.train()
        path, away = trial.run.path / name, trial.root / "away"
        path.rename(away)
        row = plan_rows([PlannedRun(trial.run.id, "student")], trial.store.runs, {}, queue_answered=False)[0]
        wrong = [f"`status` shows {row.state}"] if row.state not in ("done", "waiting", "new", "damaged") else []
        if row.state == "done" and name in ("result.json", "status.json"):
            wrong.append("`status` shows done")
        words = ["evaluate", str(trial.run.path), "--runs", str(trial.store.runs), "--data", str(trial.store.data)]
        end = wait(start_command([*words, "--workers", "0"], trial.root / "out"), trial.root / "out")
        if "Traceback" in end.output or (end.code == 0 and name == "student.pth"):
            wrong.append(f"evaluate: exit code {end.code}: {end.last_line}")
        os.replace(away, path)
        wrong += [] if trial.state == "done" else [f"then `status` shows {trial.state}"]
        wrong += damaged_files(trial.store.runs, trial.run)
        return not wrong, "; ".join([f"{row.state}, evaluate: exit code {end.code}, then {trial.state}", *wrong])


def both(start: Callable[[Path], Started], folder: Path) -> list[Ended]:
    """Start two processes at once and wait for both."""
    outputs = [folder / f"both{number}" for number in (0, 1)]
    started = [start(path) for path in outputs]
    return [wait(one, path) for one, path in zip(started, outputs, strict=True)]
