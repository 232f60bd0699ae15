"""Measure the training step of given specs: plain and distilled steps in turn, the teacher's share, peak memory.

A spec is built as its training would build it (its teachers are finished, its data are on this machine). Every sample
is a whole step on the first batch: forward, losses, backward, optimizer. Plain and distilled steps alternate, so that a
machine whose speed drifts slows both; ratios of pairs are computed where they are printed.
"""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import peak_memory
from benchmarks.training.reference_step import reference_times
from benchmarks.training.step_process import prepare_process, time_ms
from c2d.core.errors import RunError
from c2d.core.process.python_process import module_command, module_environment

Call = Callable[[], Any]


def measure_specs(
    specs: Sequence[str], runs: Path | None, data: Path | None, repeats: int, threads: int | None
) -> list[dict[str, Any]]:
    """Time the steps of every spec, in turn with its own plain step, and measure peak memory in separate processes.

    Args:
        specs: SPEC.yaml files, or runs of the store.
        runs, data: the store and the root of the data cards.
        repeats: samples of each.
        threads: CPU threads; None: torch's choice.

    Returns:
        Per spec {question: as given, student, methods, batch, image, device, threads, torch, plain_ms, distilled_ms,
        teacher_ms: lists; positives, plain_mib, distilled_mib; reference: {method: {ours_ms, reference_ms, deviation}}
        of the terms alone on a tiny student, empty where c2d does not run from a checkout}.
    """
    from c2d.core.store_folder import runs_folder
    from c2d.training.build import build_from_name

    device, runs = prepare_process(threads), runs_folder(runs)
    records: list[dict[str, Any]] = []
    plain_mib: dict[tuple[Any, ...], float] = {}  # the same plain step under every method
    references: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for spec in specs:
        run = build_from_name(spec, runs, data)
        calls, facts = _calls(run)
        for call in calls.values():
            call()
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeats):
            for name, call in calls.items():
                samples[name].append(time_ms(call, device))
        plain_key = tuple(facts[key] for key in ("student", "batch", "image"))
        if plain_key not in plain_mib:
            plain_mib[plain_key] = _peak_in_own_process(spec, "plain", runs, data, threads)
        pair = facts["student"], facts["methods"]
        if pair not in references:
            references[pair], why = reference_times(list(run.model.distillers), facts["student"])
            if why:
                print(why, file=sys.stderr)
        records.append(
            facts
            | {
                "question": spec,
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
            | {f"{name}_ms": values for name, values in samples.items()}
            | {"plain_mib": plain_mib[plain_key], "reference": references[pair]}
            | {"distilled_mib": _peak_in_own_process(spec, "distilled", runs, data, threads)}
        )
        print(markdown(records[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    return records


def peak_mib(spec: str, kind: str, runs: Path, data: Path | None, threads: int | None) -> float:
    """Return the peak memory (MiB) of two steps in this process, which must do nothing else, beyond its packages.

    Args:
        spec: a SPEC.yaml file, or a run of the store.
        kind: "plain" (without methods and teachers) or "distilled".
        runs, data: the store and the root of the data cards.
        threads: CPU threads; None: torch's choice.
    """
    from c2d.distillation.wrapper import TeacherSet
    from c2d.training.build import build_from_name

    device = prepare_process(threads)
    baseline = peak_memory.baseline_mib(device)
    run = build_from_name(spec, runs, data)
    model = run.model
    if kind == "plain":
        model.distillers, model.teachers = torch.nn.ModuleDict(), TeacherSet()
    model.at_full_weight()
    return peak_memory.peak_of_calls(_step(model, *next(run.batches(1))), device, baseline)


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """Format the table: medians, and the median of the ratios of pairs of steps.

    "Less teacher" is the distilled step without its detector teacher's forward pass, divided by the plain step: the
    cost of the methods themselves. "Reference" is the time of a method's slow reference divided by that of our terms.
    """
    lines = [
        "| student | methods | batch, px | positives | plain step ms | distilled step ms | ratio "
        "| teacher / plain | less teacher | memory ratio | reference |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        plain, taught, teacher = record["plain_ms"], record["distilled_ms"], record.get("teacher_ms")
        ratio = statistics.median(t / p for p, t in zip(plain, taught, strict=True))
        shares = ["–", "–"]
        if teacher:
            own = statistics.median((t - d) / p for p, t, d in zip(plain, taught, teacher, strict=True))
            shares = [f"{statistics.median(teacher) / statistics.median(plain):.2f}", f"{own:.2f}"]
        positives = "–" if record["positives"] is None else f"{record['positives']:.0f}"
        reference = _reference_ratios(record.get("reference") or {})
        lines.append(
            f"| {record['student']} | {record['methods']} | {record['batch']}, {record['image']} | {positives} "
            f"| {statistics.median(plain):.0f} | {statistics.median(taught):.0f} | {ratio:.2f} | {' | '.join(shares)} "
            f"| {record['distilled_mib'] / record['plain_mib']:.2f} | {reference} |"
        )
    return "\n".join(lines)


def _reference_ratios(times: dict[str, dict[str, float]]) -> str:
    """Return `170x`, with the names where there are several methods."""
    ratios = [f"{name} {one['reference_ms'] / one['ours_ms']:.0f}x" for name, one in times.items()]
    return ", ".join(ratios if len(ratios) > 1 else [text.split()[1] for text in ratios]) or "–"


def _calls(run: Any) -> tuple[dict[str, Call], dict[str, Any]]:
    from c2d.detectors.batch import batch_from_mmdet
    from c2d.detectors.outputs import Needs
    from c2d.distillation.wrapper import Distillation, TeacherSet

    model = run.model
    inputs, samples = next(run.batches(1))
    # A copy: each of the two steps changes its own weights.
    plain = Distillation(copy.deepcopy(model.student), {}, TeacherSet(), model.num_classes, model.seed)
    needs = reduce(or_, (method.needs for method in model.distillers.values()), Needs())
    model.at_full_weight()
    # Before the clock starts: tables of the training set, and the gradient check of the first steps.
    losses = model.loss(inputs, copy.deepcopy(samples))
    positives = [float(value.detach()) for key, value in losses.items() if key.endswith("_positives")]
    calls: dict[str, Call] = {
        "plain": _step(plain.train(), inputs, samples),
        "distilled": _step(model, inputs, samples),
    }
    if needs.detector:
        view = batch_from_mmdet(inputs, samples, model.normalization, model.num_classes)
        calls["teacher"] = lambda: model.teachers.detector.outputs(view, needs)
    facts = {
        "student": run.spec.student.name if run.spec.student else run.spec.network,
        "methods": "+".join(model.distillers) or "baseline",
        "batch": len(inputs),
        "image": "x".join(map(str, inputs.shape[-2:])),
        "positives": positives[0] if positives else None,
    }
    return calls, facts


def _step(model: Any, inputs: Any, samples: Any) -> Call:
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)

    def step() -> None:
        torch.manual_seed(0)  # the two-stage detectors sample RoIs at random
        total, _ = model.parse_losses(model(inputs, copy.deepcopy(samples), mode="loss"))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return step


def _peak_in_own_process(spec: str, kind: str, runs: Path, data: Path | None, threads: int | None) -> float:
    arguments = json.dumps([spec, kind, str(runs), str(data) if data else None, threads])
    command = module_command("benchmarks.training.step_of_spec", arguments)
    done = subprocess.run(command, env=module_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        # The last line of a traceback names the exception.
        last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RunError(f"the {kind} step of {spec} failed in a process of its own: {last_line}", "user-code")
    # Libraries may print before the last line.
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    spec, kind, runs, data, threads = json.loads(sys.argv[1])
    print(peak_mib(spec, kind, Path(runs), Path(data) if data else None, threads))
