"""The linear scaling rule: its numbers, its limits, and that it is written out in the spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.errors import InputError
from c2d.specs.lookup import Lookup
from c2d.specs.names import look_up_names, names_in, read_schedule, scaling_lines
from c2d.specs.resolve_spec import SpecResolver
from c2d.specs.scaling.linear_rule import scale_to_batch
from c2d.specs.schedule import Schedule

SSD = read_schedule("ssd", "detector")["values"]
SPEC: dict[str, Any] = {"dataset": "coco2017", "student": "ssd300-vgg16", "schedule": "ssd"}
TEACHER: dict[str, Any] = {"dataset": "coco2017", "network": "resnet18", "init": "torchvision:resnet18.IMAGENET1K_V1"}


def looked_up(*specs: dict[str, Any]) -> Lookup:
    return look_up_names(names_in(specs), Path("nowhere"), Path("nowhere"))


def id_of(base: dict[str, Any], schedule: Any) -> str:
    spec = {**base, "schedule": schedule}
    return SpecResolver(looked_up(spec)).resolve(spec).id


def refusal(base: dict[str, Any], schedule: Any, **more: Any) -> str:
    with pytest.raises(InputError) as info:
        id_of({**base, **more}, schedule)
    return str(info.value)


def test_half_the_batch_of_ssd_by_hand() -> None:
    assert scale_to_batch({**SSD, "val_interval": 9162, "ema": 0.19}, 32) == {
        **SSD,
        "batch": 32,
        "optimizer": {**SSD["optimizer"], "lr": 0.001},
        "iterations": 439776,
        "warmup": {"iterations": 1000, "factor": 0.001},
        "milestones": [293184, 403128],
        "val_interval": 18324,
        "ema": 0.1,  # two steps forget 1 - 0.9 * 0.9 = 0.19
    }


def test_by_the_rule_or_by_hand_it_is_the_same_run() -> None:
    by_hand = {
        "batch": 32,
        "optimizer": {"lr": 0.001},
        "iterations": 439776,
        "warmup": {"iterations": 1000},
        "milestones": [293184, 403128],
    }
    assert id_of(SPEC, {"name": "ssd", "scale_to_batch": 32}) == id_of(SPEC, {"name": "ssd", "values": by_hand})
    assert id_of(SPEC, {"name": "ssd", "scale_to_batch": 64}) == id_of(SPEC, "ssd")
    assert id_of(SPEC, {"name": "ssd", "scale_to_batch": None}) == id_of(SPEC, "ssd")
    # 0.02 * 24 / 16 is 0.03 in decimal numbers, and not 0.03 in floats that are multiplied first
    scaled = scale_to_batch(read_schedule("1x", "detector")["values"], 24)
    assert (scaled["optimizer"]["lr"], scaled["iterations"], scaled["warmup"]["iterations"]) == (0.03, 60000, 333)


def test_given_values_win_and_are_not_scaled() -> None:
    schedule = {"name": "ssd", "scale_to_batch": 32, "values": {"optimizer": {"lr": 0.002}, "iterations": 500000}}
    spec = {**SPEC, "schedule": schedule}
    found = SpecResolver(looked_up(spec)).resolve(spec).training
    assert (found.optimizer.lr, found.iterations, found.warmup.iterations) == (0.002, 500000, 1000)
    (line,) = scaling_lines([spec], looked_up(spec))
    assert line.endswith("given, not scaled: optimizer.lr 0.002, iterations 500000")


def test_the_line_has_both_values_once() -> None:
    teacher = {"network": "resnet18", "schedule": {"name": "coco-ssd", "scale_to_batch": 32}}
    spec = {**SPEC, "schedule": {"name": "ssd", "scale_to_batch": 32}, "teachers": {"classifier": teacher}}
    lines = scaling_lines([spec, spec, SPEC], looked_up(spec))
    assert lines[0] == (
        "schedule ssd at batch 32 instead of 64: lr 0.002 -> 0.001 (linear rule), iterations 219888 -> 439776, "
        "warm-up 500 -> 1000, milestones 146592 201564 -> 293184 403128"
    )
    assert len(lines) == 2
    assert lines[1].startswith("schedule coco-ssd at batch 32 instead of ")
    same = {**SPEC, "schedule": {"name": "ssd", "scale_to_batch": 64}}
    assert scaling_lines([same], looked_up(same)) == ["schedule ssd has batch 64 itself: nothing is scaled"]
    demo = {**SPEC, "schedule": {"name": "demo", "scale_to_batch": 4}}
    assert "lr 0.002 -> 0.001 (linear rule, our choice for AdamW)" in scaling_lines([demo], looked_up(demo))[0]


def test_what_has_no_steps_is_not_scaled() -> None:
    assert "fit: linear-probe" in refusal(TEACHER, {"name": "linear-probe", "scale_to_batch": 8})
    probe = {"name": "coco-general", "values": {"fit": "zero-shot"}, "scale_to_batch": 8}
    assert "has no batch to scale (fit: zero-shot)" in refusal(TEACHER, probe)
    images = {"dataset": "coco2017", "kind": "impressions", "teachers": {"detector": "a-s0"}}
    assert "schedule 'moi' has no batch to scale" in refusal(images, {"name": "moi", "scale_to_batch": 8})


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"name": "ssd", "scale_to_batch": 32, "values": {"batch": 16}}, "scale_to_batch 32 and values.batch 16; give"),
        ({"name": "ssd", "scale_to_batch": 0}, "scale_to_batch is 0; give a whole number"),
        ({"name": "ssd", "scale_to_batch": "32"}, "scale_to_batch is '32'"),
        ({"name": "ssd", "scale_to_batch": True}, "scale_to_batch is True"),
        ({"name": "ssd", "scale_by": 2}, "is neither a name nor"),
        ({"name": "smoke", "scale_to_batch": 100}, "which is no schedule; give fewer images"),
        ({"name": "1x", "scale_to_batch": 10_000_000}, "which is no schedule; give fewer images"),
    ],
)
def test_a_scaling_that_is_refused(schedule: dict[str, Any], message: str) -> None:
    assert message in refusal(SPEC, schedule)


@settings(deadline=None)
@given(
    batch=st.integers(1, 512),
    other=st.integers(1, 512),
    iterations=st.integers(5000, 300_000),
    lr=st.sampled_from([0.1, 0.02, 0.01, 0.002, 0.0003]),
)
def test_there_and_back_is_the_same_up_to_rounding(batch: int, other: int, iterations: int, lr: float) -> None:
    plain: dict[str, Any] = {
        "iterations": iterations,
        "batch": batch,
        "optimizer": {"type": "SGD", "lr": lr},
        "warmup": {"iterations": iterations // 50},
        "milestones": [iterations // 2, iterations // 4 * 3],
    }
    there = scale_to_batch(plain, other)
    assert Schedule.model_validate(there).batch == other
    back = scale_to_batch(there, batch)
    assert back["optimizer"]["lr"] == pytest.approx(lr, rel=1e-11)
    steps = 1 + other / batch  # each rounding is by half an iteration of its batch at most
    for lengths in (
        [(one["iterations"], one["batch"]) for one in (plain, there, back)],
        [(one["warmup"]["iterations"], one["batch"]) for one in (plain, there, back)],
        *([(one["milestones"][at], one["batch"]) for one in (plain, there, back)] for at in (0, 1)),
    ):
        images = [length * size for length, size in lengths]
        assert abs(images[0] - images[1]) <= other
        assert abs(lengths[0][0] - lengths[2][0]) <= steps
