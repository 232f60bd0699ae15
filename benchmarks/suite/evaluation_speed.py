"""What evaluating costs: reading, COCO, TIDE and the bootstrap on a generated set, beside pycocotools and tidecv.

Each side is a process of its own, `python -m benchmarks.suite.evaluation_speed SIDE ...`, that measures itself phase by phase: wall
seconds, CPU seconds (all threads of the process), largest resident size. On a shared machine CPU seconds say more, and
only ratios within one run compare machines. `c2d` is this suite with its fast engine, `reference` is pycocotools and
tidecv as their documentation says, `parity` asks whether all engines say the same (`c2d.metrics.engine_parity`); it is not timed.

hotcoco has a bootstrap of its own, shown beside ours with `THEIR_RESAMPLES` draws: its point difference is ours, its
intervals answer another question (an image that is drawn twice counts once).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine.peak_memory import resident_peak_mib
from c2d.core.errors import InputError, RunError

CLASSES, OBJECTS, DETECTIONS = 80, 7, 96
"""Per set, per image and per image: 5,000 images then are as large as COCO's val2017 (35,000 and 480,000)."""
FEWEST_IMAGES = 20
THEIR_RESAMPLES = 10
"""hotcoco evaluates the whole set anew for every draw: 1,000 of 200 images took 40 CPU seconds, ours 0.7."""
TOGETHER = ("read targets", "read detections", "COCO", "TIDE totals")
THEIR_SHARE = ("pycocotools reads", "pycocotools", "tidecv reads", "tidecv")


def make(folder: Path, images: int, seed: int = 0, compressed: bool = False) -> list[Path]:
    """Write targets.json, and detections.json of two detectors, a and b (b: the scores of a, disturbed).

    `compressed`: a .gz beside each, as runs keep them.
    """
    import numpy as np

    from benchmarks.suite.synthetic_dataset import synthetic_coco, with_polygons

    targets, found = synthetic_coco(images, CLASSES, OBJECTS, DETECTIONS, seed)
    noise = np.random.default_rng(seed + 1).normal(0, 0.05, len(found)).tolist()
    other = [{**one, "score": one["score"] + by} for one, by in zip(found, noise, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"targets": with_polygons(targets), "detections": found, "detections-b": other}
    paths = []
    for name, content in contents.items():
        path = folder / f"{name}.json"
        raw = json.dumps(content, separators=(",", ":")).encode()  # as c2d writes it
        path.write_bytes(raw)
        if compressed:
            path.with_suffix(".json.gz").write_bytes(gzip.compress(raw, compresslevel=6, mtime=0))
        paths.append(path)
    return paths


def run(folder: Path, images: int, repeats: int = 1, resamples: int = 1000) -> dict[str, Any]:
    """Make a set in `folder` and measure both sides on it, in turn; then ask for parity.

    Returns:
        {kind, images, objects, detections, resamples, rounds: [{c2d, reference: what `side` gives}], parity: {ok,
        lines}}.

    Raises:
        InputError: fewer images than a bootstrap takes.
    """
    if images < FEWEST_IMAGES:
        raise InputError(f"{images} images; give {FEWEST_IMAGES} or more (COCO's val2017 has 5000)")
    paths = make(folder, images)
    rounds = [{"c2d": side("c2d", paths, resamples), "reference": side("reference", paths[:2])} for _ in range(repeats)]
    return {
        "kind": "evaluation",
        "images": images,
        "objects": images * OBJECTS,
        "detections": images * DETECTIONS,
        "resamples": resamples,
        "rounds": rounds,
        "parity": side("parity", paths[:2]),
    }


def side(name: str, paths: Sequence[Path], resamples: int | None = None) -> dict[str, Any]:
    """One side in a process of its own: {laps_s: {phase: [wall, CPU]}, peak_mib, and its numbers}.

    Raises:
        RunError: it failed, with the last line that it said.
    """
    words = [name, *map(str, paths), *([str(resamples)] if resamples else [])]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.suite.evaluation_speed", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"the side {name} of the evaluation benchmark failed: {said[-1][:300]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cpu_s(found: Mapping[str, Any], phases: Sequence[str]) -> float:
    """CPU seconds of some phases together."""
    return float(sum(found["laps_s"][phase][1] for phase in phases))


def differences(found: Mapping[str, Any]) -> dict[str, float]:
    """Largest differences of one round: {AP: COCO's AP of both sides; dAP: our TIDE and what tidecv itself prints}."""
    ours, theirs = found["c2d"], found["reference"]
    return {
        "AP": abs(ours["AP"] - theirs["AP"]),
        "dAP": max(abs(ours["dAP"][error] - value) for error, value in theirs["dAP"].items()),
    }


def markdown(record: Mapping[str, Any]) -> str:
    """Both sides phase by phase, their ratio round by round, and whether they agree."""
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
    ratios = [cpu_s(one["reference"], THEIR_SHARE) / cpu_s(one["c2d"], TOGETHER) for one in record["rounds"]]
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


class Clock:
    """Laps of a process: `laps_s[phase]` = [wall, CPU] seconds since the lap before."""

    def __init__(self) -> None:
        self.laps_s: dict[str, list[float]] = {}
        self._last = time.perf_counter(), time.process_time()

    def lap(self, phase: str = "") -> None:
        """End a phase; without a name it is not kept."""
        now = time.perf_counter(), time.process_time()
        if phase:
            self.laps_s[phase] = [round(new - old, 4) for new, old in zip(now, self._last, strict=True)]
        self._last = time.perf_counter(), time.process_time()


def _c2d(clock: Clock, targets: str, a: str, b: str = "", resamples: str = "0") -> dict[str, Any]:
    from analysis.stats import bootstrap
    from c2d.metrics import coco, coco_json, engine_hotcoco, tide

    clock.lap("imports")
    truth = coco_json.read_targets(Path(targets))
    clock.lap("read targets")
    data = coco_json.read_detections(Path(a), truth)
    clock.lap("read detections")
    read_mib = resident_peak_mib()
    numbers = coco.evaluate(data)
    clock.lap("COCO")
    totals = tide.evaluate(data, per_class=False, per_size=False)
    clock.lap("TIDE totals")
    fine = tide.evaluate(data, None, "own", ious=tide.IOUS)
    clock.lap("TIDE per class, size and IoU")
    found: dict[str, Any] = {
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
        clock.lap()
        ours = bootstrap.compare(None, data, other, resamples=int(resamples))
        clock.lap(f"bootstrap, {resamples} resamples")
        import hotcoco

        runs = [engine_hotcoco.evaluator(one) for one in (data, other)]
        for one in runs:
            one.evaluate()
        theirs = hotcoco.compare(runs[0], runs[1], n_bootstrap=THEIR_RESAMPLES, seed=0)  # b - a
        clock.lap(f"hotcoco's own bootstrap, {THEIR_RESAMPLES} resamples")
        found["bootstrap"] = {"difference": ours.difference, "hotcoco": -theirs["deltas"]["AP"]}
    return found


def _reference(clock: Clock, targets: str, detections: str) -> dict[str, Any]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from tidecv import TIDE, datasets

    clock.lap("imports")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(targets)
        run = COCOeval(truth, truth.loadRes(detections), "bbox")
        clock.lap("pycocotools reads")
        run.evaluate()
        run.accumulate()
        run.summarize()
        clock.lap("pycocotools")
        given = datasets.COCO(targets), datasets.COCOResult(detections)
        clock.lap("tidecv reads")
        tide = TIDE()
        tide.evaluate(*given, mode=TIDE.BOX)
        (main,) = tide.get_all_errors()["main"].values()
        clock.lap("tidecv")
    return {"AP": float(run.stats[0]), "dAP": {error: float(value) / 100 for error, value in main.items()}}


def _parity(clock: Clock, targets: str, detections: str) -> dict[str, Any]:
    from c2d.metrics import coco_json, engine_parity

    found = engine_parity.check(coco_json.load(Path(targets), Path(detections)))
    return {"ok": found["ok"], "lines": found["lines"]}


SIDES: dict[str, Callable[..., dict[str, Any]]] = {"c2d": _c2d, "reference": _reference, "parity": _parity}

if __name__ == "__main__":
    clock = Clock()
    answer = SIDES[sys.argv[1]](clock, *sys.argv[2:])
    print(json.dumps({"laps_s": clock.laps_s, "peak_mib": round(resident_peak_mib(), 1), **answer}))
