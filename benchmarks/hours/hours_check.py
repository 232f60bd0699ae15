"""The error of the estimate: steps predicted from FLOPs beside steps that are measured, with this CPU as the card.

Two numbers of the CPU come from plain steps: FLOP/s from one of a usual size, the time of an operator from a small one
(`CALIBRATION`). All other steps are predicted with the code that estimates GPU hours, and measured: seconds of CPU time
of this process, one thread, in rounds in which every case has its turn, so that a machine whose speed drifts slows all.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.flops.training_flops import Work
from benchmarks.hours.definition_specs import read_definitions
from benchmarks.hours.run_flops import RunCounter
from benchmarks.hours.synthetic_step import noise_batch

CALIBRATION = ("retinanet-r50, plain", "retinanet-qr18, plain")
ROUNDS = 3
DEFINITION = """
question: How well do FLOPs predict the time of a step?
base: {dataset: coco2017, init: none, schedule: {name: smoke, values: {iterations: 10, batch: 1}}}
teachers:
  classifier: {network: resnet18, schedule: coco-general, input: 112, init: none}
  detector: {init: none, schedule: smoke}
axes:
  model:
    retinanet-r50: {student: retinanet-r50, input: 320, teacher.detector.student: retinanet-r101}
    ssd300-vgg16: {student: ssd300-vgg16, teacher.detector.student: retinanet-r101}
    retinanet-qr18: {student: retinanet-qr18, teacher.detector.student: retinanet-r18}
    faster-rcnn-qr18: {student: faster-rcnn-qr18, teacher.detector.student: faster-rcnn-r18}
    rtmdet-q: {student: rtmdet-q, teacher.detector.student: retinanet-r18}
    dino-qr18: {student: dino-qr18, teacher.detector.student: retinanet-r18}
  method:
    plain: []
    icod: [{icod: {}}]
    fgd: [{fgd: {}}]
exclude:
  - {model: ssd300-vgg16, method: fgd}
  - {model: rtmdet-q, method: fgd}
  - {model: dino-qr18, method: fgd}
seeds: 1
size: small
"""


def measure_error(rounds: int = ROUNDS) -> dict[str, Any]:
    """Predict and measure every case.

    Args:
        rounds: samples of each.

    Returns:
        {calibration: names, gflops_per_s, operator_us: of the CPU; cases: [{name, gflops, operators, predicted_s,
        measured_s: list}]}.
    """
    import torch

    from c2d.detectors import compat

    compat.prepare()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        definition = Path(folder) / "hours-check.yaml"
        definition.write_text(DEFINITION, encoding="utf-8")
        (plan,) = read_definitions([str(definition)], Path(folder) / "runs", None)
        counter = RunCounter(plan.specs, Path(folder) / "runs", None, gpus=1)
        cases = {", ".join(plan.cells[run].values()): run for run in plan.cells}
        prepared = {name: _case(counter, plan.specs[run]) for name, run in cases.items()}
    for _, step in prepared.values():
        step()
    samples: dict[str, list[float]] = {name: [] for name in prepared}
    for _ in range(rounds):
        for name, (_, step) in prepared.items():
            begin = time.process_time()
            step()
            samples[name].append(time.process_time() - begin)
    works = {name: work for name, (work, _) in prepared.items()}
    rate, operator_s = _solve(*[(works[name], statistics.median(samples[name])) for name in CALIBRATION])
    return {
        "format": 1,
        "calibration": list(CALIBRATION),
        "gflops_per_s": rate / 1e9,
        "operator_us": operator_s * 1e6,
        "cases": [
            {
                "name": name, "gflops": work.flops / 1e9, "operators": work.operators,
                "predicted_s": work.flops / rate + work.operators * operator_s, "measured_s": samples[name],
            }
            for name, work in works.items()
        ],
    }  # fmt: skip


def _solve(large: tuple[Work, float], small: tuple[Work, float]) -> tuple[float, float]:
    """Return FLOP/s and seconds an operator that give both steps their time, each (work, seconds)."""
    (one, one_s), (two, two_s) = large, small
    scale = one.operators * two.flops - two.operators * one.flops
    operator_s = (one_s * two.flops - two_s * one.flops) / scale
    return one.flops / (one_s - one.operators * operator_s), operator_s


def markdown(record: dict[str, Any]) -> str:
    """Write the table of predicted and measured steps, and the spread of their ratios."""
    lines = [
        "| step | GFLOP | operators | predicted s | measured s (range) | predicted / measured |",
        "|---|---|---|---|---|---|",
    ]
    ratios = []
    for case in record["cases"]:
        measured = case["measured_s"]
        ratio = case["predicted_s"] / statistics.median(measured)
        if case["name"] not in record["calibration"]:
            ratios.append(ratio)
        lines.append(
            f"| {case['name']} | {case['gflops']:.3g} | {case['operators']:,} | {case['predicted_s']:.3f} "
            f"| {statistics.median(measured):.3f} "
            f"({min(measured):.3f} to {max(measured):.3f}) | {ratio:.2f} |"
        )
    median = statistics.median(ratios)
    return "\n".join(
        [
            *lines,
            "",
            f"CPU: {record['gflops_per_s']:.0f} GFLOP/s and {record['operator_us']:.1f} us an operator, by "
            f"{' and '.join(record['calibration'])}. Predicted / measured of the "
            f"{len(ratios)} others: median {median:.2f}, from {min(ratios):.2f} to {max(ratios):.2f}.",
        ]
    )


def _case(counter: RunCounter, spec: Any) -> tuple[Work, Callable[[], None]]:
    """Work that is predicted for one image of the reference shape, and a step on one."""
    import torch

    resolved = counter.configs(spec)
    shape = counter.shape(resolved, 1)
    image = counter.count(spec).image
    inputs, samples = noise_batch(shape.height, shape.width, len(counter.card(spec).card.classes))
    # Built anew: the counter's networks are shared by its cases, and a step changes them.
    model = copy.deepcopy(counter.distillation(spec, resolved))
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)
    model.at_full_weight()

    def step() -> None:
        total, _ = model.parse_losses(model(inputs, copy.deepcopy(samples), mode="loss"))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return Work((image.student + image.teachers) / shape.scale, image.operators), step
