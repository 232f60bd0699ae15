"""From definitions to estimated GPU hours: one row for each cell and each teacher, sums, and the assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hours.definition_specs import PlannedRuns, read_definitions
from benchmarks.hours.gpu_cards import CARDS, GpuCard, Precision, precision_of
from benchmarks.hours.run_flops import RunCounter, RunFlops


@dataclass(frozen=True)
class HoursRow:
    """The runs of one cell, which differ in their seeds, or one teacher.

    Attributes:
        definition: name of the sweep.
        label: of the cell, or the teacher's run without its hash.
        is_teacher: whether it is one.
        runs: ids.
        flops: of one of them; all are equal.
        hours: {card: GPU hours of one run}.
    """

    definition: str
    label: str
    is_teacher: bool
    runs: tuple[str, ...]
    flops: RunFlops
    hours: dict[str, float]


@dataclass(frozen=True)
class HoursEstimate:
    """All definitions.

    Attributes:
        cards: keys of `CARDS`, as asked for.
        gpus: of a training.
        rows: teachers first, definition by definition.
        notes: what is not counted.
    """

    cards: tuple[str, ...]
    gpus: int
    rows: tuple[HoursRow, ...]
    notes: tuple[str, ...]

    def total(self, card: str, definition: str | None = None) -> float:
        """Return the GPU hours of a definition, or of all with the runs that they share counted once."""
        hours = {run: row.hours[card] for row in self.rows if definition in (None, row.definition) for run in row.runs}
        return sum(hours.values())

    def count(self, definition: str | None = None) -> int:
        """Return the number of runs of a definition, or of all."""
        return len({run for row in self.rows if definition in (None, row.definition) for run in row.runs})

    @property
    def definitions(self) -> list[str]:
        """Names of the definitions, in the order given."""
        return list(dict.fromkeys(row.definition for row in self.rows))

    def records(self) -> list[dict[str, Any]]:
        """Return one flat record for each row."""
        return [
            {
                "definition": row.definition, "cell": row.label, "teacher": row.is_teacher, "runs": len(row.runs),
                "iterations": row.flops.iterations, "batch": row.flops.batch,
                "student_gflops_per_image": round(row.flops.image.student / 1e9, 3),
                "teacher_gflops_per_image": round(row.flops.image.teachers / 1e9, 3),
                "pixels_per_image": round(row.flops.image.pixels), "operators_per_step": row.flops.image.operators,
                "training_flops": row.flops.training, "evaluation_flops": row.flops.evaluation,
                **{f"{card}_hours_per_run": round(hours, 3) for card, hours in row.hours.items()},
            }
            for row in self.rows
        ]  # fmt: skip


def estimate_hours(
    definitions: Sequence[str], cards: Sequence[str], runs: Path, data: Path | None, gpus: int
) -> HoursEstimate:
    """Estimate every run of some definitions.

    Args:
        definitions: files, or names of shipped ones.
        cards: keys of `CARDS`.
        runs, data: the store and the root of the data cards.
        gpus: of a training; hours are those of all of them together.

    Raises:
        InputError: a definition cannot be expanded, or a student not be built.
    """
    from c2d.detectors import compat

    compat.prepare()
    plans = read_definitions(definitions, runs, data)
    counter = RunCounter({run: spec for plan in plans for run, spec in plan.specs.items()}, runs, data, gpus)
    rows = []
    for plan in plans:
        rows += _rows(plan, counter, cards)
        counter.forget_networks()
    notes = dict.fromkeys(note for row in rows for note in row.flops.image.notes)
    return HoursEstimate(tuple(cards), gpus, tuple(rows), tuple(notes))


def _rows(plan: PlannedRuns, counter: RunCounter, cards: Sequence[str]) -> list[HoursRow]:
    groups: dict[tuple[bool, str], list[str]] = {}
    for run, spec in plan.specs.items():
        teacher = run not in plan.cells
        label = f"teacher {run}" if teacher else ", ".join(dict.fromkeys(plan.cells[run].values())) or spec.name
        groups.setdefault((teacher, label), []).append(run)
    rows = []
    for (teacher, label), found in groups.items():
        flops = counter.count(plan.specs[found[0]])
        precision = precision_of(getattr(flops.spec.schedule.values, "precision", "fp32"))
        hours = {card: run_hours(flops, CARDS[card], precision, counter.gpus) for card in cards}
        rows.append(HoursRow(plan.name, label, teacher, tuple(found), flops, hours))
    return rows


def run_hours(flops: RunFlops, card: GpuCard, precision: Precision, gpus: int) -> float:
    """Return the GPU hours of a run: those of all its cards together.

    Args:
        flops: of the run.
        card: of the training.
        precision: of its schedule.
        gpus: that share a batch.
    """
    image, used = flops.image, min(gpus, flops.batch)
    seconds = flops.evaluated * card.step_seconds(image.prediction, image.prediction_operators, "fp32")
    if used:
        share = flops.batch / used * (image.student + image.teachers)
        seconds += flops.iterations * used * card.step_seconds(share, image.operators, precision)
    return seconds / 3600
