"""RunSpec: equal specs have one id in every spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.errors import InputError
from c2d.specs.names import read_schedule
from c2d.specs.spec import RunSpec, parse_spec, run_name

HASH = "a" * 64


def value(**changes: Any) -> dict[str, Any]:
    return {
        "name": "retinanet-qr18-baseline",
        "kind": "detector",
        "dataset": {"name": "scenes", "digest": HASH},
        "student": {"name": "retinanet-qr18", "digest": HASH},
        "schedule": read_schedule("smoke", "detector"),
        **changes,
    }


def test_id_is_name_hash_and_seed() -> None:
    spec = parse_spec(value(seed=3), "test")
    name, digest, seed = spec.id.rsplit("-", 2)
    assert (name, seed, len(digest)) == ("retinanet-qr18-baseline", "s3", 12)


def test_seed_and_name_are_not_hashed() -> None:
    first, second = parse_spec(value(seed=0), "a"), parse_spec(value(seed=1, name="other"), "b")
    assert first.canonical() == second.canonical()


@settings(max_examples=50)
@given(st.permutations(list(value().items())), st.sampled_from([1, 1.0]))
def test_key_order_and_number_spelling_do_not_matter(items: list[tuple[str, Any]], gamma: float) -> None:
    shuffled = dict(items)
    changed = json.loads(json.dumps(shuffled))
    changed["overrides"] = {"a.b": gamma}
    assert parse_spec(changed, "test").id == parse_spec(value(overrides={"a.b": 1}), "test").id


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"name": "scenes", "digest": "b" * 64}},
        {"student": {"name": "retinanet-qr18", "digest": "b" * 64}},
        {"input": 200},
        {"init": "torchvision:resnet18.IMAGENET1K_V1"},
        {"teachers": {"classifier": "resnet18-classifier-0123456789ab-s0"}},
        {"method": [{"icod": {"T": 2}}]},
        {"method": [{"icod": {"T": 3}}]},
        {"schedule": {"name": "smoke", "values": {**read_schedule("smoke", "detector")["values"], "iterations": 5}}},
        {"overrides": {"model.bbox_head.loss_cls.gamma": 1.5}},
    ],
)
def test_every_part_of_the_spec_changes_the_id(change: dict[str, Any]) -> None:
    assert parse_spec(value(**change), "test").id != parse_spec(value(), "test").id


def test_spec_json_round_trip() -> None:
    spec = parse_spec(value(method=[{"icod": {"T": 2.0}}]), "test")
    assert parse_spec(json.loads(json.dumps(spec.to_json())), "again") == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, "sead"),
        ({"student": None}, "a detector run has a student"),
        ({"network": "resnet18"}, "no network"),
        ({"init": "weights.pth"}, "init"),
        ({"seed": -1}, "seed"),
        ({"schedule": {"name": "x", "values": {"iterations": 0}}}, "iterations"),
    ],
)
def test_errors_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_spec(value(**change), "test.yaml")


def test_names_of_runs() -> None:
    assert run_name("detector", "retinanet-qr18", []) == "retinanet-qr18-baseline"
    assert run_name("detector", "mmdet::yolox/yolox_s.py", [{"icod": {}}]) == "yolox-yolox_s.py-icod"
    assert run_name("classifier", "timm:resnet10t", []) == "timm-resnet10t-classifier"


def test_a_spec_is_frozen() -> None:
    spec: RunSpec = parse_spec(value(), "test")
    with pytest.raises(ValueError, match="frozen"):
        spec.seed = 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": True}, "seed: .*given True.*; write a plain number without quotes"),
        ({"seed": "3"}, "seed: .*given '3'.*; write a plain number without quotes"),
        ({"input": "64"}, "input: .*; write a plain number without quotes"),
        ({"iterations": "9"}, r"schedule\.values\.iterations: .*; write a plain number without quotes"),
        ({"ema": True}, r"schedule\.values\.ema: .*; write a plain number without quotes"),
        ({"milestones": ["3"]}, r"schedule\.values\.milestones\.0: .*; write a plain number without quotes"),
        ({"iterations": 1.5}, r"schedule\.values\.iterations: .*given 1\.5"),
        ({"optimizer": {"lr": "1e-3"}}, r"schedule\.values\.optimizer\.lr: .*; write a plain number without quotes"),
        ({"optimizer": {"norm_weight_decay": "no"}}, r"norm_weight_decay: .*; write true or false without quotes"),
        ({"optimizer": {"norm_weight_decay": 0}}, r"norm_weight_decay: .*; write true or false without quotes"),
    ],
)
def test_values_are_not_converted(changes: dict[str, Any], message: str) -> None:
    given = value()
    values = given["schedule"]["values"]
    for key, item in changes.items():
        if key in given or key == "input" or key == "seed":
            given[key] = item
        elif isinstance(item, dict):
            values[key] |= item
        else:
            values[key] = item
    with pytest.raises(InputError, match=message):
        parse_spec(given, "test")


def test_a_whole_float_is_a_whole_number() -> None:
    given = value()
    given["schedule"]["values"] |= {"iterations": 20.0, "milestones": [3.0]}
    values = parse_spec(given, "test").training
    assert (values.iterations, values.milestones) == (20, [3])
    assert type(values.iterations) is int


def classifier(schedule: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A classifier run; `schedule` has changes of its values."""
    preset = read_schedule("voc-small", "classifier")
    preset["values"] = {**preset["values"], **(schedule or {})}
    dataset = {"name": "scenes", "digest": HASH}
    names = {"name": "resnet18-classifier", "kind": "classifier", "dataset": dataset, "network": "resnet18"}
    return {**names, "input": 48, "schedule": preset, **changes}


TRUNK = {"init": f"sha256:{HASH}"}


def test_ids_of_classifiers_from_before_fit_stay() -> None:
    # Written by the version without the keys fit, crops.context and text_embeddings.
    assert parse_spec(classifier(), "test").id == "resnet18-classifier-9f795667c770-s0"
    crops = {"pipeline": "general", "per_image": 8, "image_size": 320, "context": 0.0}
    assert parse_spec(classifier({"fit": "full", "crops": crops}), "test").id == "resnet18-classifier-9f795667c770-s0"
    assert (
        parse_spec(classifier({"crops": {**crops, "context": 0.1}}), "test").id != parse_spec(classifier(), "test").id
    )


def test_a_probe_has_no_keys_of_the_loop() -> None:
    probe = parse_spec(classifier({"fit": "linear-probe"}, **TRUNK), "test")
    longer = parse_spec(classifier({"fit": "linear-probe", "iterations": 7}, **TRUNK), "test")
    assert probe.id == longer.id
    assert set(probe.to_json()["schedule"]["values"]) == {
        "fit", "input", "min_top1", "crops", "normalisation", "loss", "probe",
    }  # fmt: skip
    assert probe.to_json()["schedule"]["values"]["crops"] == {"image_size": 320}
    assert parse_spec(json.loads(json.dumps(probe.to_json())), "again") == probe
    stronger = parse_spec(classifier({"fit": "linear-probe", "probe": {"l2": 1}}, **TRUNK), "test")
    assert stronger.id != probe.id
    with pytest.raises(InputError, match="fit linear-probe, which takes no training step"):
        _ = probe.training


@pytest.mark.parametrize(
    ("schedule", "changes", "message"),
    [
        ({"fit": "head"}, {}, "init none is a trunk of random numbers"),
        ({"fit": "linear-probe"}, {}, "init none is a trunk of random numbers"),
        ({"fit": "probe"}, TRUNK, "'full', 'head', 'linear-probe' or 'zero-shot'"),
        ({"fit": "head", "probe": {"l2": 1}}, TRUNK, "probe belongs to fit: linear-probe .given fit 'head'"),
        ({"fit": "linear-probe", "iteratoins": 7}, TRUNK, "iteratoins"),
        ({"fit": "linear-probe", "probe": {"l3": 7}}, TRUNK, "probe.l3"),
        ({"fit": "zero-shot"}, TRUNK, "c2d teacher text-embeddings"),
        ({}, {"text_embeddings": f"sha256:{HASH}"}, "fit full and text_embeddings"),
        ({"crops": {"image_size": 320, "context": -0.1}}, {}, "crops.context"),
        ({"crops": {"image_size": 10**9}}, {}, "crops.image_size"),
        ({"loss": {"ce": 0.0, "bce": 0.0}}, {}, "both 0, so there is nothing to minimise"),
        ({"fit": "linear-probe", "probe": {"l2": 1e300}}, TRUNK, "probe.l2"),
    ],
)
def test_a_fit_that_does_not_work_is_refused(schedule: Any, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_spec(classifier(schedule, **changes), "test")
