"""The smoke form of a run: the same model, methods, losses, optimizer and teachers, for two steps on small images.

Pure: a spec in, a spec out. What is replaced: the lengths, the batch, the sizes of images and crops, the
first weights (nothing is downloaded), the accuracy that a teacher must reach, and the seed. A whole detector, which is
never trained, is trained for two steps from random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2d.specs import first_weights
from c2d.specs.impressions_schedule import ImpressionsSchedule
from c2d.specs.method_schema import Method
from c2d.specs.schedule import NoTraining, Schedule, TeacherRecipe
from c2d.specs.spec import RunSpec, build_spec
from c2d.specs.teachers import Teachers
from c2d.weights.weight_packages import PREFIX

SCHEDULE = "smoke"
"""Name of the schedule of every smoke run; with the name of its data set it tells the run from a real one."""
STEPS, BATCH = 2, 2
INPUT = 64
"""Short side of a detector's images in px: every level of its pyramid still has a cell."""
INPUTS = {"ssd300-vgg16": 264, "ssd512-vgg16": 264}
"""{student: short side in px}, of students whose maps would have no cell at INPUT."""
OVERRIDES: dict[str, dict[str, Any]] = {
    "faster-rcnn": {
        "model.train_cfg.rpn_proposal.max_per_img": 200,
        "model.train_cfg.rcnn.sampler.num": 64,
        "model.test_cfg.rpn.max_per_img": 100,
        "model.test_cfg.rcnn.score_thr": 0.0,
    },
    "retinanet": {"model.test_cfg.score_thr": 0.0},
}
"""{beginning of a student's name: overrides}: fewer RoIs, which would take most of the time, and detections of any
score, because a synthesis from real images needs some of a teacher after two steps."""
CROP_IMAGE = 96
"""px; side of the square images that a classifier's crops are taken from."""
SYNTHESIS_BATCH = 4
"""Images of a synthesis that are optimised together."""


def smoke_spec(spec: RunSpec, runs: Mapping[str, str]) -> RunSpec:
    """Return the smoke form of a run.

    Args:
        spec: of the run, on a generated data set (`sweeps.smoke.smoke_data`).
        runs: {run id: id of its smoke form} of its teachers and of the synthesis whose images it uses.

    Raises:
        InputError: the values do not fit together.
    """
    values = spec.to_json()
    return build_spec(
        {
            **{key: value for key, value in values.items() if key not in ("format", "name")},
            "input": _input(spec),
            "init": _init(spec),
            "overrides": {**_overrides(spec), **spec.overrides},
            "teachers": _teachers(spec.teachers, runs),
            "method": _method(spec.method),
            "schedule": {"name": SCHEDULE, "values": _schedule(spec, values["schedule"]["values"])},
            "seed": 0,
        }
    )


def _input(spec: RunSpec) -> int | None:
    """Side in px. Sizes that differ by 16 px or more stay different, so that cells of an axis of sizes stay apart."""
    if spec.kind == "impressions":
        return None
    if spec.kind == "classifier":
        return 32 + (spec.input or 0) // 16
    assert spec.student is not None
    smallest = INPUTS.get(spec.student.name, INPUT)
    return smallest + (spec.input // 16 if spec.input else 0)


def _overrides(spec: RunSpec) -> dict[str, Any]:
    name = spec.student.name if spec.student is not None and spec.kind == "detector" else ""
    return next((own for family, own in OVERRIDES.items() if name.startswith(family)), {})


def _init(spec: RunSpec) -> str:
    """Weights of other runs or installed packages stay, and those that a fit keeps; others would be downloaded."""
    source = first_weights.network_source(spec.init)
    if source == first_weights.BACKBONE or source.startswith(PREFIX) or spec.fit not in ("", "full"):
        return spec.init
    return first_weights.joined(first_weights.NONE, first_weights.inherits(spec.init))


def _teachers(teachers: Teachers, runs: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = teachers.model_dump(mode="json")
    for kind, given in found.items():
        if isinstance(given, str):
            found[kind] = runs[given]
        elif isinstance(given, list) and all(isinstance(one, str) for one in given):
            found[kind] = [runs[one] for one in given]
    return found


def _method(method: Method) -> list[dict[str, dict[str, Any]]]:
    """Return the methods, each on from the first step. Other parameters stay."""
    smallest = {"start": 0, "ramp": 1, "token_iterations": 1}
    found = []
    for item in method:
        ((name, given),) = item.items()
        early = {key: min(given[key], most) for key, most in smallest.items() if given.get(key) is not None}
        late = {"stop": max(given["stop"], STEPS)} if given.get("stop") is not None else {}
        found.append({name: {**given, **early, **late}})
    return found


def _schedule(spec: RunSpec, values: dict[str, Any]) -> dict[str, Any]:
    schedule = spec.schedule.values
    if isinstance(schedule, NoTraining):
        return {"iterations": STEPS, "batch": BATCH, "optimizer": {"type": "SGD", "lr": 0.001}}
    if isinstance(schedule, ImpressionsSchedule):
        return _synthesis(schedule, values)
    if isinstance(schedule, TeacherRecipe):
        values = {**values, "min_top1": 0.0, "input": 32 + schedule.input // 16}
        values["crops"] = {**values["crops"], "image_size": CROP_IMAGE}
    if isinstance(schedule, Schedule):
        values = {
            **values,
            "iterations": STEPS,
            "batch": BATCH,
            "warmup": {**values["warmup"], "iterations": min(1, schedule.warmup.iterations)},
            "milestones": [1] if schedule.milestones else [],
            "precision": "fp32",
            "val_interval": 1 if schedule.val_interval else None,
        }
    return values


def _synthesis(schedule: ImpressionsSchedule, values: dict[str, Any]) -> dict[str, Any]:
    stages = {
        name: {
            **values[name],
            "iterations": min(STEPS, stage.iterations),
            "size": None if stage.size is None else INPUT,
        }
        for name, stage in (("draft", schedule.draft), ("final", schedule.final))
    }
    adaptive = {**values["adaptive"], "start": 0, "interval": min(1, schedule.adaptive.interval), "min_score": 0.0}
    images = schedule.images.bit_length()  # numbers that differ by a factor of 2 stay different
    return {
        **values, "images": images, "batch": SYNTHESIS_BATCH, **stages, "adaptive": adaptive, "precision": "fp32"
    }  # fmt: skip
