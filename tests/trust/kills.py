"""Part `kills`: 25 kills in each phase of a training, each followed by a resume that must equal the undisturbed run."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.c2d.conftest import TinyStore
from tests.trust.forks import Started, start_fork, wait
from tests.trust.kill_points import KillPoint
from tests.trust.killed_training import (
    ITERATIONS,
    PHASES,
    TEACHER,
    KilledTraining,
    damaged_files,
    differences,
    import_everything,
    leftovers,
    make_tiny_store,
    newest_checkpoint,
    random_point,
)
from tests.trust.part import Row, peak_mib

KILLS = int(os.environ.get("C2D_TRUST_KILLS", "25"))
"""Kills in each phase."""
PROCESSES = 2
EXPECTED = (
    "whole files only, no checkpoint lost, `status` right at once, the resumed run equal to the bit, no saved step "
    "again, no temporary file left"
)


def rows(scratch: Path) -> Iterator[Row]:
    """Kill and resume in two processes; one row a phase."""
    import_everything()
    begun = time.monotonic()
    store = make_tiny_store(scratch / "store")
    workers = [_start_worker(store, scratch, share) for share in range(PROCESSES)]
    for started, output in workers:
        ended = wait(started, output)
        if ended.code:
            raise RuntimeError(f"a process of the part ended with {ended.code}: {ended.output[-2000:]}")
    kills = [kill for share in range(PROCESSES) for kill in json.loads((scratch / f"kills{share}.json").read_text())]
    for phase in PHASES:
        yield phase_row(
            "kills", phase, [kill for kill in kills if kill["phase"] == phase], EXPECTED, time.monotonic() - begun
        )


def phase_row(part: str, phase: str, kills: list[dict[str, Any]], expected: str, seconds: float) -> Row:
    """The row of one phase.

    Args:
        kills: of this phase, as `kill_and_resume` returns them.
        seconds: of the whole part so far.
    """
    how, moments = Counter(kill["how"] for kill in kills), Counter(kill["moment"] for kill in kills)
    wrong = [f"{kill['file']}: {problem}" for kill in kills for problem in kill["problems"]]
    seen = f"{len(kills) - sum(bool(kill['problems']) for kill in kills)} of {len(kills)} right ("
    seen += ", ".join(f"{count} {name}" for name, count in sorted(how.items())) + "; "
    seen += ", ".join(f"{count} {MOMENTS[name]}" for name, count in sorted(moments.items())) + ")"
    if wrong:
        seen += f"; {'; '.join(wrong[:3])}"
    return Row(part, f"{len(kills)} kills in {phase}", expected, seen, not wrong, round(seconds, 1), peak_mib(),
               {"kills": kills})  # fmt: skip


MOMENTS = {"before": "before a file operation", "after": "after one", "half": "with half a write", "call": "between"}


def _start_worker(store: TinyStore, scratch: Path, share: int) -> tuple[Started, Path]:
    output = scratch / f"worker{share}.out"

    def work() -> None:
        wanted = [phase for phase in PHASES for _ in range(KILLS)][share::PROCESSES]
        found = kill_in_phases(store, scratch / f"w{share}", wanted, random.Random(share))
        (scratch / f"kills{share}.json").write_text(json.dumps(found))

    # a session of its own, as every fork has; its children are forked from it
    return start_fork(work, output), output


def kill_in_phases(
    store: TinyStore, root: Path, wanted: list[str], dice: random.Random, kinds: tuple[str, ...] = ("alone", "taught")
) -> list[dict[str, Any]]:
    """Kill once in every phase of `wanted`; a third of the runs is killed twice. Return the kills.

    A kill that does not happen (its phase is over when the run continues) is tried again in another run.

    Args:
        kinds: of the students: alone, or taught by a classifier.
    """
    references = [_reference(store, root / kind, "teacher" if kind == "taught" else "") for kind in kinds]
    wanted, found, numbers = list(wanted), list[dict[str, Any]](), itertools.count()
    dice.shuffle(wanted)
    for _ in range(3 * len(wanted)):
        if not wanted:
            break
        reference, teacher, counted = dice.choice(references)
        trial = KilledTraining(store, root / str(next(numbers)), teacher)
        chosen = [wanted.pop() for _ in range(min(len(wanted), dice.choice((1, 1, 2))))]
        points = [random_point(phase, counted, dice) for phase in chosen]
        kills = kill_and_resume(trial, reference, points)
        found += kills
        for kill in kills:
            if kill["phase"] in chosen:
                chosen.remove(kill["phase"])
        wanted = [*chosen, *wanted]
        if not any(kill["problems"] for kill in kills):
            shutil.rmtree(trial.root)
    return found


def _reference(store: TinyStore, root: Path, teacher: str) -> tuple[KilledTraining, str, dict[str, Any]]:
    """Train undisturbed; return (run, id of its teacher, its operations and seconds by phase)."""
    if teacher:
        source = KilledTraining.__new__(KilledTraining)
        source.root, source.store, source.calls = root.with_name("teacher"), store.with_empty_store(root), 0
        source.root.mkdir(parents=True)
        source.run = source.store.create_run(network="resnet18", schedule=TEACHER, input=32)
        ended, _ = source.train()
        assert ended.code == 0, ended.output
        teacher = source.run.id
        shutil.copytree(source.run.path, store.runs / teacher, dirs_exist_ok=True)
        shutil.rmtree(root)
    trial = KilledTraining(store, root, teacher)
    ended, notes = trial.train()
    assert ended.code == 0, ended.output
    return trial, teacher, notes[-1]


def kill_and_resume(trial: KilledTraining, reference: KilledTraining, points: list[KillPoint]) -> list[dict[str, Any]]:
    """Kill a run at every point, then let it end, and check everything after every step.

    Returns:
        The kills that happened: phase, moment, how, file, problems. What is wrong in the end is a problem of the last.
    """
    kills: list[dict[str, Any]] = []
    saved = 0
    for point in points:
        ended, notes = trial.train(point)
        saved = max([saved, *(note["saved"] for note in notes if "saved" in note)])
        struck = [note for note in notes if "killed" in note]
        if not struck:
            continue
        note = struck[0]
        kill = {"phase": note["killed"], "moment": note["moment"], "how": note["how"], "kind": note["kind"],
                "file": note.get("file", "").rpartition("/")[2], "problems": []}  # fmt: skip
        kill["problems"] += after_kill(trial, ended.code, note["how"], saved, point)
        kills.append(kill)
    if kills:
        kills[-1]["problems"] += after_resume(trial, reference)
    return kills


def after_kill(trial: KilledTraining, code: int, how: str, saved: int, point: KillPoint) -> list[str]:
    """Return what is wrong on the disk and in `status` after a kill."""
    problems = [f"damaged {item}" for item in damaged_files(trial.store.runs, trial.run)]
    if newest_checkpoint(trial.run) < saved:
        problems.append(f"checkpoint {saved} is lost")
    number = signal.Signals[f"SIG{'KILL' if how == 'GROUP' else how}"]
    # TERM and USR2 end a process at once before the attempt begins; after the last step they may come too late.
    if code != -number and (how in ("KILL", "GROUP") or code not in (130, 0)):
        problems.append(f"{how} in {point.phase}: exit code {code}")
    state = trial.state
    wanted = ("done",) if trial.run.result.exists() and trial.run.is_done else ("waiting", "new")
    if state not in wanted:
        problems.append(f"`status` shows {state}, wanted {' or '.join(wanted)}")
    return problems


def after_resume(trial: KilledTraining, reference: KilledTraining) -> list[str]:
    """Resume to the end; return what is wrong then."""
    newest, was_done = newest_checkpoint(trial.run), trial.run.is_done
    ended, notes = trial.train()
    if ended.code:
        return [f"resume: exit code {ended.code}: {ended.last_line}"]
    steps = [note["step"] for note in notes if "step" in note]
    wanted = [] if was_done else list(range(newest + 1, ITERATIONS + 1))
    problems = [f"resume ran the steps {steps}, wanted {wanted}"] if steps != wanted else []
    if trial.state != "done":
        problems.append(f"`status` shows {trial.state} for the finished run")
    problems += [f"{item} differs from the undisturbed run" for item in differences(trial.run, reference.run)]
    left = leftovers(trial.store.runs)
    if was_done:  # nothing was written again: the lock of the killed process stays, and is dead
        left = [item for item in left if not item.endswith("/lock")]
    return problems + [f"left behind: {item.rpartition('/')[2]}" for item in left]
