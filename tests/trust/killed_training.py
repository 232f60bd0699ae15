"""A tiny training that is killed and continued: what is on the disk after the kill, and what comes of it."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from c2d.core.archives.result_differences import COSTS
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.sweep_manifest import PlannedRun
from sweeps.state.plan import plan_rows
from tests.c2d.conftest import TinyStore
from tests.trust.forks import Ended, command_in_fork
from tests.trust.kill_points import KillPoint, Moment, Watch, read_notes

MakeWatch = Callable[[Path, KillPoint], Watch]
PHASES = ("start", "training", "checkpoint", "validation", "export", "evaluation")
ITERATIONS, EVERY = 6, 2
SCHEDULE = {"name": "smoke", "values": {"iterations": ITERATIONS, "batch": 4, "ema": 0.5, "val_interval": 2}}
TEACHER = {
    "name": "demo-classifier",
    "values": {"iterations": 2, "batch": 4, "min_top1": 0.0, "warmup": {"iterations": 0}},
}


def import_everything() -> None:
    """Import what a training imports, before the forks. No training happens in this process."""
    import gc

    import c2d.cli.commands
    import c2d.evaluation.evaluate_classifier
    import c2d.methods
    import c2d.metrics.coco
    import c2d.metrics.tide
    import c2d.teachers.classifier
    import c2d.training.train  # noqa: F401

    gc.freeze()  # mmengine collects garbage for every data set: half of a tiny run's time, without this


def make_tiny_store(root: Path) -> TinyStore:
    """Write a data set of 16 scenes of 64 px; the store is empty."""
    from c2d.data.scenes.make_scenes import make_scenes

    make_scenes(root / "data" / "scenes", train=12, val=4, size=64, seed=0)
    return TinyStore(root / "data", root / "runs")


class KilledTraining:
    """One question in its own store, trained in forks.

    Args:
        store: the data, and the store with the teacher.
        root: a new folder for this run's store and notes.
        teacher: id of a finished classifier in `store`, or "": the student trains alone.
        seed: of the run.
    """

    def __init__(self, store: TinyStore, root: Path, teacher: str = "", seed: int = 0) -> None:
        root.mkdir(parents=True)
        self.root, self.store = root, store.with_empty_store(root)
        question: dict[str, Any] = {"schedule": SCHEDULE, "seed": seed}
        if teacher:
            shutil.copytree(store.runs / teacher, self.store.runs / teacher)
            question |= {"method": [{"icod": {"max_positives": 8}}], "teachers": {"classifier": teacher}}
        self.run: RunFolder = self.store.create_run(**question)
        self.calls = 0

    def train(
        self, point: KillPoint | None = None, make_watch: MakeWatch | None = None
    ) -> tuple[Ended, list[dict[str, Any]]]:
        """`c2d train RUN`, killed at `point`; return its end and its notes.

        Args:
            make_watch: (file of the notes, point) -> Watch, for another act than a kill.
        """
        self.calls += 1
        output, notes = (self.root / f"{name}{self.calls}" for name in ("output", "notes"))
        words = ["train", str(self.run.path), "--runs", str(self.store.runs), "--data", str(self.store.data)]
        words += ["--workers", "0", "--checkpoint-every", str(EVERY), "--quiet"]

        def prepare() -> None:
            usual = Watch(self.store.runs, notes, point, "start")
            watch_training(make_watch(notes, point) if make_watch and point else usual)

        return command_in_fork(words, output, prepare), read_notes(notes)

    @property
    def state(self) -> str:
        """As `c2d sweep status` shows the run now."""
        rows = plan_rows([PlannedRun(self.run.id, "student")], self.store.runs, {}, queue_answered=False)
        return rows[0].state


def watch_training(watch: Watch) -> None:
    """Name the phases of a training, and note its steps and checkpoints. Called in the fork."""
    from c2d.training import checkpoint, loop, train
    from c2d.training.build import TrainingRun

    real_step, real_save, real_validation = loop.Trainer.step, checkpoint.save, TrainingRun.validation
    trainer, training_run = cast(Any, loop.Trainer), cast(Any, TrainingRun)

    def step(self: Any, batch: Any) -> Any:
        if watch.phase == "start":
            watch.enter("training")
        result = real_step(self, batch)
        watch.note(step=self.iteration)
        return result

    def save(folder: RunFolder, state: dict[str, Any], iteration: int) -> Path:
        path = real_save(folder, state, iteration)
        watch.note(saved=iteration)
        return path

    def validation(self: Any, *args: Any) -> Any:
        function = real_validation(self, *args)

        def validate(model: Any) -> Any:
            before = watch.enter("validation")
            try:
                return cast(Any, function)(model)
            finally:
                watch.enter(before)

        return validate if function else None

    trainer.step, checkpoint.save, training_run.validation = step, save, validation
    watch.around(checkpoint, "save", "checkpoint")
    watch.around(train, "_finish", "export", then="evaluation")
    watch.around(train, "_evaluate", "evaluation", then="evaluation")
    watch.enter("start")
    watch.install()
    watch.note_counts()


def damaged_files(store: Path, run: RunFolder) -> list[str]:
    """Return every file with a final name that is not whole."""
    from c2d.weights import safe_load

    wrong = []
    for path in sorted(item for item in store.rglob("*") if item.is_file() and not item.name.startswith(".")):
        try:
            if path.suffix == ".pth":
                safe_load.load(path)
            elif path.suffix in (".json", ".gz"):
                read_json(path)
            elif path.suffix == ".py":
                compile(path.read_text(), str(path), "exec")
            elif path == run.metrics:
                lines = path.read_text().splitlines(keepends=True)
                for line in lines[:-1] if lines and not lines[-1].endswith("\n") else lines:
                    json.loads(line)
        except (InputError, RunError, SyntaxError, ValueError) as error:
            wrong.append(f"{path.name}: {error}")
    return wrong


def leftovers(store: Path) -> list[str]:
    """Return the hidden files of a store: temporary names that nobody renamed or removed, and locks."""
    return sorted(
        str(item.relative_to(store)) for item in store.rglob("*") if item.name.startswith(".") or item.name == "lock"
    )


def differences(run: RunFolder, reference: RunFolder) -> list[str]:
    """Return what differs between two runs of one question: weights, detections, numbers, curves."""
    import torch

    from c2d.weights import safe_load

    found = []
    weights, wanted = safe_load.load(run.student), safe_load.load(reference.student)
    if list(weights) != list(wanted) or any(not torch.equal(weights[key], wanted[key]) for key in wanted):
        found.append("student.pth")
    if gzip.decompress(run.detections.read_bytes()) != gzip.decompress(reference.detections.read_bytes()):
        found.append("detections")
    if _numbers(run) != _numbers(reference):
        found.append("result.json")
    if _curve(run) != _curve(reference):
        found.append("metrics.jsonl")
    return found


def _numbers(run: RunFolder) -> dict[str, Any]:
    # Of the digests, those of the configs follow from the path of the data.
    places = (*COSTS, "audit", "teachers", "sha256")
    return {key: value for key, value in read_json(run.result).items() if key not in places}


def _curve(run: RunFolder) -> list[dict[str, Any]]:
    events = map(json.loads, run.metrics.read_text().splitlines())
    machine = ("time", "step_s", "memory_mib")
    return [{key: value for key, value in event.items() if key not in machine} for event in events]


def random_point(phase: str, counted: dict[str, Any], dice: random.Random) -> KillPoint:
    """Choose a moment of a phase: two of three are at a file operation, where the phase has any.

    Args:
        counted: notes `operations` and `calls` of an undisturbed run.
    """
    how = dice.choices(("KILL", "GROUP", "TERM", "USR2"), weights=(7, 1, 1, 1))[0]
    operations, calls = counted["operations"].get(phase, 0), counted["calls"].get(phase, 1)
    if not operations or dice.random() < 1 / 3:
        return KillPoint(phase, "call", dice.randrange(calls), how)
    # TERM and USR2 let a write end.
    moments: tuple[Moment, ...] = ("before", "half", "after") if how in ("KILL", "GROUP") else ("before", "after")
    moment = dice.choice(moments)
    return KillPoint(phase, moment, dice.randrange(operations), how)


def newest_checkpoint(run: RunFolder) -> int:
    """Return the iteration of the newest checkpoint; 0 without any."""
    with suppress(IndexError):
        return int(sorted(run.checkpoints.glob("iter_*.pth"))[-1].stem.removeprefix("iter_"))
    return 0
