"""Measure the synthesis of images: ours and a plain loop in turn, images a minute, memory, and where the time goes.

The plain loop (`plain_synthesis`) calls `detector.loss` on every step. `frozen` is the same loop with a detector whose
weights get no gradients. All have the same targets, terms and weights; ours keeps a draw of the augmentation, and the
targets assigned on it, for `augmentation.interval` steps. All samples are stored (ms a step, in the order of the
rounds); medians are computed where they are printed.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.machine import peak_memory
from benchmarks.training.step_process import prepare_process, time_ms

SIDES = ("plain", "frozen", "ours")
PARTS = ("assignment", "features", "heads and losses", "backward", "optimiser", "priors and the rest")


@dataclass(frozen=True)
class SynthesisCase:
    """One row of the table.

    Attributes:
        teacher: folder of a finished run, or the name of a student, whose weights are then random.
        batch: images that are optimised together.
        size: px, side of the images.
        preset: schedule of the synthesis, by name or path. Soft labels are left out: mmdet's losses have none.
        classes: number of classes of a student by name.
    """

    teacher: str
    batch: int = 16
    size: int = 160
    preset: str = "moi"
    classes: int = 10


def measure_impressions(case: SynthesisCase, repeats: int, threads: int | None = None) -> dict[str, Any]:
    """Time all sides in turn, and the parts of ours.

    Args:
        case: the row.
        repeats: samples of each; a sample is the mean of as many steps as a draw is kept for.
        threads: CPU threads; None: torch's choice.

    Returns:
        {case, device, threads, torch, iterations, interval, <side>_ms: lists, parts_ms: {part: ms a step}}.
    """
    device = prepare_process(threads)
    with ExitStack() as stack:
        work = {side: _prepare(case, side, device, stack) for side in SIDES}
        schedule = work["ours"].schedule
        interval = schedule.augmentation.interval
        times: dict[str, list[float]] = {side: [] for side in SIDES}
        for sample in range(repeats + 1):
            for side, one in work.items():
                ms = _time_steps(one.step, interval, device)
                if sample:  # the first steps allocate memory and choose kernels
                    times[side].append(ms)
        parts = _time_parts(work["ours"], 2 * interval, device)
    return {
        "case": asdict(case),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "iterations": schedule.final.iterations,
        "interval": interval,
        **{f"{side}_ms": values for side, values in times.items()},
        "parts_ms": parts,
    }


def peak_mib(case: SynthesisCase, side: str, threads: int | None = None) -> float:
    """Return the peak memory (MiB) of two steps in this process, which must do nothing else, beyond its packages."""
    device = prepare_process(threads)
    baseline = peak_memory.baseline_mib(device)
    with ExitStack() as stack:
        return peak_memory.peak_of_calls(_prepare(case, side, device, stack).step, device, baseline)


def markdown(records: list[dict[str, Any]]) -> str:
    """Format the table and the parts of a step: medians, and the median and range of ratios of neighbours in time."""
    lines = [
        "| teacher | images a batch, px | plain ms | frozen ms | ours ms | plain images/min | ours images/min "
        "| ratio (range) | ratio to frozen (range) | plain MiB | ours MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        case = record["case"]
        medians = {side: statistics.median(record[f"{side}_ms"]) for side in SIDES}
        rates = {side: 60_000 * case["batch"] / record["iterations"] / ms for side, ms in medians.items()}
        lines.append(
            f"| {_title(case)} | {case['batch']}, {case['size']} "
            f"| {medians['plain']:.0f} | {medians['frozen']:.0f} | {medians['ours']:.0f} "
            f"| {rates['plain']:.2f} | {rates['ours']:.2f} "
            f"| {_ratio(record, 'plain')} | {_ratio(record, 'frozen')} "
            f"| {record['plain_mib']:.0f} | {record['ours_mib']:.0f} |"
        )
    lines += ["", "| share of our step | " + " | ".join(PARTS) + " |", "|---|" + "---|" * len(PARTS)]
    for record in records:
        total = sum(record["parts_ms"].values())
        shares = (f"{100 * record['parts_ms'][part] / total:.0f} %" for part in PARTS)
        lines.append(f"| {_title(record['case'])} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def _title(case: dict[str, Any]) -> str:
    return str(case["teacher"]).rstrip("/").rpartition("/")[2]


def _ratio(record: dict[str, Any], side: str) -> str:
    ratios = [other / ours for other, ours in zip(record[f"{side}_ms"], record["ours_ms"], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _prepare(case: SynthesisCase, side: str, device: str, stack: ExitStack) -> Any:
    """Return one side, with `step` and `schedule`; every side has a detector of its own with the same weights."""
    from benchmarks.training.plain_synthesis import PlainSynthesis
    from c2d.impressions.pixels.optimise import Optimisation
    from c2d.impressions.pixels.priors import BatchNormStatistics
    from c2d.impressions.pixels.teacher_losses import TeacherLosses
    from c2d.impressions.sampling.pseudo_targets import sample_targets
    from c2d.specs.impressions_schedule import ImpressionsSchedule
    from c2d.specs.names import read_schedule

    values = copy.deepcopy(read_schedule(case.preset, "impressions")["values"])
    values |= {"batch": case.batch, "targets": {**values["targets"], "soft_labels": False}, "rois": None}
    schedule = ImpressionsSchedule.model_validate(values)
    teacher = _teacher(case, device)
    network = teacher.network
    targets = sample_targets(schedule.targets, case.batch, teacher, case.size, seed=0)
    if side != "ours":
        network.requires_grad_(side == "plain")
        return PlainSynthesis(network, teacher.normalization, schedule, targets, case.size, (0, 0), device)
    network.to(memory_format=torch.channels_last)
    losses = stack.enter_context(TeacherLosses(teacher))
    priors = schedule.priors
    norms = BatchNormStatistics(network, priors.batch_norm_form, priors.first_batch_norm)
    kept = norms if priors.batch_norm and norms.layers else None
    return Optimisation(teacher, losses, kept, schedule, "final", targets, case.size, (0, 0), None, device)


def _teacher(case: SynthesisCase, device: str) -> Any:
    from c2d.configs.student_config import load_student
    from c2d.evaluation.stock_model import build_student
    from c2d.specs.catalog import student_catalog
    from c2d.teachers.detector import DetectorTeacher

    if case.teacher not in student_catalog():
        return DetectorTeacher.from_run(case.teacher, device)
    torch.manual_seed(0)
    config = load_student(case.teacher, num_classes=case.classes, input_size=case.size, pretrained=False)
    return DetectorTeacher(build_student(config), device=device)


def _time_steps(step: Callable[[], Any], count: int, device: str) -> float:
    """Return ms a step: on a CPU of the CPU's time, so that other work of the machine does not count."""

    def steps() -> None:
        for _ in range(count):
            step()

    if device == "cuda":
        return time_ms(steps, device) / count
    begin = time.process_time()
    steps()
    return 1000 * (time.process_time() - begin) / count


def _time_parts(work: Any, count: int, device: str) -> dict[str, float]:
    """Return {part: ms a step} of `count` steps of our optimisation."""
    spent = dict.fromkeys(PARTS, 0.0)
    inside: list[str] = []

    def timed(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if "assignment" in inside:  # one part, whatever it calls
                return call(*args, **kwargs)
            inside.append(part)
            before = dict(spent)
            result: list[Any] = []
            ms = time_ms(lambda: result.append(call(*args, **kwargs)), device)
            inside.pop()
            # What was counted inside belongs to another part.
            spent[part] += ms - sum(spent[name] - before[name] for name in PARTS)
            return result[0]

        return run

    losses = work.losses
    owners = [
        (losses, "assign", "assignment"),
        (losses, "compute", "heads and losses"),
        (losses.network, "extract_feat", "features"),
        (torch.Tensor, "backward", "backward"),
        (work.optimizer, "step", "optimiser"),
        (work, "step", "priors and the rest"),
    ]
    with ExitStack() as stack:
        for owner, name, part in owners:
            stack.enter_context(_replaced(owner, name, timed(part, getattr(owner, name))))
        for _ in range(count):
            work.step()
    return {part: ms / count for part, ms in spent.items()}


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before) if own else delattr(owner, name)
