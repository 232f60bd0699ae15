"""Runs of classifiers that take no step: their specs, results, and what the ledger says of such a teacher."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.loading import flatten
from analysis.tables.protocol_facts import teachers
from c2d.core.regular_file import FormatError
from c2d.specs.names import read_schedule
from c2d.specs.spec import parse_spec


def probe() -> dict[str, Any]:
    spec = {
        "name": "resnet18-classifier",
        "kind": "classifier",
        "dataset": {"name": "scenes", "digest": "a" * 64},
        "network": "resnet18",
        "input": 48,
        "init": f"sha256:{'a' * 64}",
        "schedule": read_schedule("linear-probe", "classifier"),
    }
    return parse_spec(spec, "test").to_json()


def test_a_probe_has_no_steps_and_is_not_damaged() -> None:
    found = flatten.spec(probe())
    assert [found[name] for name in ("iterations_planned", "batch", "lr", "precision")] == [None, None, None, ""]
    assert '"fit":"linear-probe"' in str(found["schedule_json"])


def test_a_detector_that_is_evaluated_only_is_no_baseline() -> None:
    spec = probe() | {
        "kind": "detector",
        "network": None,
        "student": {"name": "retinanet-r50", "digest": "a" * 64},
        "init": "zoo:retinanet_r50_fpn_1x_coco_20200130-c2398f9e",
        "schedule": read_schedule("no-training", "detector"),
    }
    found = flatten.spec(parse_spec(spec, "test").to_json())
    assert (found["method"], found["iterations_planned"], found["lr"]) == ("no-training", None, None)
    spec["schedule"]["values"].pop("training")
    with pytest.raises(FormatError, match="iterations"):
        flatten.spec(spec)


def test_a_training_without_a_length_is_damaged() -> None:
    value = probe()
    value["schedule"]["values"].pop("fit")
    with pytest.raises(FormatError, match="iterations"):
        flatten.spec(value)


@pytest.mark.parametrize(
    ("fit", "text", "shown"),
    [
        ("full", "", "net-s0 (top-1 90.0 %)"),
        ("", "", "net-s0 (top-1 90.0 %)"),
        ("head", "", "net-s0 (top-1 90.0 %, fit head)"),
        ("zero-shot", "random text embeddings (seed 1)",
         "net-s0 (top-1 90.0 %, fit zero-shot, random text embeddings (seed 1))"),
    ],
)  # fmt: skip
def test_the_ledger_says_how_a_teacher_was_fitted(fit: str, text: str, shown: str) -> None:
    row = {f"teacher.{kind}": "" for kind in ("classifier", "detector", "impressions")}
    numbers = {"teacher_top1": 0.9, "teacher_AP": float("nan"), "teacher_redetected": float("nan")}
    row |= {"teacher.classifier": "net-s0", "teacher_fit": fit, "teacher_text_embeddings": text}
    assert teachers({**row, **numbers}) == shown
