"""Students and schedules against the configs that mmdet ships, field by field: `c2d/configs/departures.yaml`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml
from mmengine.hub import get_config

from c2d.configs.student_config import load_student, student_names
from c2d.specs.names import read_schedule
from c2d.weights.zoo.zoo_table import zoo_files

TABLE = yaml.load((Path(__file__).parents[3] / "c2d/configs/departures.yaml").read_text("utf-8"), yaml.CSafeLoader)
TRAINED_IMAGES = 117_266
"""Images of COCO train2017 with a box, which mmdet trains on."""


def flat(value: Any, path: str) -> dict[str, Any]:
    """{dotted key: value}; files of first weights are no part of a student."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    inside = [(key, item) for key, item in items if key != "init_cfg" or (item and item["type"] != "Pretrained")]
    if not any(isinstance(item, dict | list | tuple) for _, item in inside) and not isinstance(value, dict):
        return {path: list(value) if isinstance(value, tuple) else value}
    return {name: found for key, item in inside for name, found in flat(item, f"{path}.{key}").items()}


def pipeline(config: Any, kind: str) -> Any:
    """The steps of a loader's data set, through wrappers."""
    dataset = config[f"{kind}_dataloader"]["dataset"]
    while "pipeline" not in dataset:
        dataset = dataset["dataset"]
    return [dict(step) for step in dataset["pipeline"]]


def check(found: dict[str, Any], wanted: dict[str, Any], reasons: dict[str, str]) -> None:
    """Every difference has a reason, and every reason a difference."""
    missing = object()
    keys = [key for key in {**wanted, **found} if found.get(key, missing) != wanted.get(key, missing)]
    unnamed = [key for key in keys if not any(fnmatchcase(key, pattern) for pattern in reasons)]
    assert {key: (found.get(key), wanted.get(key)) for key in unnamed} == {}
    assert [pattern for pattern in reasons if not any(fnmatchcase(key, pattern) for key in keys)] == []


@pytest.mark.parametrize("name", TABLE["students"])
def test_a_student_is_mmdets_own(name: str) -> None:
    entry = TABLE["students"][name]
    own, stock = load_student(name).to_dict(), get_config(f"mmdet::{entry['config']}")
    check(
        flat(own["model"], "model") | flat(own["train_pipeline"], "train") | flat(own["test_pipeline"], "test"),
        flat(stock["model"].to_dict(), "model")
        | flat(pipeline(stock, "train"), "train")
        | flat(pipeline(stock, "test"), "test"),
        entry.get("departures", {}),
    )


@pytest.mark.parametrize("name", TABLE["schedules"])
def test_a_schedule_is_mmdets_own_in_iterations(name: str) -> None:
    entry = TABLE["schedules"][name]
    stock = get_config(f"mmdet::{entry['config']}")
    warmup, steps = stock["param_scheduler"]
    optimizer = stock["optim_wrapper"]["optimizer"]
    batch = stock["auto_scale_lr"]["base_batch_size"]
    times = stock["train_dataloader"]["dataset"].get("times", 1)
    epoch = ceil(TRAINED_IMAGES * times / batch)
    assert (warmup["type"], warmup["by_epoch"], warmup["begin"]) == ("LinearLR", False, 0)
    assert (steps["type"], steps["by_epoch"], optimizer["type"]) == ("MultiStepLR", True, "SGD")
    wanted = {
        "batch": batch,
        "iterations": stock["train_cfg"]["max_epochs"] * epoch,
        "milestones": [milestone * epoch for milestone in steps["milestones"]],
        "gamma": steps["gamma"],
        "warmup.iterations": warmup["end"],
        "warmup.factor": warmup["start_factor"],
        "clip_grad_norm": stock["optim_wrapper"].get("clip_grad"),
        **{f"optimizer.{key}": optimizer[key] for key in ("lr", "momentum", "weight_decay")},
    }
    values = read_schedule(name, "detector")["values"]
    found = {key.removeprefix("."): value for key, value in flat(values, "").items()}
    check({key: found[key] for key in wanted}, wanted, entry.get("departures", {}))


def test_ssd_is_the_papers_recipe() -> None:
    """24 epochs of the images five times, steps after 16 and 22, 8 images on each of 8 GPUs."""
    values = read_schedule("ssd", "detector")["values"]
    epoch = ceil(117_266 * 5 / 64)
    assert (values["iterations"], values["milestones"]) == (24 * epoch, [16 * epoch, 22 * epoch])
    assert "departures" not in TABLE["schedules"]["ssd"]
    for side in (300, 512):
        types = [step["type"] for step in load_student(f"ssd{side}-vgg16")["train_pipeline"]]
        assert types[2:-1] == ["Expand", "MinIoURandomCrop", "Resize", "RandomFlip", "PhotoMetricDistortion"]


def test_the_table_has_every_student_of_the_model_zoo() -> None:
    assert set(TABLE["students"]) | set(TABLE["unverified"]) <= set(student_names())
    for entry in zoo_files().values():
        assert entry.student in TABLE["students"] or entry.student.startswith("mmdet::"), entry.student
