"""What a step of given questions costs: their plain and distilled steps in turn, the teacher's share, peak memory.

A question is built as its training would build it (teachers finished, data here), and every sample is a whole step:
forward, losses, backward, optimizer, on the question's first batch. Plain and distilled steps alternate, so that a
machine whose speed drifts slows both; ratios are taken pair by pair where they are printed.
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
from benchmarks.training import reference_step
from benchmarks.training.step import milliseconds, start
from c2d.core.errors import RunError

Call = Callable[[], Any]


def measure(
    questions: Sequence[str], runs: Path | None, data: Path | None, repeats: int, threads: int | None
) -> list[dict[str, Any]]:
    """Samples of every question, all of them alternating with its own plain step; peak memory from processes apart.

    Args:
        questions: SPEC.yaml files, or runs of the store.
        runs, data: the store and the root of the data cards.
        repeats: samples of each.

    Returns:
        Per question {question, student, methods, batch, image, device, threads, torch, plain_ms, distilled_ms,
        teacher_ms: lists; positives, plain_mib, distilled_mib; reference: {method: {ours_ms, reference_ms, deviation}}
        of the terms alone on a tiny student, empty where no checkout is at hand}.
    """
    from c2d.specs.resolve_spec import store
    from c2d.training.build import build_from_name

    device, runs = start(threads), store(runs)
    records: list[dict[str, Any]] = []
    plain_mib: dict[tuple[Any, ...], float] = {}  # the same plain step under every method
    references: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for question in questions:
        run = build_from_name(question, runs, data)
        calls, facts = _calls(run)
        for call in calls.values():
            call()
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeats):
            for name, call in calls.items():
                samples[name].append(milliseconds(call, device))
        subject = tuple(facts[key] for key in ("student", "batch", "image"))
        if subject not in plain_mib:
            plain_mib[subject] = _peak_apart(question, "plain", runs, data, threads)
        pair = facts["student"], facts["methods"]
        if pair not in references:
            references[pair], why = reference_step.beside(list(run.model.distillers), facts["student"])
            if why:
                print(why, file=sys.stderr)
        records.append(
            facts
            | {
                "question": question,
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
            | {f"{name}_ms": values for name, values in samples.items()}
            | {"plain_mib": plain_mib[subject], "reference": references[pair]}
            | {"distilled_mib": _peak_apart(question, "distilled", runs, data, threads)}
        )
        print(markdown(records[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    return records


def peak_mib(question: str, kind: str, runs: Path, data: Path | None, threads: int | None) -> float:
    """Peak memory of two steps (`plain`: without methods and teachers, or `distilled`), MiB, beyond what the imported
    packages take; in this process, which should do nothing else."""
    from c2d.distillation.wrapper import TeacherSet
    from c2d.training.build import build_from_name

    device = start(threads)
    base = peak_memory.base_mib(device)
    run = build_from_name(question, runs, data)
    model = run.model
    if kind == "plain":
        model.distillers, model.teachers = torch.nn.ModuleDict(), TeacherSet()
    model.at_full_weight()
    return peak_memory.of_calls(_step(model, *next(run.batches(1))), device, base)


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """The table: medians, and the median of the ratios pair by pair.

    "Less teacher" is the distilled step without its detector teacher's forward pass, over the plain step: what the
    methods themselves cost. "Reference" is the time of a method's slow reference over that of its own terms.
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
        lines.append(
            f"| {record['student']} | {record['methods']} | {record['batch']}, {record['image']} | {positives} "
            f"| {statistics.median(plain):.0f} | {statistics.median(taught):.0f} | {ratio:.2f} | {' | '.join(shares)} "
            f"| {record['distilled_mib'] / record['plain_mib']:.2f} | {_beside(record.get('reference') or {})} |"
        )
    return "\n".join(lines)


def _beside(found: dict[str, dict[str, float]]) -> str:
    """`170x`, and with the names where there are several methods."""
    told = [f"{name} {one['reference_ms'] / one['ours_ms']:.0f}x" for name, one in found.items()]
    return ", ".join(told if len(told) > 1 else [text.split()[1] for text in told]) or "–"


def _calls(run: Any) -> tuple[dict[str, Call], dict[str, Any]]:
    from c2d.detectors.batch import batch_from_mmdet
    from c2d.detectors.outputs import Needs
    from c2d.distillation.wrapper import Distillation, TeacherSet

    model = run.model
    inputs, samples = next(run.batches(1))
    plain = Distillation(copy.deepcopy(model.student), {}, TeacherSet(), model.num_classes, model.seed)
    needs = reduce(or_, (method.needs for method in model.distillers.values()), Needs())
    model.at_full_weight()
    # Ahead of the clock: tables of the training set, and the first steps' look at every term.
    seen = model.loss(inputs, copy.deepcopy(samples))
    found = [float(value.detach()) for key, value in seen.items() if key.endswith("_positives")]
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
        "positives": found[0] if found else None,
    }
    return calls, facts


def _step(model: Any, inputs: Any, samples: Any) -> Call:
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)

    def once() -> None:
        torch.manual_seed(0)  # the sampling of RoIs
        total, _ = model.parse_losses(model(inputs, copy.deepcopy(samples), mode="loss"))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return once


def _peak_apart(question: str, kind: str, runs: Path, data: Path | None, threads: int | None) -> float:
    given = json.dumps([question, kind, str(runs), str(data) if data else None, threads])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training.step_of_spec", given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise RunError(f"the {kind} step of {question} failed in a process of its own: {last}", "user-code")
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(peak_mib(asked[0], asked[1], Path(asked[2]), Path(asked[3]) if asked[3] else None, asked[4]))
