"""A `c2d sweep submit` that is killed, against the stand-in SLURM, and the submissions that follow it.

Whatever the moment, every run is submitted exactly once in the end. A submission whose outcome is unknown is recovered
a minute after it, as documented; here the minute is set to zero after the first repetition.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from c2d.core.job_file import read_job
from c2d.core.run_folder import RunFolder
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import read_plan
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.trust.forks import Ended, command_in_fork
from tests.trust.kill_points import KillPoint, Moment, Watch, read_notes
from tests.trust.killed_training import damaged_files

GRID = """
question: How warm?
base: {dataset: coco2017, student: retinanet-r50, schedule: 1x-dense}
teachers:
  classifier: {network: resnet50, schedule: coco-general}
axes:
  method:
    baseline: []
    icod: [{icod: {}}]
  method.icod.T: [1, 2]
seeds: 1
"""
RUNS = 4  # a teacher, a baseline, two students of icod


def import_everything() -> None:
    """Import what a submission imports, before the forks."""
    import sweeps.actions.submit
    import sweeps.cli
    import sweeps.launchers.slurm  # noqa: F401


class KilledSubmission:
    """A store, and a stand-in SLURM of its own. The commands of SLURM run until they end, whatever happens to c2d.

    Args:
        root: a new folder.
        patch: puts the stand-in's commands first on PATH.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.runs, self.calls = root, root / "runs", 0
        root.mkdir(parents=True)
        self.slurm = FakeSlurm(root / "slurm", patch)
        (root / "grid.yaml").write_text(GRID)
        (root / "p.yaml").write_text("gpus: 1\npartition: main\n")
        self.words = ["sweep", "submit", str(root / "grid.yaml"), "--where", "slurm", "--no-forward"]
        self.words += ["--profile", str(root / "p.yaml"), "--runs", str(self.runs), "--data", str(root / "data")]

    def submit(self, point: KillPoint | None = None, now: bool = False) -> tuple[Ended, list[dict[str, Any]]]:
        """`c2d sweep submit`, killed at `point`.

        Args:
            now: recover unknown submissions at once, not after a minute.
        """
        self.calls += 1
        output, notes = (self.root / f"{name}{self.calls}" for name in ("output", "notes"))

        def prepare() -> None:
            from sweeps.actions import workspace
            from sweeps.launchers import recover_submission

            workspace.LOCK_WAIT_S = 5.0
            if now:
                recover_submission.APPEAR_S = 0.0
            watch = Watch(self.runs, notes, point, "start")
            watch.install()
            watch.enter("submission")
            watch.note_counts()

        return command_in_fork(self.words, output, prepare), read_notes(notes)

    def submitted(self) -> Counter[str]:
        """{run id: tasks in the stand-in's queue that train it}."""
        found: Counter[str] = Counter()
        for job in self.slurm.jobs.values():
            folders = (Path(job["script"]).parent / "folders.txt").read_text().splitlines()
            found.update(Path(line).name for line in folders)
        return found

    def states(self) -> list[str]:
        """States of all runs as `c2d sweep status` shows them; [] before the manifest exists."""
        if not (self.runs / "sweeps" / "grid.json").exists():
            return []
        return [row.state for row in read_plan(load_manifest(self.runs, "grid"), self.runs)[0]]

    def wrong_jobs(self) -> list[str]:
        """Runs whose job.json names another job than the one that trains them."""
        wrong = []
        for number, job in self.slurm.jobs.items():
            for task, line in enumerate((Path(job["script"]).parent / "folders.txt").read_text().splitlines()):
                known = read_job(RunFolder(Path(line)))
                wanted = f"{number}_{task}" if job["array"] else number
                if known is None or known.job != wanted:
                    wrong.append(f"{Path(line).name}: job.json has {known and known.job}, SLURM {wanted}")
        return wrong


def kill_submissions(root: Path, count: int, dice: random.Random) -> list[dict[str, Any]]:
    """Kill `count` submissions, each in a new store, and let the same command complete it. Return the kills."""
    kills, number = list[dict[str, Any]](), 0
    with pytest.MonkeyPatch.context() as patch:
        undisturbed = KilledSubmission(root / "undisturbed", patch)
        ended, notes = undisturbed.submit()
        assert ended.code == 0, ended.output
        assert set(undisturbed.submitted().values()) == {1}, ended.output
        counted = notes[-1]
    while len(kills) < count and number < 3 * count:
        number += 1
        with pytest.MonkeyPatch.context() as patch:
            trial = KilledSubmission(root / str(number), patch)
            kill = kill_once(trial, _random_point(counted, dice))
        if kill is not None:
            kills.append(kill)
        if kill is None or not kill["problems"]:
            shutil.rmtree(trial.root)
    return kills


def _random_point(counted: dict[str, Any], dice: random.Random) -> KillPoint:
    """Copying the code is most of the operations; half of the kills come after it."""
    operations, calls = counted["operations"]["submission"], counted["calls"]["submission"]
    how = dice.choices(("KILL", "GROUP", "TERM"), weights=(8, 1, 1))[0]
    if dice.random() < 1 / 3:
        return KillPoint("submission", "call", dice.randrange(calls // 2, calls), how)
    moments: tuple[Moment, ...] = ("before", "after") if how == "TERM" else ("before", "half", "after")
    first = operations - 120 if dice.random() < 2 / 3 else 0
    return KillPoint("submission", dice.choice(moments), dice.randrange(max(0, first), operations), how)


def kill_once(trial: KilledSubmission, point: KillPoint) -> dict[str, Any] | None:
    """Kill one submission and repeat it; return the kill with what was wrong, None where it did not happen."""
    ended, notes = trial.submit(point)
    struck = [note for note in notes if "killed" in note]
    if not struck:
        return None
    note, problems = struck[0], list[str]()
    problems += [f"damaged {item}" for item in damaged_files(trial.runs, RunFolder(trial.runs / "none"))]
    if point.how == "TERM" and ended.code not in (-15, 0):
        problems.append(f"TERM: exit code {ended.code}")
    states = trial.states()
    if set(states) - {"new", "waiting"}:
        problems.append(f"`status` shows {sorted(set(states))}")
    before = trial.submitted()
    for again in (trial.submit()[0], trial.submit(now=True)[0]):
        # Within the first minute it may not be known whether SLURM took the teacher.
        unknown = again.code == 2 and "call the same command again in" in again.last_line
        if not (again.code in (0, 1) or unknown) or "Traceback" in again.output:
            problems.append(f"the next submission: exit code {again.code}: {again.last_line}")
    twice = [run for run, times in trial.submitted().items() if times > 1]
    problems += [f"{run} is submitted twice" for run in twice]
    if len(trial.submitted()) != RUNS:
        problems.append(f"{len(trial.submitted())} of {RUNS} runs are submitted ({len(before)} by the killed one)")
    problems += trial.wrong_jobs()
    states = trial.states()
    if set(states) != {"waiting"} or len(states) != RUNS:
        problems.append(f"`status` shows {sorted(set(states))} in the end")
    facts = {key: note[key] for key in ("moment", "how", "kind")} | {"file": note.get("file", "").rpartition("/")[2]}
    return {"phase": "submission", **facts, "submitted": len(before), "problems": problems}
