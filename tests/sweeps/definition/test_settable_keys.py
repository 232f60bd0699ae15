"""The table of settable keys against the fields of a spec."""

from __future__ import annotations

from c2d.specs.spec import KINDS, MODEL_KEYS, RunSpec
from sweeps.definition.settable_keys import CELL_KEYS, KEYS, SCHEDULE_MODELS, key_mistake, nest_keys, split_teacher_keys


def test_every_field_of_a_spec_is_settable_or_names_its_replacement() -> None:
    assert set(KEYS) - {"seeds"} == set(RunSpec.model_fields) - {"format"}
    assert {name for name, key in KEYS.items() if key.instead} == set(KEYS) - set(CELL_KEYS)


def test_the_model_of_a_teacher_belongs_to_its_kind() -> None:
    for kind in ("classifier", "detector"):
        assert KEYS[MODEL_KEYS[kind]].teachers == (kind,)
    # Impressions are named by their schedule, which every kind has.
    assert {name for name, key in KEYS.items() if "impressions" in key.teachers} == {"schedule", "seed"}
    assert set(SCHEDULE_MODELS) == set(KINDS)


def test_teacher_keys_are_split_off() -> None:
    values = {"dataset": "a", "teacher.classifier.schedule.iterations": 5, "teacher.detector.dataset": "b"}
    own, blocks = split_teacher_keys(values)
    assert own == {"dataset": "a"}
    given = {"classifier": {"schedule.iterations": 5}, "detector": {"dataset": "b"}}
    assert blocks == {**given, "impressions": {}, "backbone": {}}


def test_dotted_keys_are_nested_and_the_given_values_stay() -> None:
    schedule = {"name": "ssd", "values": {"optimizer": {"lr": 1}}}
    values = {"schedule.optimizer.lr": 2, "schedule": schedule, "method.icod.T": 3, "method": ["icod", {"fgd": None}]}
    teachers = {"classifier": {"network": "resnet18", "overrides.a": 1}, "detector": "run-id"}
    assert nest_keys({**values, "teacher.classifier.input": 56}, teachers) == {
        "schedule": {"name": "ssd", "values": {"optimizer": {"lr": 2}}},
        "method": [{"icod": {"T": 3}}, {"fgd": None}],
        "teachers": {"classifier": {"network": "resnet18", "overrides": {"a": 1}, "input": 56}, "detector": "run-id"},
    }
    assert schedule == {"name": "ssd", "values": {"optimizer": {"lr": 1}}}
    assert teachers["classifier"] == {"network": "resnet18", "overrides.a": 1}


def test_a_schedule_is_scaled_by_a_key_beside_its_values() -> None:
    values = {"schedule": "ssd", "schedule.scale_to_batch": 32, "schedule.gamma": 0.5}
    wanted = {"name": "ssd", "values": {"gamma": 0.5}, "scale_to_batch": 32}
    assert nest_keys(values, {"classifier": {"network": "resnet18", **values}}) == {
        "schedule": wanted,
        "teachers": {"classifier": {"network": "resnet18", "schedule": wanted}},
    }
    assert (
        key_mistake("schedule.scale_to_batch", {}) == key_mistake("teacher.detector.schedule.scale_to_batch", {}) == ""
    )
    assert "scale_to_batch" in key_mistake("teacher.impressions.schedule.scale_to_batch", {})


def test_impressions_are_made_from_the_detector_of_the_cell() -> None:
    values = {"data_free": True, "teacher.impressions.schedule.priors.tv_l1": 0, "teacher.detector.schedule": "1x"}
    teachers = {"detector": {"student": "a"}, "impressions": {"schedule": "moi"}}
    assert nest_keys(values, teachers) == {
        "data_free": True,
        "teachers": {
            "detector": {"student": "a", "schedule": "1x"},
            "impressions": {
                "schedule": {"name": "moi", "values": {"priors": {"tv_l1": 0}}},
                "teachers": {"detector": {"student": "a", "schedule": "1x"}},
            },
        },
    }
    run = nest_keys({}, {"detector": "a-s0", "impressions": {"schedule": "moi"}})["teachers"]
    assert run["impressions"]["teachers"] == {"detector": "a-s0"}
    assert nest_keys({}, {"detector": "a-s0", "impressions": "b-s0"})["teachers"]["impressions"] == "b-s0"


def test_keys_of_impressions() -> None:
    for key in (
        "schedule.images",
        "schedule.final.iterations",
        "schedule.priors.tv_l1",
        "schedule.images_from",
        "seed",
    ):
        assert key_mistake(f"teacher.impressions.{key}", {}) == ""
    assert "unknown key of schedule.priors: 'tv_l3'; did you mean 'tv_l" in key_mistake(
        "teacher.impressions.schedule.priors.tv_l3", {}
    )
    assert "unknown key of schedule: 'priors'" in key_mistake("teacher.detector.schedule.priors", {})
    for key in ("dataset", "student", "input", "init", "overrides.a", "method"):
        assert "unknown key of impressions:" in key_mistake(f"teacher.impressions.{key}", {}), key
