"""Measure evaluation: reading, COCO, TIDE and the bootstrap on a synthetic set, beside pycocotools and tidecv.

Each side is a process of its own, `python -m benchmarks.suite.evaluation_speed SIDE ...`, which measures itself phase
by phase: wall seconds, CPU seconds (all threads of the process), largest resident memory. On a shared machine CPU
seconds are more reliable, and only ratios within one run compare between machines. `c2d` is our fast engine,
`reference` is pycocotools and tidecv as in their documentation, `parity` checks that all engines agree
(`c2d.metrics.engine_parity`); it is not timed.

hotcoco has a bootstrap of its own, which is shown with `REFERENCE_RESAMPLES` draws. Its point difference equals ours;
its intervals differ, because an image that is drawn twice counts once.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.synthetic_dataset import DETECTIONS, OBJECTS, write_synthetic_files
from c2d.core.errors import InputError, RunError
from c2d.core.process.process_cost import resident_peak_mib
from c2d.core.process.python_process import module_command, module_environment

MIN_IMAGES = 20
REFERENCE_RESAMPLES = 10
"""Draws of hotcoco's bootstrap, which evaluates the whole set for every draw: 1,000 of 200 images took 40 CPU s."""
OUR_PHASES = ("read targets", "read detections", "COCO", "TIDE totals")
"""Phases that the two sides have in common, on our side."""
REFERENCE_PHASES = ("pycocotools reads", "pycocotools", "tidecv reads", "tidecv")
"""The same phases on the reference's side."""


def measure_evaluation(folder: Path, images: int, repeats: int = 1, resamples: int = 1000) -> dict[str, Any]:
    """Write a set into `folder`, measure both sides on it, in turn, and check that they agree.

    Args:
        folder: for the synthetic files.
        images: number of images, at least 20.
        repeats: rounds of both sides.
        resamples: draws of our bootstrap.

    Returns:
        {kind, images, objects, detections, resamples, rounds: [{c2d, reference: what `run_side` returns}], parity: {ok,
        lines}}.

    Raises:
        InputError: fewer images than a bootstrap needs.
    """
    if images < MIN_IMAGES:
        raise InputError(f"{images} images; give {MIN_IMAGES} or more (COCO's val2017 has 5000)")
    paths = write_synthetic_files(folder, images)
    rounds = [
        {"c2d": run_side("c2d", paths, resamples), "reference": run_side("reference", paths[:2])}
        for _ in range(repeats)
    ]
    return {
        "kind": "evaluation",
        "images": images,
        "objects": images * OBJECTS,
        "detections": images * DETECTIONS,
        "resamples": resamples,
        "rounds": rounds,
        "parity": run_side("parity", paths[:2]),
    }


def run_side(name: str, paths: Sequence[Path], resamples: int | None = None) -> dict[str, Any]:
    """Run one side in a process of its own.

    Args:
        name: a key of SIDES.
        paths: files of `write_synthetic_files`.
        resamples: draws of our bootstrap; None: no bootstrap.

    Returns:
        {laps_s: {phase: [wall, CPU]}, peak_mib, and the numbers of the side}.

    Raises:
        RunError: the process failed, with its last line.
    """
    arguments = [name, *map(str, paths), *([str(resamples)] if resamples else [])]
    command = module_command("benchmarks.suite.evaluation_speed", *arguments)
    done = subprocess.run(command, env=module_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        output = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"the side {name} of the evaluation benchmark failed: {output[-1][:300]}")
    # Libraries may print before the last line.
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def cpu_s(record: Mapping[str, Any], phases: Sequence[str]) -> float:
    """Return the CPU seconds of some phases together, of what `run_side` returned."""
    return float(sum(record["laps_s"][phase][1] for phase in phases))


def differences(one_round: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest differences of the two sides in {AP: COCO's AP; dAP: TIDE, as tidecv itself prints it}."""
    ours, theirs = one_round["c2d"], one_round["reference"]
    return {
        "AP": abs(ours["AP"] - theirs["AP"]),
        "dAP": max(abs(ours["dAP"][error] - value) for error, value in theirs["dAP"].items()),
    }


def markdown(record: Mapping[str, Any]) -> str:
    """Format both sides phase by phase, their ratio round by round, and whether they agree."""
    first = record["rounds"][0]
    lines = [
        f"{record['images']} images, {record['objects']} objects, {record['detections']} detections; "
        f"{len(record['rounds'])} rounds",
        "",
        "| side | phase | wall s | CPU s |",
        "|---|---|---|---|",
    ]
    for name in ("c2d", "reference"):
        for phase in first[name]["laps_s"]:
            laps = [one[name]["laps_s"][phase] for one in record["rounds"]]
            wall, cpu = (" / ".join(f"{lap[k]:.2f}" for lap in laps) for k in (0, 1))
            lines.append(f"| {name} | {phase} | {wall} | {cpu} |")
        lines.append(f"| {name} | largest resident size, MiB | {first[name]['peak_mib']:.0f} | |")
    ratios = [cpu_s(one["reference"], REFERENCE_PHASES) / cpu_s(one["c2d"], OUR_PHASES) for one in record["rounds"]]
    gaps = differences(first)
    lines += [
        "",
        f"pycocotools and tidecv take {', '.join(f'{ratio:.1f}' for ratio in ratios)} times the CPU seconds "
        "(reading, COCO and TIDE totals).",
        f"AP differs by {gaps['AP']:.1e}, dAP by {gaps['dAP']:.1e} from what tidecv itself prints.",
        f"Bootstrap: the two detectors differ by {first['c2d']['bootstrap']['difference']:.6f} AP, by hotcoco "
        f"{first['c2d']['bootstrap']['hotcoco']:.6f}.",
        *record["parity"]["lines"],
    ]
    return "\n".join(lines)


class LapTimer:
    """Time the phases of this process.

    Attributes:
        laps_s: {phase: [wall, CPU] seconds since the end of the phase before}.
    """

    def __init__(self) -> None:
        self.laps_s: dict[str, list[float]] = {}
        self._last = time.perf_counter(), time.process_time()

    def lap(self, phase: str = "") -> None:
        """End a phase; without a name it is not recorded."""
        now = time.perf_counter(), time.process_time()
        if phase:
            self.laps_s[phase] = [round(new - old, 4) for new, old in zip(now, self._last, strict=True)]
        # Read again: the bookkeeping above belongs to no phase.
        self._last = time.perf_counter(), time.process_time()


def _c2d(timer: LapTimer, targets: str, a: str, b: str = "", resamples: str = "0") -> dict[str, Any]:
    from analysis.stats import bootstrap
    from c2d.metrics import coco, coco_json, engine_hotcoco, tide

    timer.lap("imports")
    truth = coco_json.read_targets(Path(targets))
    timer.lap("read targets")
    data = coco_json.read_detections(Path(a), truth)
    timer.lap("read detections")
    read_mib = resident_peak_mib()
    numbers = coco.evaluate(data)
    timer.lap("COCO")
    totals = tide.evaluate(data, per_class=False, per_size=False)
    timer.lap("TIDE totals")
    fine = tide.evaluate(data, None, "own", ious=tide.IOUS)
    timer.lap("TIDE per class, size and IoU")
    record: dict[str, Any] = {
        "AP": numbers["AP"],
        "AP50": [numbers["AP50"], totals["AP"], fine["AP"]],
        "dAP": totals["dAP"],
        "own": {"dAP": fine["dAP"], "counts": totals["counts"] == fine["counts"]},
        "ties": totals["ties"],
        "warnings": totals["warnings"],
        "read_mib": read_mib,
    }
    if int(resamples):
        other = coco_json.read_detections(Path(b), truth)
        timer.lap()
        ours = bootstrap.compare_over_images(None, data, other, resamples=int(resamples))
        timer.lap(f"bootstrap, {resamples} resamples")
        import hotcoco

        runs = [engine_hotcoco.evaluator(one) for one in (data, other)]
        for one in runs:
            one.evaluate()
        theirs = hotcoco.compare(runs[0], runs[1], n_bootstrap=REFERENCE_RESAMPLES, seed=0)  # b - a
        timer.lap(f"hotcoco's own bootstrap, {REFERENCE_RESAMPLES} resamples")
        record["bootstrap"] = {"difference": ours.difference, "hotcoco": -theirs["deltas"]["AP"]}
    return record


def _reference(timer: LapTimer, targets: str, detections: str) -> dict[str, Any]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from tidecv import TIDE, datasets

    timer.lap("imports")
    # Both libraries print while they work; standard output is for the record alone.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(targets)
        run = COCOeval(truth, truth.loadRes(detections), "bbox")
        timer.lap("pycocotools reads")
        run.evaluate()
        run.accumulate()
        run.summarize()
        timer.lap("pycocotools")
        given = datasets.COCO(targets), datasets.COCOResult(detections)
        timer.lap("tidecv reads")
        tide = TIDE()
        tide.evaluate(*given, mode=TIDE.BOX)
        (main,) = tide.get_all_errors()["main"].values()
        timer.lap("tidecv")
    # tidecv gives percent.
    return {"AP": float(run.stats[0]), "dAP": {error: float(value) / 100 for error, value in main.items()}}


def _parity(timer: LapTimer, targets: str, detections: str) -> dict[str, Any]:
    from c2d.metrics import coco_json, engine_parity

    result = engine_parity.compare_engines(coco_json.load(Path(targets), Path(detections)))
    return {"ok": result["ok"], "lines": result["lines"]}


SIDES: dict[str, Callable[..., dict[str, Any]]] = {"c2d": _c2d, "reference": _reference, "parity": _parity}

if __name__ == "__main__":
    timer = LapTimer()
    numbers = SIDES[sys.argv[1]](timer, *sys.argv[2:])
    print(json.dumps({"laps_s": timer.laps_s, "peak_mib": round(resident_peak_mib(), 1), **numbers}))
