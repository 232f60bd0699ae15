"""A finished store of a shipped sweep: the specs are those of its definition, the numbers are made up.

    python -m tests.analysis.planned_store moi-scenes RUNS

Definitions name data sets that need not be here (scenes, KITTI, VOC), so each gets a card of one image.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from analysis.loading.columns import IOUS
from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import plain_value
from c2d.data.card import Card, Split, card_digest
from sweeps.actions.submit import plan_sweep, resolve, specs_of
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import read_definition
from sweeps.definition.profile import load_profile
from tests.analysis.data_free_store import AP, result_of_impressions, training_images_of

LOCAL = ("scenes", "kitti", "voc", "bccd", "coco_mini")
TEACHER_AP = 0.31
NUMBERS = ("teacher.impressions.schedule.images", "teacher.impressions.schedule.final.iterations")


def write_cards(data: Path) -> None:
    """Write a card of one image for each data set that a shipped definition names and no public card describes."""
    splits = {
        name: Split(annotations=f"{name}.json", images=name, digest=name[:1] * 64, n_images=1, n_boxes=1)
        for name in ("train", "val")
    }
    for name in LOCAL:
        digest = card_digest([name], {split: found.digest for split, found in splits.items()})
        card = Card(name=name, classes=[name], digest=digest, splits=splits)
        write_json(data / name / "card.json", card.model_dump(mode="json"))


@cache
def planned(sweep: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return (record, {run: spec.json}) of a shipped definition as submission would write them."""
    nowhere = Path("no-such-folder")
    definition = read_definition(sweep)
    with tempfile.TemporaryDirectory() as data:
        write_cards(Path(data))
        grid = resolve(definition, Workspace(nowhere, Path(data), "dry", load_profile("default")))
    record, _ = plan_sweep(definition, grid, nowhere)
    return record, {run: spec.to_json() for run, spec in specs_of(grid).items()}


def made_up_ap(labels: Mapping[str, str], seed: int) -> float:
    """AP of a cell in 0-1; without data that of its images, more with a method, a larger student, more images."""
    if "images" not in labels:
        return plain_value(dict(labels), seed)
    text = json.dumps([dict(labels), seed], sort_keys=True)
    chance = int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) / 65536 - 0.5
    ap = AP[labels["images"]] + 0.01 * chance
    if labels["images"] == "impressions":
        ap += 0.02 * (labels["method"] != "baseline") - 0.02 * list(labels.values()).count("off")
        ap += sum(0.02 * math.log10(float(labels[axis]) / 300) for axis in NUMBERS if axis in labels)
    return ap * (1.0 if labels.get("capacity", "equal") == "equal" else 0.8)


def result_of(spec: Mapping[str, Any], specs: Mapping[str, dict[str, Any]], ap: float) -> dict[str, Any]:
    """Return the content of result.json of a planned run of any kind.

    Args:
        specs: {run: spec.json} of the sweep.
        ap: of a detector, 0-1.
    """
    if spec["kind"] == "impressions":
        return result_of_impressions(spec)
    if spec["kind"] == "classifier":
        return synthetic_run.classifier_result_json()
    teachers = spec["teachers"]
    result = synthetic_run.result_json(ap, teachers.get("classifier"))
    result["tide"]["per_iou"] = {iou: _errors_at(result["tide"], place) for place, iou in enumerate(IOUS)}
    if detector := teachers.get("detector"):
        result["teachers"]["detector"] = {"run": detector, "AP": TEACHER_AP}
    if made := teachers.get("impressions"):
        result["training_images"] = training_images_of(made, specs[made])
    return result


def _errors_at(tide: Mapping[str, Any], place: int) -> dict[str, Any]:
    """TIDE totals at a threshold, by its number from 0: Loc grows with the threshold, the others fall to a half."""
    share = {error: 1 + place / 6 if error == "Loc" else 1 - place / 18 for error in tide["dAP"]}
    falling = tide["AP"] * (1 - place / 10)
    return {**tide, "AP": falling, "dAP": {error: value * share[error] for error, value in tide["dAP"].items()}}


def fill_planned(
    runs: Path,
    record: Mapping[str, Any],
    specs: Mapping[str, dict[str, Any]],
    value: Callable[[Mapping[str, str], int], float] = made_up_ap,
) -> None:
    """Write every run of a planned sweep as finished, with its own spec.

    Args:
        value: AP (0-1) of the labels of a cell and its seed; equal cells take that of the first one.
    """
    ap: dict[str, float] = {}
    for cell in record["cells"]:
        labels = {"method": "baseline", **cell["labels"]}
        ap.setdefault(cell["run"], value(labels, cell["seed"]))
    for run, spec in specs.items():
        write_json(runs / run / "spec.json", spec)
        write_json(runs / run / "status.json", synthetic_run.status_json("done"))
        write_json(runs / run / "env.json", synthetic_run.env_json())
        write_json(runs / run / "result.json", result_of(spec, specs, ap.get(run, TEACHER_AP)))
    write_json(runs / "sweeps" / f"{record['name']}.json", record)


if __name__ == "__main__":
    fill_planned(Path(sys.argv[2]), *planned(sys.argv[1]))
